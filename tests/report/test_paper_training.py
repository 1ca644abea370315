"""Tables whose rows are trained first: what is planned, and what a finished training fills."""

from __future__ import annotations

import json
import shlex

import pytest

from vtprune_eval import cli
from vtprune_eval.commands.train import spec_of
from vtprune_eval.report import paper_cells, paper_table, paper_training
from vtprune_eval.report.paper_cells import ACCURACIES
from vtprune_eval.runner.folder import read_json


@pytest.fixture
def all_tasks(monkeypatch):
    known = {task for tasks in ACCURACIES.values() for task in tasks}
    monkeypatch.setattr(paper_cells, "task_names", lambda: known)


def table(number: str) -> dict:
    return read_json(paper_table.names()[f"pixelprune-{number}"])


@pytest.mark.parametrize("number", paper_training.TABLES)
def test_every_cell_has_a_plan(number, tmp_path, all_tasks):
    data = table(number)
    for row in data["rows"]:
        for metric in row["metrics"]:
            found = paper_cells.plan(data, row, metric, "cuda", tmp_path)
            assert not found.why_not
            assert found.runs or number == "5"
            for run in found.runs:
                assert run["model_path"].startswith(str(tmp_path / f"scratch-{paper_training.needed(row)}"))
    assert paper_training.missing(data, tmp_path) == ["full", "pixelprune"]


def test_crossed_rows_use_the_model_that_was_trained_so(tmp_path, all_tasks):
    data = table("3")
    crossed = next(r for r in data["rows"] if r["method"] == "Full" and r["settings"]["train_tokens"] == "PixelPrune")
    found = paper_cells.plan(data, crossed, "SSv2-Web", "cuda", tmp_path)
    assert found.method == "full"
    assert found.runs[0]["model_path"] == str(tmp_path / "scratch-pixelprune")
    assert "--model-path" in paper_cells.command(found.runs[0])
    early = table("11")["rows"][0]
    found = paper_cells.plan(table("11"), early, "SSv2-Web", "cuda", tmp_path)
    assert found.runs[0]["model_path"] == str(tmp_path / "scratch-full" / "step-400")


def test_the_printed_training_can_be_read_back(tmp_path):
    line = paper_training.command("pixelprune", "cpu", tmp_path, "START", "jedi.jsonl")
    spec, dry = spec_of(shlex.split(line)[4:])
    assert not dry
    assert (spec.steps, spec.batch, spec.lr, spec.warmup, spec.export_every) == (4000, 18, 1e-5, 100, 400)
    assert spec.checkpointing
    assert spec.out == str(tmp_path / "scratch-pixelprune")


def test_dry_run_lists_the_trainings_and_run_needs_a_start(tmp_path, capsys):
    assert cli.main(["table", "pixelprune-3", "--dry-run", "--device", "cpu", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.count("vtprune_eval train --model qwen3vl-2b --model-path START") == 2
    assert cli.main(["table", "pixelprune-3", "--run", "--device", "cpu", "--runs", str(tmp_path)]) == 2
    assert "give the starting model with --start" in capsys.readouterr().err


def test_table_5_is_read_from_the_summaries(tmp_path, capsys):
    for arm, seconds in (("full", 2.0), ("pixelprune", 1.0)):
        folder = paper_training.folder_of(tmp_path, arm) / "training"
        folder.mkdir(parents=True)
        found = {"forward_s_median": seconds, "backward_s_median": 3 * seconds, "peak_bytes": 4e9 * seconds,
                 "step_s_median": 5 * seconds}  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(found))
    rows = {r["method"]: r for r in table("5")["rows"]}
    assert paper_training.efficiency(rows["Full"], "forward_s", tmp_path) == 2.0
    assert paper_training.efficiency(rows["PixelPrune"], "backward_speedup", tmp_path) == 2.0
    assert paper_training.efficiency(rows["PixelPrune"], "peak_memory_reduction_pct", tmp_path) == 50.0
    assert paper_training.efficiency(rows["Full"], "wall_time_h", tmp_path) == pytest.approx(10 * 4000 / 3600)
    assert cli.main(["table", "pixelprune-5", "--device", "cpu", "--runs", str(tmp_path)]) == 0
    assert "a training is missing" not in capsys.readouterr().out
