"""``guipruner``: both halves together, TAR on the history and SSP on the current screenshot.

Xu et al., "Spatio-Temporal Token Pruning for Efficient High-Resolution GUI Agents", arXiv 2602.23235.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..budget import StageBudget
from .base import ImageView
from .guipruner_ssp import GuiPrunerSSP
from .guipruner_tar import GuiPrunerTAR


@dataclass(frozen=True)
class GuiPruner(GuiPrunerSSP, GuiPrunerTAR):
    """TAR and SSP; auto is the paper's lambda = 0.4 and mu = 0.75.

    With a number b, lambda is b % in both readings. In the reading ``equal`` the current screenshot gets what the whole
    sample's mean over the layers leaves for it, that is its own b % and what TAR's floors did not spend.
    """

    name: ClassVar[str] = "guipruner"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "paper"
    query_aware: ClassVar[bool] = True
    paper_reading: ClassVar[str] = (
        "lambda = b % of the history's tokens and mu = b % of the current screenshot's behind the cut, rounded down"
    )
    deviations: ClassVar[tuple[str, ...]] = (*GuiPrunerTAR.deviations, *GuiPrunerSSP.deviations[:3])

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """See :meth:`Method.reduce_images`."""
        history = images[:-1]
        share = self.lam or (0.4 if budget.n_keep is None else float(budget.share))
        return (*(self.shrunk(history, share) if history else ()), *(i.full_size for i in images[-1:]))
