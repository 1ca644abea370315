"""Costs of a paper's prompts from formulas: every image has its benchmark's mean size (PixelPrune's Table 9)."""

from __future__ import annotations

from ..budget import Budget
from ..methods.random import Random
from ..profiling.flops import ModelDims, flops_of, paper_flops
from ..profiling.plan import TRUE_DIMS, TRUE_PIXELS, block_grids, planned_counts

# Benchmark as Table 4 calls it: name in Table 9, images per prompt, text tokens. Text tokens are not printed in the
# paper: assumed. MMLongBench-Doc: 5784 page images (Table 9) of 135 documents (arXiv 2407.01523, abstract) are 43
# pages; every question sees all pages of its document.
PROMPTS = {"ScreenSpot-Pro Scientific": ("SSPro-Scientific", 1, 120), "MMLongBench-Doc": ("MMLongBench-Doc", 43, 200)}
DIMS = TRUE_DIMS["qwen3vl-2b"]


def cache_bytes(dims: ModelDims, tokens: int) -> int:
    """Keys and values of all layers in bfloat16."""
    return tokens * dims.layers * 2 * dims.kv_heads * dims.head_dim * 2


def costs(sizes: list[tuple[int, int]], text: int, percent: float, dims: ModelDims = DIMS) -> dict[str, float]:
    """FLOPs of one prompt when ``percent`` of the visual tokens enter the ViT, under three accountings.

    Args:
        sizes: (width, height) of every image in pixels; text: tokens that are not visual; dims: model sizes.

    Returns:
        ``tokens`` of the prompt; prefill FLOPs: ``authors`` (appendix E as the authors run it), ``itemised`` (with
        patch embedding, mergers and head), ``ours`` (causal, as in every record); ``kv``: bytes of a bfloat16 cache.
    """
    method = Random()  # any method that acts before the ViT: only its stage matters
    counts = planned_counts(dims, block_grids(sizes, TRUE_PIXELS), text, 1, method, Budget.parse(f"{percent}"))
    theirs = paper_flops(dims, counts.patches, text)
    authors = sum(theirs[k] for k in ("vit_linear", "vit_attention", "llm_linear", "llm_attention"))
    extra = sum(theirs[k] for k in ("patch_embed", "merger", "deepstack", "lm_head_last_token"))
    return {"tokens": counts.prompt, "authors": authors, "itemised": authors + extra,
            "ours": flops_of(dims, counts)["total_prefill"], "kv": cache_bytes(dims, counts.prompt)}
