"""The evaluation of micro: pages at a factor, and cells that are measured once."""

from __future__ import annotations

import json

import evaluate_micro
import pytest
from PIL import Image

from vtprune_eval.benchmarks.tasks import load_task


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_page_at_a_factor_keeps_its_target(factor, tmp_path):
    sample = load_task("mini-large-grounding", 1).samples[0]
    shown = evaluate_micro.at_factor(factor)(sample, tmp_path)
    with Image.open(sample.images[0]) as old, Image.open(shown.images[0]) as new:
        assert new.width % 32 == new.height % 32 == 0
        x, y = new.width / old.width, new.height / old.height
        assert abs(x - factor) * old.width <= 16 and abs(y - factor) * old.height <= 16
    true, box = sample.target["box_xyxy"], shown.target["box_xyxy"]
    assert box == pytest.approx([true[0] * x, true[1] * y, true[2] * x, true[3] * y])
    assert sample.target["box_xyxy"] == true  # the original is left alone


def test_cells_that_are_there_are_not_measured_again(tmp_path, monkeypatch, capsys):
    measured = []

    def fake(adapter, task, cell, scratch):
        measured.append((task.name, cell))
        return {"task": task.name, "cell": cell, "n": 2, "accuracy": 50.0, "ci95": [0.0, 100.0], "kept": 100.0}

    monkeypatch.setattr(evaluate_micro, "load_model", lambda name, path: None)
    monkeypatch.setattr(evaluate_micro, "measure", fake)
    out = tmp_path / "cells.jsonl"
    arguments = ["x", "--limit", "2", "--cells", "full;oracle 20 %", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert evaluate_micro.main() == 0
    # The oracle needs boxes, which documents have none of.
    wanted = [("mini-large-grounding", "full"), ("mini-large-grounding", "oracle 20 %"), ("mini-large-doc", "full")]
    assert measured == wanted
    assert evaluate_micro.main() == 0 and measured == wanted
    assert [json.loads(line)["cell"] for line in out.read_text().splitlines()] == [cell for _, cell in wanted]
    assert capsys.readouterr().out.count("| mini-large-doc | full | 2 | 100.0 % | 50.0 [0.0, 100.0] |") == 2
