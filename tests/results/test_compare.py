"""Paired comparisons of cells: the right test for the data, Holm per family, and what a table says of them."""

from __future__ import annotations

import csv
import io
import itertools
import json

import pytest

from vtprune_eval.results.compare import adjust, compare, compare_cells
from vtprune_eval.results.costs import costs_of
from vtprune_eval.results.stats import mcnemar, sign_flip
from vtprune_eval.results.summary import summarise
from vtprune_eval.results.table import table


def cell(scores, clusters=None, **more):
    return [
        {
            "id": f"s{i}",
            "status": "ok",
            "score": s,
            "cluster": clusters[i] if clusters else None,
            "reason": "ok",
            "notes": [],
            "kv_bytes": 80,
            "peak_bytes": 5,
            "flops": {"total": 10.0},
            "counts": {
                "visual": [4],
                "visual_full": [8],
                "patches": [16],
                "patches_full": [32],
                "layer_tokens": [6],
                "cache_entries": [6],
            },
            "times": dict.fromkeys(
                (
                    "ttft_ms",
                    "tpot_ms",
                    "e2e_ms",
                    "select_ms",
                    "vit_ms",
                    "prefill_ms",
                    "preprocess_ms",
                    "image_decode_ms",
                    "decode_ms",
                ),
                2.0,
            ),
            **more,
        }
        for i, s in enumerate(scores)
    ]


def test_mcnemar_for_independent_binary_scores():
    a, b = [1.0] * 9 + [0.0] * 3, [0.0] * 9 + [1.0] + [0.0] * 2
    found = compare(cell(a), cell(b))
    assert found["test"] == "mcnemar" and found["p"] == mcnemar(a, b)
    assert (found["n"], found["only_own"], found["only_other"]) == (12, 9, 1)
    assert found["difference"] == pytest.approx(8 / 12)
    assert found["ci95"][0] < 8 / 12 < found["ci95"][1]


def test_steps_of_an_episode_are_not_taken_for_independent():
    """Two episodes of ten equal steps: McNemar would see 20 discordant pairs (p = 2e-6), there are two."""
    found = compare(cell([1.0] * 20, ["a"] * 10 + ["b"] * 10), cell([0.0] * 20, ["a"] * 10 + ["b"] * 10))
    assert found["test"] == "sign-flip" and found["p"] == 0.5


def test_partial_credit_uses_the_sign_flip_test():
    assert compare(cell([0.5, 1.0]), cell([0.0, 0.25]))["test"] == "sign-flip"


def test_sign_flip_against_enumeration_and_in_the_limit():
    a, b = [0.9, 0.4, 0.7, 0.2], [0.1, 0.6, 0.1, 0.1]
    d = [x - y for x, y in zip(a, b, strict=True)]
    sums = [sum(s * x for s, x in zip(signs, d, strict=True)) for signs in itertools.product((1, -1), repeat=4)]
    assert sign_flip(a, b) == sum(abs(s) >= sum(d) - 1e-9 for s in sums) / 16
    wide = [1.0] * 30 + [0.0] * 14, [0.0] * 30 + [1.0] * 14  # random flips approach the exact binomial tail
    assert sign_flip(*wide) == pytest.approx(mcnemar(*wide), abs=0.01)
    assert sign_flip([1.0, 0.0], [1.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match="cannot be paired"):
        sign_flip([1.0], [])


def test_pairs_by_id_and_counts_failures_but_not_unscored_samples():
    own, other = cell([1.0, 0.0, None]), list(reversed(cell([0.0, 0.0, 1.0, 1.0])))
    found = compare(own, other)
    assert (found["n"], found["difference"]) == (2, 0.5)
    assert compare(cell([None]), cell([1.0])) is None


def test_verdict_follows_the_adjusted_p():
    family = [{"p": p, "difference": -0.1, "only_own": 1, "only_other": 5} for p in (0.01, 0.04, 0.03)]
    adjust(family)
    assert [e["p_holm"] for e in family] == pytest.approx([0.03, 0.06, 0.06])
    assert [e["verdict"] for e in family] == ["worse", "not distinguishable", "not distinguishable"]
    same = [{"p": 1.0, "difference": 0.0, "only_own": 0, "only_other": 0}]
    adjust(same)
    assert same[0]["verdict"] == "equal on every sample"


def _records():
    full, bad, near = [1.0] * 20, [1.0] * 8 + [0.0] * 12, [1.0] * 19 + [0.0]
    return {("t", "full", "100"): cell(full), ("t", "a", "10"): cell(bad), ("t", "b", "10"): cell(near)}


CELLS = [("full", "100"), ("a", "10"), ("b", "10")]


def test_two_families_are_adjusted_on_their_own():
    against, between = compare_cells(CELLS, ["t"], _records())
    assert set(against) == {("t", ("a", "10")), ("t", ("b", "10"))}
    assert against["t", ("a", "10")]["p_holm"] == pytest.approx(2 * 2 * 0.5**12)
    assert len(between) == 1 and between[0]["p_holm"] == between[0]["p"]
    assert (between[0]["a"], between[0]["b"], between[0]["verdict"]) == (["a", "10"], ["b", "10"], "worse")


def test_every_form_of_the_summary_says_what_is_not_distinguishable():
    summary = summarise("m", CELLS, [("t", True)], _records(), trained=True)
    assert json.loads(table(summary, "json"))["rows"][2]["tasks"]["t"]["vs_full"]["verdict"] == "not distinguishable"
    for form in ("table", "md"):
        text = table(summary, form)
        assert "Against full" in text and "-60.0 [" in text and "worse" in text
        assert "1 of 2 differences to full are not distinguishable" in text
    rows = list(csv.DictReader(io.StringIO(table(summary, "csv"))))
    assert [r["t finding"] for r in rows] == ["-", "worse", "not distinguishable"]
    assert float(rows[1]["t vs full low"]) < -60 < float(rows[1]["t vs full high"])


def test_random_weights_are_never_compared():
    summary = summarise("m", CELLS, [("t", True)], _records(), trained=False)
    assert summary["between"] == [] and "vs_full" not in summary["rows"][1]["tasks"]["t"]
    assert "Against full" not in table(summary, "md")


def test_joules_per_sample_and_per_correct_answer():
    own = cell([1.0, 0.0, 1.0], energy_j=4.0) + cell([1.0], energy_j=None)
    costs = costs_of(own, None)
    assert costs["energy_j"] == 4.0 and costs["energy_per_correct_j"] == 6.0
    assert "energy_per_correct_j" not in costs_of(own, None, trained=False)
    assert "energy_per_correct_j" not in costs_of(cell([0.0], energy_j=4.0), None)
    assert "energy_j" not in costs_of(cell([1.0]), None)
