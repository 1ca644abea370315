"""The larger mini suite: sizes, layouts, held-out words, one answer per question, answers where the page shows them."""

from __future__ import annotations

import random
import sys
from collections import Counter

import numpy as np
import pytest
from mini.panes import LAYOUTS, SCALE, screen
from mini.vocabulary import EVAL_WORDS
from PIL import Image

from vtprune_eval.benchmarks.definitions import SUITES
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.paths import tasks_dir


@pytest.mark.parametrize("name", SUITES["mini-large"])
def test_records_and_images(name):
    samples = list(load_task(name).samples)
    assert len(samples) == 120 and len({s.id for s in samples}) == 120
    assert Counter(s.meta["layout"] for s in samples) == dict.fromkeys(LAYOUTS, 20)
    for sample in samples:
        with Image.open(sample.images[0]) as image:
            size = image.size
        assert size[0] % 32 == size[1] % 32 == 0
        assert size[0] * size[1] // 1024 == sample.meta["tokens"] == LAYOUTS[sample.meta["layout"]].tokens
        assert 160 <= sample.meta["tokens"] <= 640
        if name.endswith("grounding"):
            x1, y1, x2, y2 = sample.target["box_xyxy"]
            assert 0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]
            words = sample.question.removeprefix("click ").removesuffix(" icon").split()
            assert sample.meta["target_kind"] == "icon" or set(words) <= set(EVAL_WORDS)
        else:
            assert sample.target["answers"][0].isdigit() and len(sample.target["answers"][0]) <= 4
            assert set(sample.question.removeprefix("what is ").split()) <= set(EVAL_WORDS)


def test_half_of_the_targets_are_icons_where_pages_have_them():
    kinds = Counter(s.meta["target_kind"] for s in load_task("mini-large-grounding").samples)
    assert kinds["icon"] >= 40 and kinds["text"] >= 60


def test_a_target_differs_from_the_page_around_it():
    """Every box shows something: its pixels are not of one colour."""
    for sample in load_task("mini-large-grounding", 20).samples:
        x1, y1, x2, y2 = sample.target["box_xyxy"]
        with Image.open(sample.images[0]) as image:
            pixels = np.asarray(image.convert("RGB"))[y1:y2, x1:x2]
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) >= 3


@pytest.mark.parametrize("kind", ["ui", "document"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_panes_lie_inside_their_screen_and_share_no_word(name, kind):
    layout = LAYOUTS[name]
    assert layout.cols * SCALE % 1 == layout.rows * SCALE % 1 == 0
    made = screen(random.Random(f"{name}/{kind}"), name, kind)
    assert all(c.col + c.cols <= layout.cols and c.row + c.rows <= layout.rows for c in made.cells)
    assert sum(cols * rows for _, _, (cols, rows) in layout.panes) <= layout.cols * layout.rows
    tags = [v for c in made.cells for k, v in c.data if k == "key"]
    assert len(tags) == len(set(tags))
    assert kind == "ui" or tags


def test_the_core_wheel_leaves_the_data_out(monkeypatch):
    """``setup.py`` skips ``data/`` of tasks that name a package, and of no other."""
    root = tasks_dir().parent
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.syspath_prepend(str(root))
    sys.modules.pop("setup", None)
    import setup

    assert setup._without_packaged_data(str(tasks_dir() / "mini-large-doc"), ["data", "README.md"]) == {"data"}
    assert setup._without_packaged_data(str(tasks_dir() / "mini-doc"), ["data", "README.md"]) == set()
    assert setup._without_packaged_data(str(tasks_dir()), ["mini-doc"]) == set()
