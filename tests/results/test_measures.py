"""Measures beyond accuracy, each against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from vtprune_eval.results.measures import (
    agreement,
    calibration,
    confidence,
    effort,
    image_needing,
    kept_by_band,
    losses_by_cause,
    third_of,
)
from vtprune_eval.results.record import bitmap
from vtprune_eval.sample import Sample


def record(name: str, score: float | None = 1.0, p: float | None = None, **more):
    logs = {} if p is None else {"logprobs": [math.log(p) / 2, math.log(p) / 2]}
    counts = {"n_new": 2, "prompt": 18, "visual_full": [16]}
    return {"id": name, "status": "ok", "score": score, "answer": name, "counts": counts, **logs, **more}


def failed(name: str):
    return {"id": name, "status": "failed", "score": 0.0, "answer": "", "counts": None, "kept": None}


def test_the_confidence_is_the_probability_of_the_whole_answer():
    assert confidence(record("a", p=0.36)) == pytest.approx(0.36)
    assert confidence(record("a")) is None
    assert confidence(failed("a")) is None


def test_calibration_error_and_brier_score_by_hand():
    # Bin 0.9 to 1.0: said 0.95 twice, one of two right; bin 0.2 to 0.3: said 0.2 once, right.
    found = calibration([record("a", 1.0, 0.95), record("b", 0.0, 0.95), record("c", 1.0, 0.2), record("d", None, 0.5)])
    assert found["n"] == 3
    assert found["ece"] == pytest.approx((abs(1.9 - 1) + abs(0.2 - 1)) / 3)
    assert found["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0.8**2) / 3)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert calibration([record("a")]) is None, "a run without --logprobs has no calibration"
    assert calibration([record("a", 1.0, 1.0)])["ece"] == pytest.approx(0.0), "probability 1 belongs to the last bin"


def test_effort_counts_what_wrong_answers_cost_too():
    assert effort([record("a"), record("b", 0.0), failed("c")]) == {"n_new": 2.0, "per_correct": 40.0}
    assert effort([record("a", 0.0)]) == {"n_new": 2.0, "per_correct": None}
    assert effort([]) == {"n_new": None, "per_correct": None}


def test_agreement_is_of_texts_right_or_wrong():
    full = [record("a", 0.0), record("b"), failed("c")]
    own = [record("a", 0.0), {**record("b"), "answer": "other"}, record("c")]
    assert agreement(own, full) == 0.5, "two samples are answered on both sides, one with the same text"
    assert agreement(own, []) is None


def test_samples_that_need_the_image_are_those_that_every_blind_cell_gets_wrong():
    blind = [record("a", 0.0), record("b", 1.0), record("c", 0.0), failed("d")]
    small = [record("a", 0.0), record("b", 0.0), record("c", 1.0), record("d", 0.0)]
    assert image_needing([blind, small]) == {"a", "d"}
    assert image_needing([]) == set()


@pytest.mark.parametrize(("top", "third"), [(0, 0), (28, 0), (50, 1), (90, 2)])
def test_the_third_of_a_target_is_that_of_its_centre(top, third):
    sample = Sample("s", (Path("x"),), "?", {"box_xyxy": [0, top, 10, top + 6]})
    assert third_of(sample, 96) == third


def test_a_sample_without_a_box_has_no_third():
    assert third_of(Sample("s", (Path("x"),), "?", {"type": "text", "answers": ["a"]}), 96) is None


def test_kept_shares_by_band_from_the_bitmap():
    # 4 x 4 blocks of 32 px: the first row whole, one block of the last.
    kept = {"kept": [bitmap((0, 1, 2, 3, 15))], "frame": {"model_sizes": [[128, 128]]}}
    assert kept_by_band(record("a", **kept), 4) == [1.0, 0.0, 0.0, 0.25]
    assert kept_by_band(record("a", **kept), 2) == [0.5, 0.125]
    resized = {"kept": [bitmap(range(4))], "frame": {"model_sizes": [[64, 64]]}}
    assert kept_by_band(record("a", **resized), 2) is None, "other blocks than those of the full model"
    assert kept_by_band(failed("a"), 2) is None


def test_losses_are_told_apart_by_what_is_left_of_the_target():
    full = [record(n) for n in "abc"] + [record("d", 0.0)]
    stages = {"patches": 1.0, "tokens": 1.0}
    own = [
        record("a", 0.0, target_recall={**stages, "cache": 0.25}),  # lost, and the target with it
        record("b", 0.0, target_recall={**stages, "cache": 0.75}),  # lost beside its target
        record("c", 1.0, target_recall={**stages, "cache": 0.0}),
        record("d", 0.0, target_recall={**stages, "cache": 1.0}),  # wrong in full, too
        record("e", 1.0, target_recall=None),
    ]
    found = losses_by_cause(own, full)
    assert (found["n"], found["lost"], found["dropped"]) == (4, 2, 1)
    assert found["recall"] == pytest.approx(0.5)
    assert found["right_if_kept"] == 0.0
    assert found["right_if_dropped"] == 0.5
    assert losses_by_cause([record("a", target_recall=None)], full) is None
