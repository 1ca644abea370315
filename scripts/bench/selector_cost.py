"""Cost of the selectors on this machine: ``python scripts/bench/selector_cost.py``, all in one run.

Medians of 20 calls (DivPrune and CDPruner 5, references 3 or 4, because some take seconds); a table with a set that
differs from its reference's ends with exit code 1.

GUI-KV's scoring and choice for one layer (5 images x 1000 tokens, 28 query and 4 kv heads, head size 128, budget 10)
against a straightforward loop over heads and images of the same mathematics, with the kept sets compared; DivPrune and
CDPruner with running updates against the full matrix; UI-graph components of a 3840x2160 screenshot.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from tabulate import tabulate

from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import LayerView, TokenLayout
from vtprune_eval.methods.cdpruner import greedy_map
from vtprune_eval.methods.divprune import max_min
from vtprune_eval.methods.guikv import GuiKV
from vtprune_eval.methods.kernels.labels import graph_components


def median_ms(run, repeats: int) -> float:
    """Median wall time in milliseconds, after one warm-up call."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def layer_view(
    n_images: int = 5, tokens: int = 1000, q_heads: int = 28, kv_heads: int = 4, dim: int = 128, hidden: int = 3584
) -> LayerView:
    """Random states in the layout of five screenshots: 40 text tokens, then images with 10 tokens between them."""
    generator = torch.Generator().manual_seed(0)
    spans, at = [], 40
    for _ in range(n_images):
        spans.append((at, at + tokens))
        at += tokens + 10
    n = at + 40
    visual = torch.zeros(n, dtype=torch.bool)
    for start, end in spans:
        visual[start:end] = True
    layout = TokenLayout(tuple((1, tokens) for _ in spans), tuple(spans), n, 2, 14, torch.zeros(3, n), ((28, 28),) * 5)
    x = torch.randn(n, hidden, generator=generator)
    keys = torch.randn(kv_heads, n, dim, generator=generator)
    return LayerView(
        0,
        28,
        layout,
        torch.arange(n),
        visual,
        keys,
        keys,
        torch.randn(q_heads, 8, dim, generator=generator),
        x,
        x,
        x,
        0,
    )


