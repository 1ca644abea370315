"""Every registered method, as data: bounds, budget, determinism, untouched inputs. A new file is tested as it is."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import screen
from tests.draws import examples
from tests.pipeline.doubles import EVERY
from vtprune_eval.budget import Budget, StageBudget, split_proportionally
from vtprune_eval.errors import InfeasibleBudget, UserError
from vtprune_eval.methods.base import (
    HOOKS,
    ImageView,
    LayerEdit,
    LayerView,
    PatchView,
    Repeated,
    TokenEdit,
    TokenLayout,
    TokenView,
)
from vtprune_eval.registry import make_method, method_class, method_names

BUILTIN = sorted(n for n, source in method_names().items() if source == "builtin")
PATCH = [n for n in BUILTIN if "select_patches" in method_class(n).hooks()]
IMAGE = [n for n in BUILTIN if "reduce_images" in method_class(n).hooks()]
TAR = {"guipruner-tar", "random-history"}  # shrink the history alone
STAGED = {"guipruner", "guipruner-ssp", "pyramiddrop", "sparsevlm"}
TOKEN = [n for n in BUILTIN if "select_tokens" in method_class(n).hooks()]


def with_hook(hook: str) -> list:
    """Registered methods with ``hook``, and the pipeline tests' stand-ins, so that the checks below always run."""
    registered = [make_method(n) for n in BUILTIN if hook in method_class(n).hooks()]
    return [pytest.param(m, id=m.name) for m in (*registered, *(d for d in EVERY if hook in d.hooks()))]


def budget_for(sizes: tuple[int, ...], n: int) -> StageBudget:
    return StageBudget(n, split_proportionally(n, sizes), sum(sizes), Budget.parse(f"{n}tok"))


def views(seed: int, n_images: int):
    rng = np.random.default_rng(seed)
    grids = tuple((int(rng.integers(1, 6)), int(rng.integers(1, 6))) for _ in range(n_images))
    images = tuple(screen(w * 32, h * 32, seed + i) for i, (h, w) in enumerate(grids))
    return grids, images


def layout_of(grids: tuple[tuple[int, int], ...]) -> TokenLayout:
    """Three text tokens, then images with two text tokens after each, then five more."""
    import torch

    spans, at = [], 3
    for h, w in grids:
        spans.append((at, at + h * w))
        at += h * w + 2
    n = at + 5
    sizes = tuple((w * 32, h * 32) for h, w in grids)
    return TokenLayout(grids, tuple(spans), n, 2, 16, torch.arange(n).expand(3, -1), sizes)


