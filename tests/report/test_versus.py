"""Two runs are paired by sample: differences by hand, what differs in them, and what cannot be paired."""

from __future__ import annotations

import csv
import json

import pytest

from tests.report.conftest import edit_records
from vtprune_eval import cli
from vtprune_eval.report.versus import held_against
from vtprune_eval.results.stats import mcnemar

RUN = ["--model", "stub", "--method", "full,pixelprune", "--budget", "10", "--limit", "12"]


@pytest.fixture
def other(finished, tmp_path):
    """The session's run again, with another setting of pixelprune and other answers to some samples of mini-doc."""
    out = tmp_path / "b"
    args = [*RUN, "--tasks", "mini-doc,mini-nav", "--set", "pixelprune.tau=0.5", "--out", str(out)]
    assert cli.main(args) == 0
    edit_records(out, "mini-doc--pixelprune@10.jsonl", lambda i, r: r.update(score=float(i < 3), answer=f"x{i}"))
    return out


def scores(folder, name):
    lines = (folder / "records" / name).read_text().splitlines()
    return [json.loads(line)["score"] for line in lines]


def test_pairs_are_counted_by_hand(finished, other):
    changes, lines = held_against(str(finished), str(other))
    a, b = (scores(f, "mini-doc--pixelprune@10.jsonl") for f in (finished, other))
    line = next(x for x in lines if (x["task"], x["a"]) == ("mini-doc", "pixelprune at 10"))
    assert line["b"] == "pixelprune[tau=0.5] at 10" and line["n"] == 12 and line["same_answer"] == 0
    assert line["difference"] == pytest.approx((sum(a) - sum(b)) / 12)
    assert line["only_own"] == sum(x > y for x, y in zip(a, b, strict=True))
    assert line["only_other"] == sum(x < y for x, y in zip(a, b, strict=True)) > 0
    assert (line["test"], line["p"]) == ("mcnemar", mcnemar(a, b)) and line["ci95"][0] <= line["difference"]
    assert {x["task"] for x in lines} == {"mini-doc", "mini-nav", "mean"} and len(lines) == 6
    mean = next(x for x in lines if (x["task"], x["a"]) == ("mean", "pixelprune at 10"))
    assert mean["difference"] == pytest.approx(line["difference"] / 2) and "p" not in mean
    full = next(x for x in lines if (x["task"], x["a"]) == ("mini-doc", "full"))
    assert full["same_answer"] == 12 and full["verdict"] == "equal on every sample"
    assert ("set pixelprune.tau", "-", "0.5") in changes and ("budgets", "10, 50", "10") in changes


@pytest.mark.parametrize("form", ["table", "md", "csv", "json", "latex"])
def test_every_form_says_the_same(finished, other, capsys, form):
    assert cli.main(["compare", str(finished), str(other), "--format", form]) == 0
    out, err = capsys.readouterr()
    if form == "json":
        data = json.loads(out)
        assert {"name": "set pixelprune.tau", "a": "-", "b": "0.5"} in data["differing"]
        assert data["pairs"][0]["a"] == "full"
    elif form == "csv":
        rows = list(csv.DictReader(out.splitlines()))
        assert len(rows) == 6 and rows[3]["b"] == "pixelprune[tau=0.5] at 10" and "set pixelprune.tau" in err
    elif form == "latex":
        assert out.count(r" \\") == 7 and "pixelprune{[}tau=0.5{]} at 10" in out and r"\bottomrule" in out
    else:
        assert "set pixelprune.tau" in out and "pixelprune[tau=0.5] at 10" in out and "equal on every sample" in out


def test_a_pair_of_one_s_own(finished, other, capsys):
    arguments = ["compare", str(finished), str(other), "--a", "resize@50", "--b", "full", "--format", "json"]
    assert cli.main(arguments) == 0
    pairs = json.loads(capsys.readouterr().out)["pairs"]
    assert {(p["a"], p["b"]) for p in pairs} == {("resize at 50", "full")} and len(pairs) == 3
    twice = ["--a", "resize@50", "--a", "resize@10", "--b", "full", "--b", "pixelprune@10"]
    assert cli.main(["compare", str(finished), str(other), *twice, "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["pairs"]) == 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--limit", "9"], "do not hold the same samples of mini-doc (12 and 9"),
        (["--tasks", "mini-grounding"], "have no task in common"),
        (["--no-full", "--method", "stride"], "have no method at one budget in common"),
    ],
)
def test_what_cannot_be_paired_is_one_sentence(finished, tmp_path, capsys, change, says):
    assert cli.main([*RUN, "--tasks", "mini-doc", *change, "--out", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert cli.main(["compare", str(finished), str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["A"], "see `python -m vtprune_eval compare --help`"),
        (["A", "A", "--a", "pixelprune@11"], "no row of A is called 'pixelprune@11'; it has full, pixelprune@10"),
        (["A", "A", "--b", "pixelprune"], "2 rows of A are called 'pixelprune'"),
        (["A", "nosuch"], "is not a run folder"),
        (["A", "A", "--a", "full", "--a", "resize@10", "--b", "full"], "give one --b for every --a"),
    ],
)
def test_what_is_not_there_is_one_sentence(finished, capsys, arguments, says):
    assert cli.main(["compare", *(str(finished) if a == "A" else a for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert says.replace("A ", f"{finished} ") in error and error.count("\n") == 1