def loop(view: LayerView, capacity: int, granularity: str) -> list[set[int]]:
    """GUI-KV for one layer as its steps read: per head and per image, with full QR decompositions."""
    n, (n_q, window, dim) = len(view.index), view.queries.shape
    n_kv = view.keys.shape[0]
    group, past = n_q // n_kv, n - window
    spans = view.layout.spans
    scores = []
    for h in range(n_q):
        k = view.keys[h // group]
        z = view.queries[h] @ k.T / dim**0.5
        z[:, past:] = z[:, past:].masked_fill(torch.ones(window, window, dtype=torch.bool).triu(1), float("-inf"))
        scores.append(z.softmax(-1).sum(0)[:past])
    if granularity == "kv_head":
        scores = [torch.stack(scores[g * group : (g + 1) * group]).mean(0) for g in range(n_kv)]
    kept = []
    start, end = spans[-1]
    norms = view.hidden_normed[start:end].norm(dim=-1)
    z = (norms - norms.mean()) / (norms.std() + 1e-8)
    bonus = 2.0 * (z / 3.5).softmax(0)[: max(0, past - start)]
    for h, a in enumerate(scores):
        a = torch.nn.functional.avg_pool1d(a[None, None], 5, 1, 2)[0, 0]
        a[start : min(end, past)] += bonus
        k = view.keys[h if granularity == "kv_head" else h // group]
        basis = torch.linalg.qr(k[start:end].T).Q[:, :32]
        residual = []
        for s, e in spans[:-1]:
            part = k[s:e]
            residual.append((part - part @ basis @ basis.T).norm(dim=-1))
        earlier = torch.cat([torch.arange(s, e) for s, e in spans[:-1]])
        n_zero = int((1 - capacity / n) * len(earlier))
        a[earlier[torch.cat(residual).topk(n_zero, largest=False).indices]] = 0
        kept.append(set(a.topk(capacity - window).indices.tolist()) | set(range(past, n)))
    return kept


def products(view: LayerView) -> Callable[[], object]:
    """The two matrix products that every form of GUI-KV takes of a layer, and nothing else: a lower bound.

    The window's queries with all keys, and 32 directions with the keys before the current screenshot.
    """
    n_kv, _, dim = view.keys.shape
    queries = view.queries.reshape(n_kv, -1, dim)
    earlier, basis = view.keys[:, : view.span_of(-1)[0]], view.keys[:, :32].contiguous()
    return lambda: (queries @ view.keys.transpose(1, 2), basis @ earlier.transpose(1, 2))


def full_map(x: torch.Tensor, quality: torch.Tensor, k: int) -> torch.Tensor:
    """Greedy MAP with the whole kernel in memory."""
    unit = torch.nn.functional.normalize(x, dim=-1)
    kernel = quality[:, None] * (unit @ unit.T) * quality
    gain, rows, chosen = kernel.diagonal().clone(), torch.zeros(k, len(x)), []
    for i in range(k):
        j = int(gain.argmax())
        chosen.append(j)
        rows[i] = (kernel[j] - rows[:i].T @ rows[:i, j]) / gain[j].sqrt()
        gain = gain - rows[i] ** 2
        gain[chosen] = float("-inf")
    return torch.tensor(chosen)


def full_max_min(x: torch.Tensor, k: int) -> torch.Tensor:
    """Max-min diversity that looks at all chosen columns of the whole distance matrix in every step."""
    unit = torch.nn.functional.normalize(x, dim=-1)
    distance = 1 - unit @ unit.T
    chosen = [int((distance + 3 * torch.eye(len(x))).amin(-1).argmax())]
    for _ in range(k - 1):
        closest = distance[:, chosen].amin(-1)
        closest[chosen] = -1
        chosen.append(int(closest.argmax()))
    return torch.tensor(chosen)


def screenshot(width: int, height: int) -> np.ndarray:
    """A window with text-like noise in a third of its blocks, flat elsewhere."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), 245, np.uint8)
    blocks = image[: height // 32 * 32, : width // 32 * 32].reshape(height // 32, 32, width // 32, 32, 3)
    rows, cols = np.nonzero(rng.random((height // 32, width // 32)) < 0.35)
    for r, c in zip(rows, cols, strict=True):
        blocks[r, 8:24, c] = rng.integers(0, 2, (16, 32, 1), np.uint8) * 200 + 20
    return image


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--gui-kv", action="store_true", help="leave out the greedy selectors: references take minutes")
    args = parser.parse_args()
    rows = []
    view = layer_view()
    capacity = int(len(view.index) * 0.1)
    budget = StageBudget(capacity, None, 5000, Budget.parse("10", "paper"))
    floor = median_ms(products(view), args.repeats)
    for granularity in ("query_head", "kv_head"):
        method = GuiKV(granularity=granularity)
        ours = [set(row.tolist()) for row in method.compress_kv(view, budget)]
        same = sum(a == b for a, b in zip(ours, loop(view, capacity, granularity), strict=True))
        fast = median_ms(lambda m=method: m.compress_kv(view, budget), args.repeats)
        slow = median_ms(lambda g=granularity: loop(view, capacity, g), max(3, args.repeats // 5))
        rows.append([f"GUI-KV, {granularity}", fast, slow, slow / fast, f"{same} of {len(ours)} head sets equal"])
        rows.append(["- its two matrix products alone", floor, slow, slow / floor, ""])
    x = torch.randn(4000, 2048, generator=torch.Generator().manual_seed(1))
    quality = torch.rand(4000, generator=torch.Generator().manual_seed(2)) + 0.1
    greedy = (
        ("DivPrune, 1000 of 4000", lambda: max_min(x, 1000), lambda: full_max_min(x, 1000)),
        ("CDPruner, 1000 of 4000", lambda: greedy_map(x, quality, 1000), lambda: full_map(x, quality, 1000)),
    )
    for name, run, reference in () if args.gui_kv else greedy:
        same = len(set(run().tolist()) & set(reference().tolist()))
        fast, slow = median_ms(run, max(3, args.repeats // 4)), median_ms(reference, 3)
        rows.append([name, fast, slow, slow / fast, f"{same} of 1000 choices equal"])
    image = screenshot(3840, 2160 // 32 * 32)
    rows.append(
        [
            "UI graph, 3840x2144",
            median_ms(lambda: graph_components(image, 32), args.repeats),
            None,
            None,
            f"{graph_components(image, 32).max() + 1} components",
        ]
    )
    differs = [row[0] for row in rows if " of " in str(row[4]) and row[4].split()[0] != row[4].split()[2]]
    print(tabulate(rows, ["selector", "ms", "reference ms", "ratio", "check"], floatfmt=".1f", tablefmt="github"))
    if differs:
        print(f"not the choices of the reference: {', '.join(differs)}", file=sys.stderr)
    return int(bool(differs))


if __name__ == "__main__":
    raise SystemExit(main())
