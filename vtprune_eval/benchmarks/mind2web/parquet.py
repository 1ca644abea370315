"""Multimodal-Mind2Web as it lies on its hub: parquet files with whole-page screenshots inside."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import Episodes, Item, Recent, Step, need
from ..formats.unpacked import Unpacked
from ..spec import TaskSpec

_LIGHT = ["annotation_id", "action_uid"]
_COLUMNS = [
    *_LIGHT,
    "operation",
    "pos_candidates",
    "website",
    "domain",
    "confirmed_task",
    "screenshot",
    "action_reprs",
    "target_action_index",
]
ROWS_AT_ONCE = 4


class Mind2WebParquet(Episodes):
    """``test_SPLIT-*.parquet``; the box of a step is that of its first positive candidate, in page pixels.

    Raises:
        UserError: the package pyarrow is missing, an unreadable file, or a screenshot history (the rows of a task are
            not together, so one earlier screen would cost another pass).
    """

    def __init__(self, paths: Sequence[Path], spec: TaskSpec) -> None:
        super().__init__(spec)
        if self._history:
            raise UserError(
                "mind2web: the parquet release is read without earlier screenshots; use --history 0, or "
                "SeeClick's files."
            )
        try:
            self._open: Any = importlib.import_module("pyarrow.parquet").ParquetFile
        except ImportError:
            raise UserError("reading parquet files needs the extra data: pip install 'vtprune_eval[data]'.") from None
        self._paths = list(paths)
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, path in enumerate(self._paths):
            try:
                table = self._open(path).read(columns=_LIGHT).to_pylist()
            except (OSError, ValueError, KeyError) as error:
                first = str(error).splitlines()[0]
                raise UserError(f"{path.name} cannot be read ({first}); fetch it again.") from error
            for row, record in enumerate(table):
                self._ids.append(f"{need(record, _LIGHT[0], path.name, str)}-{need(record, _LIGHT[1], path.name, str)}")
                self._place.append((number, row))
        self._rows: Iterator[Any] | None = None
        self._at = (-1, -1)
        self._record = Recent(self._read, keep=ROWS_AT_ONCE)
        self._unpacked = Unpacked()

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, row = self._place[i]
        where, record = self._paths[number].name, self._record((number, row))
        operation = _json(record, "operation", where)
        boxes = [_box(c, where) for c in need(record, "pos_candidates", where, list)[:1]]
        # A step without a positive candidate cannot be hit; it counts, as an empty box outside of every page.
        x, y, w, h = box = boxes[0] if boxes else [-1.0, -1.0, 0.0, 0.0]
        index = int(need(record, "target_action_index", where, (int, str)))
        name = need(operation, "original_op", where, str)
        shot = need(record, "screenshot", where)
        image = self._unpacked.path(f"{self._ids[i]}.img", lambda: (shot or {}).get("bytes") or b"")
        return Item(
            id=self._ids[i],
            images=(image,),
            fields={"instruction": need(record, "confirmed_task", where, str)},
            past=tuple(Step(str(t), None) for t in need(record, "action_reprs", where, list)[:index]),
            target={
                "type": "step",
                "box_xyxy": [x, y, x + w, y + h],
                "truth": {"operation": name, "value": str(operation.get("value") or ""), "boxes": [list(box)]},
            },
            cluster=record["annotation_id"],
            meta={"website": record.get("website"), "domain": record.get("domain"), "action_type": name},
        )

    def _read(self, place: tuple[int, int]) -> Any:
        """One row; forward reading continues, anything else starts the file again."""
        number, row = place
        if self._rows is None or self._at[0] != number or self._at[1] > row:
            batches = self._open(self._paths[number]).iter_batches(ROWS_AT_ONCE, columns=_COLUMNS)
            self._rows, self._at = (r for b in batches for r in b.to_pylist()), (number, 0)
        record = None
        while self._at[1] <= row:
            record, self._at = next(self._rows), (number, self._at[1] + 1)
        return record


def _json(record: Any, key: str, where: str) -> Any:
    text = need(record, key, where, str)
    try:
        return json.loads(text)
    except ValueError:
        raise UserError(
            f"{where}: the field {key!r} should be JSON but is {text[:60]!r}; the data has another format."
        ) from None


def _box(candidate: str, where: str) -> list[float]:
    """x, y, width, height of a candidate, out of a text in a text."""
    attributes = _json(_json({"candidate": candidate}, "candidate", where), "attributes", where)
    sides = need(attributes, "bounding_box_rect", where, str).split(",")
    try:
        x, y, w, h = (float(v) for v in sides)
    except ValueError:
        raise UserError(
            f"{where}: a bounding_box_rect should hold four numbers, found {sides}; the data has another format."
        ) from None
    return [x, y, w, h]
