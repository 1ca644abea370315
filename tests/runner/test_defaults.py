"""What a run does where nothing was said: baseline, tasks, device and floating type, and the line before loading."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.models import NANO, check_runtime, load_model
from vtprune_eval.models.defaults import resolve
from vtprune_eval.runner import defaults, execute
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.defaults import completed, resolved
from vtprune_eval.runner.header import header, spoken
from vtprune_eval.runner.spec import RunSpec


@pytest.fixture
def gpu(monkeypatch):
    """A machine whose torch sees a GPU; nothing is computed on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Stand-in 80GB")


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_full_is_added_where_it_is_missing():
    assert completed({"methods": ["guikv"]})["methods"] == ["full", "guikv"]
    assert completed({"method": "guikv, snapkv"})["method"] == ["full", "guikv", "snapkv"]
    assert completed({"methods": "guikv,full"})["methods"] == "guikv,full"
    assert completed({"methods": ["guikv"], "no-full": True}) == {"methods": ["guikv"]}
    assert completed({}) == {}  # the default methods have it
    with pytest.raises(UserError, match="no_full=3"):
        completed({"no_full": 3})


def test_a_hub_model_without_tasks_is_told_what_it_answers(capsys, monkeypatch):
    monkeypatch.setattr(defaults, "SUITES", {"mini": ("mini-doc",)})
    assert completed({"model": "qwen3vl-2b"})["tasks"] == ["mini"]
    said = capsys.readouterr().err
    assert said.startswith("WARNING: no --tasks") and "say nothing about screens at true size" in said
    monkeypatch.setattr(defaults, "SUITES", {"mini": ("mini-doc",), "web": ("web-doc", "web-nav")})
    monkeypatch.setattr(defaults, "has_data", lambda suite: True)
    assert completed({"model": "qwen3vl-2b"})["tasks"] == ["web"]
    assert "web-doc, web-nav" in capsys.readouterr().err
    assert completed({"model": "focusui-3b"})["tasks"] == ["web-grounding"], "a head that points answers nothing else"
    assert "web-grounding" in capsys.readouterr().err
    monkeypatch.setattr(defaults, "has_data", lambda suite: False)
    assert completed({"model": "qwen3vl-2b"})["tasks"] == ["mini"]
    assert completed({"model": "micro"})["tasks"] == ["mini"]
    assert capsys.readouterr().err.startswith("WARNING")
    own = {"mini": ("mini-doc",), "mini-large": ("mini-large-doc",), "web": ("web-doc", "web-nav")}
    monkeypatch.setattr(defaults, "SUITES", own)
    monkeypatch.setattr(defaults, "has_data", lambda suite: True)
    capsys.readouterr()
    assert completed({"model": "micro"})["tasks"] == ["mini-large"]
    assert capsys.readouterr().err == (
        "note: no --tasks: micro answers mini-large-doc, the suite that it was trained for.\n"
    )
    monkeypatch.setattr(defaults, "has_data", lambda suite: suite == "web")
    assert completed({"model": "micro"})["tasks"] == ["web"]
    capsys.readouterr()
    for quiet in ({"model": "nano"}, {"model": "stub"}, {}, {"model": "qwen3vl-2b", "task": "screenspot_v2"}):
        assert completed(quiet) == quiet
    assert capsys.readouterr().err == ""


def test_on_a_cpu(cpu_only):
    assert resolve("qwen3vl-2b", "auto", "auto") == ("cpu", "float32")
    assert resolve("qwen3vl-2b", "auto", "bfloat16") == ("cpu", "bfloat16")
    assert resolve("stub", "auto", "auto") == ("cpu", "float32")


