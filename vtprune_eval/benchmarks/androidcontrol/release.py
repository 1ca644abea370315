"""AndroidControl as it lies in Google's bucket, GZIP TFRecord."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from ..base import Episodes, Item, Recent, Step, need
from ..formats.spans import load_json
from ..formats.tfrecord import Example, Shards, fields, signed, single, sized
from ..formats.unpacked import Unpacked
from ..spec import TaskSpec
from ..untrusted import Unreadable
from .truth import annotated

_SUBSPLITS = "test_subsplits.json"


class AndroidControlRelease(Episodes):
    """``android_control-*``: an example per episode; with ``splits.json`` only its test episodes. Setting ``level``."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        self._low = spec.setting("level") == "low"
        chosen = None
        if (folder / "splits.json").is_file():
            chosen = {int(i) for i in need(load_json(folder / "splits.json"), "test", "splits.json", list)}
        self._subsplit: dict[int, str] = {}
        if (folder / _SUBSPLITS).is_file():
            for name, ids in load_json(folder / _SUBSPLITS).items():
                for own in ids:
                    self._subsplit.setdefault(int(own), name)  # an episode counts in the first list that has it
        self._shards = Shards(sorted(folder.glob("android_control-*")), self._note)
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, (own, n) in enumerate(self._shards.notes):
            if chosen is None or own in chosen:
                self._ids += [f"{own}-{i}" for i in range(n)]
                self._place += [(number, i) for i in range(n)]
        self._episode = Recent(self._shards.__getitem__, keep=1)  # an episode holds all its screenshots
        self._unpacked = Unpacked()

    @staticmethod
    def _note(record: Example, path: Path) -> tuple[int, int]:
        return int(single(record, "episode_id", path.name)), len(need(record, "actions", path.name, list))

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        record, where = self._episode(number), self._shards.path(number).name
        own = int(single(record, "episode_id", where))
        shots, trees = need(record, "screenshots", where, list), need(record, "accessibility_trees", where, list)
        if min(len(shots), len(trees)) <= at:
            raise UserError(
                f"{where}: episode {own} has {len(shots)} screenshots and {len(trees)} trees for step "
                f"{at}; fetch the file again."
            )
        actions = [json.loads(a) for a in record["actions"]]
        instructions = [s.decode("utf-8", "replace") for s in need(record, "step_instructions", where, list)]
        goal, step = single(record, "goal", where), instructions[at] if at < len(instructions) else ""
        return Item(
            id=self._ids[i],
            images=tuple(
                self._unpacked.path(f"{own}_{k}.png", partial(shots.__getitem__, k))
                for k in range(self._first(at), at + 1)
            ),
            fields={"instruction": step if self._low else goal, "goal": goal if self._low else ""},
            past=tuple(
                Step(text, self._past(record, k, a))
                for k, (text, a) in enumerate(zip(instructions[:at], actions[:at], strict=False))
            ),
            target={"type": "step", "truth": {"action": actions[at], "accessibility_tree": forest(trees[at])}},
            cluster=str(own),
            meta={"action_type": need(actions[at], "action_type", where, str), "subsplit": self._subsplit.get(own)},
        )

    @staticmethod
    def _past(record: Example, k: int, action: Any) -> Any:
        try:
            return annotated(action, (record["screenshot_widths"][k], record["screenshot_heights"][k]))
        except (Unreadable, KeyError, IndexError):
            return None  # it only goes into a prompt, which has the words as well


def forest(data: bytes) -> list[JsonObject]:
    """Nodes of a serialised ``AndroidAccessibilityForest`` (android_env, proto/a11y) in UGround's form.

    Raises:
        UserError: no valid message.
    """
    nodes = []
    try:
        for window in sized(data, 1):
            for tree in sized(window, 11):
                nodes += [_node(node) for node in sized(tree, 1)]
    except ValueError as error:
        raise UserError(f"an accessibility tree cannot be read ({error}); fetch the file again.") from error
    return nodes


def _node(data: memoryview) -> JsonObject:
    sides = {1: 0, 2: 0, 3: 0, 4: 0}  # a side of 0 is not written
    texts = {4: "", 7: ""}
    for number, value in fields(data):
        if number == 2 and isinstance(value, memoryview):
            sides.update({n: signed(v) for n, v in fields(value) if isinstance(v, int)})
        elif number in texts and isinstance(value, memoryview):
            texts[number] = bytes(value).decode("utf-8", "replace")
    return {
        "bbox_pixels": {"x_min": sides[1], "y_min": sides[2], "x_max": sides[3], "y_max": sides[4]},
        "text": texts[7],
        "content_description": texts[4],
    }
