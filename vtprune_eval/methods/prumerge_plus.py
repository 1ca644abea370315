"""``prumerge-plus``: PruMerge+, the released default: outliers, then evenly spaced tokens, then merging.

Shang et al., "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models", arXiv 2403.15388,
section 3.5. The step of the spaced tokens is a third of int(N / outliers). (A plus sign composes methods, so the name
is spelled out.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .kernels.outliers import n_kept, plus_order
from .prumerge import PruMerge

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PruMergePlus(PruMerge):
    """Outliers and evenly spaced tokens; similar tokens are merged in."""

    name: ClassVar[str] = "prumerge-plus"
    paper: ClassVar[str] = "Shang et al., LLaVA-PruMerge (PruMerge+), arXiv 2403.15388"
    deviations: ClassVar[tuple[str, ...]] = (
        "A numeric budget takes from the published order (outliers, then spaced tokens from the top of the image) what "
        "fits, and fills up evenly.",
        *PruMerge.deviations[1:],
    )

    def adaptive_order(self, scores: Tensor) -> Tensor:
        """See :meth:`PruMerge.adaptive_order`."""
        return plus_order(scores, n_kept(scores))
