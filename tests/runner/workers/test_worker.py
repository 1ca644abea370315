"""A worker that has all cells of a task shares their work as the local engine does, without a cluster."""

from __future__ import annotations

import json

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.results.record import result_of
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.execute import execute, load_factory
from vtprune_eval.runner.plan import cell_key
from vtprune_eval.runner.workers.worker import Worker

ASKED = {
    "model": "nano",
    "methods": ["full", "snapkv", "fastv", "divprune", "stride"],
    "budgets": ["50"],
    "tasks": ["mini-doc"],
    "limit": 3,
    "timings": 1,
    "dtype": "float32",
    "device": "cpu",
    "profile": "off",
}


def test_a_worker_shares_as_the_local_engine_does(tmp_path, capsys):
    local = from_mapping({**ASKED, "out": str(tmp_path / "r")})
    assert execute(local, progress=False) == 0
    capsys.readouterr()
    task = load_task("mini-doc", 3)
    expected = {}
    for path in (tmp_path / "r" / "records").iterdir():
        for line in path.read_text().splitlines():
            record = json.loads(line)
            expected[record["key"], record["id"]] = record
    worker = Worker(local, "w", load_factory)
    worker.load({"mini-doc": task.fingerprint})
    cells = [(cell, cell_key(local, task, cell)) for cell in local.cells()]
    found: dict = {}
    lacking = {i: list(range(len(cells))) for i in task.samples.ids}
    while lacking:  # a call may come back before it has answered all
        got = worker.answer_all("mini-doc", cells, lacking)
        for record in got:
            found[record["key"], record["id"]] = record
        lacking = {i: n for i, n in lacking.items() if i not in {r["id"] for r in got}}
    assert found.keys() == expected.keys()
    for key, record in found.items():
        assert json.loads(json.dumps(result_of(record))) == result_of(expected[key])
        assert record.get("shared") == expected[key].get("shared")
        assert (record["times"] is None) == (expected[key]["times"] is None) and record["worker"]
    assert sum(r["times"] is not None for r in found.values()) == len(cells)
    again = worker.answer_all("mini-doc", cells, {task.samples.ids[1]: [1, 3]})
    assert sorted(r["key"] for r in again) == sorted(cells[n][1] for n in (1, 3))
