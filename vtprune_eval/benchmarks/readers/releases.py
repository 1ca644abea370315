"""The Google releases as they lie in their buckets: AndroidControl and Android in the Wild, GZIP TFRecord."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import Episodes, Item, Recent, Spec, Step, need
from ..formats.spans import load_json
from ..formats.tfrecord import Example, Shards, fields, signed, sized
from ..formats.unpacked import Unpacked
from ..judges.phone import aitw_action, androidcontrol_action
from ..protocols.aitw import SWIPE_DISTANCE
from ..untrusted import Unreadable

_SUBSPLITS = "test_subsplits.json"


def _one(record: Example, key: str, where: str) -> Any:
    """The single value of a feature; bytes become text.

    Raises:
        UserError: it is missing.
    """
    values = need(record, key, where, list)
    if not values:
        raise UserError(f"{where}: the feature {key!r} is empty; the data has another format.")
    return values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else values[0]


class AndroidControlRelease(Episodes):
    """``android_control-*``: an example per episode; with ``splits.json`` only its test episodes. Setting ``level``."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        self._low = spec.get("level") == "low"
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
        return int(_one(record, "episode_id", path.name)), len(need(record, "actions", path.name, list))

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        record, where = self._episode(number), self._shards.path(number).name
        own = int(_one(record, "episode_id", where))
        shots, trees = need(record, "screenshots", where, list), need(record, "accessibility_trees", where, list)
        if min(len(shots), len(trees)) <= at:
            raise UserError(
                f"{where}: episode {own} has {len(shots)} screenshots and {len(trees)} trees for step "
                f"{at}; fetch the file again."
            )
        actions = [json.loads(a) for a in record["actions"]]
        instructions = [s.decode("utf-8", "replace") for s in need(record, "step_instructions", where, list)]
        goal, step = _one(record, "goal", where), instructions[at] if at < len(instructions) else ""
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
            return androidcontrol_action(action, (record["screenshot_widths"][k], record["screenshot_heights"][k]))
        except (Unreadable, KeyError, IndexError):
            return None  # it only goes into a prompt, which has the words as well


def forest(data: bytes) -> list[dict[str, Any]]:
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


def _node(data: memoryview) -> dict[str, Any]:
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


AITW_SUBSETS = {
    "google_apps": "googleapps",
    "install": "install",
    "web_shopping": "webshopping",
    "general": "general",
    "single": "single",
}
AITW_WORDS = {
    3: "type",
    5: "press back",
    6: "press home",
    7: "press enter",
    10: "status task complete",
    11: "status task impossible",
}


class AndroidInTheWildRelease(Episodes):
    """``SUBSET/*``: an example per step, steps of an episode not always adjacent; pixels are raw bytes. With
    ``splits/standard.json`` only its test episodes."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        super().__init__(spec)
        split = folder / "splits" / "standard.json"
        chosen = set(map(str, need(load_json(split), "test", split.name, list))) if split.is_file() else None
        paths = [
            p for s in AITW_SUBSETS for p in sorted((folder / s).glob("*")) if p.is_file() and ".part" not in p.suffixes
        ]  # a download that is not finished
        self._shards = Shards(paths, self._note)
        self._steps: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for number, (subset, episode, step) in enumerate(self._shards.notes):
            if chosen is None or episode in chosen:
                self._steps.setdefault((subset, episode), []).append((step, number))
        self._ids: list[str] = []
        self._place: list[tuple[tuple[str, str], int]] = []
        for key, steps in self._steps.items():
            steps.sort()
            self._ids += [f"{key[0]}-{key[1]}-{step}" for step, _ in steps]
            self._place += [(key, at) for at in range(len(steps))]
        self._record = Recent(self._shards.__getitem__, keep=8)
        self._unpacked = Unpacked()

    @staticmethod
    def _note(record: Example, path: Path) -> tuple[str, str, int]:
        where = path.name
        episode, step = _one(record, "episode_id", where), _one(record, "step_id", where)
        return AITW_SUBSETS[path.parent.name], str(episode), int(step)

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        key, at = self._place[i]
        numbers = [number for _, number in self._steps[key]]
        first = self._first(at)
        shown = [self._record(number) for number in numbers[first : at + 1]]
        where, record = self._shards.path(numbers[at]).name, shown[-1]
        truth = self._truth(record, where)
        return Item(
            id=self._ids[i],
            images=tuple(
                self._unpacked.path(f"{key[0]}_{key[1]}_{first + k}.png", partial(_png, r, where))
                for k, r in enumerate(shown)
            ),
            fields={"instruction": _one(record, "goal_info", where)},
            past=tuple(Step("", self._past(self._record(n), where)) for n in numbers[:at]),
            target={"type": "step", "truth": truth},
            cluster=f"{key[0]}-{key[1]}",
            meta={"subset": key[0], "action_type": truth["action_type_text"]},
        )

    def _past(self, record: Example, where: str) -> Any:
        try:
            return aitw_action(self._truth(record, where))
        except Unreadable:
            return None

    @staticmethod
    def _truth(record: Example, where: str) -> dict[str, Any]:
        touch, lift = (need(record, f"results/yx_{k}", where, list) for k in ("touch", "lift"))
        kind = int(_one(record, "results/action_type", where))
        typed = record.get("results/type_action") or [b""]
        word = gesture_word(touch, lift) if kind == 4 else AITW_WORDS.get(kind, "")
        return {
            "action_type_id": kind,
            "action_type_text": word,
            "touch": list(touch[::-1]),
            "lift": list(lift[::-1]),
            "type_text": typed[0].decode("utf-8", "replace"),
            "annot_position": list(record.get("image/ui_annotations_positions") or []),
        }


def gesture_word(touch_yx: Sequence[float], lift_yx: Sequence[float]) -> str:
    """``click`` or the scroll that brings up that content; (y, x) fractions."""
    dy, dx = lift_yx[0] - touch_yx[0], lift_yx[1] - touch_yx[1]
    if (dx * dx + dy * dy) ** 0.5 <= SWIPE_DISTANCE:
        return "click"
    if abs(dx) > abs(dy):
        return "scroll left" if dx > 0 else "scroll right"
    return "scroll up" if dy > 0 else "scroll down"


def _png(record: Example, where: str) -> bytes:
    """Raw pixels as a PNG file.

    Raises:
        UserError: fewer or more bytes than the size says.
    """
    import numpy as np
    from PIL import Image

    shape = tuple(int(_one(record, f"image/{k}", where)) for k in ("height", "width", "channels"))
    data = need(record, "image/encoded", where, list)[0]
    if len(data) != shape[0] * shape[1] * shape[2] or shape[2] != 3:
        raise UserError(
            f"{where}: a screenshot has {len(data)} bytes where {shape} says otherwise; fetch the file again."
        )
    out = io.BytesIO()
    Image.fromarray(np.frombuffer(data, np.uint8).reshape(shape)).save(out, "png", compress_level=1)
    return out.getvalue()
