"""The nightly comparison: silent without a change, loud with one of each kind."""

from __future__ import annotations

import copy
import json

import pytest
import refresh_leaderboard as refresh

from tests.leaderboard.conftest import edit_records
from vtprune_eval.leaderboard.result_file import from_run, write
from vtprune_eval.results.folder import read_run


@pytest.fixture
def nightly(board, tmp_path):
    def start(*extra: str, runs: str = "new") -> int:
        return refresh.main(["--dir", str(board), "--runs", str(tmp_path / runs), "--group", "scripted", *extra])

    return start


def test_no_change(result, nightly, board, capsys, tmp_path):
    before = result.read_bytes()
    assert nightly("--report", str(tmp_path / "c.json")) == 0
    assert "no change beyond the noise" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text()) == {"changes": []}
    assert (board / "index.html").is_file() and result.read_bytes() == before
    assert nightly() == 2  # the folder of the new runs is not empty
    assert "compared with themselves" in capsys.readouterr().err


def test_changed_scores_and_tokens_fail_loudly_until_accepted(run, board, nightly, capsys):
    edit_records(run, "mini-doc--resize@10.jsonl", lambda i, r: r.update(score=0.0, reason="wrong"))
    edit_records(run, "mini-nav--resize@50.jsonl", lambda i, r: r["counts"].update(visual=[1]) if i == 3 else None)
    path = write(*from_run(read_run(run)), board / "results")
    assert nightly() == 1
    error = capsys.readouterr().err
    assert "resize at 10 on mini-doc: accuracy 0.0 ->" in error
    assert "resize at 50 on mini-nav: visual changed on 1 of 12 samples" in error
    assert error.count("CHANGED") == 2
    assert nightly("--accept", runs="again") == 0
    assert nightly(runs="third") == 0
    assert path.is_file()


def test_other_weights_are_named(run, board, nightly, capsys):
    settings = json.loads((run / "run.json").read_text())
    settings["fingerprint"] = "older"
    (run / "run.json").write_text(json.dumps(settings))
    write(*from_run(read_run(run)), board / "results")
    assert nightly() == 1
    assert "fingerprint changed since it was committed" in capsys.readouterr().err


def test_nothing_committed_is_a_mistake(board, nightly, capsys):
    assert nightly() == 2
    assert "holds no result of scripted" in capsys.readouterr().err


@pytest.fixture
def records(finished):
    own = {k: list(v.values()) for k, v in read_run(finished).records.items()}
    for key, cell in own.items():
        for r in cell:
            r["times"]["e2e_ms"] = 100.0 if key[1] == "full" else 50.0
            r["flops"] = {"total_prefill": 10.0, "total": 20.0}
    return own


KEY = ("mini-doc", "resize", "50")


def changed(records, change):
    new = copy.deepcopy(records)
    change(new[KEY])
    return refresh.changes(records, new)


def test_noise_is_tolerated(records):
    def change(cell):
        cell[0]["score"] = 1.0 - cell[0]["score"]  # one near tie
        for r in cell:
            r["times"]["e2e_ms"] = 58.0  # 14 % slower
            r["flops"]["total"] = 20.05  # answers a little longer

    assert changed(records, change) == []


@pytest.mark.parametrize(("field", "value", "says"), [
    ("times", {"e2e_ms": 60.0}, "speed-up 2.00x -> 1.67x"), ("flops", {"total": 20.5}, r"FLOPs (total) 240 -> 246"),
    ("flops", {"total_prefill": 10.0001}, "FLOPs (total_prefill)"),
    ("counts", {"cache_entries": [1]}, "cache_entries changed on 12 of 12"),
])
def test_each_kind_of_change_is_found(records, field, value, says):
    found = changed(records, lambda cell: [r[field].update(value) for r in cell])
    assert len(found) == 1 and says in found[0] and "resize at 50 on mini-doc" in found[0]


def test_a_sample_that_fails_now_is_found(records):
    found = changed(records, lambda cell: cell[0].update(status="failed"))
    assert any("fail now" in line for line in found)
