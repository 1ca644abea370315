"""Vectors of the model output readers and of the document metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.grammars import ui_tars
from vtprune_eval.benchmarks.rules import documents
from vtprune_eval.models.resize_variants import VARIANTS

from .support.cases import DEFAULT_TOLERANCE, Case, judge, run

TASKS = ("model_outputs", "document_metrics")


def matches(path: Path, data: Any) -> bool:
    """A metric file of one of these tasks."""
    return isinstance(data, dict) and data.get("task") in TASKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every case by its kind; a case with ``expected_guikv`` is also checked against GUI-KV's reader."""
    if data["task"] == "document_metrics":
        yield from run(data, _DOCUMENTS)
        return
    yield from run(
        data,
        {
            "smart_resize": _smart_resize,
            "ui_tars_parse": _ui_tars(False),
            "add_box_token": lambda c: {"text": ui_tars.add_box_token(c["prediction"])},
        },
    )
    for case in data["cases"]:
        if case["kind"] == "ui_tars_parse":
            copied = {**case, "expected": case.get("expected_guikv", case["expected"])}
            yield case["id"] + " (guikv)", judge(copied, _ui_tars(True), data.get("tolerance", DEFAULT_TOLERANCE))


def _smart_resize(case: Mapping[str, Any]) -> dict[str, int]:
    stated = case["implementation"].lower().replace("-", "_").replace(" ", "_")
    names = {**{n: n for n in VARIANTS}, "opencua": "opencua_agent", "qwen_vl_utils": "ui_tars"}
    name = next((names[n] for n in names if stated.startswith(n)), None)
    if name is None:
        return {}
    width, height = VARIANTS[name](**case["prediction"])
    return {"width": width, "height": height}


def _ui_tars(copy: bool) -> Any:
    def rule(case: Mapping[str, Any]) -> dict[str, Any]:
        frame = "thousandths" if case.get("coordinates") == "thousandths" else "resized_pixels"
        return {
            "actions": ui_tars.parse(
                case["prediction"], tuple(case["image_size"]), coordinates=frame, empty_without_action=copy
            )
        }

    return rule


_DOCUMENTS = {
    "anls": lambda c: documents.anls(c["prediction"], c["ground_truth"]),
    "relaxed_accuracy": lambda c: documents.relaxed_accuracy(c["prediction"], c["ground_truth"]),
    "ocrbench": lambda c: documents.ocrbench(
        c["prediction"], c["ground_truth"]["answer"], c["ground_truth"]["category"]
    ),
    "mmlongbench_score": lambda c: documents.mmlongbench(
        c["prediction"], c["ground_truth"]["answer"], c["ground_truth"]["answer_format"]
    ),
    "mmlongbench_f1": lambda c: {"f1": documents.mmlongbench_f1(c["prediction"])},
    "mcq_exact_matching": lambda c: documents.mcq(
        c["prediction"], c["ground_truth"]["choices"], c["ground_truth"]["answer"]
    ),
}
