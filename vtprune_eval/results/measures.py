"""What records say beyond an accuracy: calibration, effort, agreement, the samples that need the image, the place of a
target, and what was lost with it. All of it is computed from records; nothing runs a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..sample import Sample

Record = dict[str, Any]
# Below this share of the target's blocks the target counts as dropped.
DROPPED_BELOW = 0.5


def confidence(record: Record) -> float | None:
    """Probability that the model gave to its whole answer; None where the run did not ask (``--logprobs``)."""
    logs = record.get("logprobs")
    return math.exp(sum(logs)) if logs else None


def calibration(records: Iterable[Record], n_bins: int = 10) -> dict[str, float] | None:
    """How well the probability of an answer says whether it is right.

    Args:
        records: of one cell; those without a score or without probabilities are left out.
        n_bins: bins of equal width (the expected calibration error of Guo et al. 2017).

    Returns:
        ``n``, mean ``confidence``, ``accuracy``, ``ece`` (expected calibration error) and ``brier`` (mean squared
        error of the probability), shares in [0, 1]; None without such records.
    """
    pairs = [(c, r["score"]) for r in records if r["score"] is not None and (c := confidence(r)) is not None]
    if not pairs:
        return None
    said, right = (np.array(v, float) for v in zip(*pairs, strict=True))
    bins = np.minimum((said * n_bins).astype(int), n_bins - 1)
    gaps = [abs((said - right)[bins == b].sum()) for b in range(n_bins)]
    return {
        "n": len(pairs),
        "confidence": float(said.mean()),
        "accuracy": float(right.mean()),
        "ece": float(sum(gaps) / len(pairs)),
        "brier": float(((said - right) ** 2).mean()),
    }


def effort(records: Iterable[Record]) -> dict[str, float | None]:
    """What answers cost in tokens.

    Returns:
        ``n_new`` generated tokens per answer; ``per_correct``: tokens that the decoder took (the prompt at layer 0
        and what was generated) over the sum of the scores, None where nothing is right. Failed samples count as
        wrong and cost nothing.
    """
    taken, new, right, answered = 0, 0, 0.0, 0
    for r in records:
        right += r["score"] or 0.0
        if r["counts"]:
            answered += 1
            new += r["counts"]["n_new"]
            taken += r["counts"]["prompt"] + r["counts"]["n_new"]
    return {"n_new": new / answered if answered else None, "per_correct": taken / right if right else None}


def agreement(own: Iterable[Record], full: Iterable[Record]) -> float | None:
    """Share of the shared samples on which both give the same text; None without such samples."""
    said = {r["id"]: r["answer"] for r in full if r["status"] == "ok"}
    same = [r["answer"] == said[r["id"]] for r in own if r["status"] == "ok" and r["id"] in said]
    return sum(same) / len(same) if same else None


def image_needing(blind: Sequence[Iterable[Record]]) -> set[str]:
    """Ids of the samples that every one of several blind cells (no image, a far too small one) gets wrong."""
    wrong = [{r["id"] for r in cell if (r["score"] or 0.0) < 0.5} for cell in blind]
    return set.intersection(*wrong) if wrong else set()


def third_of(sample: Sample, height: int) -> int | None:
    """Where the target's centre stands: 0 upper, 1 middle, 2 lower third of the last image; None without a box.

    Args:
        sample: of any benchmark.
        height: of its last file, in pixels.
    """
    boxes = sample.boxes((0, height))
    if not boxes:
        return None
    middle = (boxes[0][1] + boxes[0][3]) / 2
    return min(2, max(0, int(3 * middle / height)))


def kept_by_band(record: Record, n_bands: int = 3) -> list[float] | None:
    """Share of the last image's blocks that entered the decoder, per horizontal band from the top.

    None for a failed sample, and where the image was resized: then the blocks are others (no family's block is
    narrower than 28 pixels).
    """
    if record["status"] != "ok" or not record["kept"]:
        return None
    width, height = record["frame"]["model_sizes"][-1]
    n = record["counts"]["visual_full"][-1]
    side = math.sqrt(width * height / n)
    cols, rows = round(width / side), round(height / side)
    if cols * rows != n or abs(side * cols - width) > 0.5 or side < 27.5:
        return None
    bits = int(record["kept"][-1], 16)
    mask = np.array([bits >> i & 1 for i in range(n)], float).reshape(rows, cols)
    bands = (np.arange(rows) + 0.5) * n_bands // rows
    return [float(mask[bands == b].mean()) if (bands == b).any() else math.nan for b in range(n_bands)]


def losses_by_cause(own: Iterable[Record], full: Iterable[Record]) -> dict[str, float] | None:
    """Why a method loses answers that the full model has: the target was dropped, or it is there and not found.

    Returns:
        ``lost``: samples right in full and wrong here; ``dropped``: those of them of whose target less than
        :data:`DROPPED_BELOW` reached the last stage; ``recall``: mean share of the target's blocks there, over all
        samples; ``right_if_kept`` and ``right_if_dropped``: accuracies, NaN where there is no such sample. None where
        no sample has a box.
    """
    was_right = {r["id"] for r in full if (r["score"] or 0.0) >= 0.5}
    pairs = [(r, left) for r in own if (left := recall_at_end(r)) is not None and r["score"] is not None]
    if not pairs:
        return None
    lost = [left for r, left in pairs if r["id"] in was_right and r["score"] < 0.5]
    return {
        "n": len(pairs),
        "lost": len(lost),
        "dropped": sum(left < DROPPED_BELOW for left in lost),
        "recall": float(np.mean([left for _, left in pairs])),
        "right_if_kept": _mean([r["score"] for r, left in pairs if left >= DROPPED_BELOW]),
        "right_if_dropped": _mean([r["score"] for r, left in pairs if left < DROPPED_BELOW]),
    }


def recall_at_end(record: Mapping[str, Any]) -> float | None:
    """Share of the target's blocks in the least of the stages: what decoding can look at, at most."""
    found = record.get("target_recall")
    return None if not found else float(min(found.values()))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
