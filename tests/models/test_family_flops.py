"""Analytic FLOPs of every family against torch's counter, small and at true size on the meta device."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vtprune_eval.models import MODELS, family_of
from vtprune_eval.models.dims import ModelDims
from vtprune_eval.models.vit_walk import Segments
from vtprune_eval.outcome import Counts
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.selftest.small import NAMES, small_config

PUBLISHED = sorted(name for name, card in MODELS.items() if card.weights)
VIT = ("patch_embed", "vit_linear", "vit_attention", "merger", "deepstack")


def build(name: str, config, device: str):
    with torch.device(device):
        return family_of(name).classes()[0]._from_config(config, attn_implementation="eager").eval()


def counted_vit(model, dims: ModelDims, lengths: list[int], windows: list[int]) -> float:
    """torch's count of the tower's own modules on images of ``lengths`` patches in ``windows``."""
    visual, device = model.model.visual, next(model.parameters()).device
    whole, local = (Segments.of(n, torch.device("cpu")) for n in (lengths, windows))
    heads = model.config.vision_config.num_heads
    levels = list(getattr(visual, "deepstack_visual_indexes", ()))
    weight = visual.patch_embed.proj.weight.flatten(1)
    n = sum(lengths)
    with FlopCounterMode(display=False) as counter:
        hidden = torch.zeros(n, dims.patch_in, device=device) @ weight.T
        for number in levels:
            visual.deepstack_merger_list[levels.index(number)](hidden)
        visual.merger(hidden)
    rope = (torch.zeros(n, dims.vit_dim // heads, device=device),) * 2

    def block_of(number: int) -> float:
        part = local if dims.vit_local and number not in visual.fullatt_block_indexes else whole
        with FlopCounterMode(display=False) as counter:
            visual.blocks[number](
                hidden, cu_seqlens=part.bounds, max_seqlen=max(part.lengths), position_embeddings=rope
            )
        return counter.get_total_flops()

    local_blocks = [
        dims.vit_local and number not in visual.fullatt_block_indexes for number in range(len(visual.blocks))
    ]
    return counter.get_total_flops() + of_each_kind(visual.blocks, local_blocks, block_of)


def of_each_kind(blocks, marks, count) -> float:
    """Sum of ``count(number)`` over blocks, of those with equal modules, shapes and mark only the first counted."""
    kinds: Counter = Counter()
    first = {}
    for number, (block, mark) in enumerate(zip(blocks, marks, strict=True)):
        kind = (
            mark,
            tuple((name, type(module)) for name, module in block.named_modules()),
            tuple((name, tuple(weight.shape)) for name, weight in block.named_parameters()),
        )
        first.setdefault(kind, number)
        kinds[kind] += 1
    return sum(times * count(first[kind]) for kind, times in kinds.items())


def counted_decoder(model, dims: ModelDims, length: int) -> float:
    """The decoder on ``length`` tokens, with attention as a full square, and the logits of one position."""
    device = next(model.parameters()).device
    hidden = torch.zeros(1, length, dims.dim, device=device)
    rotated = int(dims.head_dim * model.config.text_config.rope_parameters.get("partial_rotary_factor", 1))
    rope = (torch.zeros(1, length, rotated, device=device),) * 2
    layers = model.model.language_model.layers

    def layer_of(number: int) -> float:
        with FlopCounterMode(display=False) as counter:
            layers[number](hidden, position_embeddings=rope, attention_mask=None)
        return counter.get_total_flops()

    with FlopCounterMode(display=False) as counter:
        model.lm_head(hidden[:, -1:])
    return counter.get_total_flops() + of_each_kind(layers, [None] * len(layers), layer_of)


def agree(name: str, config, device: str, grids: list[tuple[int, int]], text: int) -> None:
    """``grids``: merge blocks (rows, columns) per image, in whole windows."""
    model, dims = build(name, config, device), ModelDims.from_config(config)
    lengths = [4 * h * w for h, w in grids]
    window = dims.vit_window or 4
    visual = tuple(n // 4 for n in lengths)
    total = text + sum(visual)
    ours = flops_of(
        dims,
        Counts(
            patches_full=tuple(lengths),
            patches=tuple(lengths),
            visual_full=visual,
            visual=visual,
            n_text=text,
            prompt_full=total,
            prompt=total,
            layer_tokens=(total,) * dims.layers,
            layer_visual=(sum(visual),) * dims.layers,
            cache_entries=(total,) * dims.layers,
            cache_heads=(dims.kv_heads,) * dims.layers,
            n_new=1,
        ),
    )
    theirs = counted_vit(model, dims, lengths, [window] * (sum(lengths) // window))
    assert sum(ours[k] for k in VIT) == pytest.approx(theirs, rel=0.005)
    delta = len(dims.linear) * dims.delta_rule(total)
    # The counter does not know triangular solves: n^2 per column, for keys and values of every chunk and head.
    solves = len(dims.linear) * -(-total // 64) * 64**2 * (dims.linear_k_dim + dims.linear_v_dim) * dims.linear_v_heads
    square = (ours["llm_attention"] - delta) * 2 * total / (total + 1)  # S^2 pairs instead of S (S + 1) / 2
    assert ours["llm_linear"] + square + delta + ours["lm_head"] == pytest.approx(
        counted_decoder(model, dims, total) + solves, rel=0.005
    )


@pytest.mark.parametrize("family", sorted(NAMES))
@pytest.mark.parametrize("grids", [[(4, 6)], [(2, 2), (8, 4), (6, 6)]])
def test_small_models(family, grids):
    agree(NAMES[family], small_config(family), "cpu", grids, 21)


@pytest.mark.parametrize("name", PUBLISHED)
def test_true_sizes_on_the_meta_device(name):
    agree(name, family_of(name).true_config(name), "meta", [(40, 68)], 60)


def test_windows_that_are_not_full_cost_less_than_is_charged():
    """A 1920 x 1080 screen (39 x 69 blocks) has part windows at two edges; a tenth of it leaves thin windows."""
    name = "qwen2.5vl-7b"
    config = family_of(name).true_config(name)
    dims = ModelDims.from_config(config)
    assert (dims.vit_local, dims.vit_window, dims.vit_ffn_matrices) == (28, 64, 3)
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 4, [3]  # 32 blocks are slow to count
    dims = ModelDims.from_config(config)
    model = build(name, config, "meta")
    edges = [4 * h * w for h in [4] * 9 + [3] for w in [4] * 17 + [1]]
    thin = [max(4, n // 10 // 4 * 4) for n in edges]
    for windows in (edges, thin):
        n = sum(windows)
        charged = (
            2.0 * n * dims.patch_in * dims.vit_dim
            + dims.vit_linear(n)
            + dims.vit_attention(n)
            + dims.merger(n // dims.merge)
        )
        executed = counted_vit(model, dims, [n], windows)
        assert executed < charged < executed * 1.01


def test_decoding_of_a_hybrid_decoder():
    """Only full-attention layers read their cache; a linear layer costs the same at any length."""
    dims = ModelDims.from_config(family_of("qwen3.5-4b").true_config("qwen3.5-4b"))
    assert dims.linear == tuple(i for i in range(32) if i % 4 != 3)

    def decode(entries: int) -> float:
        per_layer = tuple(0 if i in dims.linear else entries for i in range(32))
        return flops_of(
            dims,
            Counts(
                (4,),
                (4,),
                (1,),
                (1,),
                9,
                10,
                10,
                (10,) * 32,
                (1,) * 32,
                per_layer,
                tuple(int(e > 0) for e in per_layer),
                11,
            ),
        )["decode"]

    assert decode(900) - decode(100) == pytest.approx(8 * 10 * 800 * 4 * dims.q_heads * dims.head_dim)
    weights = family_of("qwen3.5-4b")
    from vtprune_eval.models.memory import n_weights

    # Ten tokens over an (almost) empty cache read every weight of the decoder once: two FLOPs each.
    total = n_weights(weights.classes()[0], weights.true_config("qwen3.5-4b")) - 333_514_240  # without the tower
    assert decode(1) == pytest.approx(10 * 2 * total, rel=0.02)
