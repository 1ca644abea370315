"""Runs whose cells share computation: records, times, resuming, reading ahead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from tests.conftest import environment
from tests.sure import PATIENCE, signalling
from vtprune_eval import cli
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.pipeline.images import ahead
from vtprune_eval.results.costs import costs_of
from vtprune_eval.results.record import result_of
from vtprune_eval.runner import cells
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.sample import Sample
from vtprune_eval.units import parse_bytes

N = 5
RUN = (
    "--method",
    "full,snapkv,divprune,stride",
    "--budget",
    "10",
    "--tasks",
    "mini-nav",
    "--limit",
    str(N),
    "--max-new-tokens",
    "6",
)


def records(folder) -> dict[str, list[dict]]:
    return {
        p.name: [json.loads(line) for line in p.read_text().splitlines()]
        for p in sorted((folder / "records").glob("*.jsonl"))
    }


def results(folder) -> dict[str, list[dict]]:
    return {name: [result_of(r) for r in own] for name, own in records(folder).items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run in which nothing is shared."""
    folder = tmp_path_factory.mktemp("alone") / "r"
    assert cli.main([*RUN, "--share", "off", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "r"
    assert cli.main([*RUN, "--timings", "2", "--out", str(folder)]) == 0
    return folder


def test_records_are_those_of_separate_runs(alone, shared):
    assert len(results(alone)) == 4
    assert results(shared) == results(alone)


def test_times_are_only_of_the_samples_that_ran_alone(alone, shared):
    for own in records(alone).values():
        assert all(r["times"]["e2e_ms"] > 0 and r["peak_bytes"] > 0 and "shared" not in r for r in own)
    kinds = set()
    for name, own in records(shared).items():
        timed = [r["id"] for r in own if r["times"] is not None]
        assert timed == [own[0]["id"], own[N // 2]["id"]]  # spread over the task
        for r in own:
            untimed = r["times"] is None
            assert untimed == ("shared" in r) == (r["peak_bytes"] is None)
            if untimed:
                assert r["energy_j"] is None and r["gpu_process_bytes"] is None
                kinds.add((name.split("--")[1].split("@")[0], r["shared"]))
    assert kinds == {("full", "prefill"), ("snapkv", "prefill"), ("divprune", "vit"), ("stride", "images")}


def test_the_summary_says_what_was_timed(alone, shared):
    for folder, n in ((alone, None), (shared, 2)):
        summary = json.loads((folder / "summary.json").read_text())
        assert {row["costs"].get("timed_samples") for row in summary["rows"]} == {n}
        assert all(row["costs"]["ttft_ms"] > 0 and row["costs"]["speedup"] > 0 for row in summary["rows"])
    assert "are from 2 samples per row" in (shared / "report.md").read_text()
    assert "samples per row" not in (alone / "report.md").read_text()


def test_accuracies_do_not_depend_on_sharing(alone, shared):
    one, other = (json.loads((f / "summary.json").read_text())["rows"] for f in (alone, shared))
    assert [r["tasks"] for r in one] == [r["tasks"] for r in other]


def test_a_run_without_any_timing_says_so(tmp_path, alone, capsys):
    assert cli.main([*RUN, "--timings", "0", "--out", str(tmp_path / "r")]) == 0
    assert "no sample was run on its own" in capsys.readouterr().out
    assert results(tmp_path / "r") == results(alone)
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["rows"][0]["costs"]["ttft_ms"] is None


@pytest.mark.parametrize("after", [3, 9])
def test_ctrl_c_in_the_middle_of_a_sample_is_resumed(tmp_path, alone, monkeypatch, after, capsys):
    seen, real = [], cells.OpenCell.add

    def add(self, record):
        seen.append(record["id"])
        if len(seen) == after:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, record)

    monkeypatch.setattr(cells.OpenCell, "add", add)
    arguments = [*RUN, "--timings", "1", "--out", str(tmp_path / "r")]
    assert cli.main(arguments) == 130
    assert len(seen) == after  # the record in hand, and no more
    assert "start the same command again" in capsys.readouterr().err
    assert sum(map(len, records(tmp_path / "r").values())) == after
    assert cli.main(arguments) == 0
    assert len(seen) == 4 * N  # nothing was answered twice
    assert results(tmp_path / "r") == results(alone)


def test_a_killed_run_is_resumed(tmp_path, alone):
    folder = tmp_path / "r"
    run = subprocess.run(
        signalling("KILL", 7, *RUN, "--timings", "0", "--out", folder), env=environment(), capture_output=True
    )
    assert run.returncode == -signal.SIGKILL
    assert sum(map(len, records_there(folder))) == 7
    assert cli.main([*RUN, "--timings", "0", "--out", str(folder)]) == 0
    assert results(folder) == results(alone)


def records_there(folder) -> list[list[bytes]]:
    return [p.read_bytes().splitlines() for p in (folder / "records").glob("*.jsonl")]


def test_other_memory_or_sharing_goes_on_with_the_same_folder(tmp_path, alone):
    folder = tmp_path / "r"
    assert cli.main([*RUN, "--timings", "0", "--max-branch-bytes", "1", "--out", str(folder)]) == 0
    assert {r["shared"] for own in records(folder).values() for r in own} == {"images"}
    assert results(folder) == results(alone)
    before = {p: p.read_bytes() for p in (folder / "records").iterdir()}
    assert cli.main([*RUN, "--share", "off", "--out", str(folder)]) == 0
    assert {p: p.read_bytes() for p in (folder / "records").iterdir()} == before


def test_a_cache_on_disk_changes_nothing_but_the_work(tmp_path, alone, capsys):
    for turn in ("cold", "warm"):
        arguments = [*RUN, "--timings", "0", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / turn)]
        assert cli.main(arguments) == 0
        said = capsys.readouterr().err
        assert ("0 computed" in said) == (turn == "warm")
        assert results(tmp_path / turn) == results(alone)


def test_nothing_is_read_ahead_while_times_are_taken(tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("read ahead")

    monkeypatch.setattr("vtprune_eval.pipeline.images.ahead", refuse)
    few = [*RUN[:-4], "--limit", "2", "--max-new-tokens", "2"]
    assert cli.main([*few, "--out", str(tmp_path / "all")]) == 0  # fewer samples than are timed in any case
    with pytest.raises(AssertionError, match="read ahead"):
        cli.main([*few, "--timings", "1", "--out", str(tmp_path / "some")])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--share", "maybe"),
        ("--timings", "-1"),
        ("--cache-size", "lots"),
        ("--max-branch-bytes", "-1"),
        ("--max-branch-bytes", "1 PB"),
    ],
)
def test_values_that_mean_nothing_are_one_sentence(option, value, capsys):
    assert cli.main(["--model", "stub", f"{option}={value}"]) == 2
    said = capsys.readouterr().err
    assert option in said
    assert said.count("\n") == 1


def test_the_stand_in_runs_without_times_too(tmp_path):
    assert (
        cli.main(
            [
                "--model",
                "stub",
                "--method",
                "full,stride",
                "--budget",
                "20",
                "--limit",
                "6",
                "--timings",
                "2",
                "--tasks",
                "mini-doc",
                "--out",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    assert [sum(r["times"] is not None for r in own) for own in records(tmp_path / "r").values()] == [2, 2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cache": ""}, "--cache is empty"),
        ({"cache": " "}, "--cache is empty"),
        ({"cache": ["c"]}, "cache"),
        ({"engine": "ray", "cache": "c"}, "--cache"),
        ({"share": True}, "share"),
        ({"share": "on"}, "--share"),
    ],
)
def test_settings_that_do_not_fit(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        from_mapping({"model": "stub", **settings})


def test_yaml_reads_off_as_a_truth_value_and_off_is_meant():
    assert from_mapping({"model": "stub", "share": False}).share == "off"


def test_settings_of_sharing_are_not_part_of_a_runs_identity():
    plain = from_mapping({"model": "stub"})
    other = from_mapping(
        {"model": "stub", "share": "off", "timings": 3, "cache": "x", "cache_size": "1GB", "max_branch_bytes": 5}
    )
    assert plain.identity == other.identity


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("4GB", 4 * 10**9), ("1.5 GiB", 3 << 29), ("500mb", 5 * 10**8), (7, 7), ("2K", 2000)]
)
def test_sizes(text, value):
    assert parse_bytes(text, "--x") == value


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "4 PB", "٤GB", True, "nan"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="500MB or 4GB"):
        parse_bytes(text, "--x")


def sample(number: int) -> Sample:
    return Sample(str(number), (), "", {})


def test_an_exception_belongs_to_its_own_sample():
    def load(s):
        if s.id == "2":
            raise SampleError("bad_image", "no")
        return s.id

    got = []
    for s, future in ahead(map(sample, range(5)), load):
        try:
            got.append(future.result())
        except SampleError as error:
            got.append(f"{s.id} {error.reason}")
    assert got == ["0", "1", "2 bad_image", "3", "4"]


def test_one_sample_ahead_in_another_thread_and_no_more():
    loaded, threads, gate = [], set(), threading.Event()

    def load(s):
        threads.add(threading.get_ident())
        loaded.append(s.id)
        if s.id == "1":
            gate.set()
        return s.id

    stream = ahead(map(sample, range(6)), load)
    _, first = next(stream)
    assert first.result() == "0"
    assert gate.wait(PATIENCE)  # the next one is prepared without being asked for
    time.sleep(0.05)
    assert loaded == ["0", "1"]
    assert threading.get_ident() not in threads
    stream.close()
    assert not any(t.name.startswith("images") and t.is_alive() for t in threading.enumerate())
    assert loaded == ["0", "1"]


def test_costs_of_records_without_times():
    record = {
        "status": "ok",
        "id": "a",
        "counts": {"visual": [4], "visual_full": [8], "patches": [16], "patches_full": [32]},
        "flops": {"total": 1.0},
        "kv_bytes": 3,
        "times": None,
        "peak_bytes": None,
        "score": 1.0,
    }
    costs = costs_of([record], [record])
    assert (costs["ttft_ms"], costs["speedup"], costs["peak_bytes"], costs["timed_samples"]) == (None, None, None, 0)
    assert costs["kv_bytes"] == 3
