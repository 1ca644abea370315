"""Cells that come to the same tokens or the same cache get one answer, and it is the one of a run of their own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.pipeline.alike import of_one_cache, of_one_prompt
from vtprune_eval.pipeline.answer import ANSWER
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.stages import Begun, Ready
from vtprune_eval.pipeline.state import State
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method

from .support import tiny_model

PLENTY = 1 << 40


@pytest.fixture(scope="module")
def packing():
    """A model whose short prompts are prefilled together."""
    return tiny_model("sdpa")


def answered(adapter, cells, sample):
    """Answers by cell, of a sweep whose branches decode together."""
    sweep = Sweep(cells, max_branch_bytes=PLENTY, decode_batch=8)
    images = load_images(sample, adapter.images, StageClock(adapter.device), keep_files=True)
    found = [*sweep.run(sample, images, range(len(cells))), *sweep.drain()]
    assert not sweep.failures and len(found) == len(cells)
    return {a.cell: a for a in found}


def cell(adapter, name, budget, n=6, **params):
    return Pipeline(adapter, make_method(name, params), Budget.parse(budget), max_new_tokens=n, seed=3)


def said(outcome):
    """All that a record is made from, without the clock's."""
    costs = outcome.kv_bytes, outcome.flops, outcome.notes, outcome.achieved, outcome.target_recall
    return outcome.ids, outcome.text, outcome.finish, outcome.kept, outcome.kept_last, outcome.counts, costs


@pytest.mark.parametrize("name", ["random", "divprune", "snapkv"])
def test_budgets_that_keep_the_same_are_answered_once(packing, make_sample, name):
    """49 and 50 % of ten blocks are five; each answer still says its own budget."""
    sample = make_sample(61, 1)
    cells = [cell(packing, name, budget) for budget in ("49", "50", "90")]
    found = answered(packing, cells, sample)
    assert [found[i].shared == ANSWER for i in range(3)] == [False, True, False]
    for number, pipeline in enumerate(cells):
        alone = pipeline.run(sample)
        assert said(found[number].outcome) == said(alone)
        assert found[number].outcome.asked == alone.asked


def test_methods_that_keep_the_same_blocks_are_answered_once(packing, make_sample):
    sample = make_sample(62, 1)
    cells = [cell(packing, name, "100") for name in ("random-tokens", "divprune")]
    found = answered(packing, cells, sample)
    assert [found[i].shared == ANSWER for i in (0, 1)] == [False, True]
    assert [said(found[i].outcome) for i in (0, 1)] == [said(c.run(sample)) for c in cells]


def test_an_answer_of_three_tokens_is_none_of_six(packing, make_sample):
    sample = make_sample(63, 1)
    cells = [cell(packing, name, "50", n=n) for name in ("divprune", "snapkv") for n in (6, 3)]
    found = answered(packing, cells, sample)
    assert ANSWER not in {a.shared for a in found.values()}
    assert [said(found[i].outcome) for i in range(4)] == [said(c.run(sample)) for c in cells]


def waiting(number, hidden, deepstack, sample="s", position=9):
    """A cell whose prompt of three tokens is known."""
    rope = torch.ones(1, 3, 2), torch.zeros(1, 3, 2)
    state = State(hidden, torch.arange(3), torch.tensor([False, True, True]), rope, (deepstack,), torch.tensor([1, 2]))
    entered = SimpleNamespace(sample=SimpleNamespace(id=sample))
    return Ready(number, entered, None, {}, "vit", Begun(state, position, ((0, 1),), None, 3, 1))


def test_prompts_are_compared_bit_by_bit():
    """Methods that merge may keep the same blocks with other contents, in the embeddings or in DeepStack's rows."""
    hidden, deep = torch.zeros(1, 3, 4), torch.zeros(2, 4)
    cells = [
        waiting(0, hidden, deep),
        waiting(1, hidden + 1e-7, deep),
        waiting(2, hidden, deep + 1e-7),
        waiting(3, hidden.clone(), deep.clone()),
        waiting(4, hidden, deep, sample="t"),
        waiting(5, hidden, deep, position=8),
    ]
    groups = of_one_prompt((ready, 8) for ready in cells)
    assert sorted([r.cell for r in group] for group in groups) == [[0, 3], [1], [2], [4], [5]]


def test_caches_are_compared_entry_by_entry():
    one = torch.tensor([[0, 2, 5], [1, 2, 5]])
    other = torch.tensor([[0, 2, 5], [1, 3, 5]])
    kept = {0: {0: one, 1: one}, 1: {0: one, 1: other}, 2: {0: one.clone(), 1: one.clone()}, 3: {0: one}, 4: {}, 5: {}}
    assert of_one_cache(kept, dict.fromkeys(kept, 8)) == [[0, 2], [1], [3], [4, 5]]
    assert of_one_cache(kept, {**dict.fromkeys(kept, 8), 2: 9}) == [[0], [1], [2], [3], [4, 5]]
