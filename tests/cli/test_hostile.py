# ruff: noqa: E501 (tables of calls)
"""Command lines that no user means: each is one sentence and a non-zero code, and nothing that was there is lost.

In one process, by ``cli.main``; what needs a process of its own (Ctrl-C) is in test_first_moments.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from vtprune_eval import cli
from vtprune_eval.paths import tasks_dir

STUB = ["--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "2"]
NANO = ["--model", "nano", "--tasks", "mini-doc", "--limit", "1"]
HUGE = "9" * 30
ODD = [
    "",
    " ",
    "\0",
    "\ud800",
    "../..",
    "-1",
    "1e9",
    HUGE,
    "nan",
    "None",
    "true",
    "[]",
    "{}",
    "$(id)",
    "ünïcode",
    "a" * 500,
]

CALLS: list[list[str]] = [
    [],
    ["nosuchcommand"],
    ["shwo", "--run", "x"],
    ["lists"],
    ["run", *STUB],
    ["--nosuch"],
    ["--model"],
    ["list"],
    ["list", "nosuch"],
    ["list", "methods", "--format", "xml"],
    ["explain"],
    ["explain", "--method", ""],
    ["explain", "--method", "pixelprune+"],
    ["explain", "--method", "nosuch"],
    ["validate"],
    ["validate", "/nowhere.json"],
    ["validate", "/"],
    ["leaderboard"],
    ["leaderboard", "nosuch"],
    ["leaderboard", "plot"],
    ["leaderboard", "build", "/nowhere"],
    ["merge"],
    ["merge", "/nowhere"],
    ["merge", "/nowhere", "--out", "x"],
    ["merge", "--out", "x"],
    ["show"],
    ["show", "--run", "/nowhere"],
    ["show", "--run", "/nowhere", "--limit", "0"],
    ["table", "nosuch"],
    ["table", "pixelprune-4", "--device", "banana", "--dry-run"],
    ["table", "pixelprune-4", "--device", "", "--dry-run"],
    ["data"],
    ["data", "nosuch"],
    ["data", "get"],
    ["data", "get", "nosuch"],
    ["data", "check", "nosuch"],
    ["data", "check", "screenspot_v2", "--data-path", "/nowhere"],
    ["data", "sample", "mini-doc", "0"],
    ["data", "sample", "mini-doc", "-3"],
    ["data", "sample", "mini-doc", "x"],
    ["data", "sample", "mini-doc", "1", "--out", "/nowhere/x.txt"],
    ["data", "sample", "mini-doc", "1", "--history", "2"],
    ["flops"],
    ["flops", "--model", "qwen3vl-2b", "--image", "99999999x99999999", "--text-tokens", "9"],
    ["flops", "--model", "qwen3vl-2b", "--image", "0x0", "--text-tokens", "9"],
    ["flops", "--model", "nosuch", "--image", "9x9", "--text-tokens", "9"],
    *([*STUB, "--shard", s] for s in ("0/1000000000", "4/4", "-1/2", "1", "a/b", "0/0", "1/2/3", "٠/٤")),
    *([*STUB, "--budget", b] for b in ("10,,20", ",", "", "0", "-5", "101", "nan", "inf", "10%%", "0tok", "-3tok", "like:", "like:nosuch", "1e400")),
    *([*NANO, "--method", m] for m in ("full+pixelprune", "pixelprune+pixelprune", "+", "full,,pixelprune", "nosuch", "", ",", "pixelprune+random", "a" * 300, "../full", "Full ")),
    *([*STUB, "--tasks", t] for t in ("nosuch", "", "mini-doc,,mini-nav", "../mini-doc", "mini-doc/", "vlmeval:", "vlmeval:../x", "MINI-DOC")),
    *([*STUB, "--limit", v] for v in ("0", "-1", "1.5", "x", "")),
    *([*STUB, "--seed", v] for v in ("-1", "1.5", "x", "")),
    *([*STUB, "--max-new-tokens", v] for v in ("0", "-1", "x")),
    *([*STUB, "--timings", v] for v in ("-1", "x")),
    *([*STUB, "--workers", v] for v in ("0", "2", "x")),
    *([*STUB, "--history", v] for v in ("1", "-1", "99", "x")),
    *([*STUB, "--max-branch-bytes", v] for v in ("", "x", "-1GB", "4 parsecs")),
    *([*STUB, "--cache-size", v] for v in ("", "x", "-1")),
    *([*STUB, "--cache", v] for v in ("", " ")),
    *([*STUB, "--out", v] for v in ("", " ", "/proc/nowhere/x", "/dev/null/x")),
    *([*STUB, f"--{o}", v] for o in ("weights", "dtype", "profile", "share", "attn", "reading", "engine", "format", "protocol") for v in ("", "nosuch", "NONE")),
    *([*NANO, "--method", "full", "--device", v] for v in ("banana", "", "cuda:x", "cuda:-1", "cpu:", "gpu")),
    *([*NANO, "--method", "full", "--model", v] for v in ODD if v.strip()),
    *([*NANO, "--method", "full", "--model-path", v] for v in ("", "/nowhere", "/etc/passwd", "/")),
    *([*NANO, "--method", "pixelprune", "--set", v] for v in ("", "=", "tau", "=1", "tau=x", "nosuch=1", "tau=-1", "tau=nan", "nosuch.tau=1", "pixelprune.=1", "full.tau=1", "tau=1,2")),
    [*NANO, "--method", "pixelprune", "--set", "tau=0.1", "--set", "tau=0.2"],
    [*NANO, "--method", "pixelprune", "--set", "pixelprune.tau=0.1", "--set", "pixelprune.tau=0.1"],
    [*NANO, "--method", "guikv,snapkv", "--budget", "10", "--set", "window=8"],
    [*NANO, "--method", "guikv"],
    [*STUB, "--data-path", "/nowhere"],
    [*STUB, "--config", "/nowhere.yaml"],
    [*STUB, "--config", "/"],
    [*STUB, "--device-map", "nosuch"],
    ["--model", "stub", "--method", "full", "--tasks", "screenspot_v2", "--limit", "1", "--data-path", "/nowhere"],
]  # fmt: skip

CONFIGS = [
    "", "[]", "3", "model", "model: [", "model: nano\nmodel: stub", "set: {tau: 1, tau: 2}", "method:", "methods: [full, null]",
    "budget: {a: 1}", "tasks: [[mini-doc]]", "nosuch: 1", "modle: nano", "limit: yes", "limit: 1.5", "limit: '2'", "seed: -1",
    "set: 3", "set: [a]", "out: ''", "out: [a]", "share: maybe", "profile: 7", "model: !!python/object:os.system x",
    "model: !nosuch x", "&a [*a]", "trust_remote_code: 3", "device: banana", "weights: 1", "format: html", "dtype: float8",
    "\ud83d", "a: b: c", "\t- x", "method: full+pixelprune", "budget: '10,,20'", "shard: 0/0", "workers: 3", "history: 9",
]  # fmt: skip

RECORD = {
    "id": "a",
    "images": ["a.png"],
    "question": "where?",
    "target": {"type": "box", "box_xyxy": [1, 1, 9, 9]},
}
# What an own task of the mini reader may hold; each is refused, or its record fails by name.
OWN = {
    "no images": {"images": []},
    "outside": {"images": ["../../../../etc/hostname"]},
    "absolute": {"images": ["/etc/hostname"]},
    "no text": {"images": [7]},
    "empty question": {"question": ""},
    "question is a number": {"question": 7},
    "no target": {"target": None},
    "target is a list": {"target": []},
    "missing picture": {"images": ["gone.png"]},
    "id is a number": {"id": 7},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose files must be as they are after every call."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert cli.main([*STUB, "--out", str(folder)]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(args: list[str], capsys, monkeypatch, where: Path) -> str:
    """The one sentence of a call that ends with a code of its own."""
    monkeypatch.chdir(where)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    capsys.readouterr()
    code = cli.main([str(a) for a in args])
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("vtprune_eval: ")]
    assert code in (1, 2), (code, told.out[-500:], told.err[-500:])
    assert len(lines) == 1 and len(lines[0]) > 30, told.err[-800:]
    assert "Traceback" not in told.err + told.out and "0.0 [" not in told.out
    return lines[0]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_calls(number, finished, tmp_path, capsys, monkeypatch):
    before = contents(finished)
    refused(CALLS[number], capsys, monkeypatch, tmp_path)
    assert contents(finished) == before and not list(tmp_path.glob("runs/*/summary.json"))


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_configs(number, tmp_path, capsys, monkeypatch):
    (tmp_path / "c.yaml").write_text(CONFIGS[number], encoding="utf-8", errors="surrogatepass")
    args = (
        ["--model", "stub", "--config", "c.yaml", "--out", "o"]
        if "out" not in CONFIGS[number]
        else ["--config", "c.yaml"]
    )
    refused(args, capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("case", OWN)
def test_own_tasks(case, tmp_path, capsys, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "samples.jsonl").write_text(json.dumps({**RECORD, **OWN[case]}))
    args = ["--method", "full", "--tasks", "mini-grounding", "--data-path", tmp_path, "--out", tmp_path / "o"]
    sentence = refused(args, capsys, monkeypatch, tmp_path)
    if case in ("outside", "absolute"):
        assert "outside of the data folder; refused" in sentence


def change(folder: Path, name: str, text: str | None) -> None:
    path = next(folder.rglob(name))
    path.unlink() if text is None else path.write_text(text)


@pytest.mark.parametrize(("name", "text"), [
    ("environment.json", None), ("summary.json", None), ("run.json", None), ("*.jsonl", None), ("run.json", "{"),
    ("run.json", "[]"), ("run.json", "{}"), ("summary.json", "7"), ("environment.json", "x"), ("*.jsonl", "x"),
    ("*.jsonl", "{}\n"), ("*.jsonl", ""),
])  # fmt: skip
@pytest.mark.parametrize("command", ["show --run", "leaderboard build"])
def test_damaged_runs(name, text, command, finished, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    change(run, name, text)
    before = contents(run)
    more = ["--dir", tmp_path / "board"] if command.startswith("leaderboard") else []
    sentence = refused([*command.split(), run, *more], capsys, monkeypatch, tmp_path)
    assert contents(run) == before, "nothing that is there is touched"
    if name == "environment.json" and text is None:
        assert "start the run's command again" in sentence


def test_records_changed_while_a_run_writes_are_noticed(tmp_path, capsys, monkeypatch):
    from vtprune_eval.models.stub import StubPipeline

    run, out = StubPipeline.run, tmp_path / "run"
    for what in ("removed", "edited"):
        seen = []

        def meddling(self, sample, what=what, seen=seen):
            seen.append(sample.id)
            if len(seen) == 5:
                (path,) = out.glob("records/*.jsonl")
                path.unlink() if what == "removed" else path.write_text(
                    path.read_text().replace('"score":', '"score": ')
                )
            return run(self, sample)

        monkeypatch.setattr(StubPipeline, "run", meddling)
        args = ["--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "9", "--out", str(out)]
        sentence = refused(args, capsys, monkeypatch, tmp_path)
        assert "while the run wrote" in sentence, what
        monkeypatch.setattr(StubPipeline, "run", run)
        assert cli.main(args) == 0, "and the same command mends it"
        shutil.rmtree(out)


def test_guesses_are_near():
    from vtprune_eval.errors import unknown_name

    known = ["sparsevlm", "focusui", "pixelprune", "guikv"]
    assert "did you mean 'pixelprune'" in str(unknown_name("method", "pixelprun", known))
    for far in ("self", "nosuch", "x"):
        assert "did you mean" not in str(unknown_name("method", far, known))


def test_a_composition_is_explained_part_by_part(capsys):
    assert cli.main(["explain", "--method", "pixelprune+guikv"]) == 0
    said = capsys.readouterr().out
    assert "pixelprune+guikv: a composition" in said and "\npixelprune: " in said and "\nguikv: " in said


def test_a_method_that_ends_the_program_ends_the_run_with_a_sentence(tmp_path, capsys, monkeypatch):
    from vtprune_eval.models.stub import StubPipeline

    def leaving(self, sample):
        raise SystemExit(0)

    monkeypatch.setattr(StubPipeline, "run", leaving)
    sentence = refused([*STUB, "--out", tmp_path / "o"], capsys, monkeypatch, tmp_path)
    assert "SystemExit" in sentence and "test_hostile.py, line" in sentence and "must not end the program" in sentence


@pytest.mark.parametrize("text", ["def broken(:\n", "import nosuchmodule\n", "x = 1\n", "raise SystemExit(0)\n"])
def test_a_broken_method_file_hides_no_list(text, capsys, monkeypatch, tmp_path):
    import vtprune_eval.methods
    from vtprune_eval import registry

    (tmp_path / "brokenone.py").write_text(text)
    monkeypatch.setattr(vtprune_eval.methods, "__path__", [*vtprune_eval.methods.__path__, str(tmp_path)])
    names = {**registry.method_names(), "brokenone": "builtin"}
    monkeypatch.setattr(registry, "method_names", lambda: names)
    from vtprune_eval.commands import listing

    monkeypatch.setattr(listing, "method_names", lambda: names)
    assert cli.main(["list", "methods"]) == 0
    said = capsys.readouterr().out
    assert "brokenone" in said and "pixelprune" in said and "guikv" in said
    sentence = refused([*NANO, "--method", "brokenone", "--budget", "10"], capsys, monkeypatch, tmp_path)
    assert "brokenone.py" in sentence and "fix" in sentence


def test_there_are_two_hundred():
    assert len(CALLS) + len(CONFIGS) + len(OWN) + 24 >= 200
    assert os.path.isdir(tasks_dir())
