"""With nothing dropped the pipeline is the model class's own greedy generation, token for token."""

from __future__ import annotations

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.methods.full import Full
from vtprune_eval.pipeline.generate import Pipeline

from .doubles import EVERY, Patches
from .support import Reference, tiny_model


@pytest.mark.parametrize("seed", range(50))
def test_full_is_generate(seed, make_sample, reference, run):
    sample = make_sample(seed)
    ref = reference(sample)
    outcome = run(sample, Full(), "100", n_new=10)
    assert list(outcome.ids) == ref.generate(10)
    assert torch.equal(ref.positions()[:, 0], ref.layout.positions)
    assert outcome.counts.visual == ref.layout.n_tokens
    assert outcome.counts.cache_entries == (ref.layout.n_prompt,) * 5
    assert outcome.notes == ()


def test_prompts_differ_and_answers_are_not_constant(make_sample, run):
    ids = [run(make_sample(s), Full(), "100").ids for s in range(6)]
    assert len(set(ids)) > 3


@pytest.mark.parametrize("method", EVERY, ids=lambda m: f"{m.name}-{m.kv_granularity}")
def test_budget_100_is_full_for_any_hook(method, make_sample, run):
    for seed in range(3):
        sample = make_sample(seed)
        outcome, full = run(sample, method, "100"), run(sample, Full(), "100")
        assert outcome.ids == full.ids and outcome.counts == full.counts and outcome.kv_bytes == full.kv_bytes


def test_keeping_every_patch_is_full(make_sample, run):
    sample = make_sample(3)
    assert run(sample, Patches(share=2.0)).ids == run(sample, Full(), "100").ids


@pytest.mark.parametrize("attn", ["eager"])
def test_other_attention_backends_are_causal_too(attn, make_sample):
    adapter = tiny_model(attn)
    sample = make_sample(5)
    pipeline = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=8)
    assert list(pipeline.run(sample).ids) == Reference(adapter, sample).generate(8)


def test_stops_at_the_end_token(adapter, make_sample, monkeypatch, run):
    sample = make_sample(0)
    free = run(sample, Full(), "100", n_new=8)
    monkeypatch.setattr(adapter, "eos_ids", frozenset([free.ids[2]]))
    stopped = run(sample, Full(), "100", n_new=8)
    first = free.ids.index(free.ids[2])
    assert stopped.finish == "eos" and stopped.ids == free.ids[: first + 1] and stopped.counts.n_new == first + 1
    assert free.finish == "length" and free.counts.n_new == 8
