"""``vscan``: a local and a global scan of encoder attention, then the dropped tokens are averaged into the kept ones.

Zhang et al., "VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models", arXiv 2505.22654
(TMLR 2026), section 4.1. Half of the tokens are the best of every window by a shallow block's attention, half the best
of what is left by the last block's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenEdit, TokenView, hyper
from .kernels.merging import averaged_in
from .kernels.pivots import best_per_window, window_of_token
from .kernels.topk import best


@dataclass(frozen=True)
class VScan(Method):
    """Local windows, global attention, merging by similarity."""

    name: ClassVar[str] = "vscan"
    paper: ClassVar[str] = "Zhang et al., VScan, arXiv 2505.22654"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "The first stage alone, in the encoder; vscan-two-stage is both.",
        "Windows and merging act behind the merger (4 x 4 tokens, as in the released Qwen form); a grid side below 4 "
        "is one window (the released code divides by zero).",
        "Local tokens leave the global scan; in the released code they stay in it with attention 0.",
        "All images of a prompt share the two halves of the budget; a kept token keeps its position.",
    )

    local: float = hyper(0.5, "share of the kept tokens that the local scan chooses", low=0.0, high=1.0)
    side: int = hyper(4, "side of a window (6 in the released LLaVA form)", low=1, unit="tokens")
    merge: bool = hyper(True, "average dropped tokens into the kept ones")
    shallow: str = hyper("early", "ViT block of the local scan: early (end of the first quarter), mid, or an index")

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received at the shallow block and at the last one."""
        return (f"encoder_attention:{self.shallow}", "encoder_attention:last")

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        shallow, last = (view.extras[name].float() for name in self.needs)
        n = len(last)
        k = min(n, self.entering(budget, view.n_layers))
        parts, n_windows = [], 0
        for rows, cols in view.layout.grids:
            window, count = window_of_token(rows, cols, self.side)
            parts.append(window + n_windows)
            n_windows += count
        window = torch.cat(parts).to(last.device)[view.present]
        keep = torch.zeros(n, dtype=torch.bool, device=last.device)
        n_local = int(k * self.local)
        if n_local:
            keep[best_per_window(shallow, window, n_windows, n_local)] = True
        rest = (~keep).nonzero()[:, 0]
        keep[rest[best(last[rest][None], k - int(keep.sum()))[0]]] = True
        if not self.merge or bool(keep.all()):
            return TokenEdit(keep)
        merged = averaged_in(view.features, keep.nonzero()[:, 0], (~keep).nonzero()[:, 0])
        return TokenEdit(keep, features=merged.to(view.features.dtype))
