"""Metric vectors of the grounding tasks: ScreenSpot v1, v2 and Pro, OSWorld-G, UI-Vision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks import osworld_g, screenspot, screenspot_pro, ui_vision
from vtprune_eval.benchmarks.rules import pointed
from vtprune_eval.sample import Score

from .support.cases import Case, run

TASKS = ("screenspot", "osworld_g", "ui_vision")


def matches(path: Path, data: Any) -> bool:
    """A metric file of one of these tasks."""
    return isinstance(data, dict) and data.get("task") in TASKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every case by its kind."""
    yield from run(data, {"screenspot": _SCREENSPOT, "osworld_g": _OSWORLD_G, "ui_vision": _UI_VISION}[data["task"]])


def _size(truth: Mapping[str, Any]) -> tuple[int, int]:
    width, height = truth["image_size"] if "image_size" in truth else truth["img_size"]
    return width, height


def _seeclick(case: Mapping[str, Any]) -> Score:
    return pointed.seeclick(case["prediction"], case["ground_truth"]["bbox"], _size(case["ground_truth"]))


def _guikv(model: str) -> Any:
    def rule(case: Mapping[str, Any]) -> Score:
        truth = case["ground_truth"]
        return pointed.guikv(case["prediction"], truth["bbox"], _size(truth), model=model)

    return rule


def _guikv_pro(case: Mapping[str, Any]) -> Score:
    said, truth = case["prediction"], case["ground_truth"]
    text, model = (said["text"], said["model"]) if isinstance(said, dict) else (said, case.get("model", "ui_tars"))
    return screenspot_pro.guikv_pro(text, truth["bbox"], _size(truth), model=model)


def _pro(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    return screenspot_pro.pro(case["prediction"].get("point"), truth["bbox"], _size(truth))


def _vlmeval(version: str) -> Any:
    def rule(case: Mapping[str, Any]) -> Score:
        truth = case["ground_truth"]
        return pointed.vlmeval(case["prediction"], truth["bbox"], _size(truth), version=version)

    return rule


def _osworld_report(case: Mapping[str, Any]) -> dict[str, Any]:
    """The four accuracies under the names that the expectation uses (``osworld_g_bbox_acc``, ``bbox``, ...)."""
    report = osworld_g.report(case["prediction"])

    def value(name: str) -> Any:
        word = name.lower().replace("osworld_g", "").replace("accuracy", "").replace("acc", "").strip("_")
        return report.get(word or "overall", report["overall"] if word in ("all", "total") else None)

    return {name: value(name) for name in case["expected"]}


def _element(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    return ui_vision.element((case["prediction"] or {}).get("point"), truth["bbox"], truth["image_size"])


def _layout(case: Mapping[str, Any]) -> Score:
    return ui_vision.layout((case["prediction"] or {}).get("bbox"), case["ground_truth"]["bbox"])


def _layout_report(case: Mapping[str, Any]) -> dict[str, Any]:
    said = case["prediction"]
    return ui_vision.layout_report([ui_vision.layout(b, said["ground_truth"]).parts for b in said["pred"]])


_SCREENSPOT = {
    "seeclick": _seeclick,
    "guikv_ui_tars": _guikv("ui_tars"),
    "guikv_opencua": _guikv("opencua"),
    "guikv_pro": _guikv_pro,
    "sspro": _pro,
    "sspro_negative": lambda c: screenspot_pro.pro_negative(c["prediction"].get("result")),
    "sspro_aggregate": lambda c: screenspot_pro.pro_report(c["prediction"]),
    "guikv_aggregate": lambda c: screenspot.guikv_report(c["prediction"]),
    "vlmeval_v1v2": _vlmeval("v1v2"),
    "vlmeval_pro": _vlmeval("pro"),
    "vlmeval_pro_aggregate": lambda c: pointed.vlmeval_report(c["prediction"]),
    "vlmeval_v1v2_aggregate": lambda c: pointed.vlmeval_report(c["prediction"]),
}
_OSWORLD_G = {
    "lmms_eval": lambda c: osworld_g.official(c["prediction"], c["ground_truth"]),
    "focusui": lambda c: osworld_g.focusui(c["prediction"].get("point"), c["ground_truth"]),
    "vlmeval": lambda c: osworld_g.vlmeval(c["prediction"], c["ground_truth"]),
    "lmms_eval_aggregate": _osworld_report,
}
_UI_VISION = {
    "element": _element,
    "layout": _layout,
    "layout_aggregate": _layout_report,
    "element_aggregate": lambda c: ui_vision.element_report(c["prediction"]),
}
