"""Repetitions of random controls: cells and records of their own, one row with mean and spread."""

from __future__ import annotations

import json
import statistics

import pytest

from vtprune_eval import cli
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.report.result_file import from_run
from vtprune_eval.report.rows import rows_of
from vtprune_eval.results.summary import merge_draws, summarise
from vtprune_eval.runner.folder import read_run
from vtprune_eval.runner.spec import RunSpec


def test_a_repetition_is_part_of_a_budget_s_text():
    budget = Budget.parse("10#2")
    assert (budget.draw, str(budget), budget.number, budget.count(100)) == (2, "10#2", "10", 10)
    assert Budget.parse("auto#1").draw == 1 and str(Budget.parse("7tok#3")) == "7tok#3"
    with pytest.raises(UserError, match="number of a repetition"):
        Budget.parse("10#x")


def test_only_controls_that_draw_are_repeated():
    spec = RunSpec(model="stub", methods=("full", "random", "stride", "pixelprune+random-kv"), budgets=("50",), seeds=3)
    assert [f"{c.method}@{c.budget}" for c in spec.cells()] == [
        "full@100",
        *("random@50", "random@50#1", "random@50#2"),
        "stride@50",
        *("pixelprune+random-kv@50", "pixelprune+random-kv@50#1", "pixelprune+random-kv@50#2"),
    ]
    with pytest.raises(UserError, match="--seeds=0"):
        RunSpec(model="stub", seeds=0)


def test_a_row_has_the_mean_and_the_spread():
    def record(i: int, score: float) -> dict:
        return {
            "id": f"s{i}", "status": "ok", "score": score, "reason": "", "cluster": "", "notes": [], "times": None,
            "flops": {"total": 1.0}, "kv_bytes": 1, "peak_bytes": None,
            "counts": {"patches": [4], "patches_full": [8], "visual": [1], "visual_full": [2],
                       "layer_tokens": [2, 2, 2], "cache_entries": [2, 2, 2]},
        }  # fmt: skip

    scores = {"50": (1, 1, 0, 0), "50#1": (1, 1, 1, 0), "50#2": (1, 0, 0, 0)}
    records = {("t", "random", b): [record(i, s) for i, s in enumerate(own)] for b, own in scores.items()}
    cells, merged = merge_draws([("random", b) for b in scores], records)
    assert cells == [("random", "50")]
    assert [r["score"] for r in merged["t", "random", "50"]] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    (row,) = summarise("m", cells, [("t", True)], merged, True)["rows"]
    entry = row["tasks"]["t"]
    assert entry["accuracy"] == pytest.approx(0.5)
    assert entry["seeds"]["accuracies"] == [0.5, 0.75, 0.25]
    assert entry["seeds"]["sd"] == pytest.approx(statistics.stdev([0.5, 0.75, 0.25]))


def test_draws_differ_and_their_records_stay(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--model", "nano", "--method", "full,random", "--budget", "40", "--seeds", "2", "--limit", "3"]
    assert cli.main([*arguments, "--tasks", "mini-grounding", "--timings", "0", "--out", str(out)]) == 0
    assert "of 2 seeds)" in capsys.readouterr().out
    kept = []
    for name in ("random@40", "random@40-1"):
        lines = (out / "records" / f"mini-grounding--{name}.jsonl").read_text().splitlines()
        kept.append([json.loads(line)["kept"] for line in lines])
    assert len(kept[0]) == 3 and kept[0] != kept[1]
    assert [r["budget"] for r in json.loads((out / "summary.json").read_text())["rows"]] == ["-", "40"]
    run = read_run(out)
    from vtprune_eval.report.rows import merge_draws as merge_rows

    rows = merge_rows(rows_of(from_run(run)[0], {k: list(v.values()) for k, v in run.records.items()}))
    random = next(r for r in rows if r["method"] == "random")
    assert len(rows) == 2 and random["budget"] == "40" and any("mean of 2 seeds" in n for n in random["notes"])
