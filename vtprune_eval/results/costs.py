"""What a cell costs and how right it is: means, medians and paired ratios of its records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from .stats import mean_interval, paired_ratio, stated
from .summary_types import CellCosts, TaskSummary
from .types import Answered, Record, Reference

Key = tuple[str, str, str]


def accuracy(graded: Sequence[Record]) -> TaskSummary:
    """Mean score of records that have one, its 95 % interval, and the share of unreadable answers.

    ``ci95`` is None where there are too few clusters for one.
    """
    scores = [score for r in graded if (score := r["score"]) is not None]
    clusters = [r["cluster"] or r["id"] for r in graded]
    mean, low, high = mean_interval(scores, clusters)
    return {
        "accuracy": mean,
        "ci95": stated(low, high),
        "format_error_rate": sum(r["reason"] == "format_error" for r in graded) / len(graded),
    }


def target_recall(own: Sequence[Record]) -> dict[str, float]:
    """Mean share of the target's blocks that survive, by stage, over the answered records that have a box (``n``); {}
    where none has, and for records of early versions."""
    found = [recall for r in own if (recall := r.get("target_recall"))]
    if not found:
        return {}
    return {stage: float(np.mean([f[stage] for f in found])) for stage in found[0]} | {"n": len(found)}


def costs_of(own: Sequence[Record], full: Sequence[Reference | Record] | None, trained: bool = True) -> CellCosts:
    """Costs of a cell on one task (:func:`costs_over`).

    Args:
        own: records of a cell.
        full: those of the full model, for ratios on the samples that both answered.
        trained: False for random weights, whose right answers mean nothing.
    """
    return costs_over([(own, full)], trained)


def costs_over(
    groups: Sequence[tuple[Sequence[Record], Sequence[Reference | Record] | None]], trained: bool = True
) -> CellCosts:
    """Means of counts over the answered records, medians of times (ms) and largest peak (bytes) over those of them that
    were timed (``timed_samples`` says how many, where not all were); {} for none.

    Args:
        groups: per task the records of a cell and those of the full model, for ratios on samples that both answered.
            Two tasks may name their samples alike and differ in what a sample costs: pairs and drift are within a task.
        trained: False for random weights, whose right answers mean nothing.
    """
    answered = [[r for r in own if r["status"] == "ok"] for own, _ in groups]
    done = [r for own in answered for r in own]
    if not done:
        return {}
    timed = [(r, times) for r in done if (times := r["times"]) is not None]
    kept = sum(sum(r["counts"]["visual"]) for r in done)
    total = sum(sum(r["counts"]["visual_full"]) for r in done)

    def median(name: str, q: float = 0.5) -> float | None:
        values = [value for _, times in timed if (value := times[name]) is not None]
        return float(np.quantile(values, q)) if values else None

    out: CellCosts = {
        "visual_tokens": kept / len(done),
        "visual_kept_pct": 100 * kept / total,
        "patches_kept_pct": 100
        * sum(sum(r["counts"]["patches"]) for r in done)
        / sum(sum(r["counts"]["patches_full"]) for r in done),
        "layer_visual_pct": layer_visual_pct(done),
        "flops": _mean(r["flops"]["total"] if r["flops"] else None for r in done),
        "kv_bytes": _mean(r["kv_bytes"] for r in done),
        "peak_bytes": max((peak for r, _ in timed if (peak := r["peak_bytes"]) is not None), default=None),
    }
    spent = _achieved_pct(done)
    if spent is not None:  # records that are older than readings do not say
        out["achieved_pct"] = spent
    recall = target_recall(done)
    if recall:
        out["target_recall"] = recall
    out["ttft_ms"] = median("ttft_ms")
    out["tpot_ms"] = median("tpot_ms")
    out["e2e_ms"] = median("e2e_ms")
    out["select_ms"] = median("select_ms")
    out["vit_ms"] = median("vit_ms")
    out["prefill_ms"] = median("prefill_ms")
    out["preprocess_ms"] = median("preprocess_ms")
    out["image_decode_ms"] = median("image_decode_ms")
    out["decode_ms"] = median("decode_ms")
    out["e2e_p95_ms"] = median("e2e_ms", 0.95)
    if len(timed) < len(done):
        out["timed_samples"] = len(timed)
    out["drift"] = drift_of(answered)
    metered = [(joules, r["score"] or 0.0) for r in done if (joules := r.get("energy_j")) is not None]
    if metered:
        joules = sum(j for j, _ in metered)
        out["energy_j"] = joules / len(metered)
        correct = sum(score for _, score in metered)
        if trained and correct:
            out["energy_per_correct_j"] = joules / correct
    _add_ratios(out, answered, [full for _, full in groups])
    return out


def _add_ratios(
    out: CellCosts,
    answered: Sequence[Sequence[Answered]],
    fulls: Sequence[Sequence[Reference | Record] | None],
) -> None:
    """Ratios to the full model on samples that both answered, pairs within a task."""
    pairs: list[tuple[Answered, Reference | Record]] = []
    for mine, full in zip(answered, fulls, strict=True):
        by_id = {r["id"]: r for r in full or () if r["status"] == "ok"}
        pairs += [(r, by_id[r["id"]]) for r in mine if r["id"] in by_id]
    if pairs:
        out["speedup"], out["speedup_ci95"] = _speedup(pairs, "e2e_ms")
        out["speedup_ttft"], out["speedup_ttft_ci95"] = _speedup(pairs, "ttft_ms")
        out["speedup_tpot"], out["speedup_tpot_ci95"] = _speedup(pairs, "tpot_ms")
        counted = [(a["flops"]["total"], b["flops"]["total"]) for a, b in pairs if a["flops"] and b["flops"]]
        if counted:
            out["flops_ratio"] = float(np.mean([b for _, b in counted]) / np.mean([a for a, _ in counted]))


def _mean(values: Iterable[float | None]) -> float | None:
    """None where an engine cannot know them."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def layer_visual_pct(done: list[Answered]) -> float | None:
    """Visual tokens that a decoder layer processes, mean over layers and samples, in % of the full model's; None where
    the records do not say (a scripted model, records of early versions)."""
    counts = [r["counts"] for r in done if r["counts"].get("layer_visual")]
    total = sum(sum(c["visual_full"]) for c in counts)
    return 100 * sum(sum(c["layer_visual"]) / len(c["layer_visual"]) for c in counts) / total if total else None


