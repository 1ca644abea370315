"""A built wheel has everything: it works without the checkout, from an empty folder, and writes nothing into itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The commands of a first day, in one process that finds nothing but the wheel and what it depends on.
SCRIPT = """
import sys
from pathlib import Path
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]  # of the environment of the tests
import vtprune_eval
from vtprune_eval.cli import main
assert Path(vtprune_eval.__file__).is_relative_to(sys.argv[1]), vtprune_eval.__file__
run = ["--model", "nano", "--method", "focusui", "--budget", "25", "--tasks", "mini-doc", "--limit", "1"]
for line in (
    [*run, "--out", "run"],
    ["table", "pixelprune-4"],
    ["leaderboard", "build", "run"],
    ["list", "tasks"],
    ["list", "methods"],
    ["show", "--run", "run", "--limit", "1"],
    ["doctor"],
):
    code = main(line)
    assert code == 0, (line, code)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel of a copy of the checkout, unpacked as pip does it."""
    source = tmp_path_factory.mktemp("source") / "project"
    for name in ("vtprune_eval", "tasks", "leaderboards/papers"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", "dist"],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    shutil.rmtree(source)
    # What other packages may lay beside ours is not taken for a checkout.
    for name in ("tasks", "leaderboards"):
        (target / name).mkdir()
    return target


def contents(folder: Path) -> dict[str, str]:
    """Name to digest of every file, but for bytecode."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".pyc"
    }


def test_it_holds_what_the_package_reads(installed):
    there = contents(installed)
    for name in (
        "vtprune_eval/models/nano/model.safetensors",
        "vtprune_eval/models/nano/focusui/focusui_scorer.safetensors",
        "vtprune_eval/_tasks/mini-doc/data/samples.jsonl",
        "vtprune_eval/_papers/pixelprune_table4.json",
        "vtprune_eval/py.typed",
    ):
        assert name in there, name
    assert not [name for name in there if name.startswith(("tests/", "scripts/"))]


def test_the_commands_of_a_first_day_from_an_empty_folder(installed, tmp_path):
    before = contents(installed)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(installed)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "run" / "board" / "index.html").is_file()
    assert contents(installed) == before
