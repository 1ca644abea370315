"""``guipruner``: both halves together, TAR on the history and SSP on the current screenshot.

Xu et al., "Spatio-Temporal Token Pruning for Efficient High-Resolution GUI Agents", arXiv 2602.23235.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .guipruner_ssp import GuiPrunerSSP
from .guipruner_tar import GuiPrunerTAR


@dataclass(frozen=True)
class GuiPruner(GuiPrunerSSP, GuiPrunerTAR):
    """TAR and SSP; with a numeric budget lambda and mu are that share, auto is the paper's 0.4 and 0.75."""

    name: ClassVar[str] = "guipruner"
    deviations: ClassVar[tuple[str, ...]] = (*GuiPrunerTAR.deviations, *GuiPrunerSSP.deviations[:2])
