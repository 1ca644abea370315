"""Bookkeeping of several workers without a cluster: every sample is answered once, whoever dies when."""

from __future__ import annotations

import json
import random

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.runner.spec import Cell
from vtprune_eval.runner.workers.machines import joined
from vtprune_eval.runner.workers.queue import DEATHS_OF_A_SAMPLE, MAX_CALL, Bundle, Part, choose
from vtprune_eval.runner.workers.ray import cores_per_worker

CELL = Cell("full", "100")


@pytest.fixture(scope="module")
def task():
    return load_task("mini-doc", 60)


def part(task, path, done=()) -> Part:
    own = Part(task, CELL, "k", path / f"{random.random()}.jsonl", dict.fromkeys(done))
    own.path.write_text("".join(json.dumps(record(i)) + "\n" for i in done))
    return own


def record(own: str, score: float = 1.0, reason: str = "ok", message: str = "") -> dict:
    return {"id": own, "score": score, "reason": reason, "message": message}


def lines(own: Part) -> list[str]:
    return [json.loads(line)["id"] for line in own.path.read_text().splitlines()]


@pytest.mark.parametrize("seed", range(5))
def test_workers_that_die_at_random_change_nothing(task, tmp_path, seed):
    rng = random.Random(seed)
    parts = [part(task, tmp_path, task.samples.ids[:20]), part(task, tmp_path)]
    own: dict[int, Part | None] = dict.fromkeys(range(4))
    while any(p.pending for p in parts):
        worker = rng.choice(list(own))
        chosen = choose(parts, own[worker])
        assert chosen is not None
        own[worker] = chosen
        chosen.workers = sum(p is chosen for p in own.values())
        ids = chosen.take()
        assert 1 <= len(ids) <= MAX_CALL
        if rng.random() < 0.2 and not (len(ids) == 1 and chosen.deaths[ids[0]] == DEATHS_OF_A_SAMPLE - 1):
            assert chosen.lost(ids) == []
            continue
        n = rng.randint(1, len(ids))  # a call may come back early
        for i in ids[:n]:
            chosen.add(record(i))
        chosen.put_back(ids[n:])
    for p in parts:
        assert sorted(p.done) == sorted(task.samples.ids)
        assert lines(p) == task.samples.ids  # in the order of the task, each once


def test_the_sample_that_kills_is_found_and_the_others_are_answered(task, tmp_path):
    own, killer = part(task, tmp_path), task.samples.ids[7]
    deaths = 0
    while own.pending:
        ids = own.take()
        if killer in ids:
            deaths += 1
            for failed in own.lost(ids):
                own.add(failed)
        else:
            for i in ids:
                own.add(record(i))
    assert deaths == DEATHS_OF_A_SAMPLE + 1  # once in company, then alone
    assert lines(own) == task.samples.ids
    written = [json.loads(line) for line in own.path.read_text().splitlines()]
    (failed,) = (r for r in written if r["reason"] == "worker_lost")
    assert (failed["id"], failed["status"], failed["score"]) == (killer, "failed", 0.0)


def test_cells_of_a_bundle_are_answered_together_and_written_apart(task, tmp_path):
    ids, killer = task.samples.ids, task.samples.ids[9]
    cells = [part(task, tmp_path, ids[:3]), part(task, tmp_path, ids[:5]), part(task, tmp_path)]
    for number, cell in enumerate(cells):
        cell.key = f"k{number}"
    bundle, deaths = Bundle(task, cells), 0
    assert list(bundle.pending) == ids  # the last cell lacks them all
    asked: list = []

    class Actor:
        class answer_all:
            @staticmethod
            def remote(*args):
                asked.append(args)
                return "call"

    while bundle.pending:
        taken = bundle.take()
        assert bundle.ask(Actor, taken) == "call"
        name, who, lacking = asked[-1]
        assert name == task.name and who == [(c.cell, c.key) for c in cells] and list(lacking) == taken
        if killer in taken:
            deaths += 1
            for failed in bundle.lost(taken):
                bundle.add(failed)
            continue
        for i, numbers in lacking.items():
            assert numbers == [n for n in range(3) if ids.index(i) >= (3, 5, 0)[n]]
            for n in reversed(numbers):
                bundle.add({**record(i), "key": f"k{n}"})
            assert bundle.latest is cells[numbers[0]]
    bundle.close()
    assert deaths == DEATHS_OF_A_SAMPLE + 1
    assert all(lines(cell) == ids for cell in cells)
    for cell in cells:
        lost = [r for r in map(json.loads, cell.path.read_text().splitlines()) if r["reason"] == "worker_lost"]
        assert [r["id"] for r in lost] == [killer]


def test_calls_get_smaller_towards_the_end(task, tmp_path):
    own = part(task, tmp_path)
    own.workers = 4
    sizes = []
    while own.pending:
        sizes.append(len(own.take()))
    assert sizes[0] == 8 and sizes[-1] == 1 and sizes == sorted(sizes, reverse=True)


def test_a_free_worker_stays_then_opens_a_new_part_then_helps_the_longest(task, tmp_path):
    a, b, c = (part(task, tmp_path) for _ in range(3))
    a.workers = b.workers = 1
    assert choose([a, b, c], a) is a
    a.pending.clear()
    assert choose([a, b, c], a) is c
    c.workers = 1
    for _ in range(10):
        b.pending.pop()
    assert choose([a, b, c], a) is c
    c.workers = 3
    assert choose([a, b, c], a) is b
    b.pending.clear()
    c.pending.clear()
    assert choose([a, b, c], a) is None


def test_a_method_that_always_fails_stops_the_run(task, tmp_path):
    own = part(task, tmp_path)
    for i in task.samples.ids[:4]:
        own.add(record(i, 0.0, "crash", "ValueError: no"))
    with pytest.raises(UserError, match="the first 5 samples all failed"):
        own.add(record(task.samples.ids[4], 0.0, "crash", "ValueError: no"))
    own.close()
    assert len(lines(own)) == 4
    other = part(task, tmp_path)
    other.add(record(task.samples.ids[0]))
    for i in task.samples.ids[1:]:  # one answer shows that the method works
        other.add(record(i, 0.0, "crash", "ValueError: no"))
    assert len(lines(other)) == 60


@pytest.mark.parametrize(
    ("cores", "n", "expected"),
    [
        ([8, 8], 2, 8),
        ([8, 8], 4, 4),
        ([8, 8], 3, 4),
        ([4, 2], 2, 2),
        ([2], 5, 1),
        ([], 1, 1),
        ([64], 1, 64),
    ],
)
def test_cores_per_worker(cores, n, expected):
    assert cores_per_worker(cores, n) == expected
    if sum(cores) >= n:
        assert sum(c // expected for c in cores) >= n


def test_machines_that_differ_are_all_named_and_no_warning_is_lost():
    data = joined(
        [
            {"processor": "A", "gpu": {"name": "H200", "warnings": ["busy"]}, "commit": "1"},
            {"processor": "A", "gpu": {"name": "A100", "warnings": ["busy", "hot"]}, "commit": "2"},
            {"processor": None, "gpu": None},
        ]
    )
    assert data == {"processor": "A", "gpu": {"name": "H200 + A100", "warnings": ["busy", "hot"]}, "commit": "1"}
