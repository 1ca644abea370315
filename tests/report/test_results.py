"""Result files: made from run folders, refused when touched, checked from their records."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil

import pytest

from tests.report.conftest import edit_records, forge
from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.report.result_file import ENDING, cells_of, differs, from_run, group_of, read, write
from vtprune_eval.report.validate import _check_flops, validate
from vtprune_eval.runner.folder import expected_key, identity_of, read_run
from vtprune_eval.runner.plan import cell_key


def test_a_run_becomes_a_valid_result(result, capsys):
    assert cli.main(["validate", str(result)]) == 0
    out = capsys.readouterr().out
    assert "sample ids, keys and scores of 12 samples" in out and "10 aggregates" in out
    cells = json.loads(result.read_text())["cells"]
    assert {c["stage"] for c in cells} == {"none", "before the ViT", "image size"}
    assert all(c["n"] == 12 and 0 <= c["accuracy"] <= 1 for c in cells)
    assert all(("vs_full" in c) == (c["method"] != "full") for c in cells)


def test_the_aggregates_are_those_of_the_summary(finished, result):
    rows = {(r["method"], r["budget"]): r for r in json.loads((finished / "summary.json").read_text())["rows"]}
    for cell in json.loads(result.read_text())["cells"]:
        entry = rows[cell["method"], "-" if cell["method"] == "full" else cell["budget"]]["tasks"][cell["task"]]
        assert (entry["accuracy"], entry["ci95"]) == (cell["accuracy"], cell["ci95"])


def test_the_key_is_the_one_of_the_run_loop(finished):
    found = read_run(finished)
    for cell in found.spec.cells():
        for task in map(load_task, found.spec.tasks):
            assert expected_key(found.settings, task.name, cell) == cell_key(found.spec, task, cell)


def test_the_name_stays_when_a_setting_is_added_later(finished):
    found = read_run(finished)
    assert identity_of(found.settings) == found.spec.identity
    older = {k: v for k, v in found.settings.items() if k != "history"}
    assert identity_of(older) != found.spec.identity
    assert identity_of({**older, "data": {}}) == identity_of(older)


def _drop_last(run):
    path = run / "records" / "mini-doc--full@100.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def _remove(run):
    (run / "records" / "mini-nav--resize@10.jsonl").unlink()


def _tear(run):
    path = run / "records" / "mini-doc--full@100.jsonl"
    path.write_text(path.read_text()[:-40])


def _double(run):
    path = run / "records" / "mini-doc--full@100.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_drop_last, "half a run"),
        (_remove, "half a run"),
        (_tear, "is not JSON"),
        (_double, "a sample twice"),
        (lambda run: edit_records(run, "mini-doc--full@100.jsonl", lambda i, r: r.update(key="0")), "was edited"),
        (lambda run: edit_records(run, "mini-doc--full@100.jsonl", lambda i, r: r.update(schema=0)), "record schema 0"),
        (lambda run: (run / "run.json").unlink(), "not a run folder"),
        (lambda run: (run / "summary.json").unlink(), "has no summary yet"),
        (lambda run: (run / "environment.json").unlink(), "has no environment.json"),
        (lambda run: (run / "run.json").write_text("[]"), "no JSON object"),
    ],
)
def test_a_spoilt_run_folder_is_refused_and_nothing_is_written(run, board, capsys, spoil, says):
    spoil(run)
    assert cli.main(["leaderboard", "build", str(run), "--dir", str(board)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not list((board / "results").iterdir()) and not (board / "index.html").exists()


@pytest.mark.parametrize("command", [["leaderboard", "build"], ["plot"], ["export", "--csv"]])
def test_records_edited_by_hand_are_refused(run, board, capsys, command):
    edit_records(run, "mini-doc--pixelprune@10.jsonl", lambda i, r: r.update(score=1.0), seal=False)
    place = ["--dir", str(board)] if command[0] == "leaderboard" else ["--out", str(board / "table.csv")]
    assert cli.main([*command, str(run), *place]) == 2
    assert "mini-doc--pixelprune@10.jsonl was changed after the run's summary" in capsys.readouterr().err
    assert not list((board / "results").iterdir())


def test_runs_without_digests_enter_with_a_note(run, board, capsys):
    assert cli.main(["leaderboard", "build", str(run), "--dir", str(board)]) == 0
    assert "note:" not in capsys.readouterr().err
    summary = json.loads((run / "summary.json").read_text())
    del summary["digests"]
    (run / "summary.json").write_text(json.dumps(summary))
    assert cli.main(["leaderboard", "build", str(run), "--dir", str(board)]) == 0
    assert "was made before summaries held digests" in capsys.readouterr().err


def _submit_edited(run, board, change):
    """A forged submission that is consistent in itself: records changed, then hashed and aggregated again."""
    edit_records(run, "mini-doc--pixelprune@10.jsonl", change)
    return write(*from_run(read_run(run)), board / "results")


def test_a_score_that_the_answer_does_not_earn_is_found(run, board):
    path = _submit_edited(run, board, lambda i, r: r.update(score=1.0, reason="ok"))
    read(path)  # nothing is wrong without the task's data
    with pytest.raises(UserError, match="its answer scores"):
        validate(path)


def test_missing_and_unknown_samples_are_found(run, board):
    for name in (p.name for p in (run / "records").glob("mini-doc*")):
        edit_records(run, name, lambda i, r: r.update(id="other" if i == 0 else r["id"]))
    with pytest.raises(UserError, match="missing or unknown"):
        validate(write(*from_run(read_run(run)), board / "results"))


def test_other_data_is_found(run, board):
    settings = json.loads((run / "run.json").read_text())
    settings["data"]["mini-doc"] = "v1 0123456789abcdef"
    (run / "run.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="was run on data v1 0123456789abcdef"):
        validate(write(*from_run(read_run(run)), board / "results"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(schema=0), "result schema 0, this version reads 1; make it again"),
        (lambda d: d.update(schema=9), "update vtprune_eval"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d.pop("cells"), "cells must be list"),
        (lambda d: d["settings"].update(model=3), "settings.model must be str"),
        (lambda d: d.update(group="full-scale"), "does not fit its settings"),
        (lambda d: d["cells"][0].update(accuracy=0.99), r"cells\[0\]\.accuracy does not follow"),
        (lambda d: d["cells"].pop(), "does not follow"),
        (lambda d: d["records"].update(file="../other.jsonl"), "must be called"),
        (lambda d: d["settings"].update(budgets=["10"]), "half a run"),
        (lambda d: d["settings"]["data"].pop("mini-doc"), "no data version"),
        (lambda d: d["settings"].update(methods=["full", "nonesuch"]), "unknown method 'nonesuch'"),
    ],
)
def test_a_forged_file_is_refused(result, capsys, change, says):
    forge(result, change)
    with pytest.raises(UserError, match=says):
        read(result)


def test_hand_edits_are_found_by_the_fingerprints(result):
    records = result.with_name(result.stem + ENDING)
    packed = records.read_bytes()
    text = gzip.decompress(packed).decode()
    assert '"score":0.0' in text
    records.write_bytes(gzip.compress(text.replace('"score":0.0', '"score":1.0', 1).encode()))
    with pytest.raises(UserError, match=r"records.jsonl.gz was edited"):
        read(result)
    records.write_bytes(packed[:-20])
    with pytest.raises(UserError, match="not a complete gzip file"):
        read(result)
    records.write_bytes(b"junk")
    with pytest.raises(UserError, match="not a complete gzip file"):
        read(result)
    records.unlink()
    with pytest.raises(UserError, match="missing beside it"):
        read(result)
    records.write_bytes(packed)
    result.write_text(result.read_text().replace('"n": 12', '"n": 13', 1))
    with pytest.raises(UserError, match="its fingerprint does not fit"):
        read(result)
    result.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read(result)


def test_records_without_what_aggregates_need_are_refused(result):
    """Consistent hashes do not help a submission whose records are empty."""
    records = result.with_name(result.stem + ENDING)
    lines = [json.loads(line) for line in gzip.decompress(records.read_bytes()).splitlines()]
    text = "".join(
        json.dumps({k: r[k] for k in ("id", "key", "status", "schema", "task", "method", "budget")}) + "\n"
        for r in lines
    )
    records.write_bytes(gzip.compress(text.encode()))
    forge(result, lambda d: d["records"].update(sha256=hashlib.sha256(text.encode()).hexdigest()))
    with pytest.raises(UserError, match="lack what the aggregates need"):
        read(result)


def test_flops_are_recomputed_from_the_lengths():
    from vtprune_eval.budget import Budget
    from vtprune_eval.profiling.flops import flops_of
    from vtprune_eval.profiling.plan import model_dims, planned_counts

    dims, _ = model_dims("qwen3vl-2b")
    counts = planned_counts(dims, [(10, 10)], 20, 4, budget=Budget.parse("100"))
    record = {
        "id": "a",
        "status": "ok",
        "counts": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(counts).items()},
        "flops": flops_of(dims, counts),
    }
    settings = {"model": "qwen3vl-2b", "weights": "hub"}
    from pathlib import Path

    records = {("t", "full", "100"): [record]}
    assert _check_flops(Path("x.json"), settings, records) == "FLOPs of 1 records follow from their lengths"
    record["counts"]["layer_tokens"] = [10] * len(record["counts"]["layer_tokens"])
    with pytest.raises(UserError, match="do not follow from the formulas"):
        _check_flops(Path("x.json"), settings, records)


@pytest.mark.parametrize(
    ("model", "weights", "group"),
    [
        ("stub", "hub", "scripted"),
        ("nano", "hub", "embedded"),
        ("nano", "random", "random"),
        ("qwen3vl-8b", "random", "random"),
        ("qwen3vl-8b", "hub", "full-scale"),
    ],
)
def test_groups(model, weights, group):
    assert group_of({"model": model, "weights": weights}) == group


def test_random_weights_have_no_accuracy_in_a_result(finished):
    found = read_run(finished)
    cells = cells_of(
        {**found.settings, "model": "nano", "weights": "random"},
        {k: list(v.values()) for k, v in found.records.items()},
    )
    assert all("accuracy" not in c and c["costs"]["flops"] > 0 for c in cells)


def test_differs_names_the_place():
    assert differs({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-9]}) is None
    assert differs({"a": [1, 2]}, {"a": [1, 3]}) == "cells.a[1]"
    assert differs({"a": 1}, {}) == "cells.a"
    assert differs([True], [1]) == "cells[0]"


def test_the_same_records_twice_are_refused(result, board, capsys):
    other = result.with_name("copy.json")
    shutil.copy(result.with_name(result.stem + ENDING), result.with_name("copy" + ENDING))
    shutil.copy(result, other)
    forge(other, lambda d: (d.update(name="copy"), d["records"].update(file="copy" + ENDING)))
    assert cli.main(["leaderboard", "build", "--dir", str(board)]) == 2
    assert "hold the same records" in capsys.readouterr().err
