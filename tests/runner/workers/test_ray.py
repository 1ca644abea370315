"""``--engine ray`` on a real cluster of two nodes: the records are those of a single process, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.conftest import command, environment
from tests.reliability.support import results
from tests.sure import PATIENCE, until
from vtprune_eval.cli import main

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
RUN = ("--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "40")
STORE = 100 << 20


@pytest.fixture(scope="module")
def cluster():
    """A head and a second node, one processor each, as processes of their own."""
    from ray.cluster_utils import Cluster

    saved = dict(os.environ)
    os.environ.update(environment({"RAY_USAGE_STATS_ENABLED": "0", "VTPRUNE_STUB_DELAY_MS": "15"}))
    own = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    )
    own.add_node(num_cpus=1, object_store_memory=STORE)
    os.environ["RAY_ADDRESS"] = own.address
    yield own
    ray.shutdown()
    own.shutdown()
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of a single process."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    done = subprocess.run(command(*RUN, "--out", folder), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return results(folder)


def start(*args) -> subprocess.Popen:
    return subprocess.Popen(
        command(*RUN, *args), env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def records(folder) -> list[dict]:
    """Every complete line that is there now."""
    return [
        json.loads(line)
        for p in folder.glob("records/*.jsonl")
        for line in p.read_text().splitlines(True)
        if line.endswith("\n")
    ]


def wait_for(process, folder, n: int, workers: int) -> None:
    """Until ``n`` records of ``workers`` workers are there."""
    until(lambda: len(now := records(folder)) >= n and len({r["worker"] for r in now}) >= workers, process)


def test_a_node_is_killed_in_the_middle(cluster, whole, tmp_path):
    process = start("--engine", "ray", "--out", tmp_path / "r")  # by default one worker per machine
    try:
        wait_for(process, tmp_path / "r", 20, 2)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        before = len(records(tmp_path / "r"))
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert before < 240
    assert "a worker was lost" in err
    assert results(tmp_path / "r") == whole
    own = json.loads((tmp_path / "r/environment.json").read_text())
    assert len({w["worker"] for w in own["workers"]}) >= 2
    assert {r["worker"] for r in records(tmp_path / "r")} <= {w["worker"] for w in own["workers"]}
    cluster.add_node(num_cpus=1, object_store_memory=STORE)


def test_ctrl_c_then_a_killed_driver_then_a_single_process(cluster, whole, tmp_path, cli):
    process = start("--engine", "ray", "--out", tmp_path / "r")
    try:
        wait_for(process, tmp_path / "r", 5, 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "start the same command again" in err
    first = len(records(tmp_path / "r"))
    assert 5 <= first < 240
    process = start("--engine", "ray", "--out", tmp_path / "r")
    try:
        wait_for(process, tmp_path / "r", first + 10, 1)
    finally:
        process.kill()
        process.communicate()
    done = cli(*RUN, "--out", tmp_path / "r", env={"VTPRUNE_STUB_DELAY_MS": "0"})  # another engine may go on
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.split("resuming: ")[1].split()[0]) >= first + 10
    assert results(tmp_path / "r") == whole


def deadly(spec):
    """A stub in whose hands one sample kills the whole process, as a fault in a kernel would."""
    from vtprune_eval.benchmarks.tasks import load_task
    from vtprune_eval.models.stub import COORDINATES, IDENTITY, StubPipeline

    killer = load_task("mini-doc", 12).samples.ids[5]

    class Deadly(StubPipeline):
        def run(self, sample):
            if sample.id == killer:
                os._exit(1)
            return super().run(sample)

    return IDENTITY, lambda cell, task: Deadly(cell.method, spec.budget(cell)), COORDINATES


def test_a_sample_that_kills_its_worker_is_a_failed_record(cluster, tmp_path, monkeypatch, capsys):
    few = ("--model", "stub", "--method", "full", "--limit", "12", "--tasks", "mini-doc")
    assert main([*few, "--out", str(tmp_path / "whole")]) == 0
    monkeypatch.setattr("vtprune_eval.runner.execute.load_factory", deadly)
    assert main([*few, "--engine", "ray", "--out", str(tmp_path / "r")]) == 0
    (expected,), (got,) = results(tmp_path / "whole").values(), results(tmp_path / "r").values()
    assert [r["id"] for r in got] == [r["id"] for r in expected]
    bad = [i for i, r in enumerate(got) if r["status"] == "failed"]
    assert bad == [5] and got[5]["reason"] == "worker_lost"
    assert [r for i, r in enumerate(got) if i != 5] == [r for i, r in enumerate(expected) if i != 5]
    assert "worker_lost" in capsys.readouterr().out


def test_a_real_model_gives_the_records_of_a_single_process(cluster, tmp_path):
    few = ("--model", "nano", "--method", "full,pixelprune", "--budget", "30", "--limit", "2", "--tasks", "mini-doc")
    assert main([*few, "--out", str(tmp_path / "whole")]) == 0
    assert main([*few, "--engine", "ray", "--workers", "1", "--out", str(tmp_path / "r")]) == 0
    assert results(tmp_path / "r") == results(tmp_path / "whole")
    for record in records(tmp_path / "r"):
        assert record["times"]["e2e_ms"] > 0 and record["worker"]


def test_mistakes_are_one_sentence(cluster, tmp_path, capsys, monkeypatch):
    def refused(*args) -> str:
        assert main([*RUN, "--out", str(tmp_path / "r"), *args]) == 2
        message = capsys.readouterr().err.strip()
        *before, message = message.splitlines()  # before it stands the line that says what would run
        assert len(before) <= 1 and all(line.startswith("run: ") for line in before) and message[-1] in ".?"
        return message

    assert "did you mean 'ray'" in refused("--engine", "rai")
    assert "--workers belongs to --engine ray" in refused("--workers", "2")
    assert "--cache belongs to --engine local" in refused("--engine", "ray", "--cache", str(tmp_path / "c"))
    assert "of at least 1" in refused("--engine", "ray", "--workers", "0")
    assert "write --device cuda" in refused("--engine", "ray", "--device", "cuda:1")
    assert "has no GPU now" in refused("--engine", "ray", "--device", "cuda")
    for address, says in (
        ("127.0.0.1:1", "nobody answers at RAY_ADDRESS=127.0.0.1:1"),
        ("nonsense", "nobody answers"),
        ("ray://127.0.0.1:10001", "with RAY_ADDRESS=auto"),
    ):
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert says in refused("--engine", "ray")
