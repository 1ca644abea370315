"""The README's example is a working method: it is run as shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from tests.conftest import ROOT, environment


def test_the_example_method_runs_through_the_command_line(tmp_path):
    readme = (ROOT / "README.md").read_text()
    code = re.search(r"<!-- example: centre\.py -->\n```python\n(.*?)```", readme, re.DOTALL)[1]
    assert len(code.splitlines()) <= 30
    # As a third party would: a module of its own and an entry point.
    (tmp_path / "centre_method.py").write_text(code)
    info = tmp_path / "centre_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: centre-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vtprune_eval.methods]\ncentre = centre_method:Centre\n")
    env = environment()
    env["PYTHONPATH"] += f":{tmp_path}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vtprune_eval",
            "--method",
            "full,centre",
            "--budget",
            "20",
            "--limit",
            "3",
            "--tasks",
            "mini-doc",
            "--set",
            "centre.power=1",
            "--format",
            "json",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][1]
    assert row["method"] == "centre"
    assert 15 < row["costs"]["visual_kept_pct"] <= 21
    wrong = subprocess.run(
        [sys.executable, "-m", "vtprune_eval", "--method", "centre", "--set", "power=99", "--budget", "5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    assert wrong.returncode == 2
    assert "outside [1.0, 8.0]" in wrong.stderr
