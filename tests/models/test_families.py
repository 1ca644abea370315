"""Every family: nothing dropped is the class's own greedy generation; dropping is masking; every hook runs."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pipeline.doubles import EVERY, Cache, Layers, Patches
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.methods.full import Full
from vtprune_eval.models import FAMILIES, MODELS
from vtprune_eval.notes import Note
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.prompt import full_size, patch_rows, resize
from vtprune_eval.sample import Sample
from vtprune_eval.selftest.small import LAYERS, NAMES

from .families import CACHED, SlowVit, masked_decoder, reference, tiny

every_family = pytest.mark.parametrize("family", tuple(NAMES))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """``sample(seed, n_images)``: noise images of odd sizes and a short question."""
    folder = tmp_path_factory.mktemp("images")

    def make(seed: int, n_images: int) -> Sample:
        rng = random.Random(seed)
        paths = []
        for number in range(n_images):
            path = folder / f"{seed}-{n_images}-{number}.png"
            size = (rng.randint(60, 180), rng.randint(60, 180), 3)
            Image.fromarray(np.random.default_rng([seed, number]).integers(0, 255, size, np.uint8)).save(path)
            paths.append(path)
        words = " ".join(rng.choice(["click", "icon", "ab", "under 7"]) for _ in range(rng.randint(2, 9)))
        return Sample(f"s{seed}", tuple(paths), words, {})

    return make


def run(family: str, sample: Sample, method: Method, budget: str = "50", n_new: int = 6, attn: str = "sdpa"):
    return Pipeline(tiny(family, attn), method, Budget.parse(budget, "paper"), max_new_tokens=n_new).run(sample)


def test_every_family_with_a_network_is_tested():
    # Files of their own: OpenCUA has no class of transformers to agree with, and FocusUI answers without decoding.
    apart = {"opencua", "focusui_qwen2_5_vl", "focusui_qwen3_vl"}
    assert {*NAMES} | apart == set(FAMILIES) == {card.family for card in MODELS.values()} - {"stub"}


@every_family
@pytest.mark.parametrize("n_images", [1, 3])
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_full_is_generate(family, n_images, attn, sample):
    for seed in range(3):
        asked = sample(seed, n_images)
        ref = reference(family, asked, attn)
        outcome = run(family, asked, Full(), "100", n_new=8, attn=attn)
        assert list(outcome.ids) == ref.generate(8)
        assert torch.equal(ref.positions()[:, 0], ref.layout.positions)
        assert outcome.counts.visual == ref.layout.n_tokens
        kinds = getattr(tiny(family).text.config, "layer_types", None) or ["full_attention"] * LAYERS
        assert outcome.counts.cache_entries == tuple(
            ref.layout.n_prompt if kind == "full_attention" else 0 for kind in kinds
        )


@every_family
def test_patches_are_the_processors(family):
    """Resize, normalisation with the family's own mean and spread, and patch order."""
    from transformers import Qwen2VLImageProcessor

    rules = tiny(family).images
    processor = Qwen2VLImageProcessor(
        patch_size=rules.patch_size,
        temporal_patch_size=rules.temporal,
        merge_size=rules.merge_size,
        size={"shortest_edge": rules.min_pixels, "longest_edge": rules.max_pixels},
        image_mean=list(rules.mean),
        image_std=list(rules.std),
    )
    rng = np.random.default_rng(0)
    for height, width in [(64, 96), (75, 131), (500, 333), (31, 400)]:
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        theirs = processor(images=[torch.from_numpy(image).permute(2, 0, 1)], return_tensors="pt")
        ours = patch_rows(resize(image, full_size((width, height), rules, "x")), rules, None)
        torch.testing.assert_close(ours, theirs["pixel_values"], atol=2e-6, rtol=0)


@every_family
def test_answers_depend_on_the_prompt(family, sample):
    assert len({run(family, sample(seed, 1), Full(), "100").ids for seed in range(5)}) > 2


