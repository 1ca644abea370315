"""A summary as text: table, Markdown, CSV or JSON, comparisons and what a reader must know below it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from ..notes import Note
from .compare import ALPHA
from .folding import folded, in_lines, narrowed
from .quantities import QUANTITIES
from .stats import shown, shown_ratio
from .summary_types import CellSummary, Comparison, Summary, TaskSummary

# A change of speed between the first and the last third of the timed samples from which on a row says so.
DRIFT = 1.15
READINGS_SAY = {
    "equal": "Budgets in the reading equal: visual tokens per decoder layer as a mean, or visual entries per layer "
    "and kv head with all text kept; all rows may be compared.",
    "paper": "Budgets in the reading paper: every method counts as its paper does (`explain METHOD`); rows of "
    "different methods are not comparable at one number.",
    "legacy": "Budgets of a version before there were readings: every method counted in its own way.",
}


def label_of(row: CellSummary) -> str:
    """A row's method with its settings; summaries of early versions have no label."""
    return str(row.get("label", row["method"]))


def name_of(row: CellSummary) -> str:
    """A row as sentences and comparisons name it."""
    return f"{label_of(row)} at {row['budget']}"


def speed_note(row: CellSummary) -> list[Note]:
    """What must be said of a row's speed-up: that none is shown, or that the machine's speed moved."""
    costs, cell = row["costs"], name_of(row)
    out = []
    speedup, interval = costs.get("speedup"), costs.get("speedup_ci95")
    if row["method"] != "full" and speedup and interval and interval[0] <= 1 <= interval[1]:
        stated = {"ratio": speedup, "low": interval[0], "high": interval[1]}
        out.append(Note("row_no_speedup", {"cell": cell, **stated}))
    drift = costs.get("drift")
    if drift is not None and not 1 / DRIFT <= drift <= DRIFT:
        out.append(Note("row_drift", {"cell": cell, "ratio": drift}))
    return out


def table(summary: Summary, form: str, width: int | None = None, quiet: bool = False) -> str:
    """The summary as text.

    Args:
        summary: of :func:`summarise`.
        form: ``table``, ``md``, ``csv`` or ``json``.
        width: characters of a terminal's line, to which a ``table`` is folded; None for as wide as it is.
        quiet: whether a ``table`` is without comparisons and notes; warnings stay.
    """
    if form == "json":
        return _json(summary)
    tasks = list(summary["rows"][0]["tasks"]) if summary["rows"] else []
    heads, lines = _main(summary, tasks)
    if form == "csv":
        return _csv(summary, heads, lines, tasks)
    parts = [_tabulated(heads, lines, form)] if form == "md" or width is None else folded(heads, lines, width)
    if quiet and form == "table":
        return "\n".join([*parts, "", *in_lines([str(n) for n in footnotes(summary) if n.warning], width)]).rstrip()
    parts += _comparisons(summary, form, width)
    notes = [str(note) for note in footnotes(summary)]
    if form == "md":  # a line right below a table would be a row of it
        return "\n".join([*parts, "", *(f"- {note}" for note in notes)])
    return "\n".join([*parts, "", *in_lines(notes, width)])


def _json(summary: Summary) -> str:
    """The summary, a line for every row and every pair: indented through, a large sweep's takes seconds to write."""

    def one(value: object) -> str:
        return json.dumps(value, allow_nan=False, default=str)

    parts = []
    for key, value in summary.items():
        lines = ",\n".join(map(one, value)) if isinstance(value, list) else ""
        parts.append(f"{one(key)}: [\n{lines}\n]" if lines else f"{one(key)}: {one(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _main(summary: Summary, tasks: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of the main table, one line per row of the summary."""
    recalled = any("target_recall" in row["costs"] for row in summary["rows"])
    heads = [
        "method",
        "budget",
        QUANTITIES["achieved_pct"].head,
        QUANTITIES["visual_kept_pct"].head,
        QUANTITIES["layer_visual_pct"].head,
        *(["target recall %"] * recalled),
        *tasks,
        QUANTITIES["flops"].head,
        QUANTITIES["ttft_ms"].head,
        QUANTITIES["e2e_ms"].head,
        QUANTITIES["peak_bytes"].head,
        QUANTITIES["kv_bytes"].head,
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
                QUANTITIES["achieved_pct"].text(c.get("achieved_pct")),
                QUANTITIES["visual_kept_pct"].text(c.get("visual_kept_pct")),
                QUANTITIES["layer_visual_pct"].text(c.get("layer_visual_pct")),
                *([_percent((c.get("target_recall") or {}).get("cache"))] * recalled),
                *(_cell(row["tasks"][t], summary["trained"]) for t in tasks),
                QUANTITIES["flops"].text(c.get("flops")),
                QUANTITIES["ttft_ms"].text(c.get("ttft_ms")),
                QUANTITIES["e2e_ms"].text(c.get("e2e_ms")),
                QUANTITIES["peak_bytes"].text(c.get("peak_bytes")),
                QUANTITIES["kv_bytes"].text(c.get("kv_bytes")),
                _speedup(row),
                _points(c.get("accuracy_change")),
            ]
        )
    return heads, lines


