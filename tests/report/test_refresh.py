"""The nightly comparison: silent without a change, loud with one of each kind."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import refresh_leaderboard as refresh

from tests.report.conftest import edit_records
from vtprune_eval.report.result_file import from_run, write
from vtprune_eval.runner.folder import read_run


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


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("times", {"e2e_ms": 60.0}, "speed-up 2.00x -> 1.67x"),
        ("flops", {"total": 20.5}, r"FLOPs (total) 240 -> 246"),
        ("flops", {"total_prefill": 10.0001}, "FLOPs (total_prefill)"),
        ("counts", {"cache_entries": [1]}, "cache_entries changed on 12 of 12"),
    ],
)
def test_each_kind_of_change_is_found(records, field, value, says):
    found = changed(records, lambda cell: [r[field].update(value) for r in cell])
    assert len(found) == 1 and says in found[0] and "resize at 50 on mini-doc" in found[0]


def _slowed(records, factor):
    new = copy.deepcopy(records)
    for r in new[KEY]:
        if r["times"]:
            r["times"]["e2e_ms"] *= factor
    return new


@pytest.mark.parametrize(("later", "n_found"), [((1.0, 1.0), 0), ((1.3, 1.0), 1), ((1.3, 1.3), 1)])
def test_a_slow_row_is_timed_twice_more_and_the_median_counts(records, later, n_found):
    asked = []

    def again(key, number):
        asked.append((key, number))
        return _slowed(records, later[number - 2])

    found = refresh.changes(records, _slowed(records, 1.5), again)
    assert asked == [(KEY, 2), (KEY, 3)] and len(found) == n_found
    assert all("median of 3 passes of 12" in line for line in found)


def test_a_fast_row_is_timed_once(records):
    assert refresh.changes(records, _slowed(records, 1.1), lambda *_: pytest.fail("timed again")) == []


def test_few_noisy_samples_allow_more(records):
    """Eight committed samples that scatter: what 15 % below their median is, is not known to 15 %."""
    old = copy.deepcopy(records)
    for i, r in enumerate(old[KEY]):
        r["times"] = {**r["times"], "e2e_ms": 30.0 + 8 * i} if i < 8 else None
    steady = copy.deepcopy(old)
    for r in steady[KEY]:
        if r["times"]:
            r["times"]["e2e_ms"] = 58.0
    assert refresh.changes(old, _slowed(old, 1.25)) == []
    assert "from 8 timed samples" in refresh.changes(steady, _slowed(steady, 1.25))[0]
    assert "from 8 timed samples" in refresh.changes(old, _slowed(old, 3.0))[0]


def test_a_pass_is_a_run_of_the_cell_and_full_on_the_same_samples(finished, tmp_path):
    run = read_run(finished)
    new = {k: list(own.values()) for k, own in run.records.items()}
    for r in new[KEY][8:]:
        r["times"] = None
    again = refresh._timed_again(dataclasses.replace(run.spec, out=str(tmp_path / "new")), new)(KEY, 2)
    assert set(again) == {KEY, ("mini-doc", "full", "100")}
    assert [r["id"] for r in again[KEY]] == [r["id"] for r in new[KEY]]
    assert (tmp_path / "new-mini-doc-resize-50-pass2" / "summary.json").is_file()


def test_a_sample_that_fails_now_is_found(records):
    found = changed(records, lambda cell: cell[0].update(status="failed"))
    assert any("fail now" in line for line in found)
