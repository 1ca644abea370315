"""Records of files that are JSON lists, an image and an instruction each: the form of most grounding data sets.

Nothing in such files says which box is which: ScreenSpot v1, v2 and OSWorld-G keep x, y, width, height; Pro, UI-Vision
and GUI-Actor's copy of v2 keep two corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..base import ImageRoots, Item, Records, need
from .spans import Spans


class Listed(Records):
    """Records of one or more files that are JSON lists."""

    image_key = "img_filename"
    roots: tuple[str, ...] = ("images",)

    def __init__(self, folder: Path, files: Sequence[tuple[str, Path]]) -> None:
        self._images = ImageRoots(folder, self.roots)
        self._files = [(name, Spans(path, self.note)) for name, path in files]
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, (name, spans) in enumerate(self._files):
            for i, note in enumerate(spans.notes):
                self._ids.append(self.make_id(note, name, i))
                self._place.append((number, i))

    def note(self, record: Any) -> tuple[str | None, str]:
        """The record's own id, where it has one, and the stem of its image."""
        if not isinstance(record, dict):
            return None, ""
        own = record.get("id")
        return None if own is None else str(own), Path(str(record.get(self.image_key, ""))).stem

    def make_id(self, note: tuple[str | None, str], name: str, i: int) -> str:
        """Its own id, or image and number in the file (an image has several instructions)."""
        own, stem = note
        return own if own is not None else f"{stem}-{i}"

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        name, spans = self._files[number]
        return self.build(self._ids[i], spans[at], name, spans.path.name)

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        """One item of a record out of file ``group``."""
        raise NotImplementedError

    def image(self, record: Any, where: str) -> tuple[Path, ...]:
        """The one screenshot."""
        return (self._images.find(need(record, self.image_key, where, str), where),)
