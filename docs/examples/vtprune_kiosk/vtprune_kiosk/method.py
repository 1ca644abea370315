"""Keeps visual tokens of the lower half first: where a kiosk has its buttons. An example, not a finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vtprune_eval.budget import StageBudget
from vtprune_eval.methods.base import Method, TokenView


@dataclass(frozen=True)
class LowerHalf(Method):
    """Score of a visual token: how far down it is."""

    name: ClassVar[str] = "lower-half"
    paper: ClassVar[str] = "an example, not a paper"

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """Score of every present visual token, float ``(n_present,)``."""
        rows = [torch.arange(rows).repeat_interleave(cols) / rows for rows, cols in view.layout.grids]
        return torch.cat(rows).to(view.features.device)[view.present]
