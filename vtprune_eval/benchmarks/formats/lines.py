"""``samples.jsonl``: one JSON object per line, each with an ``id``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import Records, need
from .spans import LineSpans


class Lines(Records):
    """The records of a folder; a subclass says what a line becomes (:meth:`Records.item`)."""

    def __init__(self, folder: Path) -> None:
        self._folder, path = folder, folder / "samples.jsonl"
        self._where = path.name
        self._records = list(LineSpans(path))  # a few hundred
        self._ids = [need(r, "id", self._where, str) for r in self._records]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids
