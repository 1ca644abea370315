"""Kiosk screens: which button is meant? A point next to a button counts, as on a touch screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.base import Item, Records, need, numbers
from vtprune_eval.benchmarks.benchmark import Benchmark, Frame, Record, Rule, Truth, screen_size
from vtprune_eval.benchmarks.grammars.pointing import pointed
from vtprune_eval.benchmarks.rules.pointed import the_point
from vtprune_eval.benchmarks.spec import TaskSpec
from vtprune_eval.paths import inside_folder
from vtprune_eval.sample import Score, graded


class KioskRecords(Records):
    """``records.json``: a list of records with ``id``, ``image``, ``say`` and ``button`` (two corners, pixels)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records = json.loads((folder / "records.json").read_text(encoding="utf-8"))

    @property
    def ids(self) -> Sequence[str]:
        return [need(r, "id", "records.json", str) for r in self._records]

    def item(self, i: int) -> Item:
        record = self._records[i]
        where = f"records.json, record {record['id']!r}"
        button = numbers(record, "button", where, 4)
        return Item(
            id=record["id"],
            images=(inside_folder(self._folder, need(record, "image", where, str), where),),
            fields={"instruction": need(record, "say", where, str)},
            target={"type": "box", "box_xyxy": button, "truth": {"button": button}},
            meta={"kiosk": record.get("kiosk", "unknown")},
        )


def near(said: Sequence[float], truth: Truth, frame: Frame) -> Score:
    """Is a point (fractions of the screen) at most a twentieth of the screen's width away from the button?"""
    width, height = screen_size(frame)
    x, y = said[0] * width, said[1] * height
    left, top, right, bottom = truth["button"]
    away = max(left - x, x - right, top - y, y - bottom, 0.0)
    return graded(away <= width / 20, {"pixels_away": round(away, 1)})


class Kiosk(Benchmark):
    """Grounding with a margin."""

    name = "kiosk"
    groups = ("kiosk",)

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return KioskRecords(folder)

    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        return {"near": Rule(near, enter=the_point, understand=pointed)}

    def report(self, records: Sequence[Record]) -> dict[str, Any]:
        away = [r["parts"]["pixels_away"] for r in records if "pixels_away" in r["parts"]]
        return {"mean_pixels_away": sum(away) / len(away) if away else None}
