"""Methods of other packages: the example under docs/examples run as its README says, and packages that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from vtprune_eval.commands.listing import explain, rows
from vtprune_eval.errors import UserError
from vtprune_eval.registry import make_method, method_names


def test_the_example_package_installs_and_runs(tmp_path):
    source = shutil.copytree(ROOT / "docs" / "examples" / "vtprune_corner", tmp_path / "source")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--target",
            tmp_path / "site",
            source,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}

    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "vtprune_eval", *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    listed = json.loads(run("list", "methods", "--format", "json").stdout)
    assert next(m for m in listed if m["name"] == "corner")["hooks"] == ["select_tokens"]
    assert "height_weight" in run("explain", "--method", "corner").stdout
    done = run(
        "--method",
        "corner",
        "--budget",
        "25",
        "--tasks",
        "mini-grounding",
        "--limit",
        "2",
        "--set",
        "corner.corner=bottom-right",
        "--out",
        "out",
        "--format",
        "json",
    )
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


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """``installed(entry_points, **modules)``: a package with these methods and sources is on the path."""

    def install(points: str, **modules: str) -> None:
        info = tmp_path / "others-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vtprune_eval.methods]\n{points}\n")
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        method_names.cache_clear()

    yield install
    method_names.cache_clear()


def test_a_broken_package_is_listed_with_its_reason_and_hides_no_other(installed):
    installed(
        "ruined = others_ruined:Ruined\nodd = others_odd:Odd",
        others_ruined="import no_such_library\n",
        others_odd="Odd = 'not a class'\n",
    )
    listed = {m["name"]: m for m in rows("methods")}
    assert listed["ruined"]["about"].startswith("broken: ")
    assert "no_such_library" in listed["ruined"]["about"]
    assert "not a subclass" in listed["odd"]["about"]
    assert "select_patches" in listed["pixelprune"]["hooks"]
    with pytest.raises(UserError, match=r"ModuleNotFoundError.*no_such_library.*uninstall"):
        make_method("ruined")


def test_a_name_that_is_taken_is_told(installed, capsys):
    installed("fastv = others:FastV\nnew = others:A\nnew = others:B\nother-new = others:A")
    names = method_names()
    assert (names["fastv"], names["other-new"]) == ("builtin", "others:A")
    told = capsys.readouterr().err.splitlines()
    assert len([line for line in told if "'fastv' of others:FastV is ignored, since a built-in" in line]) == 1
    assert len([line for line in told if "'new' of others:" in line and "since others:" in line]) == 1
    assert not any("other-new" in line for line in told)


def test_open_ranges_are_explained_in_words():
    assert "layer = 2 (at least 1)" in explain("fastv")
    assert "(at least 1 tokens)" in explain("vispruner")
    assert "(0.0 to 1.0)" in explain("guipruner-tar")
    assert "None" not in explain("guikv")
