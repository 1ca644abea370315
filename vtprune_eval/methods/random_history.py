"""``random-history``: history screenshots shrunk at random; the floor of every rule of decay over age.

The tokens that GUIPruner's TAR would give to the history are shared among its frames by random weights, so that what
differs from ``guipruner-tar`` is which frame stays sharp, and nothing else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from .contract.images import ImageView
from .guipruner_tar import GuiPrunerTAR, blocks_of, weighed


@dataclass(frozen=True)
class RandomHistory(GuiPrunerTAR):
    """Random weights per frame instead of a decay with age."""

    name: ClassVar[str] = "random-history"
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    origin: ClassVar[str] = "own"
    deviations: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = True

    def frame_quotas(self, history: tuple[ImageView, ...], share: float) -> tuple[float, ...]:
        """See :meth:`GuiPrunerTAR.frame_quotas`; weights from gamma to 1, as TAR's, drawn once per sample."""
        draw = random.Random(f"{history[-1].seed}/{len(history)}")
        weights = [draw.uniform(self.gamma, 1.0) or 1.0 for _ in history]
        return weighed(blocks_of(history[-1]), share, weights)
