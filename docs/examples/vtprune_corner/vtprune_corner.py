"""``corner``: keep the visual tokens nearest to one corner of each screenshot.

A complete method outside the vtprune_eval repository: a frozen dataclass with one hook, found through the entry-point
group ``vtprune_eval.methods`` (see pyproject.toml). The budget, ties, positions, DeepStack rows and all counting are
the pipeline's business; the hook returns one score per visual token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vtprune_eval.budget import StageBudget
from vtprune_eval.methods.base import Method, TokenView, hyper


@dataclass(frozen=True)
class Corner(Method):
    """Tokens by their distance from a corner."""

    name: ClassVar[str] = "corner"
    paper: ClassVar[str] = "an example, not a paper"

    corner: str = hyper("top-left", "where the kept tokens lie", choices=("top-left", "bottom-right"))
    height_weight: float = hyper(1.0, "weight of rows against columns", low=0.0)

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """Score of every present visual token, float ``(n_present,)``; the best ``budget.n_keep`` stay."""
        scores = []
        for rows, cols in view.layout.grids:
            r, c = torch.arange(rows)[:, None] / rows, torch.arange(cols)[None] / cols
            distance = self.height_weight * r + c
            scores.append((-distance if self.corner == "top-left" else distance).reshape(-1))
        return torch.cat(scores).to(view.features.device)[view.present]