@every_family
@pytest.mark.parametrize("method", EVERY, ids=lambda m: f"{m.name}-{m.kv_granularity}")
def test_every_hook_runs_and_drops(family, method, sample):
    asked = sample(4, 3)
    outcome, full = run(family, asked, method), run(family, asked, Full(), "100")
    dropped, before = outcome.counts, full.counts
    stages = ("patches", "visual", "layer_tokens", "cache_entries")
    less = [name for name in stages if sum(getattr(dropped, name)) < sum(getattr(before, name))]
    assert (
        less
        == {
            "select_patches": list(stages),
            "reduce_images": list(stages),
            "select_tokens": list(stages[1:]),
            "prune_layer": list(stages[2:]),
            "compress_kv": ["cache_entries"],
        }[method.hooks()[0]]
    )
    per_entry = 2 * tiny(family).dims.head_dim * 4
    assert outcome.kv_bytes == per_entry * sum(
        n * h for n, h in zip(dropped.cache_entries, dropped.cache_heads, strict=True)
    )
    assert run(family, asked, method, "100").ids == full.ids


def a_mask(ref, seed: int, empty_image: bool = False) -> torch.Tensor:
    keep = torch.rand(ref.layout.n_visual, generator=torch.Generator().manual_seed(seed)) < 0.4
    keep[-1] = True
    if empty_image:
        keep[: ref.layout.n_tokens[0]] = False
    return keep


def encoded(family, ref, keep, needs=()):
    rows = keep.repeat_interleave(4)
    masks = list(keep.split(list(ref.layout.n_tokens)))
    with torch.no_grad():
        return tiny(family).encode(ref.patches[rows], ref.layout.grids, masks, needs)


