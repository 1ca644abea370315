"""On-disk formats to items. Records are read one at a time, images are not opened: a missing one fails its sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import desktop, grounding, phone
from .base import Item, Records, Spec, Step
from .mini import Mini


def _vlmeval(folder: Path, spec: Spec) -> Records:
    from ..integrations.vlmeval.records import KitRecords  # which needs this package

    return KitRecords(folder, spec)


READERS: dict[str, Callable[[Path, Spec], Records]] = {
    "mini": Mini, "aitw": phone.aitw, "androidcontrol": phone.androidcontrol, "gui_odyssey": phone.GUIOdyssey,
    "agentnetbench": desktop.AgentNetBench, "mind2web": desktop.mind2web, "screenspot": grounding.ScreenSpot,
    "screenspot_pro": grounding.ScreenSpotPro, "osworld_g": grounding.OSWorldG, "ui_vision": grounding.UIVision,
    "vlmeval": _vlmeval,
}

__all__ = ["READERS", "Item", "Records", "Spec", "Step"]
