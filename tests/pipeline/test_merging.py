"""Merging inside the ViT: what enters the prompt, what it costs, and that merging nothing changes nothing."""

from __future__ import annotations

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.kernels.merging import bipartite
from vtprune_eval.methods.tome import schedule
from vtprune_eval.models.base import Merging
from vtprune_eval.models.vit_merging import attention_by_size
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.registry import make_method


def answer(adapter, sample, budget: str, method: str = "tome"):
    methods = [make_method(name) for name in method.split("+")]
    return Pipeline(adapter, methods, Budget.parse(budget), max_new_tokens=4).run(sample)


@pytest.mark.parametrize("n_images", [1, 3])
def test_as_many_tokens_leave_the_vit_as_the_budget_allows(adapter, make_sample, n_images):
    sample = make_sample(7, n_images)
    outcome, full = answer(adapter, sample, "40"), answer(adapter, sample, "100")
    counts, n_full = outcome.counts, sum(full.counts.visual_full)
    assert sum(counts.visual) == -(-n_full * 40 // 100)
    assert [len(kept) for kept in outcome.kept] == list(counts.visual)
    assert counts.patches_entered == full.counts.patches
    sums = [sum(block) for block in counts.vit_patches]
    assert sums[0] == sum(full.counts.patches)
    assert sums == sorted(sums, reverse=True)
    assert len(sums) == len(adapter.visual.blocks)
    assert outcome.counts.prompt == full.counts.prompt - n_full + sum(counts.visual)
    cost, whole = flops_of(adapter.dims, counts), flops_of(adapter.dims, full.counts)
    assert cost["patch_embed"] == whole["patch_embed"]
    assert 0.4 * whole["vit_linear"] < cost["vit_linear"] < whole["vit_linear"]


def test_merging_nothing_changes_nothing(adapter, make_sample):
    sample = make_sample(8, 2)
    assert answer(adapter, sample, "100000tok").ids == answer(adapter, sample, "100").ids
    generator = torch.Generator().manual_seed(0)
    grids, depth = ((3, 4), (2, 2)), len(adapter.visual.blocks)
    patches = torch.randn(64, adapter.visual.patch_embed.proj.weight[0].numel(), generator=generator)
    with torch.inference_mode():
        plain = adapter.encode(patches, grids, [None, None])
        merged = adapter.encode(patches, grids, [None, None], merging=Merging(((0,) * depth,) * 2, bipartite))
    assert torch.equal(plain.tokens, merged.tokens)
    assert all(torch.equal(a, b) for a, b in zip(plain.deepstack, merged.deepstack, strict=True))
    assert merged.places.tolist() == list(range(16))


def test_images_are_merged_apart_and_places_stay_sorted(adapter):
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(64, adapter.visual.patch_embed.proj.weight[0].numel(), generator=generator)
    counts = (schedule(12, 5, len(adapter.visual.blocks)), schedule(4, 2, len(adapter.visual.blocks)))
    with torch.inference_mode():
        both = adapter.encode(patches, ((3, 4), (2, 2)), [None, None], merging=Merging(counts, bipartite))
        alone = adapter.encode(patches[:48], ((3, 4),), [None], merging=Merging(counts[:1], bipartite))
    assert both.places.tolist() == sorted(both.places.tolist())
    assert int((both.places < 12).sum()) == 5
    assert len(both.places) == 7
    assert both.places[:5].tolist() == alone.places.tolist()
    torch.testing.assert_close(both.tokens[:5], alone.tokens, rtol=1e-4, atol=1e-5)
    assert all(len(level) == 7 for level in both.deepstack)


def test_proportional_attention_is_that_of_repeated_keys(adapter):
    """A key that stands for s draws as much attention as s equal keys with equal values."""
    attn, generator = adapter.visual.blocks[0].attn, torch.Generator().manual_seed(3)
    n, dim = 7, attn.dim
    x = torch.randn(n, dim, generator=generator)
    angle = torch.rand(n, dim // attn.num_heads // 2, generator=generator).repeat(1, 2)
    sizes, lengths = torch.tensor([1, 3, 2, 1, 1, 4, 2]), (4, 3)
    with torch.inference_mode():
        got = attention_by_size(attn, x, (angle.cos(), angle.sin()), sizes.float(), lengths)
        for start, end in ((0, 4), (4, 7)):
            rows = torch.arange(start, end).repeat_interleave(sizes[start:end])
            rope = (angle[rows].cos(), angle[rows].sin())
            bounds = torch.tensor([0, len(rows)], dtype=torch.int32)
            want = attn(x[rows], cu_seqlens=bounds, max_seqlen=len(rows), position_embeddings=rope)
            first = sizes[start:end].cumsum(0) - sizes[start:end]
            torch.testing.assert_close(got[start:end], want[first], rtol=1e-4, atol=1e-5)


def test_proportional_attention_is_used_behind_the_first_merge(adapter, make_sample):
    """The released default is the reading paper; before anything is merged nothing changes."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(48, adapter.visual.patch_embed.proj.weight[0].numel(), generator=generator)
    depth = len(adapter.visual.blocks)

    def tokens(counts, by_size):
        with torch.inference_mode():
            return adapter.encode(patches, ((3, 4),), [None], merging=Merging((counts,), bipartite, by_size)).tokens

    late, early = (*(0,) * (depth - 1), 4), (4, *(0,) * (depth - 1))
    assert torch.equal(tokens(late, True), tokens(late, False))
    assert not torch.allclose(tokens(early, True), tokens(early, False), atol=1e-4)
    assert make_method("tome", {}, "paper").weighs_by_size and not make_method("tome").weighs_by_size


def test_two_methods_of_one_budget_stay_within_it(adapter, make_sample):
    outcome = answer(adapter, make_sample(9, 2), "50", "tome+hiprune")
    assert 0 < sum(outcome.counts.visual) <= -(-sum(outcome.counts.visual_full) // 2)


def test_windows_are_refused_before_any_sample(adapter, monkeypatch):
    monkeypatch.setattr(type(adapter), "merges", property(lambda self: False))
    with pytest.raises(UserError, match=r"tome merges inside the ViT.*windows.*choose a model"):
        Pipeline(adapter, make_method("tome"), Budget.parse("50"))


def test_the_schedule_is_even_and_halves_at_most():
    assert schedule(100, 40, 6) == (10,) * 6
    assert schedule(100, 39, 6) == (11, 10, 10, 10, 10, 10)
    assert schedule(8, 1, 2) == (4, 2)  # as few as halving can
    assert schedule(5, 5, 3) == (0, 0, 0)
