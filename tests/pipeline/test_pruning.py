"""Pruned runs against slow, obviously correct references; positions, DeepStack rows, caches, order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.pipeline.test_full import N_NEW, make_sample
from vtprune_eval.budget import Budget
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.methods.base import Method, TokenEdit
from vtprune_eval.methods.full import Full
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.prompt import build_prompt, full_size, open_image, patch_rows, resize
from vtprune_eval.pipeline.select import kept_by_score
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample

HALF = Budget.parse("50")


@dataclass(frozen=True)
class Checker(Method):
    """Keeps every second block before the ViT."""

    name: ClassVar[str] = "checker"

    def select_patches(self, view, budget):
        return tuple((np.indices(grid).sum(0) % 2 == 0) for grid in view.grids)


@dataclass(frozen=True)
class DropAfter(Method):
    """Keeps every third visual token after decoder layer ``layer``."""

    name: ClassVar[str] = "drop-after"
    layer: int = 0

    @property
    def layers(self):
        return (self.layer,)

    def prune_layer(self, view, budget):
        return ~view.visual | (view.index % 3 == 0)


@dataclass(frozen=True)
class KeepRecent(Method):
    """Keeps the first and the last entries of the cache."""

    name: ClassVar[str] = "keep-recent"
    per_query: bool = False

    @property
    def kv_granularity(self):
        return "query_head" if self.per_query else "kv_head"

    def compress_kv(self, view, budget):
        n = view.keys.shape[1]
        heads = view.queries.shape[0] if self.per_query else view.keys.shape[0]
        kept = torch.cat([torch.arange(3), torch.arange(n - 12, n)])
        return kept.expand(heads, -1).contiguous()


@dataclass(frozen=True)
class EveryOther(Method):
    """Keeps every second visual token after the ViT."""

    name: ClassVar[str] = "every-other"

    def select_tokens(self, view, budget):
        return TokenEdit(torch.arange(len(view.features)) % 2 == 0)


def manual(adapter, sample: Sample, keep: np.ndarray | None, mask_layers: dict[int, torch.Tensor], kept_patches=None):
    """First-token logits by the slow way: the full-length sequence, dropped tokens masked out of attention.

    ``keep``: bool over the prompt, tokens removed from the start (their columns are masked in every layer).
    ``mask_layers``: from layer k on, a bool over the prompt of columns that may be attended to.
    """
    rules, text = adapter.images, adapter.text
    pixels = [open_image(p) for p in sample.images]
    pixels = [resize(p, full_size((p.shape[1], p.shape[0]), rules, "image")) for p in pixels]
    prompt = build_prompt(adapter, pixels, sample.question)
    grids = torch.tensor([[1, h * 2, w * 2] for h, w in prompt.layout.grids])
    rows = torch.cat([patch_rows(p, rules, None) for p in pixels])
    vision = adapter.model.model.visual(rows, grid_thw=grids)
    n = len(prompt.ids)
    hidden = text.embed_tokens(prompt.ids)[None].clone()
    visual = prompt.ids == adapter.model.config.image_token_id
    hidden[0, visual] = vision.pooler_output
    rope = text.rotary_emb(hidden, prompt.layout.positions[:, None])
    columns = torch.ones(n, dtype=torch.bool) if keep is None else keep
    for i, layer in enumerate(text.layers):
        allowed = torch.ones(n, n, dtype=torch.bool).tril() & columns[None]
        allowed |= torch.eye(n, dtype=torch.bool)  # a masked row must attend to something; it is never read
        hidden = layer(hidden, position_embeddings=rope, attention_mask=allowed[None, None])
        if i < len(vision.deepstack_features):
            hidden = hidden.clone()
            hidden[0, visual] += vision.deepstack_features[i]
        if i in mask_layers:
            columns = mask_layers[i]
    return adapter.lm_head(text.norm(hidden[:, -1:]))[0, -1], prompt


def first_logits(adapter, sample, method, budget=HALF):
    """The pipeline's own first-token logits, taken where it computes them."""
    seen = []
    hook = adapter.lm_head.register_forward_hook(lambda module, args, out: seen.append(out[0, -1].clone()))
    try:
        outcome = Pipeline(adapter, method, budget, max_new_tokens=1).run(sample)
    finally:
        hook.remove()
    return seen[0], outcome


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_dropping_after_a_layer_equals_masking_from_there_on(tiny, tmp_path, layer):
    """Layers 0 and 1 lie before the last DeepStack level: rows of dropped tokens must be gone with them."""
    sample = make_sample(tmp_path, 11)
    got, outcome = first_logits(tiny, sample, DropAfter(layer))
    _, prompt = manual(tiny, sample, None, {})
    visual = prompt.ids == tiny.model.config.image_token_id
    expected, _ = manual(tiny, sample, None, {layer: ~visual | (torch.arange(len(prompt.ids)) % 3 == 0)})
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)
    tokens = outcome.counts.layer_tokens
    assert set(tokens[: layer + 1]) == {len(prompt.ids)}
    assert all(t < len(prompt.ids) for t in tokens[layer + 1:])


