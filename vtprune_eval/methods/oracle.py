"""``oracle``: keeps what the ground truth points at, plus a uniform grid; the head-room line of grounding plots.

It reads the answer, so it is never ranked; tasks without boxes are refused before a run starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..budget import StageBudget
from .base import Method, TokenView
from .kernels.labels import box_coverage
from .kernels.pivots import evenly_spaced

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Oracle(Method):
    """Blocks under the target box first (most covered first), then evenly spaced ones."""

    name: ClassVar[str] = "oracle"
    default_like: ClassVar[str | None] = "pixelprune"
    sees_target: ClassVar[bool] = True

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`. A sample without a box (a refusal) gets the even grid alone."""
        block = view.layout.merge_size * view.layout.patch_size
        rows, cols = view.layout.grids[-1]
        covered = np.max(
            [box_coverage(box, rows, cols, block) for box in view.target_boxes] or [np.zeros((rows, cols))], axis=0
        )
        full = torch.zeros(view.layout.n_visual)
        full[-rows * cols :] = torch.from_numpy(covered).reshape(-1).float()
        scores = full[view.present.cpu()]
        n = len(scores)
        n_keep = min(n, budget.limit)
        order = torch.sort(scores, descending=True, stable=True).indices
        keep = torch.zeros(n, dtype=torch.bool)
        keep[order[: min(n_keep, int((scores > 0).sum()))]] = True
        rest = (~keep).nonzero()[:, 0]
        keep[rest[evenly_spaced(len(rest), n_keep - int(keep.sum()))]] = True
        return keep.to(view.features.device)
