"""Costs of a paper's prompts from formulas, with what had to be assumed.

PixelPrune: every image has its benchmark's mean size (its Table 9). GUIPruner: the size of a screenshot is not printed,
so it is the one at which the full model costs what is printed; the ratio to the pruned model then follows. GUI-KV: the
abstract prints neither model nor budget.
"""

from __future__ import annotations

from functools import cache

from ..budget import Budget
from ..methods.random import Random
from ..models.dims import ModelDims
from ..models.qwen3_vl_sizes import DEFAULT_PIXELS, TRUE_DIMS
from ..profiling.flops import flops_of, paper_flops
from ..profiling.plan import block_grids, model_dims, planned_counts
from .paper_data import PaperRow, PaperTable

# Benchmark as Table 4 calls it: name in Table 9, images per prompt, text tokens. Text tokens are not printed in the
# paper: assumed. MMLongBench-Doc: 5784 page images (Table 9) of 135 documents (arXiv 2407.01523, abstract) are 43
# pages; every question sees all pages of its document.
PROMPTS = {"ScreenSpot-Pro Scientific": ("SSPro-Scientific", 1, 120), "MMLongBench-Doc": ("MMLongBench-Doc", 43, 200)}
DIMS = TRUE_DIMS["qwen3vl-2b"]
# GUIPruner: text tokens of a step, and the decoder layers before the current frame is cut (the paper's choice).
STEP_TEXT, STEP_LAYERS = 200, 2
# GUI-KV's five screenshots: a 7B GUI agent on Qwen2.5-VL, 1920 x 1080 in blocks of 28 pixels, and a text prompt.
AGENT, SCREEN_TOKENS, AGENT_TEXT, AGENT_KEPT = "uitars-1.5-7b", 39 * 69, 500, 0.4

ASSUMPTIONS = {
    "PixelPrune": "mean image size of the benchmark, 120 (ScreenSpot-Pro) or 200 text tokens; the authors' accounting",
    "GUIPruner": f"Qwen2-VL-2B, {STEP_TEXT} text tokens, five frames of the one size at which the full model costs "
    "what is printed; history frames share their budget equally; the current frame is cut after "
    f"{STEP_LAYERS} layers; attention as a full square",
    "GUI-KV": f"{AGENT}, five screenshots of {SCREEN_TOKENS} tokens, {AGENT_TEXT} text tokens, {AGENT_KEPT:.0%} of the "
    "prompt cached (a secondary reading). Linear layers do not depend on the cache: of all FLOPs per token "
    "far less can be saved than is printed, whose accounting is not stated",
}


def cache_bytes(dims: ModelDims, tokens: int) -> int:
    """Keys and values of all layers in bfloat16."""
    return tokens * dims.layers * 2 * dims.kv_heads * dims.head_dim * 2


def costs(sizes: list[tuple[int, int]], text: int, percent: float, dims: ModelDims = DIMS) -> dict[str, float]:
    """FLOPs of one prompt when ``percent`` of the visual tokens enter the ViT, under three accountings.

    Args:
        sizes: (width, height) of every image in pixels.
        text: tokens that are not visual.
        dims: model sizes.

    Returns:
        ``tokens`` of the prompt; prefill FLOPs: ``authors`` (appendix E as the authors run it), ``itemised`` (with
        patch embedding, mergers and head), ``ours`` (causal, as in every record); ``kv``: bytes of a bfloat16 cache.
    """
    method = Random()  # any method that acts before the ViT: only its stage matters
    counts = planned_counts(dims, block_grids(sizes, DEFAULT_PIXELS), text, 1, method, Budget.parse(f"{percent}"))
    theirs = paper_flops(dims, counts.patches, text)
    authors = sum(theirs[k] for k in ("vit_linear", "vit_attention", "llm_linear", "llm_attention"))
    extra = sum(theirs[k] for k in ("patch_embed", "merger", "deepstack", "lm_head_last_token"))
    return {
        "tokens": counts.prompt,
        "authors": authors,
        "itemised": authors + extra,
        "ours": flops_of(dims, counts)["total_prefill"],
        "kv": cache_bytes(dims, counts.prompt),
    }


