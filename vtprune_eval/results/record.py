"""One record per sample and cell: a JSON line. ``RESULT_FIELDS`` are those that do not depend on the clock."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ..outcome import Counts, KeptInside, Outcome
from ..sample import Frame, Sample, Score
from .inside import packed
from .types import Answered, Failed, Record, RecordCounts

SCHEMA = 1
T = TypeVar("T")

# What a line needs to be a record: the summary reads these, and the two of the clock. Fields that a later version adds
# are not asked of a run that began before.
NEEDED = (
    *("schema", "key", "id", "status", "reason", "message", "score", "parts", "cluster", "meta"),
    *("counts", "flops", "kv_bytes", "notes"),
)
OF_THE_CLOCK = ("times", "peak_bytes")
# Two runs of one spec agree on these, however often they were interrupted.
RESULT_FIELDS = (
    *NEEDED,
    *("answer", "ids", "finish", "parsed", "protocol", "kept", "kept_last", "kept_inside", "frame", "spent"),
    "target_recall",
)


def make_record(
    key: str, sample: Sample, outcome: Outcome, score: Score, frame: Frame, protocol: str = "official"
) -> Answered:
    """The record of an answered sample.

    Fields: ``schema`` version; ``key`` identity of the cell (run, task, method, budget); ``id`` of the sample;
    ``status`` ok or failed; ``reason`` of the score; ``answer`` and ``ids`` generated; ``finish`` eos or length;
    ``score`` in [0, 1] or null; ``parsed`` action; ``parts`` of the score;
    ``protocol`` whose rule gave it; ``cluster`` and ``meta`` of the sample; ``counts`` as
    :class:`~vtprune_eval.outcome.Counts`; ``flops`` per stage; ``kv_bytes`` held after prefill;
    ``peak_bytes`` of memory; ``times`` in ms; ``kept`` merge blocks per image as a hex bitmap, and ``kept_last``
    those behind the last layer where a method drops tokens inside the decoder; ``kept_inside`` (with ``--record-kept
    full``, where something was dropped inside): ``layers`` ([layer, bitmaps] from which on layers process less),
    ``heads`` (rows of ``bits`` per layer, 0 for a cache that holds all) and ``bits`` (:func:`.inside.packed`);
    ``frame`` of the coordinates; ``spent``: the budget asked for, its reading, and the percentage achieved (absent
    before there were readings); ``notes``; ``target_recall``: share of the target's blocks that survive, by stage, null
    where a sample has no box (records of early versions lack the key); ``logprobs`` per generated id (with
    ``--logprobs``). The run loop adds ``energy_j`` and ``gpu_process_bytes``, null without a GPU. A record whose answer
    comes from shared or prefetched computation has ``shared`` (``answer``, ``prefill``, ``layers``, ``vit``,
    ``vit_blocks`` or ``images``: what it was branched from), and null for ``times``, ``peak_bytes``, ``energy_j`` and
    ``gpu_process_bytes``.
    """
    record: Answered = {
        "schema": SCHEMA,
        "key": key,
        "id": sample.id,
        "status": "ok",
        "reason": score.reason,
        "message": "",
        "answer": outcome.text,
        "ids": list(outcome.ids),
        "finish": outcome.finish,
        "score": score.value,
        "parsed": score.parsed,
        "cluster": sample.cluster,
        "meta": sample.meta,
        "parts": score.parts,
        "protocol": protocol,
        "counts": counts_data(outcome.counts),
        "flops": outcome.flops,
        "kv_bytes": outcome.kv_bytes,
        "kept": [bitmap(kept) for kept in outcome.kept],
        "frame": frame,
        "spent": {"asked": outcome.asked, "reading": outcome.reading, "achieved_pct": _rounded(outcome.achieved)},
        "notes": [note.data() for note in outcome.notes],
        "target_recall": outcome.target_recall and {k: round(v, 6) for k, v in outcome.target_recall.items()},
        "peak_bytes": outcome.peak_bytes,
        "times": {k: None if math.isnan(v) else round(v, 4) for k, v in _fields(outcome.times).items()},
    }
    if outcome.kept_last:
        record["kept_last"] = [bitmap(kept) for kept in outcome.kept_last]
    if outcome.inside:
        record["kept_inside"] = _inside(outcome.inside)
    if outcome.logprobs:
        record["logprobs"] = [round(p, 6) for p in outcome.logprobs]
    return record


def failed_record(
    key: str, sample: Sample, reason: str, message: str, scored: bool, protocol: str = "official"
) -> Failed:
    """The record of a sample that could not be answered: wrong, with a reason, and counted."""
    return {
        "schema": SCHEMA,
        "key": key,
        "id": sample.id,
        "status": "failed",
        "reason": reason,
        "message": message,
        "answer": "",
        "ids": [],
        "finish": "",
        "score": 0.0 if scored else None,
        "parsed": None,
        "cluster": sample.cluster,
        "meta": sample.meta,
        "parts": {},
        "protocol": protocol,
        "counts": None,
        "flops": None,
        "kv_bytes": None,
        "kept": None,
        "frame": None,
        "spent": None,
        "notes": [],
        "target_recall": None,
        "peak_bytes": None,
        "times": None,
    }


def scored(records: Iterable[Record]) -> list[tuple[Record, float]]:
    """Records that have a score, each beside it."""
    return [(r, float(score)) for r in records if (score := r["score"]) is not None]


def all_failed(records: Sequence[Record]) -> bool:
    """True where not one of at least one sample was answered."""
    return bool(records) and all(r["status"] == "failed" for r in records)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def result_of(record: Record) -> dict[str, Any]:
    """The part of a record that another run of the same spec must reproduce."""
    return {k: v for k, v in record.items() if k in RESULT_FIELDS}


def counts_data(counts: Counts) -> RecordCounts:
    """Counts as a record holds them."""
    data: Any = _fields(counts)
    found: RecordCounts = data
    return found


def _fields(value: Any) -> dict[str, Any]:
    """A flat dataclass as a dictionary; ``dataclasses.asdict`` would copy every tuple element by element."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def _inside(inside: KeptInside) -> dict[str, Any]:
    changes = [[layer, [bitmap(kept) for kept in images]] for layer, images in inside.layers]
    return {"layers": changes, "heads": list(inside.heads), "bits": packed(inside.bits)}


