"""A data set of the kit behind the face that our readers have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import Item, Records
from ..spec import TaskSpec
from .reader import KitTable


class KitRecords(Records):
    """Rows of the kit's table; the question is the kit's own prompt."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        """See :class:`KitTable`."""
        self._table = KitTable(folder, spec)

    @property
    def ids(self) -> Sequence[str]:
        """The kit's ``index`` of every row."""
        return self._table.ids

    def item(self, i: int) -> Item:
        """Row ``i``; its pictures are written when it is first asked for."""
        s = self._table.sample(i)
        return Item(s.id, s.images, {"question": s.question}, s.target, cluster=s.cluster, meta=s.meta)