def _csv(summary: Summary, heads: Sequence[str], lines: Sequence[Sequence[str]], tasks: Sequence[str]) -> str:
    """The main table with the comparisons to full in columns of their own."""
    compared = [[v for t in tasks for v in _comparison_values(row["tasks"][t])] for row in summary["rows"]]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*heads, *(f"{task} {name}" for task in tasks for name in _CSV_COMPARISON)])
    writer.writerows([*line, *values] for line, values in zip(lines, compared, strict=True))
    return out.getvalue().rstrip("\n")


def _tabulated(heads: Sequence[str], lines: Sequence[Sequence[str]], form: str) -> str:
    from tabulate import tabulate

    text: str = tabulate(lines, headers=heads, tablefmt="github" if form == "md" else "simple", disable_numparse=True)
    return text


def _comparisons(summary: Summary, form: str, width: int | None) -> list[str]:
    """The tables of paired comparisons below the main one, each with its title."""
    parts: list[str] = []
    for title, rows in (
        ("Against full, on the same samples:", _against_full(summary)),
        (_between_title(summary, form), _between(summary, form)),
    ):
        if rows:
            heads = list(_COMPARISON)
            if form != "md" and width is not None:
                heads, rows = narrowed(heads, rows, width, spare=_SPARE)
            parts += ["", *in_lines([title], width), "", _tabulated(heads, rows, form)]
        elif title.startswith("Between"):
            parts += ["", *in_lines([title], width)]
    return parts


_COMPARISON = ("task", "cell", "samples", "points [95 %]", "p", "p (Holm)", "finding")
_SPARE = (4, 2)  # the p before its adjustment, then how many samples: what a narrow terminal does without
_CSV_COMPARISON = ("vs full", "vs full low", "vs full high", "p", "p (Holm)", "finding")


def _against_full(summary: Summary) -> list[list[str]]:
    return [
        [task, name_of(row), *_comparison(against)]
        for row in summary["rows"]
        for task, entry in row["tasks"].items()
        if (against := entry.get("vs_full"))
    ]


def _between_title(summary: Summary, form: str) -> str:
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


def _between(summary: Summary, form: str) -> list[list[str]]:
    """All pairs in Markdown; on the terminal only those that differ, because pairs grow with the square of cells."""
    names = {(row["method"], row["budget"]): name_of(row) for row in summary["rows"]}

    def named(cell: Sequence[str]) -> str:
        return names.get((cell[0], cell[1]), " at ".join(cell))

    return [
        [c["task"], f"{named(c['a'])} - {named(c['b'])}", *_comparison(c)]
        for c in summary.get("between", [])
        if form == "md" or c["distinguishable"]
    ]


def _comparison(c: Comparison) -> list[str]:
    return [
        str(c["n"]),
        f"{_points(c['difference'])} {shown(c['ci95'], '+.1f')}",
        f"{c['p']:.2g}",
        f"{c['p_holm']:.2g}",
        c["verdict"],
    ]


def _comparison_values(entry: TaskSummary) -> list[str]:
    c = entry.get("vs_full")
    if c is None:
        return ["-"] * len(_CSV_COMPARISON)
    ends = [f"{100 * v:+.2f}" for v in c["ci95"]] if c["ci95"] else ["-", "-"]
    return [f"{100 * c['difference']:+.2f}", *ends, f"{c['p']:.4g}", f"{c['p_holm']:.4g}", c["verdict"]]


def footnotes(summary: Summary) -> list[Note]:
    """What a reader of the table must know."""
    out = []
    if summary.get("identity", {}).get("note"):
        out.append(Note("table", {"text": summary["identity"]["note"]}))
    reading = summary.get("reading")
    if reading and any(row["budget"] not in {"-", "auto"} for row in summary["rows"]):
        out.append(Note("table", {"text": READINGS_SAY[reading]}))
    if summary.get("set"):
        stated = ", ".join(f"{k}={v}" for k, v in summary["set"].items())
        out.append(Note("table", {"text": f"Settings of the run that are no defaults: {stated}."}))
    if not summary["trained"]:
        out.append(Note("table", {"text": "Random weights: costs only, accuracy has no meaning and is not shown."}))
    compared = [c for row in summary["rows"] for e in row["tasks"].values() if (c := e.get("vs_full"))]
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


def _cell(entry: TaskSummary, trained: bool) -> str:
    if "accuracy" not in entry:
        return "-"
    text = f"{100 * entry['accuracy']:.1f} {shown(entry['ci95'])}"
    seeds = entry.get("seeds")
    if seeds and seeds["sd"] is not None:
        text += f" (sd {100 * seeds['sd']:.1f} of {seeds['n']} seeds)"
    return text


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value / 0.01:.1f}"


def _speedup(row: CellSummary) -> str:
    """The ratio with its interval; ``full`` is its own measure and has none."""
    value = row["costs"].get("speedup")
    if value is None:
        return "-"
    return f"{value:.2f}x" if row["method"] == "full" else shown_ratio(value, row["costs"].get("speedup_ci95"))


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"
