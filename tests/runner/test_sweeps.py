"""A setting with several values: cells of one run, readable names, resume, and the same names in every table."""

from __future__ import annotations

import csv
import json

import pytest

from vtprune_eval import cli
from vtprune_eval.api import _methods
from vtprune_eval.errors import UserError
from vtprune_eval.methods.pixelprune import PixelPrune
from vtprune_eval.report.board import command_of
from vtprune_eval.report.result_file import from_run
from vtprune_eval.report.rows import rows_of
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.folder import read_run
from vtprune_eval.runner.spec import Cell
from vtprune_eval.runner.sweeps import variants

RUN = ["--model", "stub", "--method", "pixelprune,random", "--budget", "auto,10", "--tasks", "mini-doc", "--limit", "6"]


def cells_of(**values):
    return [(c.method, c.budget) for c in from_mapping(values).cells()]


def test_every_value_is_a_row_and_every_row_has_its_control():
    found = cells_of(methods="pixelprune,random", budgets="auto,10", params={"pixelprune.tau": ["0", "0.02"]})
    assert found == [
        ("pixelprune[tau=0]", "auto"),
        ("pixelprune[tau=0]", "10"),
        ("pixelprune[tau=0.02]", "auto"),
        ("pixelprune[tau=0.02]", "10"),
        ("random", "like:pixelprune[tau=0]"),
        ("random", "like:pixelprune[tau=0.02]"),
        ("random", "10"),
    ]


def test_a_control_that_follows_a_setting_meets_its_own_value_alone():
    found = cells_of(methods="conncomp", budgets="auto", params={"pixelprune.tau": ["0", "0.02"]})
    assert found == [
        ("conncomp[tau=0]", "like:pixelprune[tau=0]"),
        ("conncomp[tau=0.02]", "like:pixelprune[tau=0.02]"),
    ]


def test_settings_are_crossed_and_named_points_are_taken_as_they_are():
    found = cells_of(methods="pixelprune", budgets="10", params={"tau": [0, 0.5], "metric": ["max", "mae"]})
    assert [m for m, _ in found] == [f"pixelprune[metric={m},tau={t}]" for m in ("max", "mae") for t in ("0", "0.5")]
    turned = {"metric": ["max", "mae"], "tau": [0, 0.5]}
    assert cells_of(methods="pixelprune", budgets="10", params=turned) == found
    assert cells_of(methods="pixelprune[tau=0.5,metric=mae],pixelprune,random", budgets="auto") == [
        ("pixelprune[metric=mae,tau=0.5]", "auto"),
        ("pixelprune", "auto"),
        ("random", "like:pixelprune[metric=mae,tau=0.5]"),
        ("random", "like:pixelprune"),
    ]


