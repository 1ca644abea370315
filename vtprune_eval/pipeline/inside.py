"""What every decoder layer and KV head still holds of the images; records keep it with ``--record-kept full``."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..outcome import KeptInside

if TYPE_CHECKING:
    from ..methods.base import TokenLayout
    from .cache import KVCache
    from .prefill import PrefillResult


def kept_inside(layout: TokenLayout, result: PrefillResult, cache: KVCache) -> KeptInside | None:
    """Blocks by layer and head, None where the decoder and its cache held all that entered.

    Args:
        layout: of the full prompt; its images have the sizes that the model saw.
        result: of the prefill.
        cache: after all methods acted on it, before the first decode step.
    """
    block = np.full(layout.n_prompt, -1, np.int64)  # number of the merge block, through all images, by prompt place
    first = 0
    for start, end in layout.spans:
        block[start:end] = np.arange(first, first + end - start)
        first += end - start
    seen: dict[int, np.ndarray] = {}
    changes: list[tuple[int, tuple[tuple[int, ...], ...]]] = []
    rows: list[np.ndarray] = []
    heads: list[int] = []
    before: np.ndarray | None = None
    for layer, index in enumerate(result.layer_index):
        if id(index) not in seen:
            seen[id(index)] = block[index.cpu().numpy()]
        blocks = seen[id(index)]
        if before is not None and blocks is not before and not np.array_equal(blocks, before):
            changes.append((layer, _per_image(blocks[blocks >= 0], layout.n_tokens)))
        before = blocks
        kept = cache.kept(layer) if cache.heads()[layer] else None
        heads.append(0 if kept is None else len(kept))
        for head in () if kept is None else kept.cpu().numpy():
            row, own = np.zeros(first, bool), blocks[head[head >= 0]]
            row[own[own >= 0]] = True
            rows.append(row)
    if len(changes) + sum(heads) == 0 or not first:
        return None
    return KeptInside(tuple(changes), tuple(heads), np.packbits(np.stack(rows)).tobytes() if rows else b"")


def _per_image(blocks: np.ndarray, n_tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Numbers through all images as sorted numbers within each."""
    edges = np.cumsum((0, *n_tokens))
    return tuple(
        tuple(int(b - low) for b in sorted(blocks[(blocks >= low) & (blocks < high)])) for low, high in pairwise(edges)
    )
