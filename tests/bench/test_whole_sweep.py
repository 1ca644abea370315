"""``scripts/bench/whole_sweep.py``: both sides answer the same cells, each once."""

from __future__ import annotations

import json

import pytest

SCRIPT = "whole_sweep"


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


def test_separate_commands_answer_what_the_one_does_and_full_once(bench, tmp_path):
    (_, shared), others = bench.commands("cache", 16, tmp_path)
    cells = [(option(a, "--method"), option(a, "--budget")) for _, a in others]
    methods, budgets = option(shared, "--method").split(","), option(shared, "--budget").split(",")
    assert sorted(cells) == sorted([("full", "100"), *((m, b) for m in methods for b in budgets)])
    assert "--no-full" not in shared
    assert [a for _, a in others if "--no-full" not in a] == [others[0][1]]
    assert all(option(a, "--share") == "off" and option(a, "--limit") == "16" for _, a in others)


def write(folder, cells):
    for cell, ids in cells.items():
        file = folder / "records" / f"{cell}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps({"id": str(i), "status": "ok", "ids": [n]}) + "\n" for i, n in ids))
    return folder


def test_records_are_compared_one_by_one(bench, tmp_path):
    ours = write(tmp_path / "shared", {"a": [(1, 5), (2, 6)], "b": [(1, 7)]})
    a, b = write(tmp_path / "a", {"a": [(1, 5), (2, 6)]}), write(tmp_path / "b", {"b": [(1, 7)]})
    assert bench.compare(ours, [a, b]) == 3
    for others, said in (([a], "1 records are in the one"), ([a, b, b], "in b again")):
        with pytest.raises(SystemExit, match=said):
            bench.compare(ours, others)
    other = write(tmp_path / "c", {"b": [(1, 8)]})
    with pytest.raises(SystemExit, match="ids differs from c"):
        bench.compare(ours, [a, other])
    more = write(tmp_path / "d", {"b": [(1, 7), (2, 7)]})
    with pytest.raises(SystemExit, match="in d alone"):
        bench.compare(ours, [a, more])
