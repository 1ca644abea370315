"""A fault of the program on one sample: recorded, told, and not taken for a verdict on the method."""

from __future__ import annotations

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
    assert f"full at 100 crashed on 1 of 6 samples, first on {broken} (ZeroDivisionError: no blocks)" in said
    assert "failed samples, counted as wrong (costs are of the others)" in said
