"""AndroidControl on disk: the release, or UGround's sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import Episodes, ImageRoots, Item, Records, Step, first_file, need
from ..formats.spans import Spans
from ..spec import TaskSpec
from .release import AndroidControlRelease


def open_androidcontrol(folder: Path, spec: TaskSpec) -> Records:
    """The release if its files are there, else UGround's sample.

    Raises:
        UserError: neither.
    """
    if next(folder.glob("android_control-*"), None):
        return AndroidControlRelease(folder, spec)
    return AndroidControl(folder, spec)


class AndroidControl(Episodes):
    """UGround's sample, ``500_steps.json``: single steps with the texts of the earlier ones. Setting ``level``:
    ``high`` (the goal alone) or ``low`` (goal and step instruction)."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        path = first_file(folder, ("500_steps.json", "*steps*.json"), spec.source)
        self._spans = Spans(path, lambda r: f"{need(r, 'episode_id', path.name)}-{need(r, 'step', path.name)}")
        self._low = spec.setting("level") == "low"
        self._images = ImageRoots(folder, ("AndroidControl_images", "images", "screenshots"))

    @property
    def ids(self) -> Sequence[str]:
        return self._spans.notes

    def item(self, i: int) -> Item:
        record, where = self._spans[i], self._spans.path.name
        number, shot = need(record, "step", where), need(record, "screenshot", where, str)
        head, underscore, last = Path(shot).stem.rpartition("_")
        before = (
            [
                str(Path(shot).with_name(f"{head}_{k}{Path(shot).suffix}"))
                for k in range(self._first(int(number)), int(number))
            ]
            if underscore and last == str(number)
            else []
        )
        action = need(record, "action", where, dict)
        goal, step = need(record, "goal", where, str), record.get("step_instruction") or ""
        return Item(
            id=self.ids[i],
            images=tuple(self._images.find(name, where) for name in [*before, shot]),
            fields={"instruction": step if self._low else goal, "goal": goal if self._low else ""},
            past=tuple(Step(str(text), None) for text in need(record, "previous_actions", where, list)),
            target={
                "type": "step",
                "truth": {"action": action, "accessibility_tree": need(record, "accessibility_tree", where, list)},
            },
            cluster=str(record["episode_id"]),
            meta={"action_type": need(action, "action_type", where, str)},
        )
