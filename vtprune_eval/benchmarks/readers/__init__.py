"""On-disk formats to items. Records are read one at a time, images are not opened: a missing one fails its sample."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ..base import Item, Records, Spec, Step

# Reader -> where it is. Imported when a task is opened: a command line that only has to say what exists stays quick.
READERS: dict[str, tuple[str, str]] = {
    "mini": (".mini", "Mini"),
    "aitw": (".phone", "aitw"),
    "androidcontrol": (".phone", "androidcontrol"),
    "gui_odyssey": (".phone", "GUIOdyssey"),
    "agentnetbench": (".desktop", "AgentNetBench"),
    "mind2web": (".desktop", "mind2web"),
    "screenspot": (".grounding", "ScreenSpot"),
    "screenspot_pro": (".grounding", "ScreenSpotPro"),
    "osworld_g": (".grounding", "OSWorldG"),
    "ui_vision": (".grounding", "UIVision"),
    "vlmeval": ("..vlmeval.records", "KitRecords"),
}


def open_records(reader: str, folder: Path, spec: Spec) -> Records:
    """The records of a task through its reader, a key of ``READERS``."""
    module, name = READERS[reader]
    records: Records = getattr(import_module(module, __package__), name)(folder, spec)
    return records


__all__ = ["READERS", "Item", "Records", "Spec", "Step", "open_records"]
