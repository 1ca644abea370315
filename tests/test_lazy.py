"""Nothing heavy is imported before it is needed: help, lists and refused command lines never load torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT, environment
from tests.sure import PATIENCE
from vtprune_eval.lazy import load_on_first_use

HEAVY = ("torch", "torchvision", "transformers", "cv2", "PIL", "matplotlib", "datasets", "ray", "vlmeval", "lm_eval")
SCRIPT = """
import sys
from vtprune_eval.cli import main
code = main(sys.argv[1:])
from types import ModuleType
loaded = [n for n in {heavy!r} if type(sys.modules.get(n)) is ModuleType]
print("code", code, "loaded", loaded, file=sys.stderr)
"""


def imported(*args: str) -> str:
    """The last line on stderr of a process that runs one command line: its code, and what was really loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=PATIENCE,
    )
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "args",
    [
        ("list", "methods"),
        ("list", "models"),
        ("list", "tasks"),
        ("explain", "--method", "focusui"),
        ("flops", "--model", "qwen3vl-8b", "--image", "2716x1616", "--method", "fastv", "--retain", "10"),
    ],
)
def test_questions_about_the_package_load_nothing_heavy(args):
    assert imported(*args) == "code 0 loaded []"


@pytest.mark.parametrize(
    "args",
    [
        ("--method", "pixelprun"),
        ("--method", "fastv", "--budget", "auto"),
        ("--budget", "abc"),
        ("--method", "snapkv,guikv,vlcache,focusui,cdpruner", "--budget", "10", "--set", "guikv.rank=-1"),
        ("--method", "sparsevlm", "--budget", "10", "--set", "nothing=1"),
        ("--model", "qwen"),
        ("--tasks", "min"),
    ],
)
def test_a_refused_command_line_loads_nothing_heavy(args):
    assert imported(*args) == "code 2 loaded []"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose code looks itself up while it is executed, as torch's does."""
    name = "waiting_package"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(f"import {name}.part\nVALUE = {name}.part.X + 1\n")
    (tmp_path / name / "part.py").write_text(f"import {name}\nX = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in (name, f"{name}.part"):
        sys.modules.pop(module, None)


def test_a_waiting_module_is_executed_once_when_it_is_used(package):
    load_on_first_use(package)
    waiting = sys.modules[package]
    namespace: dict = {}
    exec(f"import {package}\nimport {package} as again", namespace)
    assert f"{package}.part" not in sys.modules  # two import statements, and still nothing was executed
    assert waiting.VALUE == 2 and namespace["again"] is waiting
    load_on_first_use(package)  # a loaded module stays as it is
    assert sys.modules[package] is waiting and waiting.VALUE == 2
    with pytest.raises(AttributeError, match="nothing"):
        _ = waiting.nothing


def test_a_submodule_executes_its_package_first(package):
    load_on_first_use(package)
    namespace: dict = {}
    exec(f"import {package}.part", namespace)
    assert namespace[package].VALUE == 2 and namespace[package].part.X == 1


def test_what_cannot_be_executed_leaves_no_half_module(package, tmp_path):
    (tmp_path / package / "part.py").write_text("raise RuntimeError('broken')")
    load_on_first_use(package)
    with pytest.raises(RuntimeError, match="broken"):
        _ = sys.modules[package].VALUE
    assert package not in sys.modules


def test_an_absent_module_stays_absent():
    load_on_first_use("no_such_module_at_all")
    assert "no_such_module_at_all" not in sys.modules
