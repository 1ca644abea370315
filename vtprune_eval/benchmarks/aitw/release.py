"""Android in the Wild as it lies in Google's bucket, GZIP TFRecord."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from ..base import Episodes, Item, Recent, Step, need
from ..formats.spans import load_json
from ..formats.tfrecord import Example, Shards, single
from ..formats.unpacked import Unpacked
from ..spec import TaskSpec
from ..untrusted import Unreadable
from .rule import SWIPE_DISTANCE
from .truth import annotated

SUBSETS = {
    "google_apps": "googleapps",
    "install": "install",
    "web_shopping": "webshopping",
    "general": "general",
    "single": "single",
}
WORDS = {
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

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(spec)
        split = folder / "splits" / "standard.json"
        chosen = set(map(str, need(load_json(split), "test", split.name, list))) if split.is_file() else None
        paths = [
            p for s in SUBSETS for p in sorted((folder / s).glob("*")) if p.is_file() and ".part" not in p.suffixes
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
        episode, step = single(record, "episode_id", where), single(record, "step_id", where)
        return SUBSETS[path.parent.name], str(episode), int(step)

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
            fields={"instruction": single(record, "goal_info", where)},
            past=tuple(Step("", self._past(self._record(n), where)) for n in numbers[:at]),
            target={"type": "step", "truth": truth},
            cluster=f"{key[0]}-{key[1]}",
            meta={"subset": key[0], "action_type": truth["action_type_text"]},
        )

    def _past(self, record: Example, where: str) -> Any:
        try:
            return annotated(self._truth(record, where))
        except Unreadable:
            return None

    @staticmethod
    def _truth(record: Example, where: str) -> JsonObject:
        touch, lift = (need(record, f"results/yx_{k}", where, list) for k in ("touch", "lift"))
        kind = int(single(record, "results/action_type", where))
        typed = record.get("results/type_action") or [b""]
        word = gesture_word(touch, lift) if kind == 4 else WORDS.get(kind, "")
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

    shape = tuple(int(single(record, f"image/{k}", where)) for k in ("height", "width", "channels"))
    data = need(record, "image/encoded", where, list)[0]
    if len(data) != shape[0] * shape[1] * shape[2] or shape[2] != 3:
        raise UserError(
            f"{where}: a screenshot has {len(data)} bytes where {shape} says otherwise; fetch the file again."
        )
    out = io.BytesIO()
    Image.fromarray(np.frombuffer(data, np.uint8).reshape(shape)).save(out, "png", compress_level=1)
    return out.getvalue()
