"""``python -m vtprune_eval flops``: analytic FLOPs per stage, the full prompt beside a pruned one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from itertools import groupby

from ..budget import READINGS, Budget
from ..console import Parser
from ..errors import UserError
from ..models.dims import ModelDims
from ..outcome import Counts
from ..registry import make_method
from .flops import flops_of, paper_flops
from .plan import block_grids, model_block, model_dims, planned_counts

PAPER_ROWS = ("vit_linear", "vit_attention", "llm_linear", "llm_attention")
NOTES = (
    "1 multiply-add = 2 FLOPs. Decoder attention is causal: S (S + 1) / 2 pairs; ViT attention is the full square.",
    "Not counted: norms, activations, softmax, rotary embeddings, embedding look-ups, and the method's own selector.",
)
MAX_SIDE = 999_999
MARKER_NOTE = "Markers that a method puts in the place of dropped tokens (POSPAD) depend on the image and come on top."
PAPER_NOTES = (
    "Accounting of arXiv 2604.00886, appendix E, as its authors run it: ViT and decoder layers only, S^2 pairs in the "
    "decoder (no causal halving), no mergers, patch embedding, LM head or decoding.",
)


def parser() -> Parser:
    """Options of ``flops``."""
    p = Parser("flops", description=__doc__)
    p.add_argument("--model", default="nano", help="short name of a model (default nano)")
    p.add_argument(
        "--image",
        action="append",
        required=True,
        metavar="WxH",
        help="pixels of an image file, before the resize; repeat for several, or 1920x1080*5",
    )
    p.add_argument("--text-tokens", type=int, default=0, help="tokens of the prompt that are not visual (default 0)")
    p.add_argument("--method", default="full", help="one method (default full)")
    p.add_argument("--retain", metavar="B", help="what it keeps: 26.2 (percent of the visual tokens) or 256tok")
    p.add_argument(
        "--reading", choices=READINGS, default="equal", help="what a budget counts (default equal; see explain METHOD)"
    )
    p.add_argument("--new-tokens", type=int, default=32, help="generated tokens (default 32)")
    p.add_argument(
        "--accounting",
        choices=("executed", "pixelprune"),
        default="executed",
        help="executed (default, as in every record) or the way the PixelPrune paper counts",
    )
    p.add_argument("--explain-flops", action="store_true", help="also print the formulas with the numbers filled in")
    p.add_argument("--format", choices=("table", "md", "json"), default="table")
    return p


def main(argv: Sequence[str]) -> int:
    """Print the table; returns the exit code.

    Raises:
        UserError: unknown model or method, a size or share that means nothing.
    """
    given = parser().parse_args(list(argv))
    if given.text_tokens < 0 or given.new_tokens < 1:
        raise UserError("--text-tokens is at least 0 and --new-tokens at least 1.")
    dims, pixels = model_dims(given.model)
    grids = block_grids(_sizes(given.image), pixels, model_block(given.model))
    if "+" in given.method:
        raise UserError("flops takes one method; the FLOPs of a composition stand in the records of a run.")
    method = make_method(given.method, reading=given.reading)
    if method.hooks() and given.retain is None:
        raise UserError(f"--retain is missing: the share of the visual tokens that {given.method} keeps, such as 26.2.")
    budget = Budget.parse(given.retain or "100", given.reading)
    if budget.value is None:
        raise UserError(f"--retain {given.retain}: a percentage (26.2) or a token count (256tok) is needed.")
    full = planned_counts(dims, grids, given.text_tokens, given.new_tokens)
    cut = planned_counts(dims, grids, given.text_tokens, given.new_tokens, method, budget)
    if given.accounting == "pixelprune":
        if dims.linear or dims.vit_local:
            raise UserError(f"--accounting pixelprune counts Qwen3-VL models; {given.model} has other layers.")
        if method.hooks() not in ((), ("reduce_images",), ("select_patches",)):
            raise UserError(f"--accounting pixelprune knows methods before the ViT only; {given.method} is not.")
        notes: tuple[str, ...] = PAPER_NOTES
        a, b = _as_paper(dims, full), _as_paper(dims, cut)
    else:
        a, b = flops_of(dims, full), flops_of(dims, cut)
        notes = (*NOTES, MARKER_NOTE) if method.hooks() == ("select_tokens",) else NOTES
    steps = explain(dims, cut) if given.explain_flops and given.accounting == "executed" else []
    if given.format == "json":
        print(
            json.dumps(
                {
                    "model": given.model,
                    "method": given.method,
                    "retain": given.retain,
                    "accounting": given.accounting,
                    "grids_blocks": grids,
                    "text_tokens": given.text_tokens,
                    "new_tokens": full.n_new,
                    "flops_full": a,
                    "flops": b,
                    "notes": notes,
                    **({"formulas": steps} if steps else {}),
                },
                indent=2,
            )
        )
        return 0
    _print(given, grids, full, cut, a, b)
    print("\n".join(["", *notes, *([f"\nFormulas, {given.method}:", *steps] if steps else [])]))
    return 0


def explain(dims: ModelDims, counts: Counts) -> list[str]:
    """One line per stage: the formula of :func:`.flops.flops_of` with the numbers of ``counts`` filled in."""
    d, f, value = dims.vit_dim, dims.vit_ffn, flops_of(dims, counts)
    n, wide = sum(counts.patches), dims.merge * dims.vit_dim
    m, q, kv = n // dims.merge, dims.q_heads * dims.head_dim, dims.kv_heads * dims.head_dim
    runs = [(len(list(group)), s) for s, group in groupby(counts.layer_tokens)]
    held = [(len(list(group)), e) for e, group in groupby(counts.cache_entries)]
    k = counts.n_new - 1
    per_token = f"2 (2*{dims.dim}*{q} + 2*{dims.dim}*{kv} + 3*{dims.dim}*{dims.ffn})"
    squares = " + ".join(f"{p}^2" for p in counts.patches)
    w, local = dims.vit_window, dims.vit_local
    windows = f" + {local} * 4 ({' + '.join(f'{p}*{min(p, w)}' for p in counts.patches)}) * {d}" if local else ""
    lines = {
        "patch_embed": f"2 n c d = 2 * {n} * {dims.patch_in} * {d}",
        "vit_linear": f"L n 2 (4 d^2 + {dims.vit_ffn_matrices} d f) = {dims.vit_depth} * {n} * 2 (4*{d}^2 + "
        f"{dims.vit_ffn_matrices}*{d}*{f})",
        "vit_attention": f"L sum_i 4 n_i^2 d{', windowed blocks n_i w' if local else ''} = "
        f"{dims.vit_depth - local} * 4 ({squares}) * {d}{windows}",
        "merger": f"M 2 ((4d)^2 + 4d D) = {m} * 2 ({wide}^2 + {wide}*{dims.merger_out})",
        "deepstack": f"{dims.n_deepstack} mergers of the same size",
        "llm_linear": "sum over layers of S 2 (2 D q + 2 D kv + 3 D F) = ("
        + " + ".join(f"{c}*{s}" for c, s in runs)
        + f") * {per_token}",
        "llm_attention": "sum over layers of 4 q S (S + 1) / 2 = "
        + " + ".join(f"{c} * 4 * {q} * {s}*{s + 1}/2" for c, s in runs),
        "lm_head": f"2 D V, last position only = 2 * {dims.dim} * {dims.vocab}",
        "decode": f"K (L {per_token} + 2 D V) + sum over layers of 4 q (K E + K (K + 1) / 2), K = {k} tokens after "
        "the first, E cached entries = " + ", ".join(f"{e} in {c} layers" for c, e in held),
    }
    if dims.action_head:
        c = counts.candidates
        lines["action_head"] = (
            f"2 m (6 D^2 + D) + 4 m^2 D + 4 D^2 over m kept tokens = 2 * {c} (6*{dims.dim}^2 + "
            f"{dims.dim}) + 4 * {c}^2 * {dims.dim} + 4 * {dims.dim}^2"
        )
        del lines["lm_head"], lines["decode"]
        lines["decode"] = "nothing is decoded, the head's answer is read from the prefill"
    if dims.linear:  # two kinds of decoder layers: FLOPs per token of each stand for their matrices
        lines["llm_linear"] = "sum over full-attention and linear layers of S times FLOPs per token = " + " + ".join(
            f"{counts.layer_tokens[i]}*{dims.layer_linear(1, i):.0f}" for i in range(dims.layers)
        )
        terms = (
            f"{dims.delta_rule(s):.0f}" if i in dims.linear else f"4*{q}*{s}*{s + 1}/2"
            for i, s in enumerate(counts.layer_tokens)
        )
        lines["llm_attention"] = (
            f"4 q S (S + 1) / 2 in {dims.layers - len(dims.linear)} layers, the gated delta rule "
            f"in {len(dims.linear)} = {' + '.join(terms)}"
        )
        lines["decode"] = f"{k} tokens after the first, each through all layers of both kinds and the LM head"
    return [f"{name} = {text} = {value[name]:.6g}" for name, text in lines.items()]


def _as_paper(dims: ModelDims, counts: Counts) -> dict[str, float]:
    items = paper_flops(dims, counts.patches, counts.n_text)
    out = {name: items[name] for name in PAPER_ROWS}
    return {**out, "total_prefill": sum(out.values())}


def _print(
    given: argparse.Namespace,
    grids: Sequence[tuple[int, int]],
    full: Counts,
    cut: Counts,
    a: dict[str, float],
    b: dict[str, float],
) -> None:
    from tabulate import tabulate

    label = f"{given.method} {given.retain}" if given.retain else given.method
    shapes = ", ".join(f"{c} x {h}x{w}" for (h, w), c in _counted(grids))
    print(
        f"{given.model}: images (count x rows x columns of merge blocks) {shapes}; {given.text_tokens} text tokens; "
        f"{full.n_new} new tokens\n"
    )
    lengths = [
        ["patches into the ViT", sum(full.patches), sum(cut.patches), sum(full.patches) / sum(cut.patches)],
        [
            "tokens, decoder layer 0",
            full.layer_tokens[0],
            cut.layer_tokens[0],
            full.layer_tokens[0] / cut.layer_tokens[0],
        ],
        [
            "mean cache entries",
            *(sum(c.cache_entries) / len(c.cache_entries) for c in (full, cut)),
            sum(full.cache_entries) / sum(cut.cache_entries),
        ],
    ]
    style = "github" if given.format == "md" else "simple"
    print(
        tabulate(
            [[n, f"{x:,.0f}", f"{y:,.0f}", f"{r:.2f}x"] for n, x, y, r in lengths],
            headers=["length", "full", label, "ratio"],
            tablefmt=style,
            disable_numparse=True,
            colalign=("left", "right", "right", "right"),
        )
    )
    print()
    rows = [
        [name, f"{a[name] / 1e12:,.4f}", f"{b[name] / 1e12:,.4f}", f"{a[name] / b[name]:.2f}x" if b[name] else "-"]
        for name in a
    ]
    print(
        tabulate(
            rows,
            headers=["TFLOPs", "full", label, "ratio"],
            tablefmt=style,
            disable_numparse=True,
            colalign=("left", "right", "right", "right"),
        )
    )


def _counted(grids: Sequence[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    return [(grid, len(list(group))) for grid, group in groupby(grids)]


def _sizes(texts: Sequence[str]) -> list[tuple[int, int]]:
    out = []
    for text in texts:
        found = re.fullmatch(r"(\d{1,18})[xX](\d{1,18})(?:\*(\d{1,3}))?", text.strip())
        if not found or int(found[1]) < 1 or int(found[2]) < 1 or int(found[3] or 1) < 1:
            raise UserError(f"--image {text!r} is not WIDTHxHEIGHT in pixels, such as 2716x1616 (or 1920x1080*5).")
        if max(int(found[1]), int(found[2])) > MAX_SIDE:
            raise UserError(f"--image {text!r}: a side has at most {MAX_SIDE:,} pixels.")
        out += [(int(found[1]), int(found[2]))] * int(found[3] or 1)
    return out
