"""docs/methods.md says what the registry says, and every method says where it comes from."""

from __future__ import annotations

import re

import pytest

from scripts.methods_page import ORIGINS, PAGE, classes, page


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python scripts/methods_page.py"


@pytest.mark.parametrize("cls", classes(), ids=lambda c: c.name)
def test_a_method_names_its_source(cls):
    assert cls.origin in ORIGINS
    assert (cls.origin == "own") == (cls.paper == ""), "a method of a paper says how it was checked"
    assert (cls.year > 2000) == (cls.paper != "")
    arxiv = re.findall(r"\b(\d\d)\d\d\.\d{4,5}\b", cls.paper)
    assert all(2000 + int(yy) <= cls.year for yy in arxiv[:1])


def test_hooks_are_listed_in_the_order_of_the_data_flow():
    stages = [line.split(" | ")[2] for line in page().splitlines() if line.startswith("| `")]
    assert stages[0] == "none"
    assert stages.index("KV cache") > stages.index("decoder layers") > stages.index("tokens, after the ViT")