def test_the_objects_have_the_values_of_their_names():
    spec = from_mapping(
        {"methods": "pixelprune+guikv,conncomp", "params": {"pixelprune.tau": [0, 0.5]}, "budgets": "10"}
    )
    for cell in spec.cells():
        tau = spec.make(cell.method)[0].tau
        assert cell.method.split("[tau=")[1].split("]")[0] == ("0" if tau == 0 else "0.5")
    assert spec.copied("pixelprune[tau=0.5]").tau == 0.5


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"pixelprune.tau": ["0.1", "0.10"]}, "the value 0.1 stands there twice"),
        ({"pixelprune.tau": ["0.1", ""]}, "tau='' is not a number"),
        ({"pixelprune.tau": ["0.1", "9"]}, r"tau=9.0 is outside \[0.0, 1.0\]"),
        ({"pixelprune.tau": []}, "is no value"),
        ({"pixelprune.tau": [[1]]}, "is no value"),
        ({"pixelprune.size": ["1", "2"]}, "unknown hyper-parameter of pixelprune 'size'"),
        ({"nosuch.tau": ["1", "2"]}, "unknown method in --set 'nosuch'"),
        ({"tau": ["0", "1"]}, "ambiguous with several methods"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(params, says):
    with pytest.raises(UserError, match=says):
        from_mapping({"methods": "pixelprune,guikv", "budgets": "10", "params": params})


def test_no_two_cells_share_a_file():
    names = [f"x[at={v}]" for v in ("1,2", "1/2", "1-2", "a b", "A", "a", "x" * 400)] + ["x[at=1,b=2]", "x"]
    slugs = [Cell(name, budget).slug.lower() for name in names for budget in ("10", "like:y[t=1]", "like:y[t=1/1]")]
    assert len(set(slugs)) == len(slugs) and max(map(len, slugs)) < 200
    assert Cell("pixelprune[tau=0.02,metric=max]", "auto").slug == "pixelprune_tau=0.02_metric=max@auto"
    assert Cell("a+b", "10#1").slug == "a+b@10-1"  # as before there were sweeps


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "r"
    assert cli.main([*RUN, "--set", "pixelprune.tau=0,0.02", "--set", "pixelprune.metric=mae", "--out", str(out)]) == 0
    return out


def test_every_table_names_what_is_no_default(swept, capsys):
    names = ["full", "pixelprune[metric=mae,tau=0]", "pixelprune[metric=mae,tau=0.02]", "random"]
    rows = json.loads((swept / "summary.json").read_text())["rows"]
    assert list(dict.fromkeys(r["label"] for r in rows)) == names
    report = (swept / "report.md").read_text()
    assert all(f"| {name} " in report for name in names)
    assert "| pixelprune[metric=mae,tau=0.02] at auto " in report
    assert "pixelprune[metric=mae,tau=0] at auto - pixelprune[metric=mae,tau=0.02] at auto" in report
    assert "no defaults: limit=6." in report
    args = [*RUN, "--set", "pixelprune.tau=0,0.02", "--set", "pixelprune.metric=mae", "--out", str(swept)]
    assert cli.main([*args, "--format", "csv"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(dict.fromkeys(line["method"] for line in lines)) == names


def test_a_single_setting_stands_there_too(tmp_path, capsys):
    assert cli.main([*RUN, "--set", "pixelprune.tau=0.3", "--out", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    assert "pixelprune[tau=0.3]" in out and "random[" not in out


def test_a_sweep_that_was_stopped_goes_on(swept, tmp_path):
    import shutil

    again = tmp_path / "again"
    shutil.copytree(swept, again)
    (again / "summary.json").unlink()
    file = again / "records" / "mini-doc--random@like-pixelprune_tau=0.02.jsonl"
    whole = file.read_text()
    file.write_text("".join(whole.splitlines(keepends=True)[:2]))
    (again / "records" / "mini-doc--pixelprune_tau=0@10.jsonl").unlink()
    args = [*RUN, "--set", "pixelprune.tau=0,0.02", "--set", "pixelprune.metric=mae", "--out", str(again)]
    assert cli.main(args) == 0
    digests = [json.loads((f / "summary.json").read_text())["digests"] for f in (swept, again)]
    assert list(digests[0]) == list(digests[1])
    ids = [[json.loads(line)["id"] for line in text.splitlines()] for text in (whole, file.read_text())]
    assert ids[0] == ids[1]
    assert cli.main([*RUN, "--set", "pixelprune.tau=0,0.03", "--out", str(again)]) == 2


def test_a_board_keeps_the_rows_apart(swept):
    run = read_run(swept)
    result, _ = from_run(run)
    rows = rows_of(result, {k: list(v.values()) for k, v in run.records.items()})
    assert [(r["method"], r["set_to"], r["budget"]) for r in rows if r["method"] == "pixelprune"] == [
        ("pixelprune", "metric=mae, tau=0", "auto"),
        ("pixelprune", "metric=mae, tau=0", "10"),
        ("pixelprune", "metric=mae, tau=0.02", "auto"),
        ("pixelprune", "metric=mae, tau=0.02", "10"),
    ]
    assert "--set pixelprune.metric=mae --set pixelprune.tau=0,0.02" in command_of(result["settings"])


def test_objects_of_one_class_with_other_values_are_two_rows():
    names, params = _methods([PixelPrune(tau=0.0, metric="mae"), PixelPrune(tau=0.5, metric="mae"), "full"])
    assert names == ["pixelprune[tau=0]", "pixelprune[tau=0.5]", "full"] and params["pixelprune.metric"] == "mae"
    assert "pixelprune.tau" not in params


def test_a_yaml_list_sweeps_and_a_text_does_not(tmp_path):
    from vtprune_eval.cli import spec_of_arguments

    file = tmp_path / "run.yaml"
    file.write_text("methods: [pixelprune]\nbudgets: [10]\nset: {pixelprune.tau: [0, 0.5]}\n")
    assert [c.method for c in spec_of_arguments(["--config", str(file)]).cells()][1:] == variants(
        "pixelprune", {"tau": (0, 0.5)}
    )
    file.write_text("methods: [sparsevlm]\nbudgets: [50]\nset: {sparsevlm.at: '2,3'}\n")
    with pytest.raises(UserError, match="2,3"):
        spec_of_arguments(["--config", str(file)])
