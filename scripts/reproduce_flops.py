"""Efficiency figures of PixelPrune's Table 4 from formulas, beside the printed ones, as Markdown.

    python scripts/reproduce_flops.py            print the tables
    python scripts/reproduce_flops.py --write    put them into docs/numbers.md, between the two marks

The paper gives means over samples; here every image has its benchmark's mean size (the paper's Table 9).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vtprune_eval.report.analytic import DIMS, PROMPTS, cache_bytes, costs  # noqa: E402

PAPERS, PAGE = ROOT / "leaderboards" / "papers", ROOT / "docs" / "numbers.md"
MARKS = "<!-- begin: scripts/reproduce_flops.py -->", "<!-- end -->"


def load(number: int) -> list[dict[str, Any]]:
    """Rows of one of PixelPrune's tables."""
    return json.loads((PAPERS / f"pixelprune_table{number}.json").read_text())["rows"]


def table_4() -> str:
    """Table 4's FLOPs and KV columns beside three accountings."""
    means = {r["settings"]["benchmark"]: r["metrics"] for r in load(9)}
    lines = [
        "| benchmark | kept % | tokens | paper TFLOPs | appendix E as its authors run it | with mergers, embedding, "
        "head | ours (causal) | paper KV GB | native KV GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios = [
        "",
        "| benchmark | paper ratio | appendix E as its authors run it | with mergers, embedding, head "
        "| ours (causal) |",
        "|---|---|---|---|---|",
    ]
    rows = load(4)
    for benchmark, (name, n_images, text) in PROMPTS.items():
        size = (means[name]["mean_width_px"], means[name]["mean_height_px"])
        pair = []
        for row in (r for r in rows if r["settings"]["benchmark"] == benchmark):
            c = costs([size] * n_images, text, row["retain_pct"])
            pair.append(c)
            m = row["metrics"]
            lines.append(
                f"| {benchmark} | {row['retain_pct']:g} | {c['tokens']:,} | {m['prefill_tflops']:,} | "
                f"{c['authors'] / 1e12:,.1f} | {c['itemised'] / 1e12:,.1f} | {c['ours'] / 1e12:,.1f} | "
                f"{m['kv_cache_gb']} | {c['kv'] / 1e9:.2f} |"
            )
        printed = next(
            r["metrics"]["flops_speedup"]
            for r in rows
            if r["settings"]["benchmark"] == benchmark and r["method"] == "PixelPrune"
        )
        ratios.append(
            f"| {benchmark} | {printed}x | "
            + " | ".join(f"{pair[0][k] / pair[1][k]:.2f}x" for k in ("authors", "itemised", "ours"))
            + " |"
        )
    return "\n".join(lines + ratios)


def consistency() -> str:
    """Least FLOPs that the printed mean KV size implies under appendix E, against the printed FLOPs."""
    lines = [
        "| benchmark | kept % | paper KV GB | tokens it holds, if native bf16 | decoder TFLOPs of these alone "
        "| paper TFLOPs, ViT included |",
        "|---|---|---|---|---|---|",
    ]
    for row in load(4):
        m = row["metrics"]
        tokens = math.floor(m["kv_cache_gb"] * 1e9 / cache_bytes(DIMS, 1))
        decoder = DIMS.layers * (DIMS.layer_linear(tokens) + DIMS.layer_attention(float(tokens) ** 2))
        lines.append(
            f"| {row['settings']['benchmark']} | {row['retain_pct']:g} | {m['kv_cache_gb']} | {tokens:,} | "
            f"{decoder / 1e12:,.1f} | {m['prefill_tflops']:,} |"
        )
    return "\n".join(lines)


def formulas() -> str:
    """Appendix E with the sizes of Qwen3-VL-2B filled in: coefficients per patch, token, and their squares."""
    q, kv = DIMS.q_heads * DIMS.head_dim, DIMS.kv_heads * DIMS.head_dim
    return "\n".join(
        [
            "| term of appendix E | Qwen3-VL-2B |",
            "|---|---|",
            f"| ViT linear, per patch: L (8 d^2 + 4 d F) | {DIMS.vit_linear(1):,.0f} |",
            f"| ViT attention, per squared patch count of an image: 4 L d | {DIMS.vit_attention(1):,.0f} |",
            f"| one merger, per visual token: 2 (4d)^2 + 2 (4d) D | {DIMS.merger(1):,.0f} (four of them) |",
            "| decoder linear, per token: "
            f"L 2 (2 D {q} + 2 D {kv} + 3 D I) | {DIMS.layers * DIMS.layer_linear(1):,.0f} |",
            f"| decoder attention, per squared length: 4 L {q} | {DIMS.layers * DIMS.layer_attention(1):,.0f} |",
        ]
    )


def page_part() -> str:
    """All generated tables."""
    return f"{formulas()}\n\n{table_4()}\n\n{consistency()}"


def main() -> int:
    """Print, or write into the page."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true")
    if not p.parse_args().write:
        print(page_part())
        return 0
    head, rest = PAGE.read_text().split(MARKS[0])
    PAGE.write_text(f"{head}{MARKS[0]}\n{page_part()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
