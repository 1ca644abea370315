"""``--shard`` and ``merge`` through the real command line: the records of a single process, or one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.conftest import command, environment
from tests.reliability.support import results
from tests.sure import PATIENCE, signalling
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.cli import main
from vtprune_eval.errors import UserError
from vtprune_eval.runner.workers.shards import Shard

RUN = ("--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "17")
COUNT = 3


def run(*args) -> None:
    assert main([str(a) for a in args]) == 0


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shards of one run and the whole run, for all tests of this file; nobody may change them."""
    base = tmp_path_factory.mktemp("shards")
    for i in range(COUNT):
        run(*RUN, "--shard", f"{i}/{COUNT}", "--out", base / str(i))
    run(*RUN, "--out", base / "whole")
    return base


def parts(base) -> list:
    return [base / str(i) for i in range(COUNT)]


def merge_error(*args) -> str:
    """The sentence with which the command refuses."""
    from vtprune_eval.runner.workers import merge

    with pytest.raises(UserError) as caught:
        merge.main([str(a) for a in args])
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_merged_shards_are_the_single_run(shards, tmp_path, capsys):
    run("merge", shards / "2", shards / "0", shards / "1", "--out", tmp_path / "m", "--format", "json")
    summary = json.loads(capsys.readouterr().out)
    assert results(tmp_path / "m") == results(shards / "whole")  # the order of the lines included
    assert json.loads((tmp_path / "m/run.json").read_text()) == json.loads((shards / "whole/run.json").read_text())
    whole = json.loads((shards / "whole/summary.json").read_text())
    assert summary["run"] == whole["run"]
    for row, other in zip(summary["rows"], whole["rows"], strict=True):
        assert row["tasks"] == other["tasks"]
        assert row["costs"]["flops"] == other["costs"]["flops"]


def test_a_merged_run_is_a_finished_run(shards, tmp_path, capsys):
    run("merge", *parts(shards), "--out", tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m/records").iterdir()}
    capsys.readouterr()
    run(*RUN, "--out", tmp_path / "m")
    assert "resuming: 102 of 102 records" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / "m/records").iterdir()} == before
    run("leaderboard", "build", tmp_path / "m", "--dir", tmp_path / "board")


def test_a_merge_that_was_killed_is_done_again_but_foreign_records_are_kept(shards, tmp_path):
    run("merge", *parts(shards), "--out", tmp_path / "m")
    gone = tmp_path / "m/records/mini-doc--full@100.jsonl"
    gone.unlink()
    run("merge", *parts(shards), "--out", tmp_path / "m")
    assert results(tmp_path / "m") == results(shards / "whole")
    shutil.copytree(shards / "whole", tmp_path / "other")
    assert "already holds records" in merge_error(*parts(shards), "--out", tmp_path / "other")


def test_shards_divide_every_task():
    task = load_task("mini-doc", 23)
    ids = [Shard(i, 4).of(task).samples.ids for i in range(4)]
    assert [len(x) for x in ids] == [6, 6, 6, 5]
    assert sorted(i for part in ids for i in part) == sorted(task.samples.ids)
    assert ids[1] == task.samples.ids[1::4]
    assert {Shard(i, 4).of(task).fingerprint for i in range(4)} == {task.fingerprint}


