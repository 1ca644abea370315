"""Submissions: the two files, the check of a pull request, forged results, and states that nobody gives to himself."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from tests.report.conftest import HOSTILE, forge
from vtprune_eval import cli
from vtprune_eval.commands import submit as command
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.registry import register
from vtprune_eval.report.pages import build
from vtprune_eval.report.rerun import Again, exercise
from vtprune_eval.report.result_file import ENDING, cells_of, fingerprint, read
from vtprune_eval.report.states import row_states, write_check
from vtprune_eval.report.submission import submission
from vtprune_eval.runner.folder import read_run

ABOUT = ["--author", "A. Author", "--account", "author-1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("submit") / "run"
    words = ["--model", "stub", "--method", "full,pixelprune", "--budget", "20", "--tasks", "mini-nav", "--limit", "12"]
    assert cli.main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def submitted(run):
    assert cli.main(["submit", str(run), *ABOUT, "--paper", HOSTILE]) == 0
    return next((run / "submission").glob("*.json"))


@pytest.fixture
def copy(submitted, tmp_path):
    """Both files, where a test may change them."""
    return shutil.copytree(submitted.parent, tmp_path / "results") / submitted.name


def check(path, *more):
    return cli.main(["check-submission", str(path), "--rerun", "12", "--seed", "1", *more])


def forge_records(path, change):
    """Change records and make everything that hangs on them fit again, as a careful forger would."""
    result, records = read(path)
    for key, own in records.items():
        for record in own:
            change(key, record, records)
    lines = [
        json.dumps({"task": k[0], "method": k[1], "budget": k[2], **r}, separators=(",", ":"))
        for k, own in records.items()
        for r in own
    ]
    text = "".join(line + "\n" for line in lines)
    (path.parent / f"{result['name']}{ENDING}").write_bytes(gzip.compress(text.encode()))
    result["records"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    result["cells"] = cells_of(result["settings"], records)
    result["fingerprint"] = fingerprint(result)
    path.write_text(json.dumps(result))


def test_a_good_result_passes(submitted, capsys):
    assert check(submitted, "--account", "Author-1") == 0
    out = capsys.readouterr().out
    assert "ok: 24 answers given again, 24 of them the same" in out and "the submission stands" in out


def test_submit_says_what_will_be_checked(run, submitted, capsys, tmp_path):
    before = submitted.read_bytes()
    assert cli.main(["submit", str(run), *ABOUT, "--paper", HOSTILE, "--out", str(tmp_path / "other")]) == 0
    out = capsys.readouterr().out
    for words in ("recompute scores", "state `re-run`", "reproduced elsewhere", "check-submission"):
        assert words in out
    assert (tmp_path / "other" / submitted.name).read_bytes() == before


def test_answers_that_the_model_never_gave_are_found(copy, capsys):
    """Every score follows from its answer, every sum fits; only another run can tell."""

    def change(key, record, records):
        if key[1] == "pixelprune" and record["score"] != 1.0:
            good = next(r for r in records[key[0], "full", "100"] if r["id"] == record["id"])
            record |= {k: good[k] for k in ("answer", "ids", "score", "reason", "parts", "parsed", "finish")}
            record["counts"]["n_new"] = len(record["ids"])

    _, before = read(copy)
    wrong = sum(r["score"] != 1.0 for r in before["mini-nav", "pixelprune", "20"])
    assert wrong > 1  # or the run is too easy for this test
    forge_records(copy, change)
    read(copy)
    assert check(copy) == 2
    assert "answers are others than those that are submitted" in capsys.readouterr().err


def test_a_score_that_does_not_follow_is_found(copy, capsys):
    forge_records(
        copy, lambda key, record, _: record.update(score=1.0, reason="ok") if key[1] == "pixelprune" else None
    )
    assert check(copy) == 2
    assert "states score 1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("submission"), "says nothing of its author"),
        (lambda d: d["submission"].update(author=""), "--author is needed"),
        (lambda d: d["submission"].update(states=["re-run"]), "'states' is none of"),
        (lambda d: d["submission"].update(date="2999-01-01"), "lies in the future"),
        (lambda d: d["submission"].update(licence="mine"), "licence 'mine'"),
        (lambda d: d["submission"].update(author="a\nb"), "one line"),
        (lambda d: d["submission"].update(account="-x"), "no name of a GitHub account"),
        (lambda d: d.update(states=["re-run"]), "unknown field 'states'"),
        (lambda d: d.update(submission=[]), "submission must be a mapping"),
    ],
)
def test_fields_of_the_wrong_form_are_one_sentence(copy, capsys, change, says):
    forge(copy, change)
    assert check(copy) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "needs the files of a submission"),
        (["README.md"], "neither a result nor a method"),
        (["vtprune_eval/registry.py"], "a method is one file in vtprune_eval/methods/"),
        (["nosuch.records.jsonl.gz"], "nosuch.json is missing beside it"),
        (["nosuch.json"], "cannot be read"),
        (["nosuch.json", "--rerun", "-1"], "at least 0"),
        (["--ref", "no-such-ref"], "check the reference"),
    ],
)
def test_bad_calls_are_one_sentence(args, says, capsys):
    assert cli.main(["check-submission", *args]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_another_account_cannot_submit_it(submitted, capsys):
    assert check(submitted, "--account", "somebody-else") == 2
    assert "'somebody-else' opened the pull request" in capsys.readouterr().err


def test_the_fields_of_a_submission():
    assert submission("x")["date"] and submission("x")["licence"] == "CC-BY-4.0"
    with pytest.raises(UserError, match="YYYY-MM-DD"):
        submission("x", date="yesterday")


# States


def board_with(path, tmp_path, *, name="board"):
    folder = tmp_path / name
    shutil.copytree(path.parent, folder / "results", dirs_exist_ok=True)
    return folder


def states_on(folder):
    build(folder, pictures=False)
    rows = (folder / "leaderboard.csv").read_text().splitlines()
    at = rows[0].split(",").index("states")
    return {line.split(",")[at] if '"' not in line else line.split('"')[-2] for line in rows[1:]}


def test_a_board_gives_the_states_that_it_can_vouch_for(copy, tmp_path):
    folder = board_with(copy, tmp_path)
    result, records = read(folder / "results" / copy.name)
    found = row_states(folder, {result["name"]: (result, records)}, {result["name"]: ""})
    assert set(map(tuple, found.values())) == {("recomputed",)}
    write_check(folder, {**result, "fingerprint": "another"}, Again(n=8, equal=8), seed="1", machine="m")
    assert row_states(folder, {result["name"]: (result, records)}, {result["name"]: ""}) == found
    write_check(folder, result, Again(n=8, equal=8), seed="1", machine="m")
    found = row_states(folder, {result["name"]: (result, records)}, {result["name"]: ""})
    assert set(map(tuple, found.values())) == {("recomputed", "re-run")}
    found = row_states(folder, {result["name"]: (result, records)}, {result["name"]: "no data"})
    assert set(map(tuple, found.values())) == {()}


def test_the_maintainers_check_writes_the_state(copy, tmp_path):
    folder = board_with(copy, tmp_path)
    path = folder / "results" / copy.name
    assert check(path, "--write", str(folder)) == 0
    found = json.loads((folder / "checks" / copy.name).read_text())
    assert (found["answers"], found["equal"]) == (24, 24) and found["samples"]["mini-nav"]
    build(folder, pictures=False)
    page = (folder / "index.html").read_text()
    assert '"re-run"' in page and '"author":"A. Author"' in page and "<img src=x" not in page
    assert "re-run" in (folder / "leaderboard.md").read_text() and "re-run" in (folder / "leaderboard.csv").read_text()


def test_a_row_is_reproduced_by_another_account_on_another_machine(copy):
    result, records = read(copy)
    key = ("mini-nav", "pixelprune", "20")

    def other(account="second", processor="another", **settings):
        return {
            **result,
            "name": "b",
            "submission": {**result["submission"], "account": account},
            "environment": {**result["environment"], "processor": processor},
            "settings": {**result["settings"], **settings},
        }

    def states(b, own=records):
        pair = {result["name"]: (result, records), "b": (b, own)}
        return row_states(copy.parent, pair, dict.fromkeys(pair, ""))[result["name"], key]

    assert states(other()) == ["recomputed", "reproduced elsewhere"]
    assert states(other(dtype="bfloat16", device="cuda")) == ["recomputed", "reproduced elsewhere"]
    for b in (
        other(account="AUTHOR-1"),
        other(account=""),
        other(processor=result["environment"]["processor"]),
        other(fingerprint="other weights"),
        other(seed=1),
        other(params={"pixelprune.tau": 0.5}),
    ):
        assert states(b) == ["recomputed"]
    moved = {**records, key: [{**r, "score": 1 - r["score"]} for r in records[key]]}
    assert states(other(), moved) == ["recomputed"]


def test_every_cell_of_a_sweep_has_its_states(tmp_path):
    words = [
        "--model",
        "stub",
        "--method",
        "full,pixelprune",
        "--set",
        "pixelprune.tau=0.01,0.02",
        "--tasks",
        "mini-doc",
    ]
    assert cli.main([*words, "--budget", "auto", "--limit", "4", "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["leaderboard", "build", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "board" / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 4 and all("recomputed" in line for line in lines[1:])


# What a pull request may bring


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one committed result; ``bring`` adds files on a branch of their own."""
    monkeypatch.chdir(tmp_path)

    def git(*words):
        who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    def put(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        git("add", "-A")
        git("commit", "-qm", "m")

    def bring(files):
        git("checkout", "-qb", "theirs")
        put(files)
        git("checkout", "-q", "main")
        return "theirs"

    git("init", "-qb", "main")
    put({"leaderboards/results/old.json": "{}", "README.md": "x"})
    return bring


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"leaderboards/checks/old.json": "{}"}, "states are written by the check on the main branch"),
        ({"leaderboards/results/old.json": "{1}"}, "a submission adds results and changes none"),
        ({"leaderboards/index.html": "x"}, "made from the results after the merge"),
    ],
)
def test_a_submission_brings_no_states_and_changes_no_result(repository, files, says):
    with pytest.raises(UserError, match=says):
        command._of_ref(repository(files))