def layer_view(grids, seed: int, layer: int, window: int) -> LayerView:
    """A decoder layer of 4 query heads on 2 kv heads, after some visual tokens have been dropped already."""
    import torch

    layout = layout_of(grids)
    generator = torch.Generator().manual_seed(seed)  # what is dropped is dropped for all layers behind
    full = torch.zeros(layout.n_prompt, dtype=torch.bool)
    for start, end in layout.spans:
        full[start:end] = True
    dropped = full & (torch.rand(layout.n_prompt, generator=generator) < 0.2)
    index = (~dropped).nonzero()[:, 0]
    n = len(index)
    generator.manual_seed(seed * 31 + layer + 1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return LayerView(
        layer=layer,
        n_layers=6,
        layout=layout,
        index=index,
        visual=full[index],
        keys=draw(2, n, 8),
        values=draw(2, n, 8),
        queries=draw(4, n if window < 0 else min(window, n), 8),
        hidden_in=draw(n, 16),
        hidden_out=draw(n, 16),
        hidden_normed=draw(n, 16),
        seed=seed,
        images=tuple(screen(w * 32, h * 32, seed + i) for i, (h, w) in enumerate(grids)),
        next_layer=lambda rows: (draw_for(rows, 4, 1), draw_for(rows, 2, 2)),
        rope=rope_of(index),
        rope_at=rope_of,
    )


def rope_of(places):
    """cos and sin of 8 rotated channels at the given positions."""
    import torch

    angle = (places[:, None] * 10000.0 ** (-torch.arange(4) / 4)).repeat(1, 2)
    return angle.cos(), angle.sin()


def draw_for(rows, heads: int, seed: int):
    import torch

    return torch.randn(heads, len(rows), 8, generator=torch.Generator().manual_seed(seed))


def observed(method, grids, seed: int, n_layers: int = 6) -> tuple:
    """What the method would have observed of all layers of this prompt."""
    layout = layout_of(grids)
    if method.repeats:
        return tuple(repeated(method, layer_view(grids, seed, i, 1), seed) for i in range(n_layers))
    if not method.observes:
        return ()
    return tuple(
        method.observe(layer_view(grids, seed, i, method.observation(layout))) for i in method.observed_layers(n_layers)
    )


def repeated(method, view, seed: int) -> tuple:
    """What the method would have observed of a layer while the prompt is repeated behind two words."""
    import torch

    n, out = len(view.index), []
    for start, end in method.chunks(n):
        m = 2 + end - start
        generator = torch.Generator().manual_seed(seed + view.layer)
        keys = torch.cat([view.keys, torch.randn(2, m, 8, generator=generator)], 1)
        again = Repeated(torch.randn(4, m, 8, generator=generator), keys, n, start, end)
        out.append(method.observe_repeat(view, again))
    return tuple(out)


def own_layer(method, n_layers: int = 6) -> int:
    """A layer at which the method prunes."""
    return (method.layers_of(n_layers) or (2,))[0]


def parameters(name: str) -> dict:
    """FocusUI without a trained scorer ranks by the UI graph."""
    return {"scorer": "ui-graph"} if name == "focusui" else {}


def tensors_of(view) -> dict:
    return {k: v.clone() for k, v in vars(view).items() if hasattr(v, "clone")}


@pytest.mark.parametrize("name", BUILTIN)
def test_every_hyper_parameter_is_documented_and_checked(name):
    cls = method_class(name)
    assert cls.__doc__
    assert cls.name == name
    assert set(cls.hooks()) <= set(HOOKS)
    for field in dataclasses.fields(cls):
        assert field.metadata["doc"], field.name
        if field.metadata["high"] is not None:
            with pytest.raises(UserError, match="outside"):
                make_method(name, {field.name: field.metadata["high"] + 1})
        if isinstance(field.default, float):
            for value in ("inf", "-inf", "nan"):
                with pytest.raises(UserError, match="finite"):
                    make_method(name, {field.name: value})
        if field.metadata["choices"]:
            with pytest.raises(UserError, match=r"not one of|not a whole number"):
                make_method(name, {field.name: "nonsense"})
    with pytest.raises(UserError, match="unknown hyper-parameter"):
        make_method(name, {"no_such_thing": 1})


@pytest.mark.parametrize("name", PATCH)
@examples(25)
@given(seed=st.integers(0, 10_000), n_images=st.integers(1, 3), share=st.floats(0.01, 1.0))
def test_patch_selection(name, seed, n_images, share):
    grids, images = views(seed, n_images)
    sizes = tuple(h * w for h, w in grids)
    budget = budget_for(sizes, max(1, round(share * sum(sizes))))
    view = PatchView(images, grids, 32, seed)
    before = [i.copy() for i in images]
    for image in images:
        image.flags.writeable = False  # as the pipeline hands them over
    masks = make_method(name).select_patches(view, budget)
    again = make_method(name).select_patches(view, budget)
    for mask, other, grid, allowed, image, copy in zip(
        masks, again, grids, budget.per_image, images, before, strict=True
    ):
        assert mask.shape == grid
        assert mask.dtype == np.bool_
        assert mask.sum() == allowed or name == "pixelprune"
        assert (mask == other).all()
        assert (image == copy).all()
    assert sum(int(mask.sum()) for mask in masks) <= budget.n_keep  # PixelPrune passes on what an image does not need


@pytest.mark.parametrize("name", IMAGE)
@examples(50)
@given(width=st.integers(32, 4000), height=st.integers(32, 4000), n=st.integers(1, 3000))
def test_image_reduction_stays_within_the_budget(name, width, height, n):
    full = (max(1, round(width / 32)) * 32, max(1, round(height / 32)) * 32)
    blocks = full[0] * full[1] // 1024
    n = min(n, blocks)
    views_ = (ImageView((width, height), full, 32),)
    budget = StageBudget(n, (n,), blocks, Budget.parse(f"{n}tok"))
    if name in TAR or "guipruner" in name:  # acts on history only: the same image twice, the second is the current one
        free = dataclasses.replace(budget, n_keep=None, per_image=None, asked=Budget("auto"))
        assert make_method(name).reduce_images(views_, free) == (full,)
        asked = Budget.parse(f"{n + blocks}tok" if name in TAR else f"{n}tok")
        both = dataclasses.replace(budget, n_keep=int(asked.value), n_full=2 * blocks, asked=asked)
        if name in TAR and n < max(full) // 32:
            with contextlib.suppress(InfeasibleBudget):  # a strip keeps one row of blocks, whatever its quota
                make_method(name).reduce_images(views_ * 2, both)
            return
        (w, h), current = make_method(name).reduce_images(views_ * 2, both)
        assert current == full
        if name == "guipruner":
            n = max(n, w // 32, h // 32)
    else:
        ((w, h),) = make_method(name).reduce_images(views_, budget)
    assert w % 32 == 0
    assert h % 32 == 0
    assert 1 <= w * h // 1024 <= n
    assert w <= full[0]
    assert h <= full[1]


@pytest.mark.parametrize("name", TOKEN)
@examples(25)
@given(seed=st.integers(0, 10_000), n_images=st.integers(1, 3), share=st.floats(0.02, 1.0))
def test_token_selection(name, seed, n_images, share):
    import torch

    grids, images = views(seed, n_images)
    sizes = tuple(h * w for h, w in grids)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(sum(sizes), 16, generator=generator)
    layout = layout_of(grids)
    view = TokenView(
        layout,
        features,
        torch.randn(8, 16, generator=generator),
        images,
        torch.ones(sum(sizes), dtype=torch.bool),
        seed,
        extras={
            need: torch.rand(sum(sizes), *([12] if "keys" in need else []), generator=generator)
            for need in make_method(name).needs
        },
        question_features=torch.randn(3, 16, generator=generator),
        target_boxes=((3.0, 5.0, 40.0, 30.0),),
        n_layers=4,
    )
    budget = budget_for(sizes, max(n_images, round(share * sum(sizes))))
    copy = features.clone()
    answers = [make_method(name, parameters(name)).select_tokens(view, budget) for _ in range(2)]
    assert (features == copy).all()
    keeps = [a.keep if isinstance(a, TokenEdit) else a for a in answers]
    assert (keeps[0] == keeps[1]).all()
    if keeps[0].dtype == torch.bool:
        markers = (
            0
            if not isinstance(answers[0], TokenEdit) or answers[0].has_visual is None
            else int((~answers[0].has_visual).sum())
        )
        assert (not method_class(name).blind) <= int(keeps[0].sum()) <= make_method(name).entering(budget, 4)
        assert markers < int(keeps[0].sum()) or name in {"focusui", "no-image"}  # at tiny budgets one marker is all
    edit = answers[0]
    if isinstance(edit, TokenEdit) and edit.features is not None:
        assert edit.features.shape == (int(edit.keep.sum()), 16)


@pytest.mark.parametrize("method", with_hook("prune_layer"))
@examples(25)
@given(seed=st.integers(0, 10_000), n_images=st.integers(1, 3), share=st.floats(0.02, 1.0))
def test_layer_pruning(method, seed, n_images, share):
    import torch

    grids, _ = views(seed, n_images)
    n_full = sum(h * w for h, w in grids)
    budget = budget_for(tuple(h * w for h, w in grids), max(1, round(share * n_full)))
    view = layer_view(grids, seed, own_layer(method), method.observation(layout_of(grids)))
    view = dataclasses.replace(view, observed=observed(method, grids, seed))
    before = tensors_of(view)
    answer, again = (method.prune_layer(view, budget) for _ in range(2))
    if isinstance(answer, LayerEdit):
        assert torch.equal(answer.keep, again.keep)
        assert torch.equal(answer.hidden, again.hidden)
        assert bool(answer.keep[answer.rows].all())
        assert bool(view.visual[answer.rows].all())
        answer = answer.keep
    assert answer.shape == view.index.shape
    if not isinstance(again, LayerEdit):
        assert torch.equal(answer, again)
    assert all(torch.equal(v, getattr(view, k)) for k, v in before.items())
    if answer.dtype == torch.bool:
        assert bool(answer[~view.visual].all())
        n_kept = int(answer[view.visual].sum())
        # GUIPruner keeps history; the staged methods read the budget as a mean over layers that start full.
        allowed = view.layout.n_visual if method.name in STAGED else budget.n_keep
        assert min(1, int(view.visual.sum())) <= n_kept <= allowed
    else:
        assert answer.is_floating_point()


@pytest.mark.parametrize("method", with_hook("compress_kv"))
@examples(25)
@given(seed=st.integers(0, 10_000), n_images=st.integers(1, 3), share=st.floats(0.05, 1.0))
def test_cache_compression(method, seed, n_images, share):
    import torch

    grids, _ = views(seed, n_images)
    layout = layout_of(grids)
    n_text = layout.n_prompt - layout.n_visual
    n_keep = n_text + max(1, round(share * layout.n_visual))
    budget = StageBudget(n_keep, layout.n_tokens, layout.n_visual, Budget.parse("10"))
    sizes = []
    for layer in range(6):
        view = layer_view(grids, seed, layer, method.observation(layout))
        view = dataclasses.replace(view, observed=observed(method, grids, seed))
        before = tensors_of(view)
        kept, again = (method.compress_kv(view, budget) for _ in range(2))
        n = view.keys.shape[1]
        assert kept.shape[0] == (4 if method.kv_granularity == "query_head" else 2)
        padding = (kept == -1).sum(1)  # in front of heads that hold fewer entries than others
        assert all((row[int(gap) :].diff() > 0).all() for row, gap in zip(kept, padding, strict=True))
        assert int(kept[:, -1].min()) >= 0
        assert int(kept.max()) < n
        assert torch.equal(kept, again)
        assert all(torch.equal(v, getattr(view, k)) for k, v in before.items())
        sizes.append(int((kept >= 0).sum()) / kept.shape[0])
    # Layers may share a budget unevenly, but spend no more than it. PyramidKV's published steps are rounded down,
    # which leaves up to (layers - 1) / 2 entries per layer on top; tiny layer budgets of VL-Cache are lifted to 2.
    extra = {"pyramidkv": len(sizes) * (len(sizes) - 1) // 2, "vlcache": 2 * len(sizes)}.get(method.name, 0)
    assert sum(sizes) <= len(sizes) * n_keep + extra


def test_pool_averages_the_cells_it_merges():
    import torch

    features = torch.arange(16.0)[:, None].repeat(1, 4)
    layout = TokenLayout(((4, 4),), ((0, 16),), 16, 2, 16, torch.zeros(3, 16, dtype=torch.long), ((128, 128),))
    view = TokenView(layout, features, features[:1], (screen(128, 128),), torch.ones(16, dtype=torch.bool), 0)
    edit = make_method("pool").select_tokens(view, budget_for((16,), 4))
    # Cells of a 4x4 grid cut into 2x2: means of {0,1,4,5}, {2,3,6,7}, {8,9,12,13}, {10,11,14,15}.
    assert edit.features[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert edit.keep.sum() == 4
