"""The examples of docs/add_a_method.md, executed and run through the pipeline of a small model."""

from __future__ import annotations

import re
import sys
import types

import pytest
from PIL import Image

from tests.conftest import ROOT, screen
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.sample import Sample

PAGE = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture(scope="module")
def classes():
    """Name to class of every method on the page; the blocks share one namespace, in their order."""
    module = types.ModuleType("docs_add_a_method")
    sys.modules[module.__name__] = module  # dataclasses look annotations up there
    names = vars(module)
    for block in BLOCKS:
        exec(compile(block, "docs/add_a_method.md", "exec"), names)
    found = {c.name: c for c in names.values() if isinstance(c, type) and issubclass(c, Method) and c.name}
    assert set(found) == {"asked", "value-window", "moved", "contrast", "halved"}
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "screen.png"
    Image.fromarray(screen(192, 160, 3)).save(path)
    return Sample("page", (path,), "click the icon under 7", {})


@pytest.mark.parametrize("name", ["asked", "value-window", "moved", "contrast", "halved"])
def test_an_example_runs_within_its_budget(tiny, classes, sample, name):
    def outcome(budget: str):
        return Pipeline(tiny, classes[name](), Budget.parse(budget), max_new_tokens=3).run(sample)

    half, full = outcome("60"), outcome("100")
    counts = half.counts
    n_full = sum(counts.visual_full)
    hook = classes[name].hooks()[0]
    if hook in {"select_tokens", "select_patches", "reduce_images"}:
        assert 0 < sum(counts.visual) <= -(-n_full * 60 // 100)
    elif hook == "prune_layer":
        assert counts.layer_visual[-1] < counts.layer_visual[0] == n_full
    else:
        assert max(counts.cache_entries) < counts.prompt_full
    assert full.counts.prompt == full.counts.prompt_full


def test_the_examples_check_their_settings(classes):
    with pytest.raises(UserError, match="asked: power=9"):
        classes["asked"](power=9.0)


def test_the_page_names_what_exists():
    for path in re.findall(r"`((?:tests|docs|vtprune_eval|scripts)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"`contract/(\w+)\.py`", PAGE):
        assert (ROOT / "vtprune_eval" / "methods" / "contract" / f"{module}.py").exists()
