"""PixelPrune: the literal algorithm, propositions 1 and 2, budgets, edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import screen
from tests.draws import examples
from tests.methods import literal
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import PatchView
from vtprune_eval.methods.kernels.blocks import Neighbours, connected_components, distance, label_components, to_blocks
from vtprune_eval.methods.kernels.scans import pred_2d, pred_2d_exact, reconstruct, run_scan
from vtprune_eval.methods.pixelprune import PixelPrune

PREDICTORS = ("pred_2d", "raster", "serpentine")


@st.composite
def images(draw, block: int = 4):
    """Small images of few colours with slight noise, so that equality, near-equality and difference all occur."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    palette = rng.integers(0, 256, (draw(st.integers(1, 3)), 3))
    cells = palette[rng.integers(0, len(palette), (rows, cols))]
    image = np.repeat(np.repeat(cells, block, 0), block, 1).astype(np.int64)
    noise = draw(st.sampled_from([0, 0, 1, 3, 8]))
    image += rng.integers(-noise, noise + 1, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def keep_of(image, predictor, tau, metric, anchored=True, block=4):
    method = PixelPrune(predictor=predictor, metric=metric, tau=tau, anchored=anchored)
    return method.keep(image, block)


@examples(150)
@given(images(), st.sampled_from(PREDICTORS))
def test_proposition_1_exact_reconstruction(image, predictor):
    keep = keep_of(image, predictor, 0.0, "max")
    blocks = to_blocks(image, 4)
    blanked = np.where(keep[:, :, None], blocks, 0)  # the decoder sees nothing but the kept blocks
    assert keep[0, 0]
    assert (reconstruct(blanked, keep, predictor=predictor, tau=0.0, metric="max") == blocks).all()


@examples(150)
@given(
    images(), st.sampled_from(PREDICTORS), st.sampled_from(["max", "mae", "rmse"]), st.sampled_from([1, 2, 4, 10, 40])
)
def test_proposition_2_error_is_bounded(image, predictor, metric, level):
    tau = level / 255
    keep = keep_of(image, predictor, tau, metric)
    blocks = to_blocks(image, 4)
    decoded = reconstruct(np.where(keep[:, :, None], blocks, 0), keep, predictor=predictor, tau=tau, metric=metric)
    assert (distance(blocks, decoded, metric) <= tau + 1e-12).all()


@examples(150)
@given(
    images(),
    st.sampled_from(PREDICTORS),
    st.sampled_from(["max", "mae", "rmse", "exact"]),
    st.sampled_from([0.0, 0.006, 0.02, 0.05, 0.2]),
    st.booleans(),
)
def test_fast_scans_equal_the_literal_loop(image, predictor, metric, tau, anchored):
    x = to_blocks(image, 4).astype(np.float64) / 255
    expected = literal.scan(x, tau, metric, predictor, anchored)
    assert (keep_of(image, predictor, tau, metric, anchored) == expected).all()


@pytest.mark.parametrize("size", [(320, 256), (32, 256), (256, 32), (32, 32)])
def test_exact_path_equals_the_float32_algorithm(size):
    for seed in range(5):
        image = screen(*size, seed)
        assert (pred_2d_exact(image, 32) == literal.pred_2d_tau0(image)).all()


def test_eight_bit_values_stay_different_after_normalisation():
    """Equality of bytes is equality of the processor's floats: the affine map is injective on 256 values."""
    values = np.arange(256, dtype=np.float32)
    normalised = (values / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    assert len(np.unique(normalised)) == 256


def test_constant_image_keeps_one_block_and_noise_keeps_all():
    flat = np.full((96, 128, 3), 7, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    for predictor in PREDICTORS:
        assert keep_of(flat, predictor, 0.0, "max", block=32).sum() == 1
        assert keep_of(noise, predictor, 0.0, "max", block=32).all()


@examples(60)
@given(images(), st.sampled_from(PREDICTORS), st.integers(1, 40))
def test_numeric_budget_is_the_upward_search(image, predictor, n):
    """At most n blocks, exactly n unless tau = 0 keeps fewer, and the set of the smallest sufficient tau is inside."""
    grid = (image.shape[0] // 4, image.shape[1] // 4)
    n = min(n, grid[0] * grid[1])
    view = PatchView((image,), (grid,), 4, 0)
    budget = StageBudget(n, (n,), grid[0] * grid[1], Budget.parse("10"))
    got = PixelPrune(predictor=predictor).select_patches(view, budget)[0]
    blocks = to_blocks(image, 4)
    for level in range(256):
        step = literal.scan(blocks.astype(np.float64) / 255, level / 255 + 1e-9, "max", predictor)
        if step.sum() <= n:
            break
    assert got.sum() == (step.sum() if level == 0 else n)
    assert (got | ~step).all()


def test_next_tau_names_the_next_change():
    near = Neighbours.of(to_blocks(screen(320, 256, 3), 32), "max")
    for scan in (pred_2d, run_scan):
        for tau in (0.0, 0.01, 0.2):
            keep, _, following = scan(near, tau)
            assert following > tau
            assert (scan(near, following * 0.999)[0] == keep).all()


@examples(80)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_labels_are_the_components_of_the_graph(rows, cols, seed):
    rng = np.random.default_rng(seed)
    up, left = rng.random((rows, cols)) < 0.5, rng.random((rows, cols)) < 0.5
    up[0], left[:, 0] = False, False
    labels = np.full((rows, cols), -1)
    count = 0
    for start in np.ndindex(rows, cols):  # flood fill
        if labels[start] >= 0:
            continue
        todo = [start]
        while todo:
            r, c = todo.pop()
            if labels[r, c] >= 0:
                continue
            labels[r, c] = count
            for r2, c2, edge in (
                (r - 1, c, up[r, c]),
                (r, c - 1, left[r, c]),
                (r + 1, c, r + 1 < rows and up[min(r + 1, rows - 1), c]),
                (r, c + 1, c + 1 < cols and left[r, min(c + 1, cols - 1)]),
            ):
                if edge:
                    todo.append((r2, c2))
        count += 1
    assert (label_components(up, left) == labels).all()


def test_components_with_tolerance_join_near_blocks():
    image = np.zeros((32, 96, 3), np.uint8)
    image[:, 32:64] = 4
    image[:, 64:] = 100
    assert connected_components(image, 32, 0.0, "max").tolist() == [[0, 1, 2]]
    assert connected_components(image, 32, 4 / 255, "max").tolist() == [[0, 0, 1]]


def test_a_numeric_budget_adds_back_the_worst_predicted_blocks():
    """One row of flat blocks 0, 2, 6, 20, 20: they differ by 2, 4, 14 and 0 from the block before."""
    image = np.repeat(np.array([0, 2, 6, 20, 20], np.uint8), 4)[None, :, None] * np.ones((4, 1, 3), np.uint8)
    view = PatchView((image,), ((1, 5),), 4, 0)

    def kept(n):
        budget = StageBudget(n, (n,), 5, Budget.parse(f"{n}tok"))
        return np.flatnonzero(PixelPrune().select_patches(view, budget)[0]).tolist()

    assert kept(5) == [0, 1, 2, 3]  # under budget: tau = 0 keeps four
    assert kept(3) == [0, 2, 3]  # tau = 2/255
    # tau = 6/255 drops both: two are left. Nothing is added back at n = 2, and one block needs tau = 20/255.
    assert kept(2) == [0, 3]
    assert kept(1) == [0]


def test_budget_fill_prefers_larger_errors():
    """Among blocks that one tau drops, those that are predicted worst come back first."""
    values = np.array([0, 9, 0, 0, 8, 8, 0, 9], np.uint8)
    image = np.repeat(values, 4)[None, :, None] * np.ones((4, 1, 3), np.uint8)
    budget = StageBudget(3, (3,), 8, Budget.parse("3tok"))
    got = PixelPrune().select_patches(PatchView((image,), ((1, 8),), 4, 0), budget)[0]
    # At tau = 8/255 blocks 1 and 7 (off by 9) and the returns to 0 after them are kept: 0, 1, 2, 7 are four, so tau
    # rises to 9/255, where only the first is left and both 9s (off by 9) are added back before the 8s.
    assert np.flatnonzero(got).tolist() == [0, 1, 7]
