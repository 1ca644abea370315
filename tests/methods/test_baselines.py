"""The trivial baselines: counts, shapes and rules that the golden vectors cannot show because draws are random."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import screen
from tests.draws import examples
from tests.methods.test_all_methods import budget_for, layout_of
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import ImageView, PatchView, TokenView
from vtprune_eval.methods.conncomp import align, thin
from vtprune_eval.methods.kernels.cache_scores import lagkv
from vtprune_eval.methods.resize import largest_within, scaled_size
from vtprune_eval.methods.stride import even_grid
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample


def patch_view(seed: int, grids=((6, 8), (3, 5))) -> PatchView:
    return PatchView(tuple(screen(w * 32, h * 32, i) for i, (h, w) in enumerate(grids)), grids, 32, seed)


def test_random_depends_on_the_sample_unless_it_reseeds_as_published():
    budget = budget_for((48, 15), 20)

    def masks(seed, reseed):
        return [m.tolist() for m in make_method("random", {"reseed": reseed}).select_patches(patch_view(seed), budget)]

    assert masks(1, False) != masks(2, False)
    assert masks(1, True) == masks(2, True)
    same = patch_view(1, ((6, 8), (6, 8)))
    first, second = make_method("random", {"reseed": True}).select_patches(same, budget_for((48, 48), 20))
    assert (first == second).all()  # seed 42 again for every image


def test_random_is_uniform_over_blocks():
    budget, method = budget_for((48,), 12), make_method("random")
    total = sum(method.select_patches(patch_view(seed, ((6, 8),)), budget)[0].astype(int) for seed in range(800))
    # Each block is kept with probability 1/4: mean 200, standard deviation 12.2.
    assert total.min() > 200 - 5 * 12.2
    assert total.max() < 200 + 5 * 12.2


@examples(60)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 1000))
def test_components_are_thinned_by_the_published_rule(sizes, skip, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    keep = thin(labels, skip, rng)
    expected = [n if n == 1 else max(1, n - round(n * skip)) for n in sizes]
    assert np.bincount(labels[keep], minlength=len(sizes)).tolist() == expected


@examples(60)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 1000))
def test_alignment_meets_the_count_and_spares_the_first(mask, share, seed):
    keep = np.array(mask)
    n = round(share * len(mask))
    out = align(keep, n, np.random.default_rng(seed))
    assert out.sum() == n
    assert (out & keep).sum() == min(n, keep.sum())  # only additions, or only removals
    if n and keep.any():
        assert out[np.flatnonzero(keep)[0]]
    assert keep.tolist() == mask


def test_resize_follows_the_published_rule_for_a_copied_count():
    # 1920x1088 is 60x34 blocks. A quarter of them halves both sides: 960x544, 30x17 blocks.
    assert scaled_size((1920, 1088), 32, 510) == (960, 544)
    # r = 0.26: 1920 * sqrt(0.26) = 979.01, truncated 979, 30.6 blocks; 1088 * sqrt(0.26) = 554.8, 554, 17.3 blocks.
    assert scaled_size((1920, 1088), 32, round(0.26 * 2040)) == (31 * 32, 17 * 32)
    # A tie rounds to the even multiple: 160 * sqrt(1/4) = 80 = 2.5 blocks.
    assert scaled_size((160, 160), 32, 25 / 4) == (64, 64)
    assert scaled_size((320, 32), 32, 1) == (96, 32)  # truncated to 101x10, but at least one block
    assert scaled_size((640, 480), 32, 300) == (640, 480)
    view = (ImageView((1920, 1080), (1920, 1088), 32),)
    copied = StageBudget(510, (510,), 2040, Budget.parse("like:pixelprune"))
    assert make_method("resize").reduce_images(view, copied) == ((960, 544),)


@examples(100)
@given(st.integers(1, 80), st.integers(1, 80), st.floats(0.001, 1))
def test_the_largest_grid_stays_within_the_budget_and_in_shape(cols, rows, share):
    n = max(1, math.floor(share * rows * cols))
    w, h = largest_within((cols, rows), 1, n)
    assert 1 <= w * h <= n
    assert w <= cols
    assert h <= rows
    if n == rows * cols:
        assert (w, h) == (cols, rows)
    if n >= 100 and 1 / 3 <= rows / cols <= 3:
        assert w * h >= 0.85 * n
        assert abs(math.log((w / h) / (cols / rows))) < 0.2


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 9), (9, 1), (5, 8), (12, 7)])
def test_stride_keeps_exactly_the_budget_evenly(rows, cols):
    for n in range(rows * cols + 1):
        keep = even_grid(rows, cols, n)
        assert keep.sum() == n
        counts = keep.sum(1)[keep.any(1)]
        if n:
            assert counts.max() - counts.min() <= 1
    quarter = even_grid(8, 8, 16)
    assert [np.flatnonzero(row).tolist() for row in quarter if row.any()] == [[1, 3, 5, 7]] * 4
    assert np.flatnonzero(quarter.any(1)).tolist() == [1, 3, 5, 7]


def token_view(grids, features, present=None):
    import torch

    present = torch.ones(len(features), dtype=torch.bool) if present is None else present
    images = tuple(screen(w * 32, h * 32, 0) for h, w in grids)
    return TokenView(layout_of(grids), features, features[:1], images, present, 0)


def test_pool_changes_nothing_at_the_full_budget():
    import torch

    features = torch.randn(6 * 4 + 3 * 5, 8, generator=torch.Generator().manual_seed(0))
    edit = make_method("pool").select_tokens(token_view(((6, 4), (3, 5)), features), budget_for((24, 15), 39))
    assert edit.keep.all()
    assert torch.equal(edit.features, features)


def test_pool_puts_a_cell_where_its_middle_was():
    import torch

    features = torch.arange(25.0)[:, None]
    edit = make_method("pool").select_tokens(token_view(((5, 5),), features), budget_for((25,), 1))
    assert edit.keep.nonzero().tolist() == [[12]]  # the middle of 5x5
    assert edit.features.tolist() == [[12.0]]
    some = token_view(((5, 5),), features[1:], torch.arange(25) > 0)
    with pytest.raises(UserError, match="every visual token"):
        make_method("pool").select_tokens(some, budget_for((25,), 1))


def test_no_image_reaches_the_decoder_with_text_alone(tiny, tmp_path):
    path = tmp_path / "page.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)).save(path)
    sample = Sample("a", (path,), "click save", {"box_xyxy": [0, 0, 40, 40]})
    blind = make_method("no-image")
    out = Pipeline(tiny, blind, Budget.parse("auto"), max_new_tokens=2).run(sample)
    other = tmp_path / "other.png"
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(other)
    again = Pipeline(tiny, blind, Budget.parse("auto"), max_new_tokens=2).run(
        dataclasses.replace(sample, images=(other,))
    )
    assert out.ids == again.ids, "another picture of the same size changes nothing"
    assert out.counts.visual == (0,) and out.counts.layer_tokens[0] == out.counts.n_text
    assert out.target_recall["tokens"] == 0.0
    with pytest.raises(UserError, match="no-image keeps no visual token"):
        Pipeline(tiny, blind, Budget.parse("100"))


def test_prumerge_adds_what_it_would_add_to_an_image_alone():
    """The attention of every image sums to 1, as published: a second screenshot does not halve what is merged in."""
    import torch

    generator = torch.Generator().manual_seed(0)
    n, method = 40, make_method("prumerge", {"neighbours": 4})
    features, attention = torch.randn(n, 8, generator=generator), torch.rand(n, generator=generator)
    attention[:5] += 9  # five outliers, the same in both images
    # Keys of the two images are orthogonal, so that no neighbour lies in the other one.
    keys = torch.cat([torch.rand(n, 8, generator=generator), torch.zeros(n, 8)], 1)
    view = token_view(((5, 8),), features)
    one = dataclasses.replace(view, extras=dict(zip(method.needs, (attention, keys), strict=True)))
    both_keys = torch.cat([keys, keys.roll(8, 1)])
    twice = token_view(((5, 8), (5, 8)), torch.cat([features, features.flip(0)]))
    twice = dataclasses.replace(
        twice, extras=dict(zip(method.needs, (torch.cat([attention, attention]), both_keys), strict=True))
    )
    alone = method.select_tokens(one, budget_for((n,), 5))
    pair = method.select_tokens(twice, budget_for((n, n), 10))
    assert pair.keep[:n].tolist() == alone.keep.tolist() and int(alone.keep.sum()) == 5
    torch.testing.assert_close(pair.features[:5], alone.features)


def test_lagkv_takes_channels_without_a_range():
    """Under a blank part of a screenshot the values of layer 0 are equal: scores are numbers, ranks follow keys."""
    import torch

    keys = torch.randn(1, 4 + 3 * 8, 6, generator=torch.Generator().manual_seed(1))
    values = torch.ones_like(keys)
    score = lagkv(keys, values, 8)
    assert torch.isfinite(score).all()
    varied = values + 0.1 * torch.randn(values.shape, generator=torch.Generator().manual_seed(2))
    varied[:, :, 0] = 1.0
    assert torch.isfinite(lagkv(keys, varied, 8)).all()
    behind = [keys[0, s + 8 : s + 16] for s in (4, 12)]
    scaled = [(keys[0, s : s + 8] - b.amin(0)) / (b.amax(0) - b.amin(0)) for s, b in zip((4, 12), behind, strict=True)]
    ranks = torch.stack([x.std(-1).argsort().argsort() for x in scaled])  # values add the same to all of a block
    assert (score[0, 4:20].view(2, 8) * 8).round().tolist() == ranks.tolist()
