"""``pool``: average neighbouring visual tokens into a coarser grid, after the ViT. A trivial baseline.

Each image's grid is cut into at most K cells of nearly equal size and the same aspect; a cell becomes one token with
the mean of its features. It takes the place (and so the position and the DeepStack features) of the cell's middle
token: DeepStack levels are not averaged, which spares the method a look at features that other methods do not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from ..errors import UserError
from .base import Method, TokenEdit, TokenLayout, TokenView
from .resize import all_within

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Pool(Method):
    """Average pooling of visual tokens."""

    name: ClassVar[str] = "pool"
    default_like: ClassVar[str | None] = "pixelprune"

    def tokens_kept(self, layout: TokenLayout, present: np.ndarray, budget: StageBudget) -> int | None:
        """One per cell."""
        cells = self._cells(layout, budget)
        return sum(w * h for (w, h), n in zip(cells, budget.image_limits, strict=True) if n)

    def _cells(self, layout: TokenLayout, budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """Cells (columns, rows) of every image's coarser grid."""
        return all_within(tuple((cols, rows) for rows, cols in layout.grids), 1, budget.image_limits)

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        if not bool(view.present.all()):
            raise UserError("pool needs every visual token: it cannot follow a method that drops patches.")
        keep = torch.zeros(len(view.features), dtype=torch.bool, device=view.features.device)
        features = []
        at = 0
        cells = self._cells(view.layout, budget)
        for (rows, cols), n, (width, height) in zip(view.layout.grids, budget.image_limits, cells, strict=True):
            if n:
                cell_r = torch.arange(rows) * height // rows
                cell_c = torch.arange(cols) * width // cols
                cell = (cell_r[:, None] * width + cell_c[None]).reshape(-1).to(keep.device)
                sums = torch.zeros(width * height, view.features.shape[1], dtype=torch.float32, device=keep.device)
                sums.index_add_(0, cell, view.features[at : at + rows * cols].float())
                counts = torch.bincount(cell, minlength=width * height)[:, None]
                middle = _middle(rows, height)[:, None] * cols + _middle(cols, width)[None]
                keep[at + middle.reshape(-1).to(keep.device)] = True
                features.append((sums / counts).to(view.features.dtype))
            at += rows * cols
        return TokenEdit(keep, features=torch.cat(features))


def _middle(size: int, cells: int) -> torch.Tensor:
    """Index of the middle element of each of ``cells`` nearly equal parts of ``size`` elements."""
    edges = [-(-i * size // cells) for i in range(cells + 1)]
    return torch.tensor([(edges[i] + edges[i + 1] - 1) // 2 for i in range(cells)])
