"""What ``docs/scaling.md`` prints is what runs."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import ROOT
from vtprune_eval.commands.options import run_parser
from vtprune_eval.runner.config import from_mapping

PAGE = (ROOT / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (130, True), (2, False)])
def test_the_slurm_script_names_its_shard_and_requeues_what_was_stopped(tmp_path, code, requeued):
    script = re.search(r"<!-- script: sweep.sbatch -->\n```bash\n(.*?)```", PAGE, re.S)[1]
    tools = {
        "srun": '"$@"',
        "scontrol": 'echo "$@" > requeued',
        ".venv/bin/python": f'printf "%s\\n" "$@" > seen; exit {code}',
    }
    for name, body in tools.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    (tmp_path / "sweep.sbatch").write_text(script)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_COUNT": "16",
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_CPUS_PER_TASK": "8",
    }
    done = subprocess.run(["bash", "sweep.sbatch"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    seen = (tmp_path / "seen").read_text().splitlines()
    assert seen[:2] == ["-m", "vtprune_eval"]
    spec = from_mapping(vars(run_parser().parse_args(seen[2:])))  # every name in it exists
    assert (spec.shard, str(spec.folder)) == ("3/16", "runs/sweep/shard-3")
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 77_3\n"
