"""Rows of the leaderboard: one per cell of a result, merged, made unique, and compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ..budget import reading_of
from ..naming import bare, parts_of, settings_in
from ..notes import Note
from ..profiling.gpu import GpuState
from ..registry import method_class
from ..results.costs import untouched
from ..results.quantities import QUANTITIES
from ..results.run_files import RunSettings
from ..results.types import Record
from ..results.verified import engine_of, share_of
from ..runner import sweeps
from ..runner.folder import Key
from .result_file import device_of
from .result_types import BoardRow, MethodFacts, ResultCell, ResultFile

# Costs on which one row can dominate another; columns of the CSV.
AXES = ("visual_tokens", "kv_bytes", "flops", "ttft_ms", "peak_bytes", "energy_j")
# Settings of a run that change answers or costs of every row, and their defaults.
ROW_SETTINGS = {"history": None, "max_new_tokens": None, "seed": 0}
SHOWN_LENGTH = 300


def rows_of(result: ResultFile, records: dict[Key, list[Record]]) -> list[BoardRow]:
    """One row per cell of a result, as plain values; records give the answers that the page shows."""
    settings = result["settings"]
    device = device_of(settings, result["environment"])
    rows: list[BoardRow] = []
    about = result.get("submission", {})
    for cell in result["cells"]:
        own, costs, task = records[cell["task"], cell["method"], cell["budget"]], cell["costs"], cell["task"]
        against = cell.get("vs_full")
        full = records.get((task, "full", "100"))
        row = {
            "result": result["name"],
            "file": f"results/{result['name']}.json",
            "records_file": f"results/{result['records']['file']}",
            "group": result["group"],
            "model": settings["model"],
            "reading": reading_of(settings),
            "weights": settings["fingerprint"],
            "task": task,
            "set": f"{task} ({own[0].get('protocol', 'official')} rule, {settings['data'][task]}, "
            f"{cell['n']} samples, set {cell['sample_set']})",
            "method": bare(cell["method"]),
            "cell": cell["method"] if "[" in cell["method"] else None,
            "budget": cell["budget"],
            "stage": cell["stage"],
            "set_to": _set_to(result, cell),
            "notes": _notes(own, full),
            "ranked": cell["ranked"],
            "device": device,
            "machine": f"{device}, {settings['dtype']}, {settings.get('attn', '-')}",
            "n": cell["n"],
            "n_failed": cell["n_failed"],
            "timed": costs.get("timed_samples", cell["n"] - cell["n_failed"]) if costs else None,
            "accuracy": cell.get("accuracy"),
            "ci95": cell.get("ci95"),
            "difference": against["difference"] if against else None,
            "finding": against["verdict"] if against else None,
            "marked": list((result["environment"].get("gpu") or GpuState()).get("warnings", [])),
            "speedup": costs.get("speedup"),
            "speedup_ci95": costs.get("speedup_ci95"),
            "no_effect": untouched(own),
            "flops_prefill": _mean(own, lambda flops: flops["total_prefill"]),
            "layer_visual_pct": costs.get("layer_visual_pct"),
            "achieved_pct": costs.get("achieved_pct"),
            "e2e_ms": costs.get("e2e_ms"),
            "target_recall": (costs.get("target_recall") or {}).get("cache"),
            **{k: v for k, v in about.items() if k != "paper"},
            "cites": about.get("paper"),
            **method_facts(cell["method"]),
            "visual_kept_pct": costs.get("visual_kept_pct"),
            "energy_per_correct_j": costs.get("energy_per_correct_j"),
            "visual_tokens": costs.get("visual_tokens"),
            "kv_bytes": costs.get("kv_bytes"),
            "flops": costs.get("flops"),
            "ttft_ms": costs.get("ttft_ms"),
            "peak_bytes": costs.get("peak_bytes"),
            "energy_j": costs.get("energy_j"),
        }
        rows.append(cast(BoardRow, row))
    return rows


def method_facts(method: str) -> MethodFacts:
    """What a reader asks of a method: one sentence, paper, whether it reads the question, whether it was trained."""
    if method == "full":
        return {}
    parts = [method_class(part) for part in parts_of(method)]
    return {
        "description": (parts[0].__doc__ or "").strip().split("\n")[0],
        "paper": "; ".join(p.paper for p in parts if p.paper),
        "year": max(p.year for p in parts) or None,
        "query_aware": any(p.query_aware for p in parts),
        "trained": any(p.trained for p in parts),
        "origin": " + ".join(p.origin for p in parts),
    }


def _mean(own: Sequence[Record], value: Callable[[Mapping[str, float]], float]) -> float | None:
    """Mean over the answered records; None where the records do not say."""
    try:
        found = [value(flops) for r in own if (flops := r["flops"])]
    except KeyError:
        return None
    return sum(found) / len(found) if found else None


def _set_to(result: ResultFile, cell: ResultCell) -> str:
    """Settings of a row, and where another engine answered, how many of its answers are the pipeline's."""
    settings, engine = result["settings"], engine_of(result["settings"])
    own = [settings_of_row(settings, cell["method"])]
    if engine is not None:
        own += [engine, share_of(result["environment"], cell["method"], cell["budget"]) or "not verified"]
    return ", ".join(filter(None, own))


