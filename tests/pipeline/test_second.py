"""A second question meets what the first one left of the page."""

from __future__ import annotations

import dataclasses

import pytest

from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.second import SecondQuestion
from vtprune_eval.registry import make_method

QUERY = {"focusui": {"scorer": "random"}}
NAMES = ("full", "pixelprune", "divprune", "focusui", "fastv", "random-layer", "snapkv", "adakv", "random-kv", "pool")


def pipeline(adapter, name: str) -> Pipeline:
    reading = "paper" if "prune_layer" in make_method(name).hooks() else "equal"
    budget = Budget.parse("100" if name == "full" else "50", reading)
    return Pipeline(adapter, make_method(name, QUERY.get(name, {})), budget, max_new_tokens=4, seed=1)


@pytest.mark.parametrize("name", NAMES)
def test_asking_the_same_twice_gives_the_same(tiny, make_sample, name):
    sample = make_sample(11, 1)
    own = pipeline(tiny, name)
    once, twice = own.run(sample), SecondQuestion(own).run(sample, sample)
    assert twice.ids == once.ids
    assert twice.kept == once.kept
    assert twice.kept_last == once.kept_last
    assert twice.counts.layer_visual == once.counts.layer_visual
    assert twice.counts.cache_visual == once.counts.cache_visual
    assert twice.counts.cache_entries == once.counts.cache_entries


@pytest.mark.parametrize("name", ["focusui", "snapkv", "fastv"])
def test_the_first_question_decides_what_is_left(tiny, make_sample, name):
    first = make_sample(11, 1)
    second = dataclasses.replace(first, id="other", question="icon ab What? under 7 icon icon click")
    own = pipeline(tiny, name)
    found = SecondQuestion(own).run(first, second)
    assert found.kept == own.run(first).kept
    assert found.kept_last == own.run(first).kept_last
    assert found.counts.n_text == own.run(second).counts.n_text, "its own text is whole"
    assert found.counts.cache_visual == own.run(first).counts.cache_visual


def test_what_cannot_be_repeated_is_refused(tiny, make_sample):
    first, other = make_sample(11, 1), make_sample(12, 1)
    with pytest.raises(UserError, match="about different images"):
        SecondQuestion(pipeline(tiny, "snapkv")).run(first, other)
    whole = Pipeline(tiny, make_method("guipruner"), Budget.parse("50", "paper"))
    with pytest.raises(UserError, match="before and behind the ViT"):
        SecondQuestion(whole)
