"""GUI-Odyssey on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from ..base import Episodes, ImageRoots, Item, Recent, Step, need, numbers
from ..formats.spans import load_json
from ..formats.steps import past_action
from ..spec import TaskSpec
from .truth import annotated

_KEYS = {"KEY_HOME": "PRESS_HOME", "KEY_BACK": "PRESS_BACK", "KEY_APPSELECT": "PRESS_RECENT"}


def odyssey_answer(step: Any, where: str) -> str:
    """GUI-Odyssey's evaluation string of a raw step.

    Raises:
        UserError: an action or an ``info`` that the format does not define.
    """
    action, info = need(step, "action", where, str), step.get("info")
    if action in ("CLICK", "LONG_PRESS"):
        if isinstance(info, str) and info in _KEYS:
            return _KEYS[info]
        if isinstance(info, list) and info and isinstance(info[0], list) and len(info[0]) == 2:
            return f"{action}: ({info[0][0]}, {info[0][1]})"
    elif action == "SCROLL" and isinstance(info, list) and len(info) == 2:
        (x1, y1), (x2, y2) = info
        dx, dy = x2 - x1, y2 - y1
        way = ("RIGHT" if dx > 0 else "LEFT") if abs(dx) > abs(dy) else ("DOWN" if dy > 0 else "UP")
        return f"SCROLL: {way}"
    elif action in ("TEXT", "TYPE") and isinstance(info, str):
        return f"TYPE: {info}"
    elif action in ("COMPLETE", "INCOMPLETE"):
        return "COMPLETE" if action == "COMPLETE" else "IMPOSSIBLE"
    raise UserError(f"{where}: action {action!r} with info {str(info)[:60]!r} is not of GUI-Odyssey's format.")


class GUIOdyssey(Episodes):
    """``annotations/EPISODE.json``, ``screenshots/``, and ``splits/SPLIT_split.json`` with the test episodes (all
    episodes where there is no such file). Settings: ``split``, ``level``."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        below = folder / "annotations"
        paths = sorted(below.glob("*.json")) if below.is_dir() else []
        if not paths:
            raise UserError(f"{folder} has no annotations/*.json; give the folder of {spec.source} with --data-path.")
        split = folder / "splits" / f"{spec.setting('split')}_split.json"
        if split.is_file():
            chosen = {Path(str(name)).stem for name in need(load_json(split), "test", split.name, list)}
            paths = [p for p in paths if p.stem in chosen]
        self._paths, self._low = paths, spec.setting("level") == "low"
        shots = folder / "screenshots"  # on the hub in folders below, which the authors' script dissolves
        inner = sorted(p.name for p in shots.iterdir() if p.is_dir()) if shots.is_dir() else []
        self._images = ImageRoots(folder, ("screenshots", *(f"screenshots/{p}" for p in inner)))
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, path in enumerate(paths):
            episode = load_json(path)
            name = need(episode, "episode_id", path.name)
            for i, step in enumerate(need(episode, "steps", path.name, list)):
                self._ids.append(f"{name}_{need(step, 'step', path.name)}")
                self._place.append((number, i))
        self._episode = Recent(self._converted)

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def _converted(self, number: int) -> tuple[Any, list[str], list[Step]]:
        """An episode, its evaluation strings, and its steps as prompts name them."""
        path = self._paths[number]
        episode = load_json(path)
        answers = [odyssey_answer(s, path.name) for s in episode["steps"]]
        return (
            episode,
            answers,
            [
                Step(s.get("low_level_instruction") or "" if self._low else "", past_action(annotated, a))
                for s, a in zip(episode["steps"], answers, strict=True)
            ],
        )

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        where = self._paths[number].name
        episode, answers, done = self._episode(number)
        steps, about = episode["steps"], need(episode, "task_info", where, dict)
        answer, step, goal = answers[at], steps[at], need(about, "instruction", where, str)
        own = step.get("low_level_instruction") or ""
        box = step.get("sam2_bbox")
        target: JsonObject = {
            "type": "step",
            "truth": {
                "answer": answer,
                # Version 1 has no boxes; an empty one belongs to steps without a place.
                "sam2_bbox": numbers(step, "sam2_bbox", where, 4) if box else None,
            },
        }
        return Item(
            id=self._ids[i],
            images=tuple(
                self._images.find(need(s, "screenshot", where, str), where) for s in steps[self._first(at) : at + 1]
            ),
            fields={"instruction": own if self._low else goal, "goal": goal if self._low else ""},
            past=tuple(done[:at]),
            target=target,
            cluster=str(episode["episode_id"]),
            meta={
                "category": about.get("category"),
                "device": episode.get("device_info", {}).get("device_name"),
                "action_type": answer.partition(":")[0],
                "step_length": need(episode, "step_length", where, int),
            },
        )
