"""Positions of a prompt that lost visual tokens, for the ablations that do not keep the full prompt's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..methods.base import TokenLayout

# ``kept``: as in the full prompt. ``renumbered``: one after the other, as text. ``compacted``: an image's rows and cols
# that lost all their tokens are closed, so that order and neighbours stay, and the text moves up as the class lays it.
PLACINGS = ("kept", "renumbered", "compacted")


def placed(layout: TokenLayout, index: Tensor, placing: str) -> tuple[Tensor, int]:
    """Rotary positions of the tokens that are left, and the next one's.

    Args:
        layout: the full prompt.
        index: sorted int64 ``(n,)``, which of its tokens are left.
        placing: of :data:`PLACINGS`.

    Returns:
        int64 ``(3, n)`` on the device of ``index``, and the position of the first new token.
    """
    full = layout.positions.to(index.device)
    if placing == "renumbered":
        return torch.arange(len(index), device=index.device).expand(3, -1), len(index)
    if placing == "kept":
        return full[:, index], int(full.max()) + 1
    out = full[:, index].clone()
    shift = 0  # by how much everything behind the images so far moves up
    edge = 0  # place in the full prompt up to which ``out`` is done
    for start, end in layout.spans:
        out[:, (index >= edge) & (index < start)] -= shift
        inside = (index >= start) & (index < end)
        base, behind = int(full[:, start:end].min()), int(full[:, start:end].max()) + 1
        next_one = base - shift
        if inside.any():
            for axis in (1, 2):
                values, rank = torch.unique(out[axis, inside], return_inverse=True)
                out[axis, inside] = base - shift + rank
                next_one = max(next_one, base - shift + len(values))
            out[0, inside] -= shift
        shift, edge = behind - next_one, end
    out[:, index >= edge] -= shift
    return out, int(full.max()) + 1 - shift