def test_only_the_submitted_files_are_taken(repository, tmp_path):
    brought = {
        "leaderboards/results/new.json": "{}",
        "vtprune_eval/methods/mine.py": "x = 1",
        "vtprune_eval/methods/kernels/sly.py": "x = 1",
        "vtprune_eval/report/validate.py": "x = 1",
    }
    found = command._of_ref(repository(brought))
    assert sorted(found) == ["leaderboards/results/new.json", "vtprune_eval/methods/mine.py"]
    assert (tmp_path / found[0]).is_file() and not (tmp_path / "vtprune_eval/report").exists()


def test_a_link_is_no_submission(repository, tmp_path):
    (tmp_path / "target").write_text("x")
    subprocess.run(["git", "checkout", "-qb", "linked"], check=True)
    (tmp_path / "leaderboards/results/new.json").symlink_to("/etc/hostname")
    who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", *who, "commit", "-qm", "m"], check=True)
    subprocess.run(["git", "checkout", "-q", "main"], check=True)
    with pytest.raises(UserError, match="is a link"):
        command._of_ref("linked")


def test_a_pull_request_without_a_submission_is_left_to_people(repository, capsys):
    assert cli.main(["check-submission", "--ref", repository({"README.md": "y"})]) == 0
    assert "nothing to check here" in capsys.readouterr().out


