"""Vectors of PixelPrune's FLOP accounting (appendix E)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vtprune_eval.models.dims import ModelDims
from vtprune_eval.profiling.flops import paper_flops

Case = tuple[str, str | None]


def matches(path: Path, data: Any) -> bool:
    """``analytic.json`` (rows per configuration) and ``counter_check.json``."""
    if isinstance(data, list):
        return bool(data) and isinstance(data[0], dict) and {"config", "counted", "formula"} <= data[0].keys()
    return isinstance(data, dict) and {"configs", "rows"} <= data.keys()


def check(path: Path, data: Any) -> Iterator[Case]:
    """Every itemised component, and the authors' own totals, to 1e-9 relative."""
    if isinstance(data, list):
        yield from _counter(data)
        return
    for number, row in enumerate(data["rows"]):
        config = data["configs"][row["model"]]
        dims = _dims(config["vision"], config["text"], config["vocab"])
        for which, patches in (("kept", row["n_patches_kept"]), ("full", row["n_patches_full"])):
            ours = paper_flops(dims, tuple(patches), row["text_tokens"])
            expected = row[f"components_{which}"]
            pairs = {
                "patch_embed_kept_only": ours["patch_embed"],
                "vit_linear": ours["vit_linear"],
                "vit_attention": ours["vit_attention"],
                "merger": ours["merger"],
                "llm_linear": ours["llm_linear"],
                "llm_attention": ours["llm_attention"],
                "lm_head_all_tokens": ours["lm_head_all_tokens"],
                "lm_head_last_token": ours["lm_head_last_token"],
                "deepstack_mergers": ours["deepstack"],
            }
            for name, value in pairs.items():
                yield f"row {number} {which} {name}", _differ(value, expected[name])
            suffix = "" if which == "kept" else "_full"
            vit, llm = row[f"authors_vit_tflops{suffix}"], row[f"authors_llm_tflops{suffix}"]
            yield f"row {number} {which} ViT", _differ((ours["vit_linear"] + ours["vit_attention"]) / 1e12, vit)
            yield f"row {number} {which} LLM", _differ((ours["llm_linear"] + ours["llm_attention"]) / 1e12, llm)


def _counter(data: list[dict[str, Any]]) -> Iterator[Case]:
    """Formulas against an operator-level counter, per component."""
    for number, row in enumerate(data):
        config = row["config"]
        dims = _dims(config["vision"], config["text"], config["vocab"])
        ours = paper_flops(dims, tuple(h * w for h, w in row["grids_patches_hw"]), row["text_tokens"])
        pairs = {
            "patch_embed": ours["patch_embed"],
            "merger": ours["merger"],
            "deepstack_mergers": ours["deepstack"],
            "vit_blocks": ours["vit_linear"] + ours["vit_attention"],
            "llm_layers": ours["llm_linear"] + ours["llm_attention"],
            "lm_head": ours["lm_head_all_tokens"],
        }
        for name, value in pairs.items():
            yield f"row {number} {name}", _differ(value, row["counted"][name])


def _dims(vision: dict[str, Any], text: dict[str, Any], vocab: int) -> ModelDims:
    return ModelDims(
        vit_depth=vision["depth"],
        vit_dim=vision["hidden_size"],
        vit_ffn=vision["intermediate_size"],
        patch_in=vision["patch_in"],
        merge=4,
        merger_out=vision["out_hidden_size"],
        n_deepstack=vision["n_deepstack"],
        layers=text["num_hidden_layers"],
        dim=text["hidden_size"],
        ffn=text["intermediate_size"],
        q_heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        head_dim=text["head_dim"],
        vocab=vocab,
    )


def _differ(got: float, expected: float) -> str | None:
    return None if abs(got - expected) <= 1e-9 * abs(expected) else f"{got} instead of {expected}"
