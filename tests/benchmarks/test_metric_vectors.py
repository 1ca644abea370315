"""The metric vectors: the embedded part always, all of them where the reference material is here."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ROOT, SHARED, needs_shared
from tests.golden.checkers import check_file, checkers
from tests.golden.checkers.support.cases import difference, judge
from vtprune_eval.sample import Score, unreadable

EMBEDDED = ROOT / "tests" / "golden" / "metrics"
TASKS = (
    "agentnetbench",
    "aitw",
    "androidcontrol",
    "document_metrics",
    "gui_odyssey",
    "mind2web",
    "model_outputs",
    "osworld_g",
    "screenspot",
    "ui_vision",
)


@pytest.mark.parametrize("task", TASKS)
def test_embedded_vectors(task):
    report = check_file(EMBEDDED / f"{task}.json", checkers())
    assert report.failures == () and report.n_cases >= 15


@needs_shared("golden/aitw.json")
@pytest.mark.parametrize("task", TASKS)
def test_all_vectors(task):
    report = check_file(SHARED / "golden" / f"{task}.json", checkers())
    data = json.loads((SHARED / "golden" / f"{task}.json").read_text())
    assert report.failures == () and report.n_cases >= data["n"]


@pytest.mark.parametrize("task", TASKS)
def test_a_wrong_expectation_is_noticed_in_every_case(task, tmp_path):
    """Each case with one expected value changed must fail: no case is passed over."""
    data = json.loads((EMBEDDED / f"{task}.json").read_text())
    data["cases"] = [c for c in data["cases"] if "error" not in c["expected"] and not c["expected"].get("continues")]
    for case in data["cases"]:
        case.pop("expected_guikv", None)
        _spoil(case["expected"])
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(data))
    report = check_file(path, checkers())
    assert len(report.failures) == report.n_cases >= len(data["cases"])


def test_answers_are_read_in_every_form():
    report = check_file(EMBEDDED / "answers.json", checkers())
    assert report.failures == () and report.n_cases == 46


def test_a_wrong_expectation_of_an_answer_is_noticed(tmp_path):
    data = json.loads((EMBEDDED / "answers.json").read_text())
    for case in data["cases"]:
        case["expected"] = {"point": [0.1, 0.9]} if "score" not in case["expected"] else {"score": 0.5}
    (tmp_path / "spoilt.json").write_text(json.dumps(data))
    report = check_file(tmp_path / "spoilt.json", checkers())
    assert len(report.failures) == report.n_cases == 46


def _spoil(expected):
    key = next(iter(expected))
    value = expected[key]
    if isinstance(value, dict) and value:
        _spoil(value)
    elif isinstance(value, bool):
        expected[key] = not value
    elif isinstance(value, (int, float)):
        expected[key] = value + 1
    else:
        expected[key] = "spoilt"


def test_comparison():
    assert difference({"a": [1.0, None]}, {"a": (1.0 + 1e-9, None), "b": 1}, 1e-6) is None
    assert difference({"a": 1}, {}, 1e-6) == ".a is missing"
    assert difference([1], [1, 2], 1e-6) and difference(None, 0, 1e-6) and difference("1", 1, 1e-6)
    raising = {"expected": {"error": "ValueError"}}
    assert judge(raising, lambda c: unreadable("no_point"), 0) is None
    assert judge(raising, lambda c: Score(0.0, reason="wrong"), 0) and judge(raising, lambda c: Score(1.0), 0)
    assert judge({"expected": {"skipped": True}}, lambda c: Score(0.0), 0)