def step_flops(dims: ModelDims, current: int, history: list[int], text: int, kept: float, after: int) -> float:
    """Prefill FLOPs of one GUI step as GUIPruner's follow-up counts them: encoder and decoder layers, full squares.

    Args:
        dims: model sizes.
        current: visual tokens of the frames that enter the encoder.
        history: visual tokens of the frames that enter the encoder.
        text: other tokens.
        kept: share of the current frame's tokens that stays after ``after`` decoder layers.
    """
    frames = [current, *history]
    encoder = dims.vit_linear(dims.merge * sum(frames)) + sum(dims.vit_attention(dims.merge * n) for n in frames)
    before, behind = sum(frames) + text, round(current * kept) + sum(history) + text

    def layer(n: int) -> float:
        return dims.layer_linear(n) + dims.layer_attention(float(n) ** 2)

    return encoder + after * layer(before) + (dims.layers - after) * layer(behind)


@cache
def guipruner_step(printed_tflops: float, frames: int, history_pct: float, current_pct: float) -> tuple[float, float]:
    """FLOPs of a step with full tokens and with GUIPruner, at the frame size that gives ``printed_tflops`` in full.

    Args:
        printed_tflops: of the full model.
        frames: history frames.
        history_pct: what is kept of them.
        current_pct: what is kept of them.
    """
    dims = model_dims("qwen2vl-2b")[0]

    def cost(n: int, history: float = 1.0, current: float = 1.0) -> float:
        return step_flops(dims, n, [round(n * history)] * frames, STEP_TEXT, current, STEP_LAYERS)

    low, high = 1, 16384
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) < printed_tflops * 1e12 else (low, middle)
    return cost(low), cost(low, history_pct / 100, current_pct / 100)


@cache
def guikv_decode_saving() -> float:
    """Share of the FLOPs of one decoded token that a cache of ``AGENT_KEPT`` saves, linear layers counted."""
    dims = model_dims(AGENT)[0]
    fixed = sum(dims.layer_linear(1, i) for i in range(dims.layers)) + dims.lm_head(1)
    length = 5 * SCREEN_TOKENS + AGENT_TEXT
    full, cut = (fixed + dims.layers * dims.layer_attention(share * length) for share in (1.0, AGENT_KEPT))
    return 1 - cut / full


def value(
    data: PaperTable,
    row: PaperRow,
    metric: str,
    sizes: dict[str, tuple[tuple[int, int], int]],
    model: str | None,
) -> float | None:
    """A cell of a paper's table from formulas, in the paper's unit; None where none gives it.

    Args:
        data: the table.
        row: the cell.
        metric: the cell.
        sizes: benchmark to mean image size and number of images.
        model: our name of the row's model.
    """
    settings = row.get("settings", {})
    if data["paper"] == "GUI-KV":
        return 100 * guikv_decode_saving() if metric == "decode_flops_reduction_pct" else None
    if data["paper"] == "GUIPruner":
        full = next((r["metrics"].get("tflops") for r in data["rows"] if r["method"] == "Full"), None)
        if metric not in {"tflops", "flops_speedup"} or full is None or "history_frames" not in settings:
            return None
        pair = guipruner_step(
            full,
            settings["history_frames"],
            settings.get("history_retain_pct", 100.0),
            settings.get("current_retain_pct", 100.0),
        )
        return pair[1] / 1e12 if metric == "tflops" else pair[0] / pair[1]
    benchmark = settings.get("benchmark")
    if data["paper"] != "PixelPrune" or benchmark not in PROMPTS or model not in TRUE_DIMS or row["retain_pct"] is None:
        return None
    name, n_images, text = PROMPTS[benchmark]
    images = [sizes[name][0]] * n_images
    here = costs(images, text, row["retain_pct"], TRUE_DIMS[model])
    if metric == "flops_speedup":
        return costs(images, text, 100.0, TRUE_DIMS[model])["authors"] / here["authors"]
    return {"prefill_tflops": here["authors"] / 1e12, "kv_cache_gb": here["kv"] / 1e9}.get(metric)
