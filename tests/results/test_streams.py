"""A summary holds one cell's records at a time, and its numbers do not depend on how they are read or drawn."""

from __future__ import annotations

import json
import random
import weakref

import numpy as np
import pytest

from vtprune_eval.results import stats
from vtprune_eval.results.compare import Scores, compare, compare_cells, compare_scores
from vtprune_eval.results.record import light
from vtprune_eval.results.store import read_records
from vtprune_eval.results.summary import Streamed, merge_draws, summarise

from .test_compare import cell

CELLS = [("full", "100"), *(("m", str(b)) for b in range(1, 8)), *(("n", str(b)) for b in range(1, 8))]


class Held(list):
    """A cell's records that can be watched."""


def records_of(key: tuple[str, str, str]) -> list[dict]:
    rng = random.Random("/".join(key))
    return cell([rng.choice((0.0, 0.0, 1.0, None)) for _ in range(40)], [f"e{i // 4}" for i in range(40)])


def test_one_cell_is_held_at_a_time_and_the_numbers_are_those_of_all_at_once():
    alive: weakref.WeakSet[Held] = weakref.WeakSet()
    Held.__hash__ = object.__hash__  # type: ignore[method-assign, assignment]
    most = 0

    def read(key):
        nonlocal most
        found = Held(records_of(key))
        alive.add(found)
        most = max(most, len(alive))
        return found

    keys = [(task, *c) for task in ("t", "u") for c in CELLS]
    tasks = [("t", True), ("u", True)]
    streamed = summarise("x", CELLS, tasks, merge_draws(CELLS, Streamed(keys, read))[1], True)
    assert streamed == summarise("x", CELLS, tasks, {k: records_of(k) for k in keys}, True)
    assert most <= 2  # what is read, and what it replaces
    assert any(row["tasks"]["t"].get("vs_full") for row in streamed["rows"]) and streamed["between"]


def test_a_row_says_more_of_its_tasks_where_it_is_told_to():
    said = summarise(
        "x",
        CELLS[:2],
        [("t", True)],
        {("t", *c): records_of(("t", *c)) for c in CELLS[:2]},
        True,
        lambda task, own: {"more": f"{task} {len(own)}"},
    )
    assert [row["tasks"]["t"]["more"] for row in said["rows"]] == ["t 40"] * 2


def test_shared_ids_change_no_comparison():
    one, two = records_of(("t", "m", "1")), records_of(("t", "m", "2"))
    first = Scores.of(one)
    second = Scores.of(two, first)
    assert second.ids is first.ids and second.values.dtype == np.int8
    apart = Scores.of(list(reversed(two)), first)
    assert apart.ids is not first.ids
    assert compare_scores(first, second) == compare(one, two)
    assert compare_scores(first, apart) == compare(one, two)
    half = [{**r, "score": r["score"] and 0.5} for r in two]
    assert Scores.of(half, first).values.dtype == np.float64
    assert compare(one, half)["difference"] > compare(one, two)["difference"]


def test_a_comparison_by_records_is_that_of_a_summary():
    records = {("t", *c): records_of(("t", *c)) for c in CELLS[:3]}
    against, between = compare_cells(CELLS[:3], ["t"], records)
    summary = summarise("x", CELLS[:3], [("t", True)], records, True)
    assert [against["t", c] for c in CELLS[1:3]] == [r["tasks"]["t"]["vs_full"] for r in summary["rows"][1:]]
    assert between == summary["between"]


@pytest.mark.parametrize("n", [7, 60, 400])
def test_draws_in_blocks_are_the_draws_at_once(n, monkeypatch):
    values = np.random.default_rng(1).normal(size=n)
    clusters = np.arange(n)
    once = stats.paired_difference(values, np.zeros(n)), stats.sign_flip(values, np.zeros(n), clusters)
    whole = np.concatenate(list(stats._drawn(n, 0)))
    expected = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=stats.N_BOOTSTRAP)
    assert (whole == expected).all()
    monkeypatch.setattr(stats, "BLOCK", 50 * n)
    monkeypatch.setattr(stats, "KEPT_DRAWS", 0)
    assert (np.concatenate(list(stats._drawn(n, 0))) == expected).all()
    parted = stats.paired_difference(values, np.zeros(n)), stats.sign_flip(values, np.zeros(n), clusters)
    assert parted[0] == pytest.approx(once[0], abs=1e-14)
    assert parted[1] == once[1]


def test_codes_of_clusters_are_the_clusters():
    rng = np.random.default_rng(2)
    names = [f"e{i}" for i in rng.integers(0, 30, 200)]
    codes = np.unique(names, return_inverse=True)[1]
    a, b = rng.normal(size=200), rng.normal(size=200)
    assert stats.paired_difference(a, b, names) == stats.paired_difference(a, b, codes)
    assert stats.sign_flip(a, b, names) == stats.sign_flip(a, b, codes)


def test_mcnemar_against_the_sum_of_the_tail():
    from math import comb

    for wins, losses in ((0, 5), (3, 9), (40, 71), (6, 6)):
        n, k = wins + losses, min(wins, losses)
        a, b = [1.0] * wins + [0.0] * losses, [0.0] * wins + [1.0] * losses
        assert stats.mcnemar(a, b) == min(1.0, 2 * (sum(comb(n, i) for i in range(k + 1)) / 2**n))


def test_a_file_is_read_into_what_is_asked_for(tmp_path):
    lines = []
    for r in records_of(("t", "m", "1")):
        more = {"schema": 1, "key": "k", "message": "", "parts": {}, "meta": {}, "answer": "a" * 500, "ids": [1] * 50}
        lines.append(json.dumps({**r, **more}) + "\n")
    path = tmp_path / "r.jsonl"
    path.write_text("".join(lines) + lines[0] + "\n" + lines[1])
    found, notes = read_records(path, "k", shape=light)
    assert notes == [] and len(found) == 40 and "answer" not in next(iter(found.values()))
    assert path.read_text() == "".join(lines)  # a sample twice and an empty line are gone
    assert read_records(path, "k", shape=lambda record: None)[0] == dict.fromkeys(found)
