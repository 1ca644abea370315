"""Android in the Wild on disk: SeeClick's split, the release, Android in the Zoo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from ..base import Episodes, ImageRoots, Item, Recent, Records, Step, need, numbers
from ..formats.spans import Spans, load_json
from ..formats.steps import past_action
from ..spec import TaskSpec
from .release import SUBSETS, WORDS, AndroidInTheWildRelease, gesture_word
from .rule import DUAL_POINT
from .truth import annotated


def open_aitw(folder: Path, spec: TaskSpec) -> Records:
    """SeeClick's file if it is there, else the release, else episodes of Android in the Zoo.

    Raises:
        UserError: none of them.
    """
    if (folder / "aitw_data_test.json").is_file():
        return SeeClickAITW(folder, spec)
    if any((folder / s).is_dir() and next((folder / s).glob("*-of-*"), None) for s in SUBSETS):
        return AndroidInTheWildRelease(folder, spec)
    found = sorted((folder / "test").rglob("*.json")) or sorted(folder.rglob("*.json"))
    episodes = [p for p in found if p.stem == p.parent.name]
    if not episodes:
        raise UserError(
            f"{folder} has neither aitw_data_test.json (SeeClick's split) nor EPISODE/EPISODE.json "
            "(Android in the Zoo); give such a folder with --data-path."
        )
    return AndroidInTheZoo(episodes, spec)


class SeeClickAITW(Episodes):
    """``aitw_data_test.json``: {subset: [episode, ...]}, an episode is a list of steps; ``touch`` and ``lift`` are x
    first, ``annot_position`` is flat y, x, height, width."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
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
            past=tuple(Step("", past_action(annotated, s)) for s in episode[:at]),
            target={"type": "step", "truth": truth},
            cluster=f"{subset}-{step['ep_id']}",
            meta={"subset": subset, "action_type": truth["action_type_text"]},
        )


class AndroidInTheZoo(Episodes):
    """``EPISODE/EPISODE.json`` beside its screenshots; boxes are pixels of the stored image, y, x, height, width."""

    def __init__(self, episodes: Sequence[Path], spec: TaskSpec) -> None:
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
            past=tuple(Step(s.get("coat_action_desc") or "", past_action(annotated, t)) for s, t in episode[:at]),
            target={"type": "step", "truth": truth},
            cluster=str(step["episode_id"]),
            meta={"subset": subset, "action_type": truth["action_type_text"]},
        )

    def _converted(self, step: Any, number: int) -> tuple[Any, JsonObject]:
        """The record and its annotation in SeeClick's fields."""
        where = self._paths[number].name
        touch, lift = _pair_text(step, "result_touch_yx", where), _pair_text(step, "result_lift_yx", where)
        kind = need(step, "result_action_type", where, int)
        word = WORDS.get(kind, "")
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
