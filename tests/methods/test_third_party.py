"""The example package under docs/examples, installed and run as its README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from tests.conftest import ROOT


def test_the_example_package_installs_and_runs(tmp_path):
    source = shutil.copytree(ROOT / "docs" / "examples" / "vtprune_corner", tmp_path / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index",
         "--target", tmp_path / "site", source], check=True, capture_output=True, text=True)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}

    def run(*args):
        return subprocess.run([sys.executable, "-m", "vtprune_eval", *args], cwd=tmp_path, env=env,
                              capture_output=True, text=True)

    listed = json.loads(run("list", "methods", "--format", "json").stdout)
    assert next(m for m in listed if m["name"] == "corner")["hooks"] == ["select_tokens"]
    assert "height_weight" in run("explain", "--method", "corner").stdout
    done = run("--method", "corner", "--budget", "25", "--tasks", "mini-grounding", "--limit", "2", "--set",
               "corner.corner=bottom-right", "--out", "out", "--format", "json")
    assert done.returncode == 0, done.stderr
    file = next((tmp_path / "out").rglob("*corner*.jsonl"))
    record = json.loads(file.read_text().splitlines()[0])
    kept = int(record["kept"][0], 16)  # bit i for block i
    n = record["counts"]["visual_full"][0]
    assert kept.bit_count() == -(-n // 4)
    assert kept >> (n - 1) == 1  # the bottom-right block
    assert not kept & 1
    bad = run("--method", "corner", "--budget", "25", "--set", "corner.corner=middle")
    assert bad.returncode == 2
    assert "top-left, bottom-right" in bad.stderr
