"""Compositions: what can be combined runs, what collides is refused before anything is loaded."""

from __future__ import annotations

import pytest

from vtprune_eval.budget import Budget
from vtprune_eval.errors import InfeasibleBudget, UserError
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method, method_names
from vtprune_eval.sample import Sample


def methods(text: str) -> list:
    return [make_method(m, {"scorer": "ui-graph"} if m == "focusui" else None) for m in text.split("+")]


@pytest.mark.parametrize(
    "text",
    [
        "pixelprune+guikv",
        "guipruner-tar+guikv",
        "focusui+snapkv",
        "guipruner-tar+fastv",
        "pixelprune+fastv",
        "random+focusui",
        "fastv+vlcache",
        "divprune+h2o",
    ],
)
def test_compositions_run(tiny, picture, text):
    sample = Sample("s", (picture("a", 128, 96), picture("b", 160, 128, 1)), "click save", {})
    budget = "60" if "fastv" in text else "50"  # half of four layers see every token
    outcome = Pipeline(tiny, methods(text), Budget.parse(budget), max_new_tokens=3).run(sample)
    assert outcome.counts.n_new >= 1
    assert sum(outcome.counts.cache_entries) < outcome.counts.prompt_full * len(outcome.counts.cache_entries)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pixelprune+random", "both use select_patches"),
        ("guikv+snapkv", "both use compress_kv"),
        ("guipruner+guikv", "already compressed"),
        ("fastv+dart", "both use prune_layer"),
    ],
)
def test_collisions_are_refused(tiny, text, why):
    with pytest.raises(UserError, match=why):
        Pipeline(tiny, methods(text), Budget.parse("60"))


@pytest.mark.parametrize("name", sorted(n for n, s in method_names().items() if s == "builtin"))
@pytest.mark.parametrize("reading", ["equal", "paper"])
@pytest.mark.parametrize(("n_images", "budget"), [(1, "60"), (3, "60"), (3, "1tok")])
def test_every_method_runs_inside_the_pipeline_and_twice_the_same(tiny, picture, name, n_images, budget, reading):
    """Three images and one token: two of the images vanish altogether, or the method says that it cannot."""
    images = tuple(picture(f"i{i}", 96 + 32 * i, 128, i) for i in range(n_images))
    sample = Sample("s", images, "click save", {"type": "box", "box_xyxy": [10, 10, 60, 40]})
    made = [make_method(name, {"scorer": "ui-graph"} if name == "focusui" else None, reading)]
    pipeline = Pipeline(tiny, made, Budget.parse(budget, reading), max_new_tokens=3)
    needs_more = reading == "equal" and (
        ("prune_layer" in made[0].hooks() and budget == "1tok" and name != "vscan-two-stage")
        or (name in {"resize", "focusui", "tome"} and budget == "1tok")
        or (name == "guipruner-ssp" and n_images == 3)  # the history alone is more
        or (name in {"guipruner-tar", "random-history"} and (budget == "1tok" or n_images == 1))
    )
    if needs_more:
        with pytest.raises(InfeasibleBudget):
            pipeline.run(sample)
        return
    first, again = pipeline.run(sample), pipeline.run(sample)
    assert first.ids == again.ids
    assert first.kept == again.kept
    for kept in first.kept:
        assert list(kept) == sorted(set(kept))
    if first.kept_last:  # tokens are dropped inside the decoder: from what entered, and as many as were counted
        assert all(set(last) <= set(kept) for last, kept in zip(first.kept_last, first.kept, strict=True))
        entered = sum(map(len, first.kept))
        assert sum(map(len, first.kept_last)) <= first.counts.layer_visual[-1]
        assert first.counts.layer_visual[-1] < entered or entered == 1  # a first stage that left one leaves no second
    # No method drops text: every layer saw at least the text tokens.
    assert all(
        t - v == first.counts.n_text for t, v in zip(first.counts.layer_tokens, first.counts.layer_visual, strict=True)
    )


def test_a_question_without_images(tiny):
    outcome = Pipeline(tiny, methods("guikv"), Budget.parse("50"), max_new_tokens=3).run(Sample("s", (), "hello", {}))
    plain = Pipeline(tiny, methods("full"), Budget.parse("100"), max_new_tokens=3).run(Sample("s", (), "hello", {}))
    assert outcome.counts.visual == plain.counts.visual == ()
    assert plain.counts.prompt == plain.counts.n_text
