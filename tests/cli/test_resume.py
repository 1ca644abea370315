"""Kill, resume, lock, changed settings, full disk: real processes."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess

import pytest

from tests.conftest import command, environment
from tests.sure import signalling, until
from vtprune_eval.results.record import result_of

RUN = ("--model", "stub", "--method", "full,pixelprune", "--budget", "20", "--limit", "60")


def results(folder) -> dict[str, list]:
    """The parts of all records that must not depend on interruptions."""
    return {
        p.name: [result_of(json.loads(line)) for line in p.read_text().splitlines()]
        for p in sorted((folder / "records").glob("*.jsonl"))
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "r"
    done = subprocess.run(command(*RUN, "--out", folder), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return results(folder)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_records_and_resumed_gives_the_same_records(tmp_path, uninterrupted, seed):
    rng = random.Random(seed)
    folder = tmp_path / "r"
    for _ in range(3):  # at most 90 of 360 records each time
        killed = subprocess.run(
            signalling("KILL", rng.randint(1, 90), *RUN, "--out", folder), capture_output=True, env=environment()
        )
        assert killed.returncode == -signal.SIGKILL
    done = subprocess.run(command(*RUN, "--out", folder), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert results(folder) == uninterrupted


def test_torn_and_damaged_lines_are_redone(tmp_path, cli, uninterrupted):
    folder = tmp_path / "r"
    assert cli(*RUN, "--out", folder).returncode == 0
    path = folder / "records" / "mini-doc--full@100.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[5] = "{broken}\n"
    path.write_text("".join(lines[:-1]) + lines[-1][:40])
    done = cli(*RUN, "--out", folder)
    assert done.returncode == 0
    assert "line 6 is damaged" in done.stderr
    assert "was cut off" in done.stderr
    assert results(folder) == uninterrupted


def test_a_finished_run_is_not_done_again(tmp_path, cli):
    folder = tmp_path / "r"
    cli(*RUN, "--out", folder)
    before = {p: p.read_bytes() for p in (folder / "records").iterdir()}
    again = cli(*RUN, "--out", folder)
    assert again.returncode == 0 and "resuming: 360 of 360 records" in again.stderr
    assert {p: p.read_bytes() for p in (folder / "records").iterdir()} == before


def test_ctrl_c_finishes_the_record_and_says_how_to_go_on(tmp_path, uninterrupted, cli):
    folder = tmp_path / "r"
    done = subprocess.run(
        signalling("INT", 17, *RUN, "--out", folder), capture_output=True, text=True, env=environment()
    )
    err = done.stderr
    assert done.returncode == 130
    assert sum(path.read_text().count("\n") for path in (folder / "records").iterdir()) == 17
    assert "start the same command again" in err
    for path in (folder / "records").iterdir():
        assert path.read_text().endswith("}\n")
    assert cli(*RUN, "--out", folder).returncode == 0
    assert results(folder) == uninterrupted


def test_a_second_process_on_one_folder_is_refused(tmp_path, cli):
    folder = tmp_path / "r"
    first = subprocess.Popen(  # it stops, and keeps the folder
        signalling("STOP", 3, *RUN, "--out", folder),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: (folder / "run.json").exists(), first)
        second = cli(*RUN, "--out", folder)
        assert second.returncode == 2
        assert "another process is writing" in second.stderr
    finally:
        first.kill()
        first.wait()


def test_other_settings_for_a_folder_are_refused_with_the_difference(tmp_path, cli):
    folder = tmp_path / "r"
    assert cli(*RUN, "--out", folder).returncode == 0
    done = cli(*RUN[:-1], "61", "--seed", "5", "--out", folder)
    assert done.returncode == 2
    assert "limit: 60 there, 61 now" in done.stderr
    assert "seed: 0 there, 5 now" in done.stderr


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path, cli, uninterrupted):
    folder = tmp_path / "r"
    limit = 20_000  # bytes per file: some records fit, the rest does not

    done = cli(*RUN, "--out", folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert done.returncode == 2
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    kept = sum(path.read_text().count("\n") for path in (folder / "records").iterdir())  # cells take turns
    assert kept > 5
    again = cli(*RUN, "--out", folder)
    assert again.returncode == 0
    assert f"resuming: {kept} of" in again.stderr
    assert results(folder) == uninterrupted


def test_an_unusable_run_folder_is_one_sentence(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    done = cli(*RUN, "--out", tmp_path / "file" / "r")
    assert done.returncode == 2
    assert "choose another with --out" in done.stderr
    stray = tmp_path / "stray" / "records"
    stray.mkdir(parents=True)
    (stray / "x.jsonl").write_text("{}\n")
    done = cli(*RUN, "--out", tmp_path / "stray")
    assert done.returncode == 2
    assert "no run.json" in done.stderr