def test_dropping_after_the_vit_equals_masking_everywhere(tiny, tmp_path):
    sample = make_sample(tmp_path, 12)
    got, outcome = first_logits(tiny, sample, EveryOther())
    _, prompt = manual(tiny, sample, None, {})
    visual = prompt.ids == tiny.model.config.image_token_id
    keep = ~visual
    keep[visual] = torch.arange(int(visual.sum())) % 2 == 0
    expected, _ = manual(tiny, sample, keep, {})
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)
    assert sum(outcome.counts.visual) == -(-int(visual.sum()) // 2)


def test_dropping_before_the_vit_equals_masking_its_attention(tiny, tmp_path):
    """Kept patches keep their place: the ViT on kept rows equals the full ViT with dropped patches masked out."""
    sample = make_sample(tmp_path, 13)
    rules = tiny.images
    pixels = [open_image(p) for p in sample.images]
    pixels = [resize(p, full_size((p.shape[1], p.shape[0]), rules, "image")) for p in pixels]
    grids = [(p.shape[0] // 32, p.shape[1] // 32) for p in pixels]
    masks = [torch.from_numpy(np.indices(g).sum(0) % 2 == 0).reshape(-1) for g in grids]
    ours = tiny.encode(torch.cat([patch_rows(p, rules, m.view(g).numpy()) for p, m, g in
                                  zip(pixels, masks, grids, strict=True)]), grids, masks)
    slow = []
    for p, m, g in zip(pixels, masks, grids, strict=True):
        from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision
        from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

        v = tiny.visual
        thw = torch.tensor([[1, g[0] * 2, g[1] * 2]])
        x = v.patch_embed(patch_rows(p, rules, None))
        index, weight = get_vision_interpolation_indices_and_weights(
            thw, num_grid_per_side=v.num_grid_per_side, mode=v.interpolation_mode,
            align_corners=v.interpolation_align_corners, spatial_merge_size=2, kwargs={})
        x = x + (v.pos_embed(index) * weight[:, :, None]).sum(1)
        cos, sin = v.rotary_pos_emb(x, get_vision_position_ids(thw, 2, kwargs={}))
        column = m.repeat_interleave(4)[None, None]
        taps = []
        for i, block in enumerate(v.blocks):
            q, k, value = block.attn.qkv(block.norm1(x)).view(len(x), 3, v.config.num_heads, -1).unbind(1)
            q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
            scores = torch.einsum("nhd,mhd->hnm", q, k) * q.shape[-1] ** -0.5
            weights = scores.masked_fill(~column, -torch.inf).softmax(-1)
            x = x + block.attn.proj(torch.einsum("hnm,mhd->nhd", weights, value).flatten(1))
            x = x + block.mlp(block.norm2(x))
            if i in v.deepstack_visual_indexes:
                taps.append(v.deepstack_merger_list[list(v.deepstack_visual_indexes).index(i)](x)[m])
        slow.append((v.merger(x)[m], *taps))
    for level in range(3):
        mine = ours.tokens if level == 0 else ours.deepstack[level - 1]
        torch.testing.assert_close(mine, torch.cat([s[level] for s in slow]), atol=2e-4, rtol=1e-4)


def test_indexing_before_the_patch_embedding_changes_nothing(tiny, picture):
    pixels = open_image(picture("a", 192, 128))
    rows = patch_rows(pixels, tiny.images, None)
    keep = np.indices((4, 6)).sum(0) % 3 == 0
    picked = patch_rows(pixels, tiny.images, keep)
    chosen = torch.from_numpy(keep.reshape(-1)).repeat_interleave(4)
    assert (picked == rows[chosen]).all()
    embed = tiny.visual.patch_embed
    torch.testing.assert_close(embed(picked), embed(rows)[chosen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("per_query", [False, True])
def test_a_compressed_cache_is_smaller_and_decoding_goes_on_at_logical_positions(tiny, tmp_path, per_query):
    sample = make_sample(tmp_path, 14)
    outcome = Pipeline(tiny, KeepRecent(per_query), HALF, max_new_tokens=N_NEW).run(sample)
    counts = outcome.counts
    assert set(counts.cache_entries) == {15}
    dims = tiny.dims
    heads = dims.q_heads if per_query else dims.kv_heads
    assert set(counts.cache_heads) == {heads}
    assert outcome.kv_bytes == dims.layers * 15 * heads * dims.head_dim * 2 * 4
    full = Pipeline(tiny, Full(), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    assert outcome.ids[0] == full.ids[0]  # the first token is computed before anything is compressed


def test_both_storages_decode_alike_when_the_sets_agree(tiny, tmp_path):
    sample = make_sample(tmp_path, 15)
    a, b = (Pipeline(tiny, KeepRecent(q), HALF, max_new_tokens=N_NEW).run(sample) for q in (False, True))
    assert a.ids == b.ids
    assert b.kv_bytes == a.kv_bytes * tiny.dims.q_heads // tiny.dims.kv_heads


def test_a_cache_that_keeps_everything_is_full(tiny, tmp_path):
    @dataclass(frozen=True)
    class KeepAll(Method):
        name: ClassVar[str] = "keep-all"

        def compress_kv(self, view, budget):
            return torch.arange(view.keys.shape[1]).expand(view.keys.shape[0], -1).contiguous()

    sample = make_sample(tmp_path, 16)
    full = Pipeline(tiny, Full(), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    assert Pipeline(tiny, KeepAll(), HALF, max_new_tokens=N_NEW).run(sample).ids == full.ids


def test_another_order_gives_the_same_outcomes(tiny, tmp_path):
    samples = [make_sample(tmp_path, n) for n in (21, 22, 23)]
    for name in ("random", "conncomp", "pixelprune"):
        pipeline = Pipeline(tiny, make_method(name), Budget.parse("30"), max_new_tokens=4)
        forward = {s.id: (o := pipeline.run(s)).ids + o.kept for s in samples}
        backward = {s.id: (o := pipeline.run(s)).ids + o.kept for s in reversed(samples)}
        assert forward == backward


@pytest.mark.parametrize(("budget", "name"), [("20", "random"), ("7tok", "stride"), ("40", "resize"), ("25", "pool")])
def test_counts_are_what_the_budget_allows(tiny, tmp_path, budget, name):
    sample = make_sample(tmp_path, 24)
    outcome = Pipeline(tiny, make_method(name), Budget.parse(budget), max_new_tokens=2).run(sample)
    allowed = Budget.parse(budget).count(sum(outcome.counts.visual_full))
    assert sum(outcome.counts.visual) <= allowed
    assert tuple(len(k) for k in outcome.kept) == outcome.counts.visual
    assert outcome.counts.layer_tokens[0] == outcome.counts.n_text + sum(outcome.counts.visual)
    if name in {"random", "stride", "resize"}:  # before the ViT: patches shrink with the tokens
        assert sum(outcome.counts.patches) == 4 * sum(outcome.counts.visual)


def test_like_copies_the_count_per_image(tiny, picture):
    sample = Sample("1", (picture("a", 256, 192, 1), picture("b", 320, 128, 2)), "what", {})
    kept = [Pipeline(tiny, make_method(n), Budget.parse(b), max_new_tokens=2).run(sample).counts.visual
            for n, b in (("pixelprune", "auto"), ("random", "like:pixelprune"), ("conncomp", "auto"))]
    assert kept[0] == kept[1] == kept[2]
    assert sum(kept[0]) < 48 + 40


def test_colliding_hooks_are_refused(tiny):
    with pytest.raises(UserError, match="both use select_patches"):
        Pipeline(tiny, (make_method("random"), make_method("pixelprune")), HALF)


def test_a_composition_runs_both_hooks(tiny, tmp_path):
    sample = make_sample(tmp_path, 25)
    outcome = Pipeline(tiny, (make_method("pixelprune"), KeepRecent()), HALF, max_new_tokens=3).run(sample)
    alone = Pipeline(tiny, make_method("pixelprune"), Budget.parse("auto"), max_new_tokens=3).run(sample)
    assert outcome.counts.visual == alone.counts.visual
    assert set(outcome.counts.cache_entries) == {15}


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"0" * 40])
def test_a_broken_image_is_a_failed_sample(tiny, tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(SampleError, match=r"broken\.png") as caught:
        Pipeline(tiny, Full(), Budget.parse("100")).run(Sample("1", (path,), "what", {}))
    assert caught.value.reason == "bad_image"


def test_extreme_shapes(tiny, picture):
    pipeline = Pipeline(tiny, make_method("pixelprune"), Budget.parse("auto"), max_new_tokens=2)
    assert sum(pipeline.run(Sample("1", (picture("dot", 1, 1),), "what", {})).counts.visual) == 1
    with pytest.raises(SampleError, match="200 times"):
        pipeline.run(Sample("1", (picture("strip", 20000, 20),), "what", {}))


def test_markers_receive_no_deepstack_features(tiny, tmp_path):
    """A TokenEdit row that is no visual token is left out of every DeepStack level."""
    @dataclass(frozen=True)
    class Marker(Method):
        name: ClassVar[str] = "marker"
        real: bool = False

        def select_tokens(self, view, budget):
            keep = torch.zeros(len(view.features), dtype=torch.bool)
            keep[:2] = True
            return TokenEdit(keep, features=view.features[:2], has_visual=torch.tensor([True, self.real]))

    sample = make_sample(tmp_path, 26)
    a, _ = first_logits(tiny, sample, Marker(True))
    b, _ = first_logits(tiny, sample, Marker(False))
    assert not torch.allclose(a, b)


def test_scores_become_masks():
    keep = kept_by_score(torch.tensor([1.0, float("nan"), 3.0, 3.0, 2.0]), 2)
    assert keep.tolist() == [False, False, True, True, False]
    assert kept_by_score(torch.zeros(5), 3).tolist() == [True, True, True, False, False]  # ties: the earlier one
    assert kept_by_score(torch.ones(2), 9).all()


def test_cache_appends_in_place():
    cache = KVCache(1, room=3)
    first = torch.arange(8.0).view(1, 2, 2, 2)
    cache.update(first, first + 100, 0)
    storage = cache.entries(0)[0].data_ptr()
    for i in range(3):
        keys, values = cache.update(torch.full((1, 2, 1, 2), float(i)), torch.full((1, 2, 1, 2), float(i)), 0)
    assert cache.entries(0)[0].data_ptr() == storage
    assert keys.shape == values.shape == (1, 2, 5, 2)
    assert (keys[0, :, :2] == first[0]).all()
    assert cache.held_bytes() == 5 * 2 * 4 * 4