def test_the_workflow_needs_no_secret_and_trusts_no_text_of_a_stranger():
    text = (ROOT / ".github" / "workflows" / "submission.yml").read_text()
    flow = yaml.safe_load(text)
    assert list(flow[True]) == ["pull_request"] and flow["permissions"] == {"contents": "read"}
    assert "secrets." not in text and "pull_request_target" not in text
    for step in flow["jobs"]["check"]["steps"]:
        assert "${{" not in step.get("run", "")


# A new method


def method_class(name_, choose):
    @dataclass(frozen=True)
    class Made(Method):
        """Made by a test."""

        name: ClassVar[str] = name_

        def select_patches(self, view, budget):
            return tuple(choose(g, n) for g, n in zip(view.grids, budget.per_image, strict=True))

    register(Made)
    return name_


def first(grid, n):
    return (np.arange(grid[0] * grid[1]) < n).reshape(grid)


METHODS = [
    ("submitted-first", first, ""),
    ("submitted-greedy", lambda g, n: np.ones(g, bool), "tokens per layer"),
    ("submitted-moody", lambda g, n: np.random.default_rng().permuted(first(g, n).ravel()).reshape(g), "differently"),
    ("submitted-broken", lambda g, n: 1 / 0, "ZeroDivisionError"),
]


def test_methods_are_run_on_the_embedded_suites_and_refused_where_they_do_not_stand():
    made = [method_class(*entry[:2]) for entry in METHODS]
    said, faults = exercise(made, 2, "1", budgets=("45",), names=("mini-doc",))
    assert len(said) == 1 and "submitted-first at 45 on nano: 2 of 2 samples" in said[0]
    for name, _, says in METHODS:
        own = [f for f in faults if f.startswith(name)]
        assert bool(own) == bool(says) and all(says in f for f in own), own


def test_a_run_that_may_not_be_ranked_is_not_submitted(run, capsys, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    assert cli.main(["submit", str(tmp_path / "run"), *ABOUT]) == 2
    assert "half a run" in capsys.readouterr().err
    assert cli.main(["submit", str(run)]) == 2
    assert "--author" in capsys.readouterr().err
    assert dataclasses.is_dataclass(read_run(run))
