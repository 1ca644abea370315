"""Change from screenshot to screenshot: what EVS and ST-Lite read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .diversity import unit_rows

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


# As in the engines that ship EVS: tokens of the first frame are kept before all others.
FIRST = 255.0


def n_frames_kept(frames: int, per_frame: int, dropped: float) -> int:
    """Tokens that EVS keeps of all frames: ``max(P, int(T P (1 - q)))``, the first frame at least."""
    return max(per_frame, int(frames * per_frame * (1 - dropped)))


def change_of_frames(frames: Sequence[Tensor]) -> list[Tensor]:
    """1 - cosine to the same place of the previous frame, ``(P,)`` each; ``FIRST`` for the first frame.

    A frame of another number of tokens than the one before it starts anew.
    """
    out = []
    for i, frame in enumerate(frames):
        if i == 0 or frame.shape != frames[i - 1].shape:
            out.append(torch.full((len(frame),), FIRST, device=frame.device))
        else:
            out.append(1 - (unit_rows(frame) * unit_rows(frames[i - 1])).sum(-1))
    return out


def nearest_in_past(current: Tensor, past: Tensor) -> Tensor:
    """Largest cosine of every row to any row of ``past``, ``(n,)``; 0 without a past."""
    if not len(past):
        return torch.zeros(len(current), device=current.device)
    unit, other = unit_rows(current), unit_rows(past)
    return torch.cat([(part @ other.T).amax(-1) for part in unit.split(1024)])


def evenly_first(places: Tensor, n: int) -> Tensor:
    """A bonus in (0, 1] by place among ``n``; its largest values are spread evenly for every count (van der Corput)."""
    bits = max(1, (n - 1).bit_length())
    value = torch.zeros(len(places), device=places.device)
    for bit in range(bits):
        value += ((places >> bit) & 1).float() * 2.0 ** -(bit + 1)
    return 1 - value


def smoothed(values: Tensor, places: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean of every token with its present neighbours in 3 x 3 blocks, ``(m,)``.

    Args:
        values: ``(m,)``.
        places: of the tokens in their image, in raster order.
        grid: (rows, columns).
    """
    rows, cols = grid
    both = torch.zeros(2, rows * cols, device=values.device)
    both[0, places], both[1, places] = values, 1.0
    kernel = torch.ones(1, 1, 3, 3, device=values.device)
    sums, counts = torch.nn.functional.conv2d(both.view(2, 1, rows, cols), kernel, padding=1).view(2, -1)[:, places]
    means: Tensor = sums / counts
    return means
