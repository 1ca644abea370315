"""A benchmark, its task and a method of another package, installed and run as docs/add_a_benchmark.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.benchmarks import formats
from tests.conftest import ROOT
from vtprune_eval import cli
from vtprune_eval.benchmarks import registry

PAGE = (ROOT / "docs" / "add_a_benchmark.md").read_text(encoding="utf-8")


def test_the_example_package_brings_a_benchmark_and_a_method(tmp_path):
    source = shutil.copytree(ROOT / "docs" / "examples" / "vtprune_kiosk", tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(source)], check=True, capture_output=True, text=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}

    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "vtprune_eval", *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    listed = {t["name"]: t for t in json.loads(run("list", "tasks", "--format", "json").stdout)}
    assert (listed["kiosk"]["protocol"], listed["kiosk"]["rule"]) == ("near", "kiosk")
    assert "nothing wrong found" in run("data", "check", "kiosk").stdout
    done = run("--model", "nano", "--method", "lower-half", "--budget", "50", "--tasks", "kiosk", "--out", "run")
    assert done.returncode == 0, done.stderr
    entry = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][-1]["tasks"]["kiosk (near)"]
    assert entry["n"] == 6 and set(entry["breakdown"]["kiosk"]) == {"ticket", "coffee", "parking"}
    assert entry["authors"]["mean_pixels_away"] >= 0


def test_the_pages_own_data_runs(tmp_path, capsys):
    """The record and the definition are those of the page."""
    folder = tmp_path / "my-screens"
    record = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1]
    definition = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    formats.picture(folder / "data" / "images" / "a.png", (64, 32))
    (folder / "data" / "samples.jsonl").write_text(record)
    (folder / "task.yaml").write_text(definition)
    try:
        assert (
            cli.main(["--model", "stub", "--method", "full", "--tasks", str(folder), "--out", str(tmp_path / "r")]) == 0
        )
        assert cli.main(["--include-path", str(tmp_path), "data", "check", "my-screens"]) == 0
    finally:
        registry.forget()
    assert "my-screens" in capsys.readouterr().out


@pytest.mark.parametrize("rule", ["point_in_box", "exact_match", "anls", "relaxed_accuracy", "step", "none"])
def test_the_page_names_every_rule(rule):
    from vtprune_eval.benchmarks.mini import RULES

    assert f"| `{rule}` |" in PAGE and rule in RULES