@every_family
@pytest.mark.parametrize("empty_image", [False, True])
def test_dropping_patches_is_hiding_them(family, empty_image, sample):
    """Kept patches agree with a tower that runs all patches and hides the dropped ones as keys."""
    for seed in range(2):
        ref = reference(family, sample(seed, 3))
        keep = a_mask(ref, seed, empty_image)
        tokens, levels, _ = SlowVit(ref, keep).run()
        got = encoded(family, ref, keep)
        torch.testing.assert_close(got.tokens, tokens, atol=2e-5, rtol=1e-4)
        assert len(got.deepstack) == len(levels) == (3 if family == "qwen3_vl" else 0)
        for ours, theirs in zip(got.deepstack, levels, strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@every_family
def test_nothing_dropped_is_the_towers_own_forward(family, sample):
    ref = reference(family, sample(2, 3))
    everything = torch.ones(ref.layout.n_visual, dtype=torch.bool)
    with torch.no_grad():
        own = ref.model.model.visual(ref.patches, grid_thw=ref.thw).pooler_output
        ours = tiny(family).encode(ref.patches, ref.layout.grids, [None] * 3)
    torch.testing.assert_close(ours.tokens, own, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(encoded(family, ref, everything).tokens, own, atol=2e-5, rtol=1e-4)


def test_windows_keep_their_original_members(sample):
    """A kept patch of Qwen2.5-VL changes with its window's neighbours and, in windowed blocks, with nobody else."""
    ref = reference("qwen2_5_vl", sample(0, 1))
    rows, cols = ref.layout.grids[0]
    assert rows >= 3 and cols >= 3
    adapter = tiny("qwen2_5_vl")
    near, far = torch.zeros(rows, cols, dtype=torch.bool), torch.zeros(rows, cols, dtype=torch.bool)
    for mask in (near, far):
        mask[0, 0] = True
    near[1, 1] = True  # of the same 2 x 2 window
    far[2, 2] = True  # the next window: once the blocks between are gone, its patches follow directly
    alone = near & ~near
    alone[0, 0] = True
    visual = adapter.model.model.visual
    saved = visual.fullatt_block_indexes
    try:
        visual.fullatt_block_indexes = []
        first = {
            name: encoded("qwen2_5_vl", ref, mask.flatten()).tokens[0]
            for name, mask in (("alone", alone), ("near", near), ("far", far))
        }
    finally:
        visual.fullatt_block_indexes = saved
    torch.testing.assert_close(first["far"], first["alone"], atol=1e-5, rtol=1e-4)
    assert (first["near"] - first["alone"]).abs().max() > 1e-2


@every_family
def test_encoder_attention_and_keys(family, sample):
    ref = reference(family, sample(3, 3))
    keep = a_mask(ref, 0)
    slow = SlowVit(ref, keep)
    maps = slow.run()[2]
    needs = (*(f"encoder_attention:{b}" for b in range(4)), "encoder_attention:-1", "encoder_keys:0")
    extras = encoded(family, ref, keep, needs).extras
    for block in range(4):
        torch.testing.assert_close(
            extras[f"encoder_attention:{block}"], slow.received(maps[block]), atol=1e-5, rtol=1e-4
        )
    assert torch.equal(extras["encoder_attention:-1"], extras["encoder_attention:3"])
    # Named blocks: of Qwen2.5-VL's four, 1 and 3 have full attention; elsewhere all do.
    named = encoded(family, ref, keep, ("encoder_attention:mid", "encoder_attention:penultimate")).extras
    assert torch.equal(named["encoder_attention:mid"], extras["encoder_attention:1"])
    late = 3 if family == "qwen2_5_vl" else 2
    assert torch.equal(named["encoder_attention:penultimate"], extras[f"encoder_attention:{late}"])
    for part in extras["encoder_attention:0"].split([int(p.sum()) for p in keep.split(list(ref.layout.n_tokens))]):
        assert float(part.mean()) == pytest.approx(1, abs=1e-5)
    caught = []
    attention = tiny(family).model.model.visual.blocks[0].attn
    handle = attention.qkv.register_forward_hook(lambda module, args, out: caught.append(out))
    everything = torch.ones_like(keep)
    keys = encoded(family, ref, everything, ("encoder_keys:0",)).extras["encoder_keys:0"]
    with torch.no_grad():
        ref.model.model.visual(ref.patches, grid_thw=ref.thw)
    handle.remove()
    own = caught[-1].view(len(keep), 4, 3, -1)[:, :, 1].mean(1)
    # The windowed tower reorders its rows: the same keys, as a set of rows.
    assert torch.allclose(keys.sort(0).values, own.sort(0).values, atol=1e-5)
    assert family == "qwen2_5_vl" or torch.allclose(keys, own, atol=1e-5)


@dataclass(frozen=True)
class Odd(Method):
    """Drops the visual tokens of odd prompt positions after one layer."""

    name: ClassVar[str] = "t-odd"
    after: int = 1

    @property
    def layers(self):
        return (self.after,)

    def prune_layer(self, view, budget):
        return view.index % 2 == 0


@every_family
@pytest.mark.parametrize("after", [0, 1, LAYERS - 2])
@pytest.mark.parametrize("n_images", [1, 3])
def test_dropping_after_a_layer_is_masking_from_there(family, after, n_images, sample):
    if family not in CACHED:
        after = 1  # the only full-attention layer that has a layer behind it
    asked = sample(5, n_images)
    ref = reference(family, asked)
    odd = ref.visual & (torch.arange(ref.layout.n_prompt) % 2 == 1)
    outcome = run(family, asked, Odd(after))
    assert outcome.counts.layer_tokens[after + 1] == ref.layout.n_prompt - int(odd.sum())
    assert list(outcome.ids) == masked_decoder(ref, {after + 1: odd}, 6)
    assert masked_decoder(ref, {}, 6) == ref.generate(6)  # the slow decoder itself is right


@every_family
def test_projections_are_the_layers_own(family, sample):
    adapter = tiny(family)
    ref = reference(family, sample(1, 1))
    text = adapter.text
    with torch.no_grad():
        hidden = text.embed_tokens(ref.ids)
        rope = text.rotary_emb(hidden, ref.positions())
        cache = KVCache(LAYERS, 0)
        text.layers[1](hidden, position_embeddings=rope, attention_mask=None, past_key_values=cache)
        q, k, v = adapter.project(1, text.layers[1].input_layernorm(hidden[0]), rope)
    keys, values = cache.entries(1)
    torch.testing.assert_close(k, keys, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(v, values, atol=1e-6, rtol=1e-5)
    assert q.shape == (adapter.dims.q_heads, ref.layout.n_prompt, adapter.dims.head_dim)


@dataclass(frozen=True)
class Everything(Method):
    """Stores every entry once per query head."""

    name: ClassVar[str] = "t-everything"

    @property
    def kv_granularity(self):
        return "query_head"

    def compress_kv(self, view, budget):
        return torch.arange(view.keys.shape[1]).expand(view.queries.shape[0], -1)


@every_family
def test_entries_per_query_head_decode_like_grouped_ones(family, sample):
    """Queries of :meth:`project` enter the answer here, and nothing else differs."""
    asked = sample(6, 1)
    assert run(family, asked, Everything()).ids == run(family, asked, Full(), "100").ids


@every_family
def test_methods_compose(family, sample):
    asked = sample(7, 3)
    pipeline = Pipeline(tiny(family), [Patches(), Layers(), Cache()], Budget.parse("20", "paper"), max_new_tokens=4)
    counts = pipeline.run(asked).counts
    assert sum(counts.patches) < sum(counts.patches_full) and counts.layer_tokens[2] < counts.layer_tokens[1]
    assert counts.cache_entries[0] < counts.layer_tokens[0]


@every_family
def test_order_of_samples_does_not_matter(family, sample):
    samples = [sample(seed, 1 + seed % 2) for seed in range(3)]
    pipeline = Pipeline(tiny(family), [Patches(), Cache()], Budget.parse("50", "paper"), max_new_tokens=4, seed=3)
    there = [pipeline.run(s) for s in samples]
    back = [pipeline.run(s) for s in reversed(samples)][::-1]
    assert [(o.ids, o.kept, o.counts) for o in there] == [(o.ids, o.kept, o.counts) for o in back]


def test_states_of_linear_layers_belong_to_their_prompt(sample):
    """Two prompts at once do not meet, another order changes nothing, and a finished prompt leaves nothing behind."""
    adapter = tiny("qwen3_5")
    samples = [sample(seed, 1 + seed % 2) for seed in range(3)]
    pipeline = Pipeline(adapter, [Patches(), Layers()], Budget.parse("50", "paper"), max_new_tokens=4, seed=3)
    there = [pipeline.run(s).ids for s in samples]
    assert [pipeline.run(s).ids for s in reversed(samples)][::-1] == there
    states = adapter.text.layers[0]._states
    gc.collect()
    assert len(states) == 0
    hidden = [torch.randn(1, n, 64, generator=torch.Generator().manual_seed(n)) for n in (9, 12)]
    caches = [KVCache(LAYERS, 4) for _ in hidden]
    step = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(0))

    def layer(x, cache):
        with torch.no_grad():
            return adapter.text.layers[0](x, position_embeddings=None, attention_mask=None, past_key_values=cache)

    for x, cache in zip(hidden, caches, strict=True):
        layer(x, cache)
    for x, cache in zip(hidden, caches, strict=True):
        torch.testing.assert_close(
            layer(step, cache)[0, 0], layer(torch.cat([x, step], 1), None)[0, -1], atol=1e-5, rtol=1e-4
        )


def test_a_cache_method_says_which_layers_it_reached(sample):
    asked = sample(4, 3)
    outcome, full = run("qwen3_5", asked, Cache()), run("qwen3_5", asked, Full(), "100")
    assert Note("cache_partial", {"cached": 2, "layers": 4}) in outcome.notes and not full.notes
    before, after = full.counts.cache_entries, outcome.counts.cache_entries
    assert before[0] == before[2] == after[0] == after[2] == 0 and after[1] < before[1] and after[3] < before[3]


def test_a_linear_layer_has_nothing_to_prune_by(sample):
    with pytest.raises(UserError, match="linear attention"):
        run("qwen3_5", sample(1, 1), Layers(at=(2,)))


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_sliding_windows_in_the_decoder_are_refused(family):
    adapter = tiny(family)
    types = adapter.text.config.layer_types
    try:
        adapter.text.config.layer_types = ["sliding_attention"] * LAYERS
        with pytest.raises(UserError, match="use_sliding_window"):
            type(adapter)("x", adapter.model, adapter.tokenizer, adapter.images, {})
    finally:
        adapter.text.config.layer_types = types
