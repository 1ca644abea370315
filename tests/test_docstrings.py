"""Public docstrings name one parameter a line, as Google style has it, and no parameter that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECTION = re.compile(r"^(\s*)(?:Args|Attributes):$")
GROUP = r"\*{0,2}\w+(?:, \*{0,2}\w+)*"
ENTRY = re.compile(rf"^({GROUP})(?: \([^)]*\))?: ")
SECOND = re.compile(rf"[;.] ({GROUP}): ")


def entries(text: str) -> Iterator[str]:
    """Every entry of the sections of parameters, on one line each."""
    base: int | None = None
    found: list[str] = []
    for line in text.split("\n"):
        section = SECTION.match(line)
        indent = len(line) - len(line.lstrip())
        if section:
            base = len(section.group(1))
        elif base is None:
            continue
        elif not line.strip() or indent <= base:
            base = None
        elif indent == base + 4:
            found.append(line.strip())
        else:
            found[-1] += " " + line.strip()
    yield from found


def arguments(node: ast.AST) -> set[str]:
    if not isinstance(node, ast.FunctionDef):
        return set()
    a = node.args
    more = [x for x in (a.vararg, a.kwarg) if x is not None]
    return {x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *more)}


def names(entry: str, pattern: re.Pattern[str]) -> list[list[str]]:
    return [[n.lstrip("*") for n in found.split(", ")] for found in pattern.findall(entry)]


def faults(source: str) -> Iterator[str]:
    """Entries that name several parameters, or, in a function, one that it does not have."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not (text := ast.get_docstring(node)):
            continue
        known = arguments(node)
        if isinstance(node, ast.ClassDef):
            known = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        for entry in entries(text):
            (first,) = names(entry, ENTRY) or [[]]
            later = [group for group in names(entry, SECOND) if known.issuperset(group)]
            if len(first) > 1 or later:
                yield f"{node.name}: {entry!r} names several"
            elif isinstance(node, ast.FunctionDef) and not known.issuperset(first or ["?"]):
                yield f"{node.name}: {entry!r} is no parameter"


def test_the_reader_of_docstrings_finds_them():
    lines = ["Args:", "    a, b: two.", "    c: one; d: another.", "    e: long", "        text.", "    z: no."]
    text = "\n    ".join(['"""X.', "", *lines, '"""'])
    found = list(faults(f"def f(a, b, c, d, e):\n    {text}\n"))
    assert [f.split("'")[1][:4] for f in found] == ["a, b", "c: o", "z: n"]


@pytest.mark.parametrize("folder", ["vtprune_eval", "scripts"])
def test_one_parameter_a_line(folder):
    files = sorted(Path(ROOT / folder).rglob("*.py"))
    assert len(files) > 20
    found = [f"{file.relative_to(ROOT)}: {fault}" for file in files for fault in faults(file.read_text())]
    assert not found