def test_more_shards_than_samples(tmp_path):
    few = ("--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "2", "--tasks", "mini-doc")
    for i in range(3):
        run(*few, "--shard", f"{i}/3", "--out", tmp_path / str(i))
    run("merge", *parts(tmp_path), "--out", tmp_path / "m")
    run(*few, "--out", tmp_path / "whole")
    assert results(tmp_path / "m") == results(tmp_path / "whole")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("4/4", "numbered from 0, so that the last of 4 is 3/4"),
        ("1", "write INDEX/COUNT"),
        ("-1/4", "write INDEX/COUNT"),
        ("0/0", "a count from 1"),
        ("1/2/3", "write INDEX/COUNT"),
        ("٣/٤", "write INDEX/COUNT"),
        ("", "--shard is empty"),
    ],
)
def test_bad_shards(text, says, capsys):
    assert main([*RUN, f"--shard={text}"]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_belongs_to_one_shard_and_has_its_number_in_its_default_name(shards, tmp_path, capsys):
    shutil.copytree(shards / "1", tmp_path / "1")
    assert main([*RUN, "--shard", "2/3", "--out", str(tmp_path / "1")]) == 2
    assert 'shard: "1/3" there, "2/3" now' in capsys.readouterr().err
    assert main([*RUN, "--out", str(tmp_path / "1")]) == 2
    assert main(["leaderboard", "build", str(shards / "1"), "--dir", str(tmp_path / "board")]) == 2
    assert "put the shards together first" in capsys.readouterr().err
    from vtprune_eval.runner.spec import RunSpec

    a, b = RunSpec(model="stub", shard="0/2"), RunSpec(model="stub", shard="1/2")
    assert a.identity == b.identity == RunSpec(model="stub").identity
    assert a.folder.name == f"stub-{a.identity}-shard-0-of-2" and a.folder != b.folder


def test_merge_refuses(shards, tmp_path):
    out = ("--out", tmp_path / "m")
    a, b, c = parts(shards)
    assert "2 of 3 shards are given, without 1/3" in merge_error(a, c, *out)
    assert "shard 1/3 is given twice" in merge_error(a, b, b, *out)
    assert "is a whole run" in merge_error(a, b, shards / "whole", *out)
    assert "no run.json" in merge_error(tmp_path, *out)
    bare = shutil.copytree(b, tmp_path / "bare")
    (bare / "environment.json").unlink()
    assert "environment.json cannot be read" in merge_error(a, bare, c, *out)
    run(*RUN, "--shard", "2/4", "--out", tmp_path / "four")
    assert "is one of 4 shards" in merge_error(a, b, tmp_path / "four", *out)
    run(*RUN[:-1], "18", "--shard", "2/3", "--out", tmp_path / "other")
    assert "limit: 17 there, 18 now" in merge_error(a, b, tmp_path / "other", *out)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: lines[:-1], "is not finished: 1 of 6 samples of full at 100 on mini-doc"),
        (lambda lines: [*lines, lines[0]], "a sample twice"),
        (lambda lines: [*lines[1:], lines[0].replace('"id":"', '"id":"x')], "of another shard"),
        (lambda lines: [lines[0].replace('"key":"', '"key":"0'), *lines[1:]], "carries the key"),
        (lambda lines: [*lines[:-1], lines[-1][:50]], "is not JSON"),
        (lambda lines: ["\udce4"], "is not JSON"),
    ],
)
def test_merge_refuses_damaged_and_unfinished_shards(shards, tmp_path, damage, says):
    shutil.copytree(shards / "1", tmp_path / "1")
    file = tmp_path / "1/records/mini-doc--full@100.jsonl"
    lines = damage(file.read_text().splitlines())
    file.write_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))
    message = merge_error(shards / "0", tmp_path / "1", shards / "2", "--out", tmp_path / "m")
    assert says in message
    assert not (tmp_path / "m").exists()


def test_merge_refuses_other_data_and_another_version(shards, tmp_path):
    for key, value, says in (
        ("data", dict.fromkeys(("mini-grounding", "mini-doc", "mini-nav"), "v1 0"), "not those"),
        ("package", "0.0.1", "version 0.0.1"),
    ):
        for i in range(COUNT):
            shutil.copytree(shards / str(i), tmp_path / key / str(i))
            path = tmp_path / key / str(i) / "run.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        assert says in merge_error(*parts(tmp_path / key), "--out", tmp_path / "m")


def test_shards_run_at_the_same_time_and_one_is_killed(tmp_path, shards):
    """As a job array does it: separate processes, one of them interrupted and started again."""
    lines = [(*RUN, "--shard", f"{i}/2", "--out", tmp_path / str(i)) for i in range(2)]
    pair = [
        subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in (command(*lines[0]), signalling("KILL", 5, *lines[1]))
    ]
    try:
        assert [process.wait(PATIENCE) for process in pair] == [0, -9]
    finally:
        for process in pair:
            process.kill()
            process.wait()
    assert "is not finished" in merge_error(tmp_path / "0", tmp_path / "1", "--out", tmp_path / "m")
    run(*RUN, "--shard", "1/2", "--out", tmp_path / "1")
    run("merge", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "m")
    assert results(tmp_path / "m") == results(shards / "whole")
