"""ScreenSpot-v2: v1 with mended annotations, in the same form and under the same rules."""

from __future__ import annotations

from .screenspot import ScreenSpot


class ScreenSpotV2(ScreenSpot):
    """See :class:`~.screenspot.ScreenSpot`."""

    name = "screenspot_v2"
