"""Long runs, big folders, clocks that jump."""

from __future__ import annotations

import itertools
import json
import os
import resource
import time

import pytest
from bench.soak import MAX_GROWTH_BYTES, MAX_NEW_FILES, soak

from tests.reliability.support import results
from vtprune_eval.cli import main
from vtprune_eval.results.record import result_of

LONG = os.environ.get("VTPRUNE_LONG_TESTS") == "1"  # the full sizes: minutes
SAMPLES = 5000 if LONG else 1200
BUDGETS = 100
METHODS = "full,random,stride,pool"


def test_memory_and_open_files_stay_flat(tmp_path):
    got = soak(SAMPLES, 500, tmp_path)
    assert got.records == SAMPLES
    # A share of what the full soak may add, so that the short one would see the same leak.
    assert got.growth_bytes < MAX_GROWTH_BYTES * (SAMPLES - 500) / 4500
    assert got.most_files <= got.start_files + MAX_NEW_FILES


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def test_hundreds_of_cells_and_ten_thousand_files_in_one_folder(tmp_path, cli):
    """Each cell has a file; all are written in turn, and a process may have 64 open. A sweep that was made smaller
    leaves files that are nobody's."""
    run = (
        "--model",
        "stub",
        "--method",
        METHODS,
        "--budget",
        ",".join(map(str, range(1, BUDGETS + 1))),
        "--limit",
        "3",
        "--tasks",
        "mini-doc",
        "--timings",
        "1",
        "--format",
        "csv",
        "--out",
        tmp_path / "r",
    )
    first = cli(*run, preexec_fn=limited)
    assert first.returncode == 0, first.stderr
    expected = results(tmp_path / "r")
    assert len(expected) == 3 * BUDGETS + 1
    assert {len(v) for v in expected.values()} == {3}
    for i in range(10_000 - len(expected)):
        (tmp_path / "r" / "records" / f"mini-doc--gone@{i}.jsonl").write_text("{}\n")
    (tmp_path / "r" / "records" / "mini-doc--full@100.jsonl").unlink()
    again = cli(*run, preexec_fn=limited)
    assert again.returncode == 0, again.stderr
    assert f"resuming: {9 * BUDGETS} of {9 * BUDGETS + 3} records" in again.stderr
    folder = tmp_path / "r" / "records"
    assert len(list(folder.iterdir())) == 10_000
    assert {n: [result_of(json.loads(x)) for x in (folder / n).read_text().splitlines()] for n in expected} == expected


def test_the_summary_does_not_need_what_it_does_not_hold(tmp_path, monkeypatch, capsys):
    """Records are held without answers and lists: the summary is the one that whole records give."""
    from vtprune_eval.results.record import light

    run = [
        "--model",
        "stub",
        "--method",
        "full,random,guikv",
        "--budget",
        "20,100",
        "--limit",
        "9",
        "--format",
        "json",
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(run) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("vtprune_eval.runner.report.light", lambda record: record)
    assert main(run) == 0
    assert capsys.readouterr().out == first
    line = next((tmp_path / "r" / "records").iterdir()).read_text().splitlines()[0]
    assert len(json.dumps(light(json.loads(line)))) < 0.8 * len(line)


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0, 0.0])
def test_a_clock_that_jumps_changes_nothing(step, tmp_path, monkeypatch, capsys):
    """The wall clock goes back or on by a day at every look, or stands still: everything is measured on another."""
    run = ["--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "9"]
    assert main([*run, "--out", str(tmp_path / "a")]) == 0
    looks, now = itertools.count(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + step * next(looks))
    monkeypatch.setattr(time, "time_ns", lambda: int((now + step * next(looks)) * 1e9))
    monkeypatch.setenv("VTPRUNE_STUB_DELAY_MS", "1")
    assert main([*run, "--out", str(tmp_path / "b")]) == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")
    for path in (tmp_path / "b" / "records").iterdir():
        for line in path.read_text().splitlines():
            assert all(v is None or 0 <= v < 1000 for v in json.loads(line)["times"].values())
