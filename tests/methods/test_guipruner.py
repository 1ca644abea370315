"""GUIPruner: worked values of the specification, edge cases of both halves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import screen
from tests.draws import examples
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import ImageView
from vtprune_eval.methods.guipruner_ssp import GuiPrunerSSP, foreground, spread, stratified
from vtprune_eval.methods.guipruner_tar import GuiPrunerTAR, quotas
from vtprune_eval.registry import make_method

FRAME_SIZES = (1280, 800), (1280, 800)
FRAME = ImageView((1280, 800), (1280, 800), 32)  # 40 x 25 = 1000 tokens
AUTO = StageBudget(None, None, 5000, Budget("auto"))


def test_worked_quotas():
    """T = 4, gamma = 0.2, lambda = 0.1, 1000 tokens: 166.67, 122.22, 77.78, 33.33 from newest to oldest."""
    assert quotas(4, 1000, 0.1, 0.2) == pytest.approx((166.667, 122.222, 77.778, 33.333), abs=1e-3)
    assert quotas(1, 1000, 0.1, 0.2) == (100.0,)
    assert len(set(quotas(4, 1000, 0.1, 1.0))) == 1


def test_history_shrinks_with_age_and_the_current_frame_stays():
    sizes = GuiPrunerTAR(lam=0.1).reduce_images((FRAME,) * 5, AUTO)
    tokens = [w * h // 1024 for w, h in sizes]
    assert sizes[-1] == FRAME.full_size
    assert tokens[:4] == sorted(tokens[:4])
    assert all(n <= q for n, q in zip(tokens[:4], reversed(quotas(4, 1000, 0.1, 0.2)), strict=True))


def test_the_whole_history_is_left_untouched():
    """lambda = 1 returns the images as they are, whatever gamma (specification, section 2)."""
    frames, full = (FRAME,) * 5, (FRAME.full_size,) * 5
    assert GuiPrunerTAR(lam=1.0).reduce_images(frames, AUTO) == full
    assert GuiPrunerTAR(lam=1.0, gamma=0.0).reduce_images(frames, AUTO) == full
    plenty = StageBudget(5000, (1000,) * 5, 5000, Budget.parse("100000tok"))
    assert GuiPrunerTAR().reduce_images(frames, plenty) == full


@examples(100)
@given(
    n=st.integers(1, 6),
    cols=st.integers(1, 60),
    rows=st.integers(1, 60),
    lam=st.floats(0.01, 0.999),
    gamma=st.floats(0.0, 1.0),
)
def test_no_frame_is_enlarged_and_the_total_holds(n, cols, rows, lam, gamma):
    frame = ImageView((cols * 32, rows * 32), (cols * 32, rows * 32), 32)
    sizes = GuiPrunerTAR(lam=lam, gamma=gamma).reduce_images((frame,) * (n + 1), AUTO)
    for (w, h), quota in zip(sizes[:-1], reversed(quotas(n, cols * rows, lam, gamma)), strict=True):
        assert 32 <= w <= cols * 32
        assert 32 <= h <= rows * 32
        assert w * h // 1024 <= max(quota + 1e-6, w // 32, h // 32)  # both sides are at least one block


def test_worked_split():
    """C = 1000, 300 foreground, mu = 0.75, rho = 0.3: 225 foreground, 157 background, 368 from the grid."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.zeros(1000, dtype=torch.bool)
    inside[torch.randperm(1000, generator=generator)[:300]] = True
    scores = torch.rand(1000, generator=generator)
    kept = stratified(scores, inside, 750, 0.75, 0.3, None, (25, 40))
    assert len(kept) == len(set(kept.tolist())) == 750
    chosen = set(kept.tolist())
    front = inside.nonzero()[:, 0]
    back = (~inside).nonzero()[:, 0]
    assert set(front[scores[front].topk(225).indices].tolist()) <= chosen
    assert set(back[scores[back].topk(157).indices].tolist()) <= chosen


@examples(100)
@given(
    rows=st.integers(1, 12),
    cols=st.integers(1, 12),
    share=st.floats(0.02, 1.0),
    rho=st.floats(0, 1),
    seed=st.integers(0, 99),
    two=st.booleans(),
)
def test_exactly_k_tokens(rows, cols, share, rho, seed, two):
    n = rows * cols
    generator = torch.Generator().manual_seed(seed)
    n_keep = max(1, int(share * n + 1e-9))
    inside = torch.rand(n, generator=generator) < 0.4
    at = torch.arange(n) if two else None
    kept = stratified(torch.rand(n, generator=generator), inside, n_keep, share, rho, at, (rows, cols))
    assert len(kept) == n_keep
    assert (kept[1:] > kept[:-1]).all()


def test_spread():
    assert spread(10, 1).tolist() == [0]
    assert spread(10, 2).tolist() == [0, 9]
    assert spread(5, 3).tolist() == [0, 2, 4]
    assert spread(3, 7).tolist() == [0, 1, 2]


def test_foreground_follows_outlines():
    pytest.importorskip("cv2")
    image = np.full((256, 256, 3), 255, np.uint8)
    image[64:128, 64:192] = 30
    marked = foreground(image, 32)
    assert marked.shape == (8, 8)
    assert marked[2, 2] or marked[1, 1]
    assert not marked[6:].any()
    assert not foreground(np.full((64, 96, 3), 200, np.uint8), 32).any()
    assert foreground(screen(128, 96), 32).dtype == np.bool_


def test_one_layer_is_refused():
    with pytest.raises(UserError, match="decoder of 1"):
        GuiPrunerSSP().layers_of(1)
    assert GuiPrunerSSP().layers_of(2) == (0,)
    assert GuiPrunerSSP().layers_of(28) == (1,)
    with pytest.raises(UserError, match="choose 1 to 1"):
        GuiPrunerSSP(after_layer=3).layers_of(2)


def test_random_weights_share_the_same_tokens_as_the_decay():
    """The control of TAR: other frames stay sharp, as many tokens are spent, each sample draws for itself."""
    control = make_method("random-history")
    budget = StageBudget(2000, None, 5000, Budget.parse("40"))
    draws = {
        control.reduce_images(tuple(ImageView(*FRAME_SIZES, 32, seed) for _ in range(5)), budget) for seed in range(5)
    }
    assert len(draws) == 5
    for sizes in draws:
        assert sizes[-1] == FRAME.full_size
        assert 1850 < sum(w * h // 1024 for w, h in sizes) <= 2000
