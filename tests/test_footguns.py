"""The examples of docs/footguns.md, executed in their order with a small model and a method that is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

from tests.conftest import ROOT, screen
from tests.results.test_compare import cell
from vtprune_eval import registry
from vtprune_eval.methods.base import Method
from vtprune_eval.outcome import Times
from vtprune_eval.sample import Sample

PAGE = (ROOT / "docs" / "footguns.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", PAGE, flags=re.M)


@dataclass(frozen=True)
class SelectEverything(Method):
    """Whatever the budget, everything stays."""

    name = "select-everything"

    def select_tokens(self, view, budget):
        """See :meth:`Method.select_tokens`."""
        return torch.ones(len(view.features), dtype=torch.bool)


@pytest.fixture(scope="module")
def names(tiny, tmp_path_factory):
    """What the examples take for granted."""
    path = tmp_path_factory.mktemp("footguns") / "screen.png"
    Image.fromarray(screen(256, 192, 3)).save(path)
    (record,) = cell([1.0])
    return {
        "model": tiny,
        "sample": Sample("page", (path,), "click the icon under 7", {}),
        "record": record,
        "TIMES": tuple(Times.__dataclass_fields__),
    }


def test_every_example_holds(names):
    registry.register(SelectEverything)
    ran = 0
    for section in SECTIONS:
        for block in re.findall(r"```python\n(.*?)```", section, re.S):
            exec(compile(block, f"docs/footguns.md: {section.splitlines()[0]}", "exec"), names)
            ran += 1
    assert ran == 11
