"""The order of the packages, as docs/architecture.md draws it: imports go down, never up, wherever they stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from scripts import house
from tests.conftest import ROOT

PACKAGE = ROOT / "vtprune_eval"
# From the ground up. What stands side by side in docs/architecture.md has one order here, too.
ORDER = (
    "methods",
    "models",
    "benchmarks",
    "profiling",
    "pipeline",
    "results",
    "runner",
    "training",
    "report",
    "data",
    "selftest",
    "integrations",
    "commands",
)
# Files of the package's own folder that are a face of all of it, and import what they need.
FACES = {"__init__", "__main__", "api", "cli", "registry"}


def imports(file: Path) -> Iterator[str]:
    """Names below ``vtprune_eval`` that a file imports, at its top or inside of a function."""
    package = list(file.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + module
            elif module[:1] == ["vtprune_eval"]:
                base = module[1:]
            else:
                continue
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("vtprune_eval."):
                    yield alias.name.removeprefix("vtprune_eval.")


def arrows() -> dict[tuple[str, str], list[str]]:
    """(package, imported package) to the imports that make it; files of the folder itself have their own name."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        for name in imports(file):
            target = name.split(".")[0]
            if target != parts[0] and (target in ORDER or (PACKAGE / f"{target}.py").is_file()):
                found.setdefault((parts[0], target), []).append(f"{file.relative_to(PACKAGE)}: {name}")
    return found


def test_every_package_has_its_place():
    folders = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ORDER)


def test_imports_go_down():
    up = {
        (a, b): names
        for (a, b), names in arrows().items()
        if a in ORDER and b in ORDER and ORDER.index(a) < ORDER.index(b)
    }
    assert up == {}


def test_the_ground_imports_no_package():
    wrong = {(a, b): n for (a, b), n in arrows().items() if a not in ORDER and a not in FACES and b in ORDER}
    assert wrong == {}


def test_integrations_are_imported_by_nobody():
    """An engine is found by its name (``runner/engines.py``), plug-ins by the hosts' entry points."""
    assert {(a, b): n for (a, b), n in arrows().items() if b == "integrations"} == {}


def test_a_benchmark_is_named_in_its_own_module_alone():
    """Shared code knows no data set; the papers' tables are about data sets."""
    allowed = {"report", "benchmarks", "selftest"}
    names = ("aitw", "androidcontrol", "gui_odyssey", "agentnetbench", "mind2web", "osworld_g", "ui_vision")
    found = set()
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).parts
        text = file.read_text(encoding="utf-8")
        if parts[0] not in allowed and any(f'"{n}"' in text or f"benchmarks.{n}" in text for n in names):
            found.add("/".join(parts))
    assert found == set()


def called(name: str) -> set[str]:
    """Modules that call something by this name, wherever it comes from."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
                found.add(str(file.relative_to(PACKAGE)))
    return found


def importing(*names: str) -> set[str]:
    """Modules that import one of these names."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and {a.name.split(".")[-1] for a in node.names} & {
                *names
            }:
                found.add(str(file.relative_to(PACKAGE)))
    return found


def test_one_module_draws():
    assert importing("ImageDraw", "ImageFont") == {"drawing.py"}


def test_one_class_parses_command_lines():
    """Its subclass aside, nothing makes a parser of argparse's own."""
    assert called("ArgumentParser") == set()
    text = {str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py") if "(argparse.ArgumentParser)" in f.read_text()}
    assert text == {"console.py"}


def test_one_module_makes_small_models():
    """Tests take the small random models of every family from ``selftest``; a family has one small size."""
    sizes = [f for f in (ROOT / "tests" / "models").rglob("*.py") if '"num_hidden_layers":' in f.read_text()]
    assert sizes == []


LONGEST_FUNCTION, LONGEST_FILE = 60, 400  # lines
# ``dict[str, Any]`` is for what is arbitrary JSON; a value with known keys has a type. This number only goes down.
UNTYPED = 135


def test_functions_and_files_stay_short():
    files = house.sources(ROOT)
    assert {where for n, where in house.functions(files) if n > LONGEST_FUNCTION} == set()
    assert {path for path, text in files.items() if text.count("\n") > LONGEST_FILE} == set()


def test_values_with_known_keys_have_types():
    assert sum(text.count("dict[str, Any]") for text in house.sources(ROOT).values()) <= UNTYPED


def test_hooks_collide_in_one_place():
    """A run that is refused before a model is loaded is refused by what the pipeline itself asks."""
    assert saying("cannot be combined") == {"pipeline/budgets.py"}


def saying(words: str) -> set[str]:
    """Modules whose text holds some words."""
    return {str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py") if words in f.read_text(encoding="utf-8")}


def test_no_lines_stand_twice():
    """Six equal lines in a row are one function that is missing; an overriding method repeats a signature."""
    signatures = {("models/base.py", "models/focusui.py"), ("models/base.py", "models/vit_walk.py")}
    assert house.duplicated(house.sources(ROOT)) <= signatures
