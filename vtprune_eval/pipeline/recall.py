"""Target recall: which of the blocks that a question asks about are still there, stage by stage.

It separates "the method dropped the target" from "the model missed it". The target's blocks are the merge blocks of the
last image that its box touches, on the grid that the model sees; a method that resizes keeps them all and loses
sharpness instead. A block of which only a marker is left (POSPAD) is lost; one that was merged into another, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..sample import Box

if TYPE_CHECKING:
    from torch import Tensor

    from .cache import KVCache
    from .prefill import PrefillResult
    from .stages import Begun, Entered

# In the order of the data flow. ``layers`` is a mean over the decoder layers of prefill, ``cache`` one over layers and
# heads, of what decoding attends to.
STAGES = ("patches", "tokens", "layers", "cache")
# Pixels: a box that ends on a border must not reach into the next block by rounding.
_SLACK = 1e-6


def blocks_of(boxes: Sequence[Box], size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Merge blocks that boxes touch, sorted flat indices, int64 ``(n,)``.

    Args:
        boxes: in pixels of an image of ``size`` (width, height); parts outside of it are cut off.
        grid: (rows, columns) of merge blocks that the image becomes, whatever the size the model sees it at.
    """
    rows, cols = grid
    hit = np.zeros((rows, cols), bool)
    for x1, y1, x2, y2 in boxes:
        top, bottom = _span(y1, y2, size[1], rows)
        left, right = _span(x1, x2, size[0], cols)
        hit[top:bottom, left:right] = True
    return np.flatnonzero(hit)


def _span(low: float, high: float, length: int, n: int) -> tuple[int, int]:
    """Half-open range of the cells that [low, high] touches; at least one where it lies inside at all."""
    if high < 0 or low > length:
        return 0, 0
    start = min(n - 1, max(0, math.floor((low + _SLACK) / length * n)))
    return start, min(n, max(start + 1, math.ceil((high - _SLACK) / length * n)))


def share_kept(places: np.ndarray, kept: np.ndarray) -> float:
    """Share of ``places`` (flat indices) that a bool mask over the grid keeps."""
    return float(np.asarray(kept).reshape(-1)[places].mean())


def recall_of(entered: Entered, begun: Begun, result: PrefillResult, cache: KVCache) -> dict[str, float] | None:
    """Share of the target's blocks that survive, by stage (:data:`STAGES`); None for a sample without a box.

    Nothing here is timed: it runs when everything is counted.
    """
    layout = entered.prompt.layout
    if not layout.grids:
        return None
    size = entered.file_sizes[-1]
    blocks = blocks_of(entered.sample.boxes(size), size, layout.grids[-1])
    if not len(blocks):
        return None
    mask = entered.masks[-1]
    patches = 1.0 if mask is None else share_kept(blocks, mask.numpy())
    alive = np.zeros(layout.n_prompt, bool)  # of the target, by place in the full prompt
    alive[layout.spans[-1][0] + blocks] = True
    kept = _kept_places(begun, layout.spans)
    present = np.zeros(layout.n_prompt, bool)
    present[kept] = True
    if begun.edit is not None and begun.edit.has_visual is not None:
        present[kept[~begun.edit.has_visual.cpu().numpy()]] = False
    alive &= present
    layers, held = [], []
    known: dict[int, np.ndarray] = {}
    for layer, index in enumerate(result.layer_index):
        if id(index) not in known:
            known[id(index)] = alive[index.cpu().numpy()]
        there = known[id(index)]
        layers.append(there.sum())
        if cache.heads()[layer]:
            entries: Tensor | None = cache.kept(layer)
            if entries is None:
                held.append(float(there.sum()))
            else:
                places = entries.cpu().numpy()  # -1 where a head holds fewer than another
                held.append(float((there[places] & (places >= 0)).sum(1).mean()))
    n = len(blocks)
    return {
        "patches": patches,
        "tokens": float(alive.sum() / n),
        "layers": float(np.mean(layers) / n),
        "cache": float(np.mean(held) / n) if held else 1.0,
    }


def _kept_places(begun: Begun, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Places in the full prompt of the visual tokens before layer 0, sorted, int64."""
    parts = [start + np.asarray(kept, np.int64) for kept, (start, _) in zip(begun.kept, spans, strict=True)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
