"""Every hook, told to keep as many tokens as there are, keeps them all.

At 100 % the pipeline calls no hook, so the equality of ``full`` and budget 100 says nothing of the methods themselves;
a token budget above the sample's size calls them with everything allowed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.draws import examples
from tests.methods.test_all_methods import (
    BUILTIN,
    IMAGE,
    PATCH,
    TOKEN,
    layer_view,
    layout_of,
    observed,
    parameters,
    views,
)
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import ImageView, LayerEdit, PatchView, TokenEdit, TokenView
from vtprune_eval.methods.kernels.topk import kept_by_score
from vtprune_eval.registry import make_method, method_class

# PixelPrune drops what repeats a neighbour at tau = 0; a budget only makes it drop more.
DROPS_REPEATS = {"pixelprune"}
LAYER = [n for n in BUILTIN if "prune_layer" in method_class(n).hooks()]
CACHE = [n for n in BUILTIN if "compress_kv" in method_class(n).hooks()]
ANY = {"seed": st.integers(0, 10_000), "n_images": st.integers(1, 3)}


def plenty(sizes: tuple[int, ...]) -> StageBudget:
    return StageBudget(sum(sizes), sizes, sum(sizes), Budget.parse("100000tok"))


def areas(grids) -> tuple[int, ...]:
    return tuple(h * w for h, w in grids)


@pytest.mark.parametrize("name", IMAGE)
@examples(30)
@given(grids=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=4))
def test_images_stay_as_they_are(name, grids):
    images = tuple(ImageView((w * 32 + 5, h * 32 - 7), (w * 32, h * 32), 32) for h, w in grids)
    assert make_method(name).reduce_images(images, plenty(areas(grids))) == tuple(i.full_size for i in images)


@pytest.mark.parametrize("name", [n for n in PATCH if n not in DROPS_REPEATS])
@examples(20)
@given(**ANY)
def test_every_patch_stays(name, seed, n_images):
    grids, images = views(seed, n_images)
    masks = make_method(name).select_patches(PatchView(images, grids, 32, seed), plenty(areas(grids)))
    assert all(mask.all() for mask in masks)


@pytest.mark.parametrize("name", sorted(DROPS_REPEATS))
def test_repeats_are_dropped_at_any_budget(name):
    flat, noise = np.zeros((64, 96, 3), np.uint8), np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    masks = make_method(name).select_patches(PatchView((flat, noise), ((2, 3),) * 2, 32, 0), plenty((6, 6)))
    assert [int(mask.sum()) for mask in masks] == [1, 6]


@pytest.mark.parametrize("name", [n for n in TOKEN if not method_class(n).blind])
@examples(20)
@given(**ANY)
def test_every_visual_token_stays_with_its_features(name, seed, n_images):
    grids, images = views(seed, n_images)
    n, method = sum(areas(grids)), make_method(name, parameters(name))
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    view = TokenView(
        layout_of(grids),
        draw(n, 16),
        draw(8, 16),
        images,
        torch.ones(n, dtype=torch.bool),
        seed,
        extras={need: draw(n, *([12] if "keys" in need else [])) for need in method.needs},
        question_features=draw(3, 16),
        target_boxes=((3.0, 5.0, 40.0, 30.0),),
    )
    answer = method.select_tokens(view, plenty(areas(grids)))
    edit = (
        answer
        if isinstance(answer, TokenEdit)
        else TokenEdit(answer if answer.dtype == torch.bool else kept_by_score(answer, n))
    )
    assert bool(edit.keep.all())
    assert edit.features is None or torch.equal(edit.features, view.features)
    assert edit.has_visual is None or bool(edit.has_visual.all())


@pytest.mark.parametrize("name", LAYER)
@pytest.mark.parametrize("n_layers", [2, 5, 6])
@examples(10)
@given(**ANY)
def test_every_token_passes_every_stage(name, n_layers, seed, n_images):
    grids, _ = views(seed, n_images)
    method = make_method(name, {"layer": 1} if name in {"fastv", "dart", "random-layer"} else {})
    seen = observed(method, grids, seed, n_layers)
    for layer in method.layers_of(n_layers):
        view = dataclasses.replace(
            layer_view(grids, seed, layer, method.observation(layout_of(grids))), n_layers=n_layers, observed=seen
        )
        answer = method.prune_layer(view, plenty(areas(grids)))
        assert not isinstance(answer, LayerEdit)  # nothing is dropped, so nothing is merged
        if answer.dtype != torch.bool:
            keep = ~view.visual
            keep[view.visual] = kept_by_score(answer[view.visual], sum(areas(grids)))
            answer = keep
        assert bool(answer.all())


@pytest.mark.parametrize("name", CACHE)
@examples(15)
@given(**ANY)
def test_every_cache_entry_stays(name, seed, n_images):
    grids, _ = views(seed, n_images)
    layout, method = layout_of(grids), make_method(name)
    seen = observed(method, grids, seed)
    for layer in range(6):
        view = dataclasses.replace(layer_view(grids, seed, layer, method.observation(layout)), observed=seen)
        n = view.keys.shape[1]
        kept = method.compress_kv(view, dataclasses.replace(plenty(areas(grids)), n_keep=layout.n_prompt))
        assert kept.tolist() == [list(range(n))] * kept.shape[0]
