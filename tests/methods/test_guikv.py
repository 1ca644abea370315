"""GUI-KV against a literal, per-head, per-image implementation of its steps, and its edge cases."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.draws import examples
from tests.methods.literal import guikv_scores
from tests.methods.test_all_methods import layer_view, layout_of
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import Room
from vtprune_eval.methods.guikv import GuiKV, saliency
from vtprune_eval.methods.kernels.attention import received_attention, rows_attention, sparse_share, window_attention
from vtprune_eval.methods.kernels.schedules import pyramid_past as layer_past
from vtprune_eval.methods.vlcache import VLCache, layer_shares, layer_sizes
from vtprune_eval.registry import make_method

GRIDS = ((3, 5), (4, 4), (5, 3))


@examples(30)
@given(
    seed=st.integers(0, 1000),
    n_images=st.integers(1, 3),
    capacity=st.integers(4, 30),
    granularity=st.sampled_from(["query_head", "kv_head"]),
)
def test_batched_scores_equal_the_loops(seed, n_images, capacity, granularity):
    view = layer_view(GRIDS[:n_images], seed, 1, 8)
    method = GuiKV(granularity=granularity, rank=4)
    window = min(8, max(1, capacity - 2))
    got = method.score_kv(view, Room(capacity, window))
    want = guikv_scores(view, capacity, window, alpha=2.0, temperature=3.5, rank=4, grouped=granularity == "kv_head")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_attention_kernels_agree_with_the_softmax_they_avoid():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(4, 50, 8, generator=generator), torch.randn(2, 50, 8, generator=generator)
    scores = torch.einsum("hqd,hkd->hqk", q, k.repeat_interleave(2, 0)) * 8**-0.5
    full = scores.masked_fill(torch.ones(50, 50, dtype=torch.bool).triu(1), float("-inf")).softmax(-1)
    torch.testing.assert_close(window_attention(q[:, -7:], k), full[:, -7:].sum(1))
    torch.testing.assert_close(received_attention(q, k), full.sum(1))
    rows = torch.tensor([3, 20, 44])
    torch.testing.assert_close(rows_attention(q[:, rows], rows, k), full[:, rows].sum(1))
    tail = full[:, -9:]
    visible = torch.ones(9, 50, dtype=torch.bool).tril(41)
    small = ((tail <= 0.01) & visible).sum() / (4 * visible.sum())
    assert sparse_share(q[:, -9:], k, threshold=0.01, relative=False) == pytest.approx(float(small))
    low = ((tail < 0.5 * tail.amax(-1, keepdim=True)) & visible).sum() / (4 * visible.sum())
    assert sparse_share(q[:, -9:], k, threshold=0.5, relative=True) == pytest.approx(float(low))


def test_saliency_of_one_token_and_of_equal_tokens():
    assert saliency(torch.ones(1, 4), 3.5).tolist() == [1.0]
    torch.testing.assert_close(saliency(torch.ones(6, 4), 3.5), torch.full((6,), 1 / 6))
    hot = saliency(torch.tensor([[1.0], [1.0], [9.0]]), 0.1)
    assert hot.argmax() == 2
    assert float(hot.sum()) == pytest.approx(1.0)


@examples(20)
@given(seed=st.integers(0, 1000), capacity=st.integers(10, 40))
def test_suppressed_tokens_are_never_kept(seed, capacity):
    """The candidates that are not suppressed always suffice: n - cap is more than its share of the earlier tokens."""
    view = layer_view(GRIDS, seed, 0, 8)
    capacity = min(capacity, len(view.index) - 1)
    method = GuiKV(rank=4, granularity="query_head")
    kept = method.compress_kv(view, StageBudget(capacity, None, 46, Budget.parse("10")))
    zero = method.score_kv(view, Room(capacity, 8)) == 0
    for h in range(4):
        assert not bool(zero[h][kept[h][:-8]].any())


def test_without_images_it_is_snapkv_and_with_one_the_temporal_part_is_off():
    view = layer_view(((4, 6),), 3, 0, 8)
    budget = StageBudget(14, None, 24, Budget.parse("10"))
    plain = dataclasses.replace(view, layout=dataclasses.replace(view.layout, grids=(), spans=()))
    assert torch.equal(GuiKV().compress_kv(plain, budget), make_method("snapkv").compress_kv(plain, budget))
    assert torch.equal(GuiKV(rank=0).compress_kv(view, budget), GuiKV().compress_kv(view, budget))


@pytest.mark.parametrize("capacity", [1, 2, 3, 4])
def test_tiny_capacities(capacity):
    view = layer_view(GRIDS, 1, 0, 8)
    kept = GuiKV().compress_kv(view, StageBudget(capacity, None, 46, Budget.parse("1")))
    assert kept.shape[1] == max(2, capacity)
    assert bool((kept[:, -1] == len(view.index) - 1).all())


def test_layer_budgets():
    assert [layer_past(i, 28, 57, 643, 20) for i in (0, 13, 27)] == [112, 60, 4]
    assert sum(layer_shares((0.2, 0.5, 0.9), 0.01)) == pytest.approx(1.0)
    assert layer_shares((1.0, 1.0), 0.01) == (0.5, 0.5)
    assert layout_of(GRIDS).n_visual == 46


def test_vlcache_multiplies_by_the_budget_before_it_clamps():
    """(1 - g) / sum (1 - g) r L, worked: shares 1/7, 2/7, 4/7 of 0.25 x 3 x 1000 entries."""
    gammas, lengths = (0.9, 0.8, 0.6), (1000,) * 3
    assert layer_sizes(gammas, lengths, 250) == (107, 214, 428)
    # A layer of 0.1 % of the density is lifted to 1 % of its entries, and the others pay for it: 740 = 370 + 370.
    assert layer_sizes((0.999, 0.0, 0.0), lengths, 250) == (10, 370, 370)
    # The densest layer saturates; its surplus goes to the others, 2 : 1.
    assert layer_sizes(gammas, lengths, 700) == (366, 733, 1000)
    assert layer_sizes((1.0, 1.0, 1.0), lengths, 250) == (250,) * 3


@examples(100)
@given(gammas=st.lists(st.floats(0, 1), min_size=1, max_size=12), data=st.data())
def test_vlcache_spends_the_budget(gammas, data):
    lengths = data.draw(st.lists(st.integers(1, 900), min_size=len(gammas), max_size=len(gammas)))
    mean = data.draw(st.integers(1, max(lengths)))
    sizes = layer_sizes(gammas, lengths, mean)
    assert all(int(0.01 * n) <= size <= n for size, n in zip(sizes, lengths, strict=True))
    target = min(mean * len(gammas), sum(lengths))
    lifted = sum(max(0.0, 0.01 * n) for n in lengths)
    assert target - len(gammas) - 1e-6 <= sum(sizes) <= max(target, lifted) + 1e-6


def test_vlcache_keeps_nearly_everything_at_nearly_the_full_budget():
    """At 99 % saturated layers once lost their surplus, a quarter of the cache."""
    views = [layer_view(GRIDS, 0, layer, -1) for layer in range(3)]
    n = len(views[0].index)
    views = [
        dataclasses.replace(
            v,
            index=views[0].index,
            visual=views[0].visual,
            keys=torch.randn(2, n, 8),
            queries=torch.randn(4, n, 8) * scale,
            layer=i,
            n_layers=3,
        )
        for i, (v, scale) in enumerate(zip(views, (0.1, 3, 9), strict=True))
    ]
    method = VLCache()
    seen = tuple(method.observe(v) for v in views)
    budget = StageBudget(n - 1, None, 46, Budget.parse("99"))
    kept = [method.compress_kv(dataclasses.replace(v, observed=seen), budget).shape[1] for v in views]
    assert 3 * (n - 1) - 3 <= sum(kept) <= 3 * (n - 1)


def test_the_paper_s_reading_of_the_bonus_is_a_preset():
    """tau multiplies in the quoted equation: 0.1 is a temperature of 10, and the norms are the residual stream's."""
    view = layer_view(GRIDS, 3, 0, 8)
    room = Room(20, 8)
    preset = GuiKV(spatial="paper").score_kv(view, room)
    by_hand = GuiKV(alpha=0.5, temperature=10.0, norm_source="residual").score_kv(view, room)
    assert torch.equal(preset, by_hand)
    assert not torch.equal(preset, GuiKV().score_kv(view, room))


def test_a_rank_that_spans_every_direction_switches_the_temporal_part_off():
    """Head width 8: residuals of rank 8 or more would be rounding noise."""
    view, room = layer_view(GRIDS, 3, 0, 8), Room(20, 8)
    assert torch.equal(GuiKV(rank=8).score_kv(view, room), GuiKV(rank=0).score_kv(view, room))
    assert not torch.equal(GuiKV(rank=4).score_kv(view, room), GuiKV(rank=0).score_kv(view, room))
