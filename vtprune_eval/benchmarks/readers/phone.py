"""Phone episodes: Android in the Wild (SeeClick's split, Android in the Zoo), AndroidControl, GUI-Odyssey."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import Episodes, ImageRoots, Item, Recent, Records, Spec, Step, first_file, need, numbers
from ..formats.spans import Spans, load_json
from ..grammars import Action
from ..judges.phone import aitw_action, odyssey_action
from ..protocols.aitw import DUAL_POINT
from ..untrusted import Unreadable
from .releases import AITW_SUBSETS, AITW_WORDS, AndroidControlRelease, AndroidInTheWildRelease, gesture_word


def aitw(folder: Path, spec: Spec) -> Records:
    """SeeClick's file if it is there, else the release, else episodes of Android in the Zoo.

    Raises:
        UserError: none of them.
    """
    if (folder / "aitw_data_test.json").is_file():
        return SeeClickAITW(folder, spec)
    if any((folder / s).is_dir() and next((folder / s).glob("*-of-*"), None) for s in AITW_SUBSETS):
        return AndroidInTheWildRelease(folder, spec)
    found = sorted((folder / "test").rglob("*.json")) or sorted(folder.rglob("*.json"))
    episodes = [p for p in found if p.stem == p.parent.name]
    if not episodes:
        raise UserError(
            f"{folder} has neither aitw_data_test.json (SeeClick's split) nor EPISODE/EPISODE.json "
            "(Android in the Zoo); give such a folder with --data-path."
        )
    return AndroidInTheZoo(episodes, spec)


def _action(make: Any, *arguments: Any) -> Action | None:
    """An earlier step in common form, None where that is impossible: it only goes into a prompt."""
    try:
        return make(*arguments)
    except (Unreadable, KeyError, TypeError, IndexError):
        return None


class SeeClickAITW(Episodes):
    """``aitw_data_test.json``: {subset: [episode, ...]}, an episode is a list of steps; ``touch`` and ``lift`` are x
    first, ``annot_position`` is flat y, x, height, width."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        self._spans = Spans(folder / "aitw_data_test.json", self._note)
        self._where = self._spans.path.name
        self._images = ImageRoots(folder, ("aitw_images", "images"), flat=True)
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for episode, (subset, (name, n)) in enumerate(zip(self._spans.groups, self._spans.notes, strict=True)):
            if subset is None:
                raise UserError(
                    f"{self._where}: expected an object with a list of episodes per subset, found a list; "
                    "this is not SeeClick's test file."
                )
            self._ids += [f"{subset}-{name}-{i}" for i in range(n)]
            self._place += [(episode, i) for i in range(n)]
        self._episode = Recent(self._spans.__getitem__)

    @staticmethod
    def _note(episode: Any) -> tuple[str, int]:
        if not isinstance(episode, list):
            raise UserError(
                f"aitw_data_test.json: an episode should be a list of steps but is "
                f"{type(episode).__name__}; the data has another format."
            )
        return (str(need(episode[0], "ep_id", "aitw_data_test.json")), len(episode)) if episode else ("", 0)

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        episode, where, subset = self._episode(number), self._where, self._spans.groups[number]
        step = episode[at]
        kind = need(step, "action_type_id", where, int)
        truth = {
            "action_type_id": kind,
            "action_type_text": need(step, "action_type_text", where, str),
            "touch": numbers(step, "touch", where, 2),
            "lift": numbers(step, "lift", where, 2),
            "type_text": need(step, "type_text", where, str),
            "annot_position": numbers(step, "annot_position", where, None),
        }
        return Item(
            id=self._ids[i],
            images=tuple(
                self._images.find(need(s, "img_filename", where, str) + ".png", where)
                for s in episode[self._first(at) : at + 1]
            ),
            fields={"instruction": need(step, "goal", where, str)},
            past=tuple(Step("", _action(aitw_action, s)) for s in episode[:at]),
            target={"type": "step", "truth": truth},
            cluster=f"{subset}-{step['ep_id']}",
            meta={"subset": subset, "action_type": truth["action_type_text"]},
        )


class AndroidInTheZoo(Episodes):
    """``EPISODE/EPISODE.json`` beside its screenshots; boxes are pixels of the stored image, y, x, height, width."""

    def __init__(self, episodes: Sequence[Path], spec: Spec) -> None:
        super().__init__(spec)
        self._paths = episodes
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, path in enumerate(episodes):
            for i, step in enumerate(load_json(path)):
                self._ids.append(f"{need(step, 'episode_id', path.name)}-{need(step, 'step_id', path.name)}")
                self._place.append((number, i))
        self._episode = Recent(lambda number: [self._converted(s, number) for s in load_json(self._paths[number])])

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        path, episode = self._paths[number], self._episode(number)
        step, truth = episode[at]
        subset = path.stem.rpartition("-")[0].lower().replace("_", "")
        return Item(
            id=self._ids[i],
            images=tuple(
                path.parent / Path(need(s, "image_path", path.name, str)).name
                for s, _ in episode[self._first(at) : at + 1]
            ),
            fields={"instruction": need(step, "instruction", path.name, str)},
            past=tuple(Step(s.get("coat_action_desc") or "", _action(aitw_action, t)) for s, t in episode[:at]),
            target={"type": "step", "truth": truth},
            cluster=str(step["episode_id"]),
            meta={"subset": subset, "action_type": truth["action_type_text"]},
        )

    def _converted(self, step: Any, number: int) -> tuple[Any, dict[str, Any]]:
        """The record and its annotation in SeeClick's fields."""
        where = self._paths[number].name
        touch, lift = _pair_text(step, "result_touch_yx", where), _pair_text(step, "result_lift_yx", where)
        kind = need(step, "result_action_type", where, int)
        word = AITW_WORDS.get(kind, "")
        if kind == DUAL_POINT:
            word = gesture_word(touch, lift)
        boxes = _json_text(step, "ui_positions", where)
        return step, {
            "action_type_id": kind,
            "action_type_text": word,
            "touch": touch[::-1],
            "lift": lift[::-1],
            "type_text": step.get("result_action_text") or "",
            "annot_position": [v for box in boxes for v in box],
            "boxes_in_pixels": True,
        }


def _json_text(record: Any, key: str, where: str) -> list[Any]:
    text = need(record, key, where, str)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise UserError(
            f"{where}: the field {key!r} should be the text of a list but is {text[:60]!r}; the data has "
            "another format."
        )
    return value


def _pair_text(record: Any, key: str, where: str) -> list[float]:
    return numbers({key: _json_text(record, key, where)}, key, where, 2)


def androidcontrol(folder: Path, spec: Spec) -> Records:
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

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        path = first_file(folder, ("500_steps.json", "*steps*.json"), spec["source"])
        self._spans = Spans(path, lambda r: f"{need(r, 'episode_id', path.name)}-{need(r, 'step', path.name)}")
        self._low = spec.get("level") == "low"
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

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        below = folder / "annotations"
        paths = sorted(below.glob("*.json")) if below.is_dir() else []
        if not paths:
            raise UserError(
                f"{folder} has no annotations/*.json; give the folder of {spec['source']} with --data-path."
            )
        split = folder / "splits" / f"{spec['split']}_split.json"
        if split.is_file():
            chosen = {Path(str(name)).stem for name in need(load_json(split), "test", split.name, list)}
            paths = [p for p in paths if p.stem in chosen]
        self._paths, self._low = paths, spec.get("level") == "low"
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
                Step(s.get("low_level_instruction") or "" if self._low else "", _action(odyssey_action, a))
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
        target: dict[str, Any] = {
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
