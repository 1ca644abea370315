"""A fault of the program on one sample: recorded, told, and not taken for a verdict on the method."""

from __future__ import annotations

import json

import pytest

from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.models.stub import StubPipeline


def test_a_crash_is_told_with_its_message_and_the_exit_code(tmp_path, capsys, monkeypatch):
    run, broken = StubPipeline.run, load_task("mini-doc", 6).samples.ids[3]

    def faulty(self, sample, *args):
        if sample.id == broken:
            raise ZeroDivisionError("no blocks")
        return run(self, sample, *args)

    monkeypatch.setattr(StubPipeline, "run", faulty)
    code = cli.main(
        ["--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "6", "--out", str(tmp_path / "run")]
    )
    said = capsys.readouterr().out
    assert code == 1
    assert (
        f"full at 100 crashed on 1 of 6 samples, first on {broken} (ZeroDivisionError: no blocks (test_crash.py, line"
        in said
    )
    assert "failed samples, counted as wrong (costs are of the others)" in said


RUN = ["--model", "stub", "--method", "full,stride", "--budget", "50", "--tasks", "mini-doc", "--limit", "9", "--out"]


def test_a_crashed_cell_has_no_verdict_anywhere(tmp_path, capsys, monkeypatch):
    """Crashed on all but one, it would be significantly worse than full."""
    run, sound = StubPipeline.run, load_task("mini-doc", 9).samples.ids[0]

    def faulty(self, sample):
        if self._method != "full" and sample.id != sound:
            raise ZeroDivisionError("no blocks")
        return run(self, sample)

    monkeypatch.setattr(StubPipeline, "run", faulty)
    out = tmp_path / "run"
    assert cli.main([*RUN, str(out)]) == 1
    said = capsys.readouterr().out
    assert "no verdict (crashed)" in said and " worse" not in said
    (row,) = [r for r in json.loads((out / "summary.json").read_text())["rows"] if r["method"] == "stride"]
    assert row["costs"]["accuracy_change"] is None and row["tasks"]["mini-doc"]["vs_full"]["p_holm"] == 1.0
    assert cli.main(["leaderboard", "build", str(out), "--dir", str(tmp_path / "board")]) == 2
    assert "no verdict on the method" in capsys.readouterr().err
    assert cli.main([*RUN, str(out), "--debug"]) == 1, "what is there is not answered again"


def test_debug_prints_the_traceback(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(StubPipeline, "run", lambda self, sample: 1 / 0)
    args = ["--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "2", "--out"]
    assert cli.main([*args, str(tmp_path / "quiet")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main([*args, str(tmp_path / "loud"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture
def screenspot(tmp_path):
    """Two records of ScreenSpot-v2 with pictures that the test writes, or does not."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for split in ("web",):
        records = [
            {
                "img_filename": f"{split}{i}.png",
                "bbox": [10, 10, 30, 20],
                "instruction": "save",
                "data_type": "icon",
                "data_source": "x",
            }
            for i in range(2)
        ]
        (data / f"screenspot_{split}_v2.json").write_text(json.dumps(records))
    return data


def test_a_task_of_which_nothing_was_answered_is_a_sentence_and_no_table(screenspot, tmp_path, capsys):
    out = tmp_path / "run"
    args = [
        "--method",
        "full,pixelprune",
        "--tasks",
        "screenspot_v2",
        "--data-path",
        str(screenspot),
        "--out",
        str(out),
    ]
    assert cli.main(args) == 1
    told = capsys.readouterr()
    assert "0.0" not in told.out and not (out / "summary.json").exists()
    assert "every sample of screenspot_v2 failed (4 times bad_image; the first: " in told.err
    assert "`python -m vtprune_eval data check screenspot_v2` lists the images" in told.err
    assert cli.main(args) == 1, "and again when it is resumed"


def test_other_tasks_of_a_run_keep_their_table(tmp_path, capsys, monkeypatch):
    from vtprune_eval.errors import SampleError

    run = StubPipeline.run

    def faulty(self, sample):
        if sample.id in load_task("mini-nav", 3).samples.ids:
            raise SampleError("too_long", "the prompt has 9 tokens, the model takes 8.")
        return run(self, sample)

    monkeypatch.setattr(StubPipeline, "run", faulty)
    args = ["--model", "stub", "--method", "full", "--tasks", "mini-doc,mini-nav", "--limit", "3", "--out"]
    assert cli.main([*args, str(tmp_path / "run")]) == 1
    told = capsys.readouterr()
    assert "mini-doc" in told.out and "mini-nav" not in told.out
    assert "every sample of mini-nav failed (3 times too_long; the first: the prompt has 9 tokens" in told.err
    assert cli.main(["leaderboard", "build", str(tmp_path / "run"), "--dir", str(tmp_path / "board")]) == 2
    assert "every sample of mini-nav failed, so there is nothing to rank" in capsys.readouterr().err


def test_an_annotation_that_no_rule_can_read_is_a_record_with_its_reason(tmp_path, capsys, monkeypatch):
    from vtprune_eval.benchmarks.tasks import Task

    score, broken = Task.score, load_task("mini-doc", 4).samples.ids[2]

    def faulty(self, sample, text, frame):
        return score(self, sample, text, frame) if sample.id != broken else [][0]

    monkeypatch.setattr(Task, "score", faulty)
    args = [
        "--model",
        "stub",
        "--method",
        "full",
        "--tasks",
        "mini-doc",
        "--limit",
        "4",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main(args) == 0
    told = capsys.readouterr().out
    assert "1 of 4 samples are not scored, because their annotation cannot be read" in told
    assert f"first {broken}: IndexError" in told
    lines = next((tmp_path / "run" / "records").glob("*.jsonl")).read_text().splitlines()
    (record,) = [r for r in map(json.loads, lines) if r["id"] == broken]
    assert (record["status"], record["reason"], record["score"]) == ("ok", "unscorable", None)
