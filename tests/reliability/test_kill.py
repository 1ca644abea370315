"""``kill -9`` at 50 random moments: what is there afterwards is what would be there."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.reliability.support import results, run_until

RUN = ["--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "16", "--tasks", "mini-doc"]
SLOW = {"VTPRUNE_STUB_DELAY_MS": "1"}
KILLS = 25  # of each of the two kinds


def whole(folder) -> list[list[str]]:
    return [[*RUN, "--out", str(folder)]]


def sharded(folder) -> list[list[str]]:
    parts = [[*RUN, "--shard", f"{i}/2", "--out", f"{folder}-{i}"] for i in range(2)]
    return [*parts, ["merge", f"{folder}-0", f"{folder}-1", "--out", str(folder)]]


@pytest.mark.parametrize("lines", [whole, sharded])
def test_killed_at_random_moments(lines, tmp_path):
    assert run_until(whole(tmp_path / "reference"), {}, None) == 0  # the server starts here, too
    start = time.monotonic()
    assert run_until(lines(tmp_path / "timed"), SLOW, None) == 0
    lasts = time.monotonic() - start
    expected = results(tmp_path / "reference")
    assert results(tmp_path / "timed") == expected
    rng, kills, writing, number = random.Random(7), 0, 0, 0
    while kills < KILLS or not writing:  # some meet a run that is writing
        folder, number, started = tmp_path / f"r{number}", number + 1, False
        while True:
            start = time.monotonic()
            code = run_until(lines(folder), SLOW, rng.uniform(0.05, 1.2) * lasts)
            if code != -9:
                break
            kills += 1
            writing += bool(list(tmp_path.glob(f"{folder.name}*/records/*.jsonl")))
            # What is left is less each time, unless the machine is slower than at the start.
            started, lasts = True, lasts * 1.1
        assert code == 0  # it ended before its time was over: nothing is left to kill
        if not started:  # the machine is faster than at the start
            lasts = time.monotonic() - start
        assert results(folder) == expected
        assert json.loads((folder / "summary.json").read_text())["rows"]
        assert all(p.read_bytes().endswith(b"}\n") for p in folder.rglob("*.jsonl"))
