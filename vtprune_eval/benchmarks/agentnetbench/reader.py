"""AgentNetBench on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...json_values import JsonObject
from ..base import Episodes, ImageRoots, Item, Recent, Step, need
from ..formats.spans import load_json
from ..spec import TaskSpec


class AgentNetBench(Episodes):
    """One JSON per task, screenshots under ``images/``; file names are hashes, so tasks come in the order of names."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        self._paths = sorted(p for p in folder.glob("*.json"))
        if not self._paths:
            raise UserError(f"{folder} has no TASK.json; give the folder of {spec.source} with --data-path.")
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
            past=tuple(map(_told, steps[:at])),
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


def _told(step: JsonObject) -> Step:
    said = step.get("inner_monologue") or {}
    text, thought, observation = (
        str(said.get(key) or "") for key in ("low_level_instruction", "thought", "observation")
    )
    return Step(text, None, thought, observation)
