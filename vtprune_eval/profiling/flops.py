"""Analytic FLOPs of what was executed; 1 multiply-add = 2 FLOPs.

Counted: patch embedding, ViT linear layers and attention, mergers (main and DeepStack), decoder linear layers and
attention, the LM head. Not counted: norms, activations, rotary embeddings, softmax, embedding look-ups, selectors
(their time is a column of its own).

Sources: layer shapes from the model's configuration; the linear and attention terms follow PixelPrune's appendix E
(arXiv 2604.00886), except that decoder attention is causal here: S (S + 1) / 2 pairs instead of S^2. The delta rule of
linear-attention layers stands under ``llm_attention``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.dims import ModelDims
    from ..outcome import Counts


def flops_of(dims: ModelDims, counts: Counts) -> dict[str, float]:
    """FLOPs per stage from the lengths that were really executed.

    Returns:
        patch_embed, vit_linear, vit_attention, merger, deepstack, llm_linear, llm_attention (prefill), lm_head (the
        first token), decode (every later token, with the cache it really had), total_prefill (all but decode), total.
        A model that points has action_head instead of lm_head, and decodes nothing.
    """
    patches = sum(counts.patches)
    tokens = patches // dims.merge
    entered = counts.patches_entered or counts.patches
    early = counts.vit_depth / dims.vit_depth if counts.patches_entered else 0.0  # share of blocks before the drop
    by_block = counts.vit_patches  # where tokens are merged inside, every block has its own number
    out = {
        "patch_embed": 2.0 * sum(entered) * dims.patch_in * dims.vit_dim,
        "vit_linear": early * dims.vit_linear(sum(entered)) + (1 - early) * dims.vit_linear(patches),
        "vit_attention": early * sum(dims.vit_attention(n) for n in entered)
        + (1 - early) * sum(dims.vit_attention(n) for n in counts.patches),
        "merger": dims.merger(tokens),
        "deepstack": dims.n_deepstack * dims.merger(tokens),
        "llm_linear": sum(dims.layer_linear(n, layer) for layer, n in enumerate(counts.layer_tokens)),
        "llm_attention": sum(
            dims.delta_rule(n) if layer in dims.linear else dims.layer_attention(n * (n + 1) / 2)
            for layer, n in enumerate(counts.layer_tokens)
        ),
    }
    if by_block:
        out["vit_linear"] = sum(dims.vit_linear(sum(block)) for block in by_block) / len(by_block)
        out["vit_attention"] = sum(dims.vit_attention(n) for block in by_block for n in block) / len(by_block)
    if dims.action_head:
        out["action_head"] = dims.pointing(counts.candidates) if counts.candidates else 0.0
    else:
        out["lm_head"] = dims.lm_head(1)
    out["total_prefill"] = sum(out.values())
    steps = max(0, counts.n_new - 1)
    # Step i (from 0) attends to the entries kept after prefill, the i tokens decoded before it, and itself.
    pairs = sum(
        steps * entries + steps * (steps + 1) / 2
        for layer, entries in enumerate(counts.cache_entries)
        if layer not in dims.linear
    )
    per_step = sum(dims.layer_linear(1, layer) for layer in range(dims.layers)) + dims.lm_head(1)
    out["decode"] = steps * (per_step + len(dims.linear) * dims.delta_step()) + dims.layer_attention(pairs)
    out["total"] = out["total_prefill"] + out["decode"]
    return out


def paper_flops(dims: ModelDims, patches: tuple[int, ...], text_tokens: int) -> dict[str, float]:
    """PixelPrune's own accounting (appendix E): no causal halving, no patch embedding, no LM head.

    Args:
        dims: model sizes.
        patches: kept patches per image.
        text_tokens: all tokens of the prompt that are not visual.
    """
    n = sum(patches)
    length = text_tokens + n // dims.merge
    return {
        "patch_embed": 2.0 * n * dims.patch_in * dims.vit_dim,
        "vit_linear": dims.vit_linear(n),
        "vit_attention": sum(dims.vit_attention(p) for p in patches),
        "merger": dims.merger(n // dims.merge),
        "deepstack": dims.n_deepstack * dims.merger(n // dims.merge),
        "llm_linear": dims.layers * dims.layer_linear(length),
        "llm_attention": dims.layers * dims.layer_attention(float(length) ** 2),
        "lm_head_last_token": dims.lm_head(1),
        "lm_head_all_tokens": dims.lm_head(length),
    }
