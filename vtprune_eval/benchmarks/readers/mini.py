"""The embedded suite: one JSON object per line in ``samples.jsonl``, questions as the model gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import Item, Records, Spec, need
from ..formats.spans import LineSpans


class Mini(Records):
    """``id``, ``images``, ``question``, ``target``, optional ``cluster`` and ``meta``."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self._folder, path = folder, folder / "samples.jsonl"
        self._where = path.name
        self._records = list(LineSpans(path))  # a few hundred
        self._ids = [need(r, "id", self._where, str) for r in self._records]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        r = self._records[i]
        images = tuple(self._folder / name for name in need(r, "images", self._where, list))
        return Item(
            id=self._ids[i],
            images=images,
            fields={"question": need(r, "question", self._where, str)},
            target=need(r, "target", self._where, dict),
            cluster=r.get("cluster"),
            meta=r.get("meta", {}),
        )
