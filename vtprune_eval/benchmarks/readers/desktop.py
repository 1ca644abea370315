"""Desktop and web steps: AgentNetBench, Multimodal-Mind2Web in SeeClick's and UGround's forms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import Episodes, ImageRoots, Item, Recent, Records, Spec, Step, need, numbers
from ..formats.spans import LineSpans, Spans, load_json
from ..grammars import Action
from .parquet import Mind2WebParquet

_OPERATIONS = {"CLICK": "tap", "HOVER": "tap", "ENTER": "tap", "TYPE": "type", "SELECT": "select"}


class AgentNetBench(Episodes):
    """One JSON per task, screenshots under ``images/``; file names are hashes, so tasks come in the order of names."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        self._paths = sorted(p for p in folder.glob("*.json"))
        if not self._paths:
            raise UserError(f"{folder} has no TASK.json; give the folder of {spec['source']} with --data-path.")
        self._images = ImageRoots(folder, ("images",))
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, path in enumerate(self._paths):
            task = load_json(path)
            name = need(task, "task_id", path.name, str)
            for i, step in enumerate(need(task, "steps", path.name, list)):
                self._ids.append(f"{name}-{need(step, 'step_num', path.name, int)}")
                self._place.append((number, i))
        self._task = Recent(lambda number: load_json(self._paths[number]))

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        where, task = self._paths[number].name, self._task(number)
        steps, about = task["steps"], task.get("meta_info") or {}
        step = steps[at]
        actions = need(step, "ground_truth_actions", where, list)
        return Item(
            id=self._ids[i],
            images=tuple(
                self._images.find(need(s, "image", where, str), where) for s in steps[self._first(at) : at + 1]
            ),
            fields={"instruction": need(task, "high_level_task_description", where, str)},
            past=tuple(
                Step(str((s.get("inner_monologue") or {}).get("low_level_instruction") or ""), None) for s in steps[:at]
            ),
            target={
                "type": "step",
                "truth": {
                    "ground_truth_actions": actions,
                    "alternative_options": step.get("alternative_options") or [],
                },
            },
            cluster=task["task_id"],
            meta={
                "domain": about.get("domain"),
                "system": about.get("system"),
                "milestone": bool(step.get("milestone")),
                "action_type": str(need(actions[0], "type", where, str)) if actions else "",
            },
        )


def mind2web(folder: Path, spec: Spec) -> Records:
    """SeeClick's file if it is there, else UGround's blocks, else the parquet release. Setting ``split``: ``task``,
    ``website`` or ``domain``.

    Raises:
        UserError: none of them.
    """
    path = folder / f"mind2web_data_test_{spec['split']}.json"
    if path.is_file():
        return SeeClickMind2Web(folder, path, spec)
    blocks = sorted(folder.glob(f"*cross_{spec['split']}*.json*"))
    if blocks:
        return UGroundMind2Web(folder, blocks[0], spec)
    release = sorted(folder.rglob(f"test_{spec['split']}-*.parquet"))
    if release:
        return Mind2WebParquet(release, spec)
    raise UserError(
        f"{folder} has none of {path.name} (SeeClick), cross_{spec['split']}*.jsonl (UGround) and "
        f"test_{spec['split']}-*.parquet (the hub's release); give such a folder with --data-path."
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

    def __init__(self, folder: Path, path: Path, spec: Spec) -> None:
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

    def __init__(self, folder: Path, path: Path, spec: Spec) -> None:
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