def test_on_a_gpu_the_checkpoints_own_type(gpu, tmp_path, monkeypatch):
    assert resolve("qwen3vl-2b", "auto", "auto") == ("cuda", "bfloat16")
    assert resolve("qwen3vl-2b", "spread", "auto") == ("spread", "bfloat16")
    assert resolve("qwen3vl-2b", "cuda:1", "float16") == ("cuda:1", "float16")
    assert resolve("qwen3vl-2b", "cpu", "auto") == ("cpu", "float32")
    assert resolve("stub", "auto", "auto") == ("cpu", "float32")
    own = json.loads((NANO / "config.json").read_text())
    assert resolve("nano", "auto", "auto")[1] == own.get("dtype", own.get("torch_dtype", "bfloat16"))
    for text, want in (
        ({"torch_dtype": "float16"}, "float16"),
        ({"text_config": {"dtype": "float32"}}, "float32"),
        ({}, "bfloat16"),
        ([], "bfloat16"),
        ({"dtype": "int8"}, "bfloat16"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(text))
        assert resolve("qwen3vl-2b", "auto", "auto", tmp_path) == ("cuda", want)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert resolve("qwen3vl-2b", "auto", "auto") == ("cuda", "float16")


def test_the_resolved_values_are_the_runs_identity(gpu, monkeypatch):
    there = resolved(RunSpec(model="qwen3vl-2b"))
    assert (there.canonical()["device"], there.canonical()["dtype"]) == ("cuda", "bfloat16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = resolved(RunSpec(model="qwen3vl-2b"))
    assert (here.canonical()["device"], here.canonical()["dtype"]) == ("cpu", "float32")
    assert here.identity != there.identity == resolved(there).identity
    assert here.identity == RunSpec(model="qwen3vl-2b", device="cpu", dtype="float32").identity


def test_the_run_itself_says_full_and_what_it_runs_on(cpu_only, tmp_path, capsys):
    run = ["--model", "stub", "--method", "random", "--budget", "20", "--limit", "3", "--out", str(tmp_path / "r")]
    assert cli.main([*run, "--format", "json"]) == 0
    out = capsys.readouterr()
    assert [row["method"] for row in json.loads(out.out)["rows"]] == ["full", "random"]
    line = next(line for line in out.err.splitlines() if line.startswith("run: "))
    assert (
        "stub, no weights; cpu (" in line and "2 cells x 9 samples (mini-grounding 3, mini-doc 3, mini-nav 3)" in line
    )
    settings = json.loads((tmp_path / "r" / "run.json").read_text())
    assert (settings["device"], settings["dtype"]) == ("cpu", "float32")
    assert cli.main([*run[:-1], str(tmp_path / "s"), "--no-full", "--format", "json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["random"]


def test_device_map_is_another_word_for_spread(gpu, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("vtprune_eval.runner.execute.execute", lambda spec: seen.append(spec) or 0)
    assert cli.main(["--model", "stub", "--device-map", "auto"]) == 0
    assert seen[0].device == "spread"


def test_the_line_before_loading(gpu, monkeypatch):
    monkeypatch.setattr("vtprune_eval.runner.estimate.measured_rates", lambda device, dtype: (1e12, 1e11))
    spec = resolved(
        from_mapping({"model": "qwen3vl-2b", "methods": "full,guikv", "budgets": "10", "tasks": "mini-doc"})
    )
    task = load_task("mini-doc", 5)
    line = header(spec, [task])
    assert "\n" not in line
    for part in (
        "qwen3vl-2b, weights of Qwen/Qwen3-VL-2B-Instruct",
        "cuda (Stand-in 80GB)",
        "bfloat16, sdpa",
        "2 cells x 5 samples (mini-doc 5)",
        "images resized into 65,536 to 16,777,216 pixels",
        "if every answer takes all its tokens",
    ):
        assert part in line
    assert "random weights (seed 3)" in header(dataclasses.replace(spec, weights="random", seed=3), [task])
    from vtprune_eval.runner.estimate import estimated_seconds

    one = estimated_seconds(spec, [task])
    assert estimated_seconds(spec, [task, task]) == pytest.approx(2 * one)
    assert estimated_seconds(dataclasses.replace(spec, budgets=("10", "20", "30")), [task]) == pytest.approx(2 * one)


def test_durations():
    assert [spoken(s) for s in (0.2, 42, 600, 9000)] == ["1 s", "42 s", "10 min", "2.5 h"]


def test_a_model_is_loaded_where_it_belongs(cpu_only):
    identity = load_model("nano").identity
    assert (identity["device"], identity["dtype"]) == ("cpu", "float32")
    with pytest.raises(UserError, match="or spread for all GPUs"):
        check_runtime("mps", "float32", "sdpa")


def test_no_run_is_announced_of_a_model_whose_weights_are_not_here(tmp_path, monkeypatch, capsys):
    def absent(name, with_weights=False):
        raise UserError(f"{name}: its weights are not here.")

    monkeypatch.setattr(execute, "embedded_folder", absent)
    arguments = ["--model", "micro", "--method", "full", "--tasks", "mini-doc", "--limit", "1"]
    assert cli.main([*arguments, "--out", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.strip() == "vtprune_eval: micro: its weights are not here."
    assert not (tmp_path / "r").exists()
