"""Caches whose heads hold different numbers of entries: padded storage, masked decoding, counts of what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method

from .doubles import Cache


@dataclass(frozen=True)
class Padded(Cache):
    """The same entries behind two places that hold nothing."""

    name: ClassVar[str] = "t-padded"
    ragged: ClassVar[bool] = True

    def compress_kv(self, view, budget):
        kept = super().compress_kv(view, budget)
        return torch.cat([torch.full((len(kept), 2), -1), kept], 1)


@pytest.mark.parametrize("heads", ["kv_head", "query_head"])
def test_padding_changes_no_answer_and_is_not_counted(adapter, make_sample, heads):
    sample = make_sample(3, 2)

    def outcome(cls):
        budget = Budget.parse("40", "paper" if heads == "query_head" else "equal")
        return Pipeline(adapter, cls(heads=heads), budget, max_new_tokens=6).run(sample)

    plain, padded = outcome(Cache), outcome(Padded)
    assert padded.ids == plain.ids
    assert padded.counts.cache_entries == plain.counts.cache_entries
    assert padded.kv_bytes == plain.kv_bytes
    assert padded.counts.cache_visual == plain.counts.cache_visual


def test_every_head_attends_to_its_own_entries_alone():
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(1, 2, 9, 4, generator=generator) for _ in range(2))
    cache = KVCache(1, 3)
    cache.update(keys, values, 0)
    cache.keep(0, torch.tensor([[-1, -1, 2, 7], [0, 1, 5, 8]]))
    new = torch.randn(1, 2, 1, 4, generator=generator)
    k, v = cache.update(new, new, 0)
    mask = cache.mask(0)
    assert mask.tolist() == [[False, False, True, True, True], [True] * 5]
    query = torch.randn(1, 2, 1, 4, generator=generator)
    got = torch.nn.functional.scaled_dot_product_attention(query, k, v, attn_mask=mask[None, :, None])
    for head, own in enumerate(([2, 7], [0, 1, 5, 8])):
        mine = torch.cat([keys[0, head, own], new[0, head]])
        weights = (query[0, head] @ mine.T / 2).softmax(-1)
        torch.testing.assert_close(got[0, head], weights @ torch.cat([values[0, head, own], new[0, head]]))
    branch = cache.fork()
    assert torch.equal(branch.mask(0), mask)
    cache.keep(0, torch.tensor([[2, 3], [0, 3]]))
    assert cache.mask(0) is None and cache.kept(0).tolist() == [[2, 7], [0, 8]]


def test_adakv_spends_the_budget_unevenly_over_heads(adapter, make_sample):
    sample = make_sample(5, 2)
    kept = {}

    @dataclass(frozen=True)
    class Seen(type(make_method("adakv"))):
        name: ClassVar[str] = "adakv"

        def compress_kv(self, view, budget):
            kept[view.layer] = super().compress_kv(view, budget)
            return kept[view.layer]

    outcome = Pipeline(adapter, Seen(window_size=4), Budget.parse("50"), max_new_tokens=4).run(sample)
    sizes = [(k >= 0).sum(1).tolist() for k in kept.values()]
    assert any(len(set(s)) > 1 for s in sizes)
    n_text, allowed = outcome.counts.n_text, -(-sum(outcome.counts.visual_full) // 2)
    assert all(sum(s) == len(s) * (n_text + allowed) for s in sizes)
    assert outcome.counts.cache_entries == (n_text + allowed,) * len(sizes)


@pytest.mark.parametrize("rule", ["threshold", "layer-threshold"])
def test_kvzips_threshold_keeps_one_entry_fewer_of_all_heads_together(adapter, make_sample, rule):
    """Of all layers and heads, or of all heads of a layer: against a sort of all scores at once."""
    sample, kept = make_sample(5, 2), {}

    @dataclass(frozen=True)
    class Seen(type(make_method("kvzip"))):
        name: ClassVar[str] = "kvzip"

        def compress_kv(self, view, budget):
            kept[view.layer] = super().compress_kv(view, budget)
            seen["limit"], seen["n"], seen["scores"] = budget.limit, len(view.index), view.observed
            return kept[view.layer]

    seen: dict = {}
    outcome = Pipeline(adapter, Seen(rule=rule), Budget.parse("50", "paper"), max_new_tokens=4).run(sample)
    n, limit = seen["n"], seen["limit"]
    layers = [np.concatenate([c.numpy() for c in chunks], 1) for chunks in seen["scores"]]
    layers = [np.concatenate([np.full((len(s), n - s.shape[1]), 9.0), s], 1) for s in layers]  # the sinks come first
    for number, scores in enumerate(layers):
        pool = np.stack(layers) if rule == "threshold" else scores
        place = pool.size // n * limit - 1
        want = scores > np.sort(pool, axis=None)[::-1][place]
        want[:, -1] = True  # no head is empty
        assert [[i for i in row if i >= 0] for row in kept[number].tolist()] == [
            np.flatnonzero(r).tolist() for r in want
        ]
    counts = [int((e >= 0).sum()) for e in kept.values()]
    total = sum(len(e) for e in kept.values()) * limit - (1 if rule == "threshold" else len(kept))
    assert total <= sum(counts) <= total + sum(len(e) for e in kept.values())
    assert len(set(counts)) > 1 or rule == "layer-threshold"
    assert outcome.ids


@pytest.mark.parametrize("form", ["authors", "kvpress"])
def test_adakv_of_both_forms_stays_within_the_budget(adapter, make_sample, form):
    made = make_method("adakv", {"form": form, "window_size": 4})
    outcome = Pipeline(adapter, made, Budget.parse("40"), max_new_tokens=2).run(make_sample(6, 3))
    allowed = outcome.counts.n_text - (-sum(outcome.counts.visual_full) * 2 // 5)
    assert set(outcome.counts.cache_entries) == {allowed}
