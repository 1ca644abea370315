"""Multimodal-Mind2Web on disk: SeeClick's form, UGround's blocks, the release."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..action import Action
from ..base import Episodes, ImageRoots, Item, Recent, Records, Step, need, numbers
from ..formats.spans import LineSpans, Spans
from ..spec import TaskSpec
from .parquet import Mind2WebParquet

_OPERATIONS = {"CLICK": "tap", "HOVER": "tap", "ENTER": "tap", "TYPE": "type", "SELECT": "select"}


def open_mind2web(folder: Path, spec: TaskSpec) -> Records:
    """SeeClick's file if it is there, else UGround's blocks, else the parquet release. Setting ``split``: ``task``,
    ``website`` or ``domain``.

    Raises:
        UserError: none of them.
    """
    path = folder / f"mind2web_data_test_{spec.setting('split')}.json"
    if path.is_file():
        return SeeClickMind2Web(folder, path, spec)
    blocks = sorted(folder.glob(f"*cross_{spec.setting('split')}*.json*"))
    if blocks:
        return UGroundMind2Web(folder, blocks[0], spec)
    release = sorted(folder.rglob(f"test_{spec.setting('split')}-*.parquet"))
    if release:
        return Mind2WebParquet(release, spec)
    raise UserError(
        f"{folder} has none of {path.name} (SeeClick), cross_{spec.setting('split')}*.jsonl (UGround) and "
        f"test_{spec.setting('split')}-*.parquet (the hub's release); give such a folder with --data-path."
    )


def _operation(name: str, where: str) -> str:
    if name not in _OPERATIONS:
        raise UserError(
            f"{where}: the operation {name!r} is none of {', '.join(_OPERATIONS)}; the data has another format."
        )
    return name


@lru_cache(maxsize=4096)
def _size(path: Path) -> tuple[int, int] | None:
    """(width, height) from a file's header; None where it cannot be read."""
    from ...errors import SampleError
    from ...image_file import image_size

    try:
        return image_size(path)
    except SampleError:  # a broken screenshot fails its own sample; here it only leaves a point out of a prompt
        return None


class SeeClickMind2Web(Episodes):
    """``mind2web_data_test_SPLIT.json`` and ``ANNOTATION-ACTION.jpg``; steps without a box are no samples."""

    def __init__(self, folder: Path, path: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        self._spans = Spans(path, self._note)
        self._images = ImageRoots(folder, ("mind2web_images", "images"))
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, (name, actions) in enumerate(self._spans.notes):
            self._ids += [f"{name}-{action}" for action in actions]
            self._place += [(number, i) for i in range(len(actions))]
        self._task = Recent(self._spans.__getitem__)

    @staticmethod
    def _note(task: Any) -> tuple[str, list[str]]:
        where = "mind2web"
        steps = [s for s in need(task, "actions", where, list) if "bbox" in s]
        return need(task, "annotation_id", where, str), [need(s, "action_uid", where, str) for s in steps]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        task, where = self._task(number), self._spans.path.name
        steps = [s for s in task["actions"] if "bbox" in s][: at + 1]
        paths = [self._images.find(f"{task['annotation_id']}-{s['action_uid']}.jpg", where) for s in steps]
        done = [self._step(s, where) for s in steps]
        operation, value, box = done[-1]
        return Item(
            id=self._ids[i],
            images=tuple(paths[self._first(at) :]),
            fields={"instruction": need(task, "confirmed_task", where, str)},
            past=tuple(Step("", _past(o, v, b, image)) for (o, v, b), image in zip(done[:-1], paths, strict=False)),
            target={
                "type": "step",
                "box_xyxy": [box[0], box[1], box[0] + box[2], box[1] + box[3]],
                "truth": {"operation": operation, "value": value, "boxes": [box]},
            },
            cluster=task["annotation_id"],
            meta={"website": task.get("website"), "domain": task.get("domain"), "action_type": operation},
        )

    @staticmethod
    def _step(step: Any, where: str) -> tuple[str, str, list[float]]:
        operation = need(step, "operation", where, dict)
        box = need(step, "bbox", where, dict)
        sides = [need(box, k, where, (int, float)) for k in ("x", "y", "width", "height")]
        return _operation(need(operation, "original_op", where, str), where), str(operation.get("value", "")), sides


def _past(operation: str, value: str, box: Sequence[float], image: Path) -> Action | None:
    size = _size(image)
    if size is None:
        return None
    at = (box[0] + box[2] / 2) / size[0], (box[1] + box[3] / 2) / size[1]
    kind = _OPERATIONS[operation]
    return Action(kind, point=at, text="" if kind == "tap" else value)


class UGroundMind2Web(Episodes):
    """UGround's samples, JSON lines; the first block of a page, ``ANNOTATION_ACTION/0.png``; boxes are page pixels."""

    def __init__(self, folder: Path, path: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        self._records = LineSpans(path)
        self._where = path.name
        self._images = ImageRoots(folder, ("blocks", "images", "cross_" + path.stem.rpartition("cross_")[2]))
        self._ids = [
            f"{need(r, 'annotation_id', path.name, str)}-{need(r, 'action_uid', path.name, str)}" for r in self._records
        ]

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        record, where = self._records[i], self._where
        boxes = [numbers({"bbox": b}, "bbox", where, 4) for b in need(record, "bbox", where, list)]
        if not boxes:
            raise UserError(f"{where}: record {i + 1} has no box; fetch the file again.")
        operation = _operation(need(record, "operation", where, str), where)
        x, y, w, h = boxes[0]
        return Item(
            id=self._ids[i],
            images=(self._images.find(f"{record['annotation_id']}_{record['action_uid']}/0.png", where),),
            fields={"instruction": need(record, "task", where, str)},
            past=tuple(Step(str(t), None) for t in need(record, "previous_actions", where, list)),
            target={
                "type": "step",
                "box_xyxy": [x, y, x + w, y + h],
                "truth": {"operation": operation, "value": str(record.get("value") or ""), "boxes": boxes},
            },
            cluster=record["annotation_id"],
            meta={
                "website": record.get("website"),
                "domain": record.get("domain"),
                "action_type": operation,
                "total_steps": record.get("total_steps"),
            },
        )