_HEAVY = frozenset({"answer", "ids", "parsed", "kept", "kept_last", "kept_inside", "frame", "logprobs"})


def light(record: Record) -> Record:
    """What a summary is made from: without the answer, its ids, the bitmaps and the frame, with the total of the FLOPs
    alone, first, least and most of the lengths per layer, and their mean for the visual tokens. A quarter of the
    memory, for millions of records."""
    small: Any = _one_name_each({k: v for k, v in record.items() if k not in _HEAVY})
    out: Record = small
    if out["status"] == "failed":
        return out
    counts, times, flops = out["counts"], out["times"], out["flops"]
    if times:
        out["times"] = _one_name_each(times)
    if flops:
        out["flops"] = {"total": flops["total"]}
    if counts:
        out["counts"] = {
            "patches_full": counts["patches_full"],
            "patches": counts["patches"],
            "visual_full": counts["visual_full"],
            "visual": counts["visual"],
        }
        if counts["layer_tokens"]:
            out["counts"]["layer_tokens"] = _ends(counts["layer_tokens"])
        if counts["cache_entries"]:
            out["counts"]["cache_entries"] = _ends(counts["cache_entries"])
        if counts.get("layer_visual"):
            out["counts"]["layer_visual"] = [sum(counts["layer_visual"]) / len(counts["layer_visual"])]
    return out


def _ends(lengths: Sequence[int]) -> list[int]:
    """First, least and most."""
    return [lengths[0], min(lengths), max(lengths)]


def _one_name_each(values: dict[str, T]) -> dict[str, T]:
    """The same, with names that all records share: every parsed line has its own copies."""
    return {sys.intern(k): v for k, v in values.items()}


def bitmap(kept: tuple[int, ...]) -> str:
    """Hexadecimal number with bit i set for every kept i; bytes, because a growing integer is copied for every bit."""
    bits = bytearray(max(kept, default=0) // 8 + 1)
    for i in kept:
        bits[i >> 3] |= 1 << (i & 7)
    return f"{int.from_bytes(bits, 'little'):x}"
