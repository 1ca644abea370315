"""From records to one table: a row per method and budget."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..budget import reading_of
from ..notes import Note
from ..sample import UNSCORABLE
from .compare import ALPHA, NO_VERDICT, Scores, compare_all
from .folding import folded, in_lines, narrowed
from .stats import mean_interval, paired_ratio, shown, stated

# A change of speed between the first and the last third of the timed samples from which on a row says so.
DRIFT = 1.15
READINGS_SAY = {
    "equal": "Budgets in the reading equal: visual tokens per decoder layer as a mean, or visual entries per layer "
    "and kv head with all text kept; all rows may be compared.",
    "paper": "Budgets in the reading paper: every method counts as its paper does (`explain METHOD`); rows of "
    "different methods are not comparable at one number.",
    "legacy": "Budgets of a version before there were readings: every method counted in its own way.",
}
Key = tuple[str, str, str]


class Streamed(Mapping[Key, list[dict[str, Any]]]):
    """Records of cells that are read whenever they are asked for and held by nobody else: the memory of a summary
    is that of a cell, however many there are."""

    def __init__(self, keys: Iterable[Key], read: Callable[[Key], list[dict[str, Any]]]) -> None:
        """``keys``: (task, method, budget); ``read``: gives the records of one, in the order of the task."""
        self._keys, self._read = dict.fromkeys(keys), read

    def __getitem__(self, key: Key) -> list[dict[str, Any]]:
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def merge_draws(
    cells: Sequence[tuple[str, str]], records: Mapping[Key, list[dict[str, Any]]]
) -> tuple[list[tuple[str, str]], Mapping[Key, list[dict[str, Any]]]]:
    """One cell for the repetitions of a random control (``10``, ``10#1``, ...).

    Returns:
        the cells that are left, in their order; and the records: a sample's score is the mean of its scores, and
        ``draws`` holds the records of all repetitions.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for method, budget in cells:
        groups.setdefault((method, budget.partition("#")[0]), []).append(budget)

    def read(key: Key) -> list[dict[str, Any]]:
        task, method, number = key
        budgets = groups[method, number]
        if len(budgets) == 1:
            return records[task, method, budgets[0]]
        each = [{r["id"]: r for r in records[task, method, b]} for b in budgets]
        return [_mean_record(r, [d[i] for d in each if i in d]) for i, r in each[0].items()]

    tasks = dict.fromkeys(task for task, _, _ in records)
    return list(groups), Streamed(((task, *group) for task in tasks for group in groups), read)


def _mean_record(first: dict[str, Any], draws: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [r["score"] for r in draws if r["score"] is not None]
    return {**first, "score": sum(scores) / len(scores) if scores else None, "draws": draws}


def spread_of(own: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Accuracy of every repetition of a random control, and their standard deviation; None for a single one."""
    n = max((len(r.get("draws", ())) for r in own), default=0)
    if n < 2:
        return None
    scores = [[r["draws"][k]["score"] for r in own if len(r.get("draws", ())) > k] for k in range(n)]
    means = [float(np.mean([s for s in of if s is not None])) for of in scores if any(s is not None for s in of)]
    return {"n": n, "accuracies": means, "sd": float(np.std(means, ddof=1)) if len(means) > 1 else None}


def summarise(
    model: str,
    cells: Sequence[tuple[str, str]],
    tasks: Sequence[tuple[str, bool]],
    records: Mapping[Key, list[dict[str, Any]]],
    trained: bool,
    more: Callable[[str, list[dict[str, Any]]], dict[str, Any]] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Rows of a run. The records of one cell are held at a time, beside what ratios need of the full model's.

    Args:
        model: short name.
        cells: (method, budget) in table order.
        tasks: (name, scored).
        records: by (task, method, budget), in the order of the task.
        trained: False for random weights, which have costs and no accuracy.
        more: what else a row says of a task, from the records of its cell.
        labels: per method, its name with every setting that is no default (:meth:`.spec.RunSpec.label`).

    Returns:
        ``{"model", "trained", "rows": [{"model", "method", "label", "budget", "tasks", "costs", "notes"}],
        "between": [...]}``; ``label`` is the method with every setting that is no default;
        ``between`` compares the reduced cells with each other (:func:`.compare.compare_all`).
    """
    base = next((c for c in cells if c[0] == "full"), None)
    graded_tasks = [task for task, scored in tasks if scored and trained]
    reference = [_reference(r) for task, _ in tasks for r in records[task, base[0], base[1]]] if base else None
    scores: dict[tuple[str, tuple[str, str]], Scores] = {}
    shared: dict[str, Scores] = {}  # by task: whose ids the other cells' are the same as
    readings: set[str] = set()
    rows: list[dict[str, Any]] = []
    for method, budget in cells:
        per_task: dict[str, Any] = {}
        everything: list[dict[str, Any]] = []
        unscored: list[Note] = []
        for task, scored in tasks:
            own = records[task, method, budget]
            everything += [d for r in own for d in r.get("draws", (r,))]
            per_task[task] = _entry(own, scored and trained, (method, budget) != base and base is not None)
            if task in graded_tasks:
                scores[task, (method, budget)] = found = Scores.of(own, shared.get(task))
                shared.setdefault(task, found)
                if not rows:  # it is the same in every row
                    unscored += _unscored(task, own)
            if more is not None:
                per_task[task] |= more(task, own)
            readings |= {reading_of(r.get("spent") or {}) for r in own if r["status"] == "ok"}
        label = (labels or {}).get(method, method)
        rows.append(
            {
                "model": model,
                "method": method,
                "label": label,
                "budget": "-" if method == "full" else budget,
                "tasks": per_task,
                "costs": costs_of(everything, reference, trained),
                "notes": _notes(everything, label, budget) + unscored,
            }
        )
        del own, everything
    against, between = compare_all(cells, graded_tasks, scores)
    for cell, row in zip(cells, rows, strict=True):
        _tell_against(row, cell, base, against, trained)
    reading = next(iter(readings)) if len(readings) == 1 else None
    return {"model": model, "trained": trained, "reading": reading, "rows": rows, "between": between}


def _reference(record: dict[str, Any]) -> dict[str, Any]:
    """What ratios to the full model need of its record."""
    return {k: record[k] for k in ("id", "status", "times", "flops")}


def _entry(own: list[dict[str, Any]], graded: bool, compared: bool) -> dict[str, Any]:
    """One task of a row; ``vs_full`` is kept a place where the cell may be compared with ``full``."""
    entry: dict[str, Any] = {
        "n": len(own),
        "n_failed": sum(r["status"] == "failed" for r in own),
        "failures": dict(Counter(r["reason"] for r in own if r["status"] == "failed")),
    }
    scored = [r for r in own if r["score"] is not None]
    if graded and scored:
        entry |= accuracy(scored)
        spread = spread_of(own)
        if spread:
            entry["seeds"] = spread
        if compared:
            entry["vs_full"] = None
    recall = target_recall(own)
    if recall:
        entry["target_recall"] = recall
    return entry


def _tell_against(
    row: dict[str, Any],
    cell: tuple[str, str],
    base: tuple[str, str] | None,
    against: Mapping[tuple[str, tuple[str, str]], dict[str, Any]],
    trained: bool,
) -> None:
    """Put a row's comparisons with ``full`` in their places, and their mean."""
    for task, entry in row["tasks"].items():
        if "vs_full" in entry:
            if (task, cell) in against:
                entry["vs_full"] = against[task, cell]
            else:
                del entry["vs_full"]
    if base and trained:
        told = [t["vs_full"] for t in row["tasks"].values() if "vs_full" in t]
        changes = [c["difference"] for c in told if c["verdict"] != NO_VERDICT]
        row["costs"]["accuracy_change"] = 0.0 if cell == base else float(np.mean(changes)) if changes else None


def _unscored(task: str, own: list[dict[str, Any]]) -> list[Note]:
    name, out = task.split()[0], []
    for reason, why in (("no_target", "their records have no target"), (UNSCORABLE, "their annotation cannot be read")):
        found = [r for r in own if r["reason"] == reason]
        if found:
            first = f"; first {found[0]['id']}: {found[0]['parts']['why']}" if reason == UNSCORABLE else ""
            code = "row_nothing_scored" if len(found) == len(own) else "row_unscored"
            about: dict[str, str | int] = {
                "task": task,
                "n": len(found),
                "of": len(own),
                "why": why,
                "name": name,
                "first": first,
            }
            out.append(Note(code, about))
    return out


def accuracy(graded: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean score of records that have one, its 95 % interval, and the share of unreadable answers.

    ``ci95`` is None where there are too few clusters for one.
    """
    scores = [r["score"] for r in graded]
    clusters = [r["cluster"] or r["id"] for r in graded]
    mean, low, high = mean_interval(scores, clusters)
    return {
        "accuracy": mean,
        "ci95": stated(low, high),
        "format_error_rate": sum(r["reason"] == "format_error" for r in graded) / len(graded),
    }


def target_recall(own: list[dict[str, Any]]) -> dict[str, float]:
    """Mean share of the target's blocks that survive, by stage, over the answered records that have a box (``n``); {}
    where none has, and for records of early versions."""
    found = [r["target_recall"] for r in own if r.get("target_recall")]
    if not found:
        return {}
    return {stage: float(np.mean([f[stage] for f in found])) for stage in found[0]} | {"n": len(found)}


def costs_of(own: list[dict[str, Any]], full: list[dict[str, Any]] | None, trained: bool = True) -> dict[str, Any]:
    """Means of counts over the answered records, medians of times (ms) and largest peak (bytes) over those of them that
    were timed (``timed_samples`` says how many, where not all were); {} for none.

    Args:
        own: records of a cell; full: those of the full model, for ratios on the samples that both answered.
        trained: False for random weights, whose right answers mean nothing.
    """
    done = [r for r in own if r["status"] == "ok"]
    if not done:
        return {}
    timed = [r for r in done if r["times"] is not None]
    kept = sum(sum(r["counts"]["visual"]) for r in done)
    total = sum(sum(r["counts"]["visual_full"]) for r in done)

    def median(name: str, q: float = 0.5) -> float | None:
        values = [r["times"][name] for r in timed if r["times"][name] is not None]
        return float(np.quantile(values, q)) if values else None

    out: dict[str, Any] = {
        "visual_tokens": kept / len(done),
        "visual_kept_pct": 100 * kept / total,
        "patches_kept_pct": 100
        * sum(sum(r["counts"]["patches"]) for r in done)
        / sum(sum(r["counts"]["patches_full"]) for r in done),
        "layer_visual_pct": _layer_visual_pct(done),
        "flops": _mean(r["flops"] and r["flops"]["total"] for r in done),
        "kv_bytes": _mean(r["kv_bytes"] for r in done),
        "peak_bytes": max((r["peak_bytes"] for r in timed), default=None),
    }
    spent = _achieved_pct(done)
    if spent is not None:  # records that are older than readings do not say
        out["achieved_pct"] = spent
    recall = target_recall(done)
    if recall:
        out["target_recall"] = recall
    for name in (
        "ttft_ms",
        "tpot_ms",
        "e2e_ms",
        "select_ms",
        "vit_ms",
        "prefill_ms",
        "preprocess_ms",
        "image_decode_ms",
        "decode_ms",
    ):
        out[name] = median(name)
    out["e2e_p95_ms"] = median("e2e_ms", 0.95)
    if len(timed) < len(done):
        out["timed_samples"] = len(timed)
    out["drift"] = drift_of(done)
    metered = [r for r in done if r.get("energy_j") is not None]
    if metered:
        joules = sum(r["energy_j"] for r in metered)
        out["energy_j"] = joules / len(metered)
        correct = sum(r["score"] or 0.0 for r in metered)
        if trained and correct:
            out["energy_per_correct_j"] = joules / correct
    if full is not None:
        by_id = {r["id"]: r for r in full if r["status"] == "ok"}
        pairs = [(r, by_id[r["id"]]) for r in done if r["id"] in by_id]
        if pairs:
            both = [(a, b) for a, b in pairs if a["times"] is not None and b["times"] is not None]
            for name, stage in (("speedup", "e2e_ms"), ("speedup_ttft", "ttft_ms"), ("speedup_tpot", "tpot_ms")):
                out |= _speedup(both, name, stage)
            counted = [(a["flops"]["total"], b["flops"]["total"]) for a, b in pairs if a["flops"] and b["flops"]]
            if counted:
                out["flops_ratio"] = float(np.mean([b for _, b in counted]) / np.mean([a for a, _ in counted]))
    return out


def _mean(values: Iterable[float | None]) -> float | None:
    """None where an engine cannot know them."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _layer_visual_pct(done: list[dict[str, Any]]) -> float | None:
    """Visual tokens that a decoder layer processes, mean over layers and samples, in % of the full model's; None where
    the records do not say (a scripted model, records of early versions)."""
    counts = [r["counts"] for r in done if r["counts"].get("layer_visual")]
    total = sum(sum(c["visual_full"]) for c in counts)
    return 100 * sum(sum(c["layer_visual"]) / len(c["layer_visual"]) for c in counts) / total if total else None


def _speedup(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str, stage: str) -> dict[str, Any]:
    """Paired ratio of the full model's times over the method's, on samples that both were timed on; nulls for none."""
    timed = [(a, b) for a, b in pairs if (a["times"][stage] or 0) > 0 and (b["times"][stage] or 0) > 0]
    if not timed:
        return {name: None, f"{name}_ci95": None}
    ratio, low, high = paired_ratio(
        [b["times"][stage] for _, b in timed],
        [a["times"][stage] for a, _ in timed],
        [a["cluster"] or a["id"] for a, _ in timed],
    )
    return {name: ratio, f"{name}_ci95": stated(low, high)}


def drift_of(own: list[dict[str, Any]]) -> float | None:
    """How much slower the last third of the timed samples was than the first, per FLOP: 1.1 is a tenth slower.

    A machine that slows down while it is measured makes times of different runs incomparable; ratios of one sample's
    times do not feel it. None for fewer than nine timed samples.
    """
    rates = [
        math.log(r["times"]["e2e_ms"] / r["flops"]["total"])
        for r in own
        if r["status"] == "ok" and r["times"] is not None and r["times"]["e2e_ms"] > 0 and r["flops"]
    ]
    third = len(rates) // 3
    return math.exp(sum(rates[-third:]) / third - sum(rates[:third]) / third) if third >= 3 else None


def _achieved_pct(done: list[dict[str, Any]]) -> float | None:
    """What a budget was spent on, in percent of the full model's visual tokens (:func:`.outcome.achieved`), weighted by
    the samples' visual tokens; None where the records do not say."""
    said = [(r["spent"]["achieved_pct"], sum(r["counts"]["visual_full"])) for r in done if r.get("spent")]
    weighed = [(v, n) for v, n in said if v is not None and n]
    total = sum(n for _, n in weighed)
    return sum(v * n for v, n in weighed) / total if total else None


def untouched(records: Sequence[dict[str, Any]]) -> bool:
    """True if a method dropped nothing of any answered sample."""
    done = [r for r in records if r["status"] == "ok"]
    return bool(done) and all(
        r["counts"]["patches"] == r["counts"]["patches_full"]
        and r["counts"]["visual"] == r["counts"]["visual_full"]
        and len(set(r["counts"]["layer_tokens"])) == 1
        and min(r["counts"]["cache_entries"]) == r["counts"]["layer_tokens"][0]
        for r in done
    )


def _notes(own: list[dict[str, Any]], method: str, budget: str) -> list[Note]:
    cell, notes = f"{method} at {budget}", []
    done = [r for r in own if r["status"] == "ok"]
    crashed = [r for r in own if r["reason"] == "crash"]
    if crashed:
        first = {"sample": crashed[0]["id"], "message": crashed[0]["message"]}
        notes.append(Note("row_crashed", {"cell": cell, "n": len(crashed), "of": len(own), **first}))
    if method != "full" and budget != "100" and untouched(done):
        notes.append(Note("row_untouched", {"method": method, "budget": budget}))
    of_samples = [{note.code: note for note in map(Note.read, r["notes"])} for r in done]

    def count(*codes: str) -> dict[str, int]:
        return {"n": sum(any(code in found for code in codes) for found in of_samples), "of": len(done)}

    def first_of(code: str) -> str | None:
        return next((str(found[code]) for found in of_samples if code in found), None)

    if count("under", "under_layers")["n"]:
        notes.append(Note("row_under", {"cell": cell, **count("under", "under_layers")}))
    if count("over")["n"]:
        notes.append(Note("row_over", {"cell": cell, **count("over")}))
    if count("over_layers")["n"]:
        percent = _layer_visual_pct(done)
        assert percent is not None, "a mean over the layers was noted"
        notes.append(Note("row_over_layers", {"cell": cell, "percent": percent, **count("over_layers")}))
    marker = first_of("untrained_marker")
    if marker:
        notes.append(Note("row_said", {"cell": cell, "note": marker}))
    stored = first_of("per_query_head")
    if stored:
        larger = count("cache_larger")
        code, more = ("row_cache_larger", larger) if larger["n"] else ("row_said", {})
        notes.append(Note(code, {"cell": cell, "note": stored, **more}))
    return notes


def label_of(row: dict[str, Any]) -> str:
    """A row's method with its settings; summaries of early versions have no label."""
    return str(row.get("label", row["method"]))


def name_of(row: dict[str, Any]) -> str:
    """A row as sentences and comparisons name it."""
    return f"{label_of(row)} at {row['budget']}"


def speed_note(row: dict[str, Any]) -> list[Note]:
    """What must be said of a row's speed-up: that none is shown, or that the machine's speed moved."""
    costs, cell = row["costs"], name_of(row)
    out = []
    interval = costs.get("speedup_ci95")
    if row["method"] != "full" and interval and interval[0] <= 1 <= interval[1]:
        stated = {"ratio": costs["speedup"], "low": interval[0], "high": interval[1]}
        out.append(Note("row_no_speedup", {"cell": cell, **stated}))
    drift = costs.get("drift")
    if drift is not None and not 1 / DRIFT <= drift <= DRIFT:
        out.append(Note("row_drift", {"cell": cell, "ratio": drift}))
    return out


def table(summary: dict[str, Any], form: str, width: int | None = None, quiet: bool = False) -> str:
    """The summary as text.

    Args:
        summary: of :func:`summarise`.
        form: ``table``, ``md``, ``csv`` or ``json``.
        width: characters of a terminal's line, to which a ``table`` is folded; None for as wide as it is.
        quiet: whether a ``table`` is without comparisons and notes; warnings stay.
    """
    if form == "json":
        return json.dumps(summary, indent=2, allow_nan=False, default=str)
    tablefmt = "github" if form == "md" else "simple"
    tasks = list(summary["rows"][0]["tasks"]) if summary["rows"] else []
    recalled = any("target_recall" in row["costs"] for row in summary["rows"])
    heads = [
        "method",
        "budget",
        "achieved %",
        "visual kept %",
        "mean over layers %",
        *(["target recall %"] * recalled),
        *tasks,
        "GFLOPs",
        "TTFT ms",
        "e2e ms",
        "peak MB",
        "KV kB",
        "speed-up",
        "acc. change",
    ]
    lines = []
    for row in summary["rows"]:
        c = row["costs"]
        lines.append(
            [
                label_of(row),
                row["budget"],
                _number(c.get("achieved_pct"), 1),
                _number(c.get("visual_kept_pct"), 1),
                _number(c.get("layer_visual_pct"), 1),
                *([_number((c.get("target_recall") or {}).get("cache"), 1, 0.01)] * recalled),
                *(_cell(row["tasks"][t], summary["trained"]) for t in tasks),
                _number(c.get("flops"), 2, 1e9),
                _number(c.get("ttft_ms"), 1),
                _number(c.get("e2e_ms"), 1),
                _number(c.get("peak_bytes"), 0, 1e6),
                _number(c.get("kv_bytes"), 1, 1e3),
                _times(c.get("speedup")),
                _points(c.get("accuracy_change")),
            ]
        )
    if form == "csv":
        heads += [f"{task} {name}" for task in tasks for name in _CSV_COMPARISON]
        lines = [
            line + [v for t in tasks for v in _comparison_values(row["tasks"][t])]
            for line, row in zip(lines, summary["rows"], strict=True)
        ]
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([heads, *lines])
        return out.getvalue().rstrip("\n")
    from tabulate import tabulate

    parts = (
        [tabulate(lines, headers=heads, tablefmt=tablefmt, disable_numparse=True)]
        if form == "md" or width is None
        else folded(heads, lines, width)
    )
    if quiet and form == "table":
        return "\n".join([*parts, "", *in_lines([str(n) for n in footnotes(summary) if n.warning], width)]).rstrip()
    for title, rows in (
        ("Against full, on the same samples:", _against_full(summary)),
        (_between_title(summary, form), _between(summary, form)),
    ):
        if rows:
            heads = list(_COMPARISON)
            if form != "md" and width is not None:
                heads, rows = narrowed(heads, rows, width, spare=_SPARE)
            parts += ["", *in_lines([title], width), ""]
            parts.append(tabulate(rows, headers=heads, tablefmt=tablefmt, disable_numparse=True))
        elif title.startswith("Between"):
            parts += ["", *in_lines([title], width)]
    notes = [str(note) for note in footnotes(summary)]
    if form != "md":
        notes = in_lines(notes, width)
    if form == "md":  # a line right below a table would be a row of it
        return "\n".join([*parts, "", *(f"- {note}" for note in notes)])
    return "\n".join([*parts, "", *notes])


_COMPARISON = ("task", "cell", "samples", "points [95 %]", "p", "p (Holm)", "finding")
_SPARE = (4, 2)  # the p before its adjustment, then how many samples: what a narrow terminal does without
_CSV_COMPARISON = ("vs full", "vs full low", "vs full high", "p", "p (Holm)", "finding")


def _against_full(summary: dict[str, Any]) -> list[list[str]]:
    return [
        [task, name_of(row), *_comparison(entry["vs_full"])]
        for row in summary["rows"]
        for task, entry in row["tasks"].items()
        if "vs_full" in entry
    ]


def _between_title(summary: dict[str, Any], form: str) -> str:
    """What the table of pairs shows, and on a terminal what it hides; "" where there is no pair."""
    pairs = summary.get("between", [])
    if not pairs:
        return ""
    title = "Between methods (first minus second), on the same samples"
    if form == "md":
        return f"{title}:"
    found = sum(c["distinguishable"] for c in pairs)
    n = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}"
    if not found:
        return f"{title}: none of {n} is distinguishable, so none is shown here; all stand in report.md."
    hidden = len(pairs) - found
    return f"{title}: the {found} of {n} that are distinguishable; " + (
        f"{hidden} that are not stand only in report.md." if hidden else "none is hidden."
    )


def _between(summary: dict[str, Any], form: str) -> list[list[str]]:
    """All pairs in Markdown; on the terminal only those that differ, because pairs grow with the square of cells."""
    names = {(row["method"], row["budget"]): name_of(row) for row in summary["rows"]}

    def named(cell: Sequence[str]) -> str:
        return names.get((cell[0], cell[1]), " at ".join(cell))

    return [
        [c["task"], f"{named(c['a'])} - {named(c['b'])}", *_comparison(c)]
        for c in summary.get("between", [])
        if form == "md" or c["distinguishable"]
    ]


def _comparison(c: dict[str, Any]) -> list[str]:
    return [
        str(c["n"]),
        f"{_points(c['difference'])} {shown(c['ci95'], '+.1f')}",
        f"{c['p']:.2g}",
        f"{c['p_holm']:.2g}",
        c["verdict"],
    ]


def _comparison_values(entry: dict[str, Any]) -> list[str]:
    c = entry.get("vs_full")
    if c is None:
        return ["-"] * len(_CSV_COMPARISON)
    ends = [f"{100 * v:+.2f}" for v in c["ci95"]] if c["ci95"] else ["-", "-"]
    return [f"{100 * c['difference']:+.2f}", *ends, f"{c['p']:.4g}", f"{c['p_holm']:.4g}", c["verdict"]]


def footnotes(summary: dict[str, Any]) -> list[Note]:
    """What a reader of the table must know."""
    out = []
    if summary.get("identity", {}).get("note"):
        out.append(Note("table", {"text": summary["identity"]["note"]}))
    if summary.get("reading") and any(row["budget"] not in {"-", "auto"} for row in summary["rows"]):
        out.append(Note("table", {"text": READINGS_SAY[summary["reading"]]}))
    if summary.get("set"):
        stated = ", ".join(f"{k}={v}" for k, v in summary["set"].items())
        out.append(Note("table", {"text": f"Settings of the run that are no defaults: {stated}."}))
    if not summary["trained"]:
        out.append(Note("table", {"text": "Random weights: costs only, accuracy has no meaning and is not shown."}))
    compared = [e["vs_full"] for row in summary["rows"] for e in row["tasks"].values() if "vs_full" in e]
    if compared:
        unclear = sum(not c["distinguishable"] for c in compared)
        text = (
            f"{unclear} of {len(compared)} differences to full are not distinguishable from chance (paired, "
            f"Holm-adjusted p of at least {ALPHA:g})."
        )
        out.append(Note("table", {"text": text}))
    timed = sorted({row["costs"]["timed_samples"] for row in summary["rows"] if "timed_samples" in row["costs"]})
    if timed:
        n = str(timed[0]) if len(timed) == 1 else f"{timed[0]} to {timed[-1]}"
        text = (
            f"Times, speed-ups, peak memory and energy are from {n} sample{'s' * (timed[-1] > 1)} per row, each "
            "run on its own; the other answers come from shared, cached or overlapped work and have none."
            if timed[-1]
            else "Times, speed-ups, peak memory and energy are absent: no sample was run on its own."
        )
        out.append(Note("table", {"text": text}))
    for row in summary["rows"]:
        out += row["notes"] + speed_note(row)
        failed = {t: e["failures"] for t, e in row["tasks"].items() if e["n_failed"]}
        if failed:
            about = {"cell": name_of(row), "failures": str(failed)}
            out.append(Note("row_failed", about))
    return out


def _cell(entry: dict[str, Any], trained: bool) -> str:
    if "accuracy" not in entry:
        return "-"
    text = f"{100 * entry['accuracy']:.1f} {shown(entry['ci95'])}"
    seeds = entry.get("seeds")
    if seeds and seeds["sd"] is not None:
        text += f" (sd {100 * seeds['sd']:.1f} of {seeds['n']} seeds)"
    return text


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    return "-" if value is None or math.isnan(value) else f"{value / unit:.{digits}f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"