def _speedup(
    pairs: Sequence[tuple[Answered, Reference | Record]], stage: str
) -> tuple[float, list[float] | None] | tuple[None, None]:
    """Paired ratio of the full model's times over the method's, on samples that both were timed on, and its interval;
    two None for none."""
    clusters, own, full = [], [], []
    for record, reference in pairs:
        mine, theirs = (record["times"] or {}).get(stage) or 0.0, (reference["times"] or {}).get(stage) or 0.0
        if mine > 0 and theirs > 0:
            own.append(mine)
            full.append(theirs)
            clusters.append(record["cluster"] or record["id"])
    if not own:
        return None, None
    ratio, low, high = paired_ratio(full, own, clusters)
    return ratio, stated(low, high)


def drift_of(tasks: Sequence[Sequence[Record]]) -> float | None:
    """How much slower the last third of the timed samples was than the first, per FLOP: 1.1 is a tenth slower.

    A machine that slows down while it is measured makes times of different runs incomparable; ratios of one sample's
    times do not feel it. Thirds are those of a task, because a FLOP of another task takes another time; the mean over
    tasks is weighted by their timed samples. None for fewer than nine timed samples.

    Args:
        tasks: records of a cell per task, in the order in which they were answered.
    """
    slower, n = 0.0, 0
    for own in tasks:
        rates = []
        for r in own:
            e2e = (r["times"] or {}).get("e2e_ms") or 0.0
            if e2e > 0 and r["flops"]:
                rates.append(math.log(e2e / r["flops"]["total"]))
        third = len(rates) // 3
        slower += sum(rates[-third:]) - sum(rates[:third]) if third else 0.0
        n += third
    return math.exp(slower / n) if n >= 3 else None


def _achieved_pct(done: list[Answered]) -> float | None:
    """What a budget was spent on, in percent of the full model's visual tokens (:func:`.outcome.achieved`), weighted by
    the samples' visual tokens; None where the records do not say."""
    said = [(r["spent"]["achieved_pct"], sum(r["counts"]["visual_full"])) for r in done if r.get("spent")]
    weighed = [(v, n) for v, n in said if v is not None and n]
    total = sum(n for _, n in weighed)
    return sum(v * n for v, n in weighed) / total if total else None


def untouched(records: Sequence[Record]) -> bool:
    """True if a method dropped nothing of any answered sample."""
    done = [r for r in records if r["status"] == "ok"]
    return bool(done) and all(
        r["counts"]["patches"] == r["counts"]["patches_full"]
        and r["counts"]["visual"] == r["counts"]["visual_full"]
        and len(set(r["counts"]["layer_tokens"])) == 1
        and min(r["counts"]["cache_entries"]) == r["counts"]["layer_tokens"][0]
        for r in done
    )
