"""``docs/reliability.md`` names tests that exist."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT


def test_every_promise_names_a_test_that_exists():
    text = (ROOT / "docs" / "reliability.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 25
    defined: dict[str, set[str]] = {}
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            if file not in defined:
                tree = ast.parse((ROOT / "tests" / file).read_text())
                defined[file] = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
            assert name in defined[file], f"{file}::{name}"