def settings_of_row(settings: RunSettings, method: str) -> str:
    """What was set for a row and is no default: hyper-parameters of its method, what a budget counts, the run's own."""
    parts = parts_of(method)
    reading, params = reading_of(settings), sweeps.checked(settings.get("params") or {})
    shown = parts_of(sweeps.labelled(method, sweeps.made(method, params, reading), reading))
    out = [
        f"{f'{bare(part)}.' if len(parts) > 1 else ''}{k}={v}" for part in shown for k, v in settings_in(part).items()
    ]
    counted = {hook for part in parts for hook in method_class(part).hooks()}
    if "compress_kv" in counted and settings.get("budget_of", "visual") != "visual":  # of runs older than readings
        out.append(f"budget of the {settings['budget_of']}")
    if counted and settings.get("reading", "equal") != "equal":
        out.append(f"reading {settings['reading']}")
    out += [f"{k}={settings.get(k)}" for k, default in ROW_SETTINGS.items() if settings.get(k, default) != default]
    return ", ".join(out)


def _notes(own: Sequence[Record], full: Sequence[Record] | None) -> list[str]:
    """Markers that nobody trained, and why a cache that was cut may hold more bytes than the full one.

    Args:
        own: records of the cell.
        full: those of the full model, None where the run has none: the reason is given then.
    """
    notes = {note.code: str(note) for r in own for note in map(Note.read, r["notes"])}
    held = [sum(r["kv_bytes"] or 0 for r in records or ()) for records in (own, full)]
    shown = ["untrained_marker", *(["per_query_head"] if full is None or held[0] > held[1] else [])]
    return sorted(notes[code][:SHOWN_LENGTH] for code in shown if code in notes)


def merge_draws(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """One row for the repetitions of a random control (``10``, ``10#1``, ...): mean accuracy, spread in its notes."""
    groups: dict[tuple[str, str, str, str | None, str], list[BoardRow]] = {}
    for row in rows:
        number = row["budget"].partition("#")[0]
        groups.setdefault((row["result"], row["set"], row["method"], row.get("set_to"), number), []).append(row)
    out = []
    for (*_, number), own in groups.items():
        accuracies = [r["accuracy"] for r in own if r["accuracy"] is not None]
        if len(own) == 1 or not accuracies:
            out += own
            continue
        mean = sum(accuracies) / len(accuracies)
        sd = (sum((a - mean) ** 2 for a in accuracies) / max(1, len(accuracies) - 1)) ** 0.5
        note = f"mean of {len(own)} seeds, standard deviation {100 * sd:.1f} points; the interval is the first seed's"
        merged: BoardRow = {**own[0], "budget": number, "accuracy": mean, "notes": [*own[0]["notes"], note]}
        recalls = [recall for r in own if (recall := r.get("target_recall")) is not None]
        if recalls:  # another draw keeps other blocks of the target
            merged["target_recall"] = sum(recalls) / len(recalls)
        out.append(merged)
    return out


def drop_repeated_full(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """One row of ``full`` per sample set, model, weights, machine and settings: the one with most timed samples.

    It says in its notes which results hold the others.
    """
    kept: dict[tuple[object, ...], BoardRow] = {}
    out = []
    for row in sorted(rows, key=lambda r: (-(r["timed"] or 0), r["result"])):
        if row["method"] != "full":
            out.append(row)
            continue
        first = kept.setdefault((*_scope(row, True), row["set_to"]), row)
        if first is row:
            out.append(row)
        else:
            first["notes"] = [*first["notes"], f"measured in {row['result']}, too"]
    return out


def mark_dominated(rows: Sequence[BoardRow]) -> None:
    """Add ``dominated``: per axis, True where another row is at least as accurate and costs no more, and one strictly.

    Only rows of one group, model, weights and sample set are compared, on one machine where the axis depends on it;
    None where the row has no accuracy, no such cost, or is not ranked. Intervals play no part in it.
    """
    for row in rows:
        row["dominated"] = {axis: _is_dominated(row, rows, axis, QUANTITIES[axis].machine) for axis in AXES}


def _is_dominated(row: BoardRow, rows: Sequence[BoardRow], axis: str, machine: bool) -> bool | None:
    own = _placed(row, axis)
    if own is None:
        return None
    others = (placed for r in rows if (placed := _placed(r, axis)) and _scope(r, machine) == _scope(row, machine))
    return any(score >= own[0] and cost <= own[1] and (score, cost) != own for score, cost in others)


def _placed(row: BoardRow, axis: str) -> tuple[float, float] | None:
    """Accuracy and cost of a row that takes part in the ranking on an axis."""
    score, cost = row["accuracy"], cast("float | None", row.get(axis))
    return (score, cost) if row["ranked"] and score is not None and cost is not None else None


def _scope(row: BoardRow, machine: bool) -> tuple[object, ...]:
    keys = ("group", "set", "model", "weights", "reading", *(("machine",) if machine else ()))
    return tuple(row.get(k) for k in keys)
