"""Analytic FLOPs against torch's counter, dense and shortened, small and at true size."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vtprune_eval.models.dims import ModelDims
from vtprune_eval.models.qwen3_vl_sizes import TRUE_SIZES
from vtprune_eval.outcome import Counts
from vtprune_eval.profiling.flops import flops_of


def counts(dims: ModelDims, patches: tuple[int, ...], text: int, n_new: int = 1) -> Counts:
    visual = tuple(p // dims.merge for p in patches)
    length = text + sum(visual)
    return Counts(
        patches,
        patches,
        visual,
        visual,
        text,
        length,
        length,
        (length,) * dims.layers,
        (sum(visual),) * dims.layers,
        (length,) * dims.layers,
        (dims.kv_heads,) * dims.layers,
        n_new,
    )


def counted(model, dims: ModelDims, patches: tuple[int, ...], text: int) -> dict[str, float]:
    """torch's count of the ViT on each image alone and of the decoder layers on the joined length (eager attention).

    The counter sees decoder attention as full squares, so its causal half is compared separately.
    """
    device = next(model.parameters()).device
    out = {"vit": 0.0}
    for n in patches:
        side = {192: (12, 16), 96: (8, 12), 3520: (44, 80), 1760: (22, 80)}[n]
        grid = torch.tensor([[1, *side]])
        with FlopCounterMode(display=False) as counter:
            if device.type == "meta":  # positions are computed from values, which meta tensors do not have
                hidden = model.model.visual.patch_embed.proj.weight.flatten(1)
                _ = torch.empty(n, hidden.shape[1], device="meta") @ hidden.T
                x = torch.empty(n, dims.vit_dim, device="meta")
                rope = (torch.empty(n, dims.vit_dim // model.config.vision_config.num_heads, device="meta"),) * 2
                taps = []
                for i, block in enumerate(model.model.visual.blocks):
                    q, k, v = block.attn.qkv(x).view(n, 3, -1, rope[0].shape[1]).permute(1, 2, 0, 3)
                    attended = (q @ k.transpose(1, 2)) @ v
                    x = block.mlp(block.attn.proj(attended.permute(1, 0, 2).flatten(1)))
                    if i in model.model.visual.deepstack_visual_indexes:
                        taps.append(model.model.visual.deepstack_merger_list[len(taps)](x))
                model.model.visual.merger(x)
            else:
                model.model.visual(torch.randn(n, dims.patch_in), grid_thw=grid)
        out["vit"] += counter.get_total_flops()
    length = text + sum(patches) // dims.merge
    x = torch.zeros(1, length, dims.dim, device=device)
    rope = (torch.zeros(1, length, dims.head_dim, device=device),) * 2
    with FlopCounterMode(display=False) as counter:
        for layer in model.model.language_model.layers:
            layer(x, position_embeddings=rope, attention_mask=None)
        model.lm_head(x[:, -1:])
    out["llm"] = counter.get_total_flops()
    return out


def agree(dims: ModelDims, model, patches: tuple[int, ...], text: int) -> None:
    ours = flops_of(dims, counts(dims, patches, text))
    theirs = counted(model, dims, patches, text)
    vit = sum(ours[k] for k in ("patch_embed", "vit_linear", "vit_attention", "merger", "deepstack"))
    length = text + sum(patches) // dims.merge
    square = ours["llm_attention"] * 2 * length / (length + 1)  # S^2 pairs instead of S (S + 1) / 2
    assert vit == pytest.approx(theirs["vit"], rel=0.005)
    assert ours["llm_linear"] + square + ours["lm_head"] == pytest.approx(theirs["llm"], rel=0.005)


@pytest.mark.parametrize("patches", [(192,), (96, 192), (96,)])
def test_small_models_agree_with_torch(patches):
    from nano.folder import build_config
    from transformers import Qwen3VLForConditionalGeneration

    config = build_config(vision_depth=3, vision_dim=64, dim=64, layers=3)
    config._attn_implementation = "eager"
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    agree(ModelDims.from_config(config), model, patches, 21)


@pytest.mark.parametrize("name", sorted(TRUE_SIZES))
@pytest.mark.parametrize("patches", [(3520,), (1760,)])
def test_true_sizes_agree_with_torch_on_the_meta_device(name, patches):
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(**TRUE_SIZES[name])
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation="eager")
    agree(ModelDims.from_config(config), model, patches, 60)


def test_decoding_counts_the_cache_it_really_had():
    from transformers import Qwen3VLConfig

    dims = ModelDims.from_config(Qwen3VLConfig(**TRUE_SIZES["qwen3vl-2b"]))
    full, one = counts(dims, (3520,), 60, n_new=11), counts(dims, (3520,), 60, n_new=1)
    small = Counts(**{**full.__dict__, "cache_entries": (100,) * dims.layers})
    steps = flops_of(dims, full)["decode"] - flops_of(dims, small)["decode"]
    assert steps == pytest.approx(dims.layers * 10 * (940 - 100) * 4 * dims.q_heads * dims.head_dim)
    assert flops_of(dims, one)["decode"] == 0


def test_closed_forms_of_the_2b_model():
    """Prefill(S) = 2.819e9 S + 114,688 S (S + 1) and ViT(P) = 0.604e9 P + 98,304 P^2, derived from the shapes."""
    from transformers import Qwen3VLConfig

    dims = ModelDims.from_config(Qwen3VLConfig(**TRUE_SIZES["qwen3vl-2b"]))
    assert dims.layers * dims.layer_linear(1) == pytest.approx(2.819e9, rel=1e-3)
    assert dims.layers * dims.layer_attention(0.5) == pytest.approx(114_688)
    assert dims.vit_linear(1) == pytest.approx(0.604e9, rel=1e-3)
    assert dims.vit_attention(1) == pytest.approx(98_304)
