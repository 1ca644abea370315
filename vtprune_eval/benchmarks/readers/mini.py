"""The embedded suite: one JSON object per line in ``samples.jsonl``, questions as the model gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...paths import inside_folder
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
        where = f"{self._where}, record {self._ids[i]!r}"
        images = tuple(inside_folder(self._folder, name, where) for name in need(r, "images", where, list))
        question = need(r, "question", where, str)
        if not images or not question.strip():
            raise UserError(f"{where}: {'no image' if not images else 'an empty question'}; every record needs both.")
        return Item(
            id=self._ids[i],
            images=images,
            fields={"question": question},
            target=need(r, "target", self._where, dict),
            cluster=r.get("cluster"),
            meta=r.get("meta", {}),
        )
