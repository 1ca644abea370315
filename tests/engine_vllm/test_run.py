"""A run with ``--engine vllm`` from the command line: records, resume, Ctrl-C, verify, board, replicas."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.conftest import command, environment

RUN = (
    "--model",
    "nano",
    "--method",
    "full,divprune,focusui",
    "--budget",
    "25",
    "--tasks",
    "mini-grounding,mini-nav",
    "--limit",
    "40",
    "--engine",
    "vllm",
)
COSTS = ("times", "peak_bytes", "energy_j", "gpu_process_bytes", "flops", "kv_bytes")


def records_of(folder):
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((folder / "records").glob("*.jsonl"))
    }


def lines_in(folder):
    return sum(len(path.read_bytes().splitlines()) for path in (folder / "records").glob("*.jsonl"))


def test_a_run_is_interrupted_resumed_verified_and_shown(tmp_path, cli):
    out = tmp_path / "run"
    with subprocess.Popen(
        command(*RUN, "--out", str(out)),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline and first.poll() is None and lines_in(out) < 45:
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=200)
    assert first.returncode == 130, said
    assert "start the same command again" in said
    before = lines_in(out)
    assert 45 <= before < 240
    kept = records_of(out)

    done = cli(*RUN, "--out", str(out), timeout=600, process=True)
    assert done.returncode == 0, done.stderr
    assert f"resuming: {before} of 240 records are there" in done.stderr
    assert "costs are never taken from there" in done.stdout
    records = records_of(out)
    assert {len(own) for own in records.values()} == {40}
    for name, own in kept.items():  # nothing was answered twice
        assert {json.dumps(r) for r in own} <= {json.dumps(r) for r in records[name]}
    for record in (r for own in records.values() for r in own):
        assert record["engine"] == "vllm 0.30.0" and all(record[k] is None for k in COSTS)
        assert record["status"] == "ok" and record["ids"] and record["kept"]
    settings = json.loads((out / "run.json").read_text())
    assert (settings["engine"], settings["engine_version"]) == ("vllm", "vllm 0.30.0")

    board = cli("leaderboard", "build", str(out), "--dir", str(tmp_path / "board"))
    assert board.returncode == 2 and "never compared with the pipeline" in board.stderr
    verified = cli("verify", str(out), "--samples", "8", timeout=600, process=True)
    assert verified.returncode == 0, verified.stderr
    assert "48 of 48 answers of vllm 0.30.0 have the pipeline's ids (100.0 %, float32)" in verified.stdout
    board = cli("leaderboard", "build", str(out), "--dir", str(tmp_path / "board"), timeout=600, process=True)
    assert board.returncode == 0, board.stderr
    assert "16 of 16 answers with the ids of the pipeline" in (tmp_path / "board" / "leaderboard.md").read_text()
    result = next((tmp_path / "board" / "results").glob("*.json"))
    checked = cli("validate", str(result), timeout=600, process=True)
    assert checked.returncode == 0 and "no costs are stated" in checked.stdout, checked.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are looked up in /proc")
def test_two_replicas_of_which_one_is_killed(tmp_path):
    out = tmp_path / "run"
    ask = (
        *RUN[:2],
        "--method",
        "stride",
        "--budget",
        "40",
        "--tasks",
        "mini-doc",
        "--limit",
        "120",
        "--engine",
        "vllm",
        "--workers",
        "2",
        "--out",
        str(out),
    )
    with subprocess.Popen(
        command(*ask), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        deadline, killed = time.monotonic() + 600, False
        while time.monotonic() < deadline and run.poll() is None and not killed:
            workers = descendants(run.pid, "VllmWorker")
            if lines_in(out) and workers:
                os.kill(workers[0], signal.SIGKILL)
                killed = True
            time.sleep(0.05)
        _, errors = run.communicate(timeout=600)
    assert killed and run.returncode == 0, errors
    assert "a worker was lost" in errors
    own = records_of(out)["mini-doc--stride@40.jsonl"]
    assert len(own) == 120 and {r["status"] for r in own} == {"ok"}
    assert {r["engine"] for r in own} == {"vllm 0.30.0"} and all(r["worker"] for r in own)


def descendants(pid, name):
    """Processes below ``pid`` whose title holds ``name``."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            with open(f"/proc/{one}/task/{one}/children") as stream:
                waiting += [int(p) for p in stream.read().split()]
            with open(f"/proc/{one}/cmdline") as stream:
                if name in stream.read():
                    found.append(one)
        except OSError:
            continue
    return sorted(found)


def test_serve_bench_is_a_rehearsal_on_a_cpu(tmp_path, cli):
    done = cli(
        "serve-bench",
        "--model",
        "nano",
        "--method",
        "full,pixelprune",
        "--budget",
        "auto",
        "--tasks",
        "mini-grounding",
        "--concurrency",
        "1,4",
        "--requests",
        "6",
        "--answer-tokens",
        "5",
        "--out",
        "bench",
        timeout=600,
        process=True,
    )
    assert done.returncode == 0, done.stderr
    assert "prefix caching off" in done.stdout and "a rehearsal on a CPU" in done.stdout
    found = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert found["rehearsal"] and found["identity"]["engine"] == "vllm 0.30.0"
    rows = found["rows"]
    assert [(r["method"], r["in_flight"], r["requests"], r["failed"]) for r in rows] == [
        (m, c, 6, 0) for c in (1, 4) for m in ("full", "pixelprune")
    ]
    for row in rows:
        assert row["requests_per_s"] > 0 and 0 < row["ttft_p50_ms"] <= row["ttft_p95_ms"] <= row["ttft_p99_ms"]
        assert row["tpot_p50_ms"] > 0 and row["e2e_p50_ms"] > row["ttft_p50_ms"]
    assert rows[1]["prompt_tokens"] < rows[0]["prompt_tokens"]
    assert (tmp_path / "bench" / "bench.csv").read_text().count("\n") == 5
    assert (tmp_path / "bench" / "bench.png").read_bytes().startswith(b"\x89PNG")
