"""``sparsevlm-plus``: SparseVLM+, version 2 of the release: no recycling, corrected attention, the heads that look.

Zhang et al., SparseVLM, arXiv 2410.04417; the released code of December 2025 (``USE_VERSION=2_0``). Attention of the
raters is divided by the pull that the rotary distance alone would exert, and the 14 heads that attend most to the image
score. (A plus sign composes methods, so the name is spelled out.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import LayerView, hyper
from .kernels.raters import corrected_scores
from .sparsevlm import SparseVLM

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SparseVLMPlus(SparseVLM):
    """Text raters, the heads that look at the image, attention without the pull of distance."""

    name: ClassVar[str] = "sparsevlm-plus"
    paper: ClassVar[str] = "Zhang et al., SparseVLM+ (release of 2025-12), arXiv 2410.04417"
    year: ClassVar[int] = 2025
    version: ClassVar[int] = 2
    deviations: ClassVar[tuple[str, ...]] = (
        "In the reading equal the released lists are taken at the point whose mean over the layers is the budget.",
        "Stages after layers 2, 6, 15 (from 0) of 32, at the same depth in other decoders.",
        "The pull of distance is read from the model's own rotary embedding, M-RoPE included; the released code has "
        "one-dimensional positions.",
        "With fewer heads than asked for all of them score; the released code raises.",
    )
    paper_reading: ClassVar[str] = "the released list of that name (33.3 is 192 of 576: 300, 200, 118 after the stages)"

    recycle: bool = hyper(False, "merge the best dropped tokens into cluster tokens, as version 1 does")
    heads: int = hyper(14, "heads that score, by their attention to the image", low=1)

    def scores(self, view: LayerView, raters: Tensor, visual: Tensor) -> Tensor:
        """See :meth:`SparseVLM.scores`."""
        return corrected_scores(view.queries[:, raters], raters, view.keys, view.rope, visual, self.heads)[0]
