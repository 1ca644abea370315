"""Change from screenshot to screenshot: what EVS and ST-Lite read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .diversity import unit_rows

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
