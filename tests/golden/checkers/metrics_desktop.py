"""Metric vectors of AgentNetBench and Mind2Web."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.agentnetbench import rule as agentnetbench
from vtprune_eval.benchmarks.grammars import opencua, qwen
from vtprune_eval.benchmarks.mind2web import rule as mind2web
from vtprune_eval.benchmarks.untrusted import Unreadable
from vtprune_eval.sample import Score

from .support.cases import Case, run

TASKS = ("agentnetbench", "mind2web")
PARSERS: dict[str, Callable[..., list[tuple[str, Any]]]] = {
    "opencua": opencua.agent,
    "guikv_opencua": opencua.guikv,
    "qwen25vl": qwen.agentnetbench,
    "guikv_ui_tars": agentnetbench.from_ui_tars,
}


def matches(path: Path, data: Any) -> bool:
    """A metric file of one of these tasks."""
    return isinstance(data, dict) and data.get("task") in TASKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every case by its kind."""
    if data["task"] == "agentnetbench":
        yield from run(data, {"score": _score, "parse": _parse})
    else:
        yield from run(
            data,
            {
                "seeclick_step": _seeclick_step,
                "guikv_step": _guikv_step,
                "f1": _f1,
                "seeclick_aggregate": lambda c: mind2web.seeclick_report(c["prediction"]),
                "guikv_aggregate": lambda c: mind2web.guikv_report(c["prediction"]),
            },
        )


def _score(case: Mapping[str, Any]) -> dict[str, Any]:
    said, truth = case["prediction"], case["ground_truth"]
    return {"opencua": agentnetbench.official(said, truth).parts, "guikv": agentnetbench.guikv(said, truth).parts}


def _parse(case: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"actions": PARSERS[case["protocol"]](case["prediction"], tuple(case["image_size"]))}
    except Unreadable:
        if "error" in case["expected"]:
            raise
        return {"actions": []}


def _seeclick_step(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    return mind2web.seeclick_step(case["prediction"], truth["step"], truth["image_size"], upstream=True)


def _guikv_step(case: Mapping[str, Any]) -> Score:
    truth = case["ground_truth"]
    return mind2web.guikv_step(mind2web.guikv_understand(case["prediction"], tuple(truth["image_size"])), truth)


def _f1(case: Mapping[str, Any]) -> dict[str, float]:
    said, true = case["prediction"], case["ground_truth"]
    return {"seeclick": mind2web.seeclick_f1(said, true), "guikv": mind2web.guikv_f1(said, true)}
