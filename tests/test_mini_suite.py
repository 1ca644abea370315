"""The embedded suite: counts, sizes, disjoint words, answers that lie where the records say."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from mini.design import ICONS
from mini.eval_pages import DOCUMENTS, GROUNDING
from mini.vocabulary import EVAL_WORDS, training_word
from PIL import Image

from tests.browser import executable
from vtprune_eval.benchmarks.definitions import DEFAULT_TASKS
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.paths import tasks_dir


@pytest.mark.parametrize("name", DEFAULT_TASKS)
def test_records_and_images(name):
    task = load_task(name)
    assert len(task.samples) >= 200
    assert len({s.id for s in task.samples}) == len(task.samples)
    for sample in task.samples:
        assert 1 <= len(sample.images) <= 5
        for path in sample.images:
            with Image.open(path) as image:
                assert image.width % 32 == image.height % 32 == 0
                size = image.size
        target = sample.target.get("action", sample.target)
        if "box_xyxy" in target:
            x1, y1, x2, y2 = target["box_xyxy"]
            assert 0 <= x1 < x2 <= size[0]
            assert 0 <= y1 < y2 <= size[1]


def test_the_suite_is_small():
    assert sum(p.stat().st_size for n in DEFAULT_TASKS for p in (tasks_dir() / n).rglob("*") if p.is_file()) < 12e6


def test_every_shape_and_kind_is_there():
    grounding = Counter((s.meta["target_kind"], s.meta["platform"]) for s in load_task("mini-grounding").samples)
    assert set(grounding) == {(k, p) for k in ("text", "icon") for p in ("desktop", "web", "mobile")}
    assert {s.meta["kind"] for s in load_task("mini-doc").samples} == {"form", "invoice", "table", "bar"}
    steps = load_task("mini-nav").samples
    assert sum(s.meta["needs_history"] for s in steps) > 50
    assert max(len(s.images) for s in steps) == 5
    assert {s.target["action"]["type"] for s in steps} == {"tap", "type", "scroll", "back", "finish"}


def test_words_of_the_two_splits_are_disjoint():
    import random

    rng = random.Random(0)
    assert not set(EVAL_WORDS) & {training_word(rng) for _ in range(50_000)}
    reserved = {
        "click",
        "icon",
        "what",
        "is",
        "of",
        "tap",
        "type",
        "code",
        "goal",
        "history",
        "none",
        "next",
        "not",
        "found",
    }
    used: set[str] = set()
    for name in DEFAULT_TASKS:
        for sample in load_task(name).samples:
            used |= {w.strip(":,.?") for w in sample.question.split()}
    words = {w for w in used if w.isalpha()} - reserved - set(ICONS)
    assert words <= set(EVAL_WORDS)
    assert len(words) > 200


def test_templates_of_the_two_splits_are_disjoint():
    used = {s.meta["template"] for n in ("mini-grounding", "mini-doc") for s in load_task(n).samples}
    assert len(used) == len(GROUNDING) + len(DOCUMENTS)
    assert not any(t.startswith("random-") for t in used)


def test_answers_from_history_are_not_on_the_last_screen():
    """Steps marked ``needs_history`` ask for a code that only an earlier screenshot shows."""
    for sample in load_task("mini-nav").samples:
        if sample.meta["needs_history"]:
            assert sample.target["action"]["type"] == "type"
            assert len(sample.images) >= 2
            assert sample.images[0].stem.endswith("codes")
            assert sample.images[-1].stem.endswith("entry")
            assert sample.target["action"]["text"] not in sample.question


def test_the_share_of_duplicate_blocks_is_what_the_data_cards_say():
    from build_mini import duplicate_share

    for name in DEFAULT_TASKS:
        card = (tasks_dir() / name / "README.md").read_text()
        share = 100 * duplicate_share(tasks_dir() / name / "data")
        assert f"{share:.1f} %" in card, (name, share)


def test_drawing_again_gives_the_same_pixels(tmp_path):
    """Deterministic: one page drawn twice in the browser; and text sits on the 16-px grid."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    import random

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        if executable(playwright) is None:
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
    from mini.eval_pages import Words
    from mini.render import Renderer

    with Renderer((512, 512)) as renderer:
        drawn = []
        for _ in range(2):
            rng = random.Random("x")
            drawn.append(renderer.draw([GROUNDING[0][1](rng, Words(rng))])[0])
    assert (drawn[0][0] == drawn[1][0]).all()
    assert json.dumps(drawn[0][1]) == json.dumps(drawn[1][1])
    assert all(x % 16 == 0 and y % 16 == 0 for _, x, y in drawn[0][1]["words"])
    assert np.ptp(drawn[0][0]) > 100


def test_a_drawn_error_page_is_a_step_that_goes_back():
    """What is drawn says which page has failed; a name of its own there would make it a page like any other."""
    pytest.importorskip("playwright", reason="playwright is not installed")
    import random

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        if executable(playwright) is None:
            pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
    from mini import training_pages
    from mini.render import Renderer
    from nano.batches import nav_step

    rng = random.Random(3)
    with Renderer((1024, 1024)) as renderer:
        (_, failed), (_, other) = renderer.draw([training_pages.page(rng, "pane", kind) for kind in ("error", "table")])
    assert [w[0] for w in failed["words"]].count("found") == 1
    steps = [nav_step(rng, [other, failed], False, (256, 160)) for _ in range(20)]
    assert {step[1] for step in steps} == {"back"}
    assert all(target["name"] for target in other["targets"])
