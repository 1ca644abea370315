"""Metric vectors of the phone tasks: AITW, AndroidControl, GUI-Odyssey."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.aitw import rule as aitw
from vtprune_eval.benchmarks.androidcontrol import rule as androidcontrol
from vtprune_eval.benchmarks.gui_odyssey import rule as gui_odyssey
from vtprune_eval.benchmarks.rules import guievalkit, simpagent
from vtprune_eval.sample import Score

from .support.cases import Case, run

TASKS = ("aitw", "androidcontrol", "gui_odyssey")


def matches(path: Path, data: Any) -> bool:
    """A metric file of one of these tasks."""
    return isinstance(data, dict) and data.get("task") in TASKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every case by its kind or protocol."""
    if data["task"] == "aitw":
        yield from run(data, {"step": lambda c: aitw.step(c["prediction"], c["ground_truth"]), "raw": _raw})
    elif data["task"] == "androidcontrol":
        yield from run(
            data,
            {
                "guikv": _guikv,
                "guievalkit": lambda c: guievalkit.step(c["prediction"], c["ground_truth"]),
                "guievalkit_common": lambda c: guievalkit.step(c["prediction"], c["ground_truth"], rule="common"),
                "osatlas": lambda c: androidcontrol.osatlas(c["prediction"], c["ground_truth"]),
            },
            "protocol",
        )
    else:
        yield from run(
            data,
            {
                "official": _official,
                "official_aggregate": _official_aggregate,
                "osatlas": lambda c: gui_odyssey.osatlas(c["prediction"], c["ground_truth"]),
                "simpagent": lambda c: simpagent.simpagent(c["prediction"], c["ground_truth"]),
            },
        )


def _raw(case: Mapping[str, Any]) -> dict[str, int]:
    said, true = case["prediction"], case["ground_truth"]
    match = aitw.match_actions(
        said["touch_yx"],
        said["lift_yx"],
        said["action_type"],
        true["touch_yx"],
        true["lift_yx"],
        true["action_type"],
        true["annotation_boxes_yxhw"],
    )
    return {"match": int(match)}


def _guikv(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    answer = case["prediction"]
    said = androidcontrol.understand(answer["model"], answer["text"], tuple(truth["image_size"]))
    return androidcontrol.guikv(said, truth)


def _official(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    # Accidents of the reference are reproduced on request only.
    return gui_odyssey.official(
        case["prediction"], truth["answer"], truth["sam2_bbox"], upstream=bool(case.get("quirk"))
    )


def _official_aggregate(case: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {**r, "score": gui_odyssey.official(r["pred"], r["gt"], r.get("sam2_bbox"), upstream=True)}
        for r in case["prediction"]
    ]
    return gui_odyssey.official_report(rows, case["metric"], upstream=True)
