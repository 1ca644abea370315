"""Selection in the KV cache: snapkv, pyramidkv, vlcache, h2o, streamingllm, adakv, expected_attention, kvzip and
kvpress' scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.golden.checkers.support.recipe import Case, Check, cases, mask_set, same_numbers, same_set
from vtprune_eval.methods.kernels import cache_scores as scores_of
from vtprune_eval.methods.kernels.attention import (
    per_kv_head,
    pooled,
    received_attention,
    sparse_share,
    window_attention,
)
from vtprune_eval.methods.kernels.schedules import (
    ada_counts,
    ada_sizes,
    kvpress_heads,
    pyramid_entries,
    pyramid_exact,
    sink_and_recent,
    sparsity_shares,
)
from vtprune_eval.methods.kernels.topk import best


def _sets(name: str, scores: Tensor, k: int, heads: list[dict[str, Any]]) -> Iterator[Case]:
    """One case per head: its best ``k``."""
    kept = best(scores.expand(len(heads), -1), k, ties="late")
    for h, want in enumerate(heads):
        yield f"{name} head {h}", same_set(kept[h], want)


def _window(case: dict[str, Any], a: dict[str, Tensor], run: dict[str, Any], per: str, *, mean: bool) -> Tensor:
    """Pooled scores of everything before the window; ``per``: query_head, or how a group is reduced."""
    w = run["window"]
    received = window_attention(a["Q"][:, -w:], a["K"])[:, : case["L"] - w]
    received = received / w if mean else received
    if per != "query_head":
        received = per_kv_head(received, case["n_kv"], per)
    return pooled(received, run["kernel"], run.get("pooling", "avg"))


def snapkv(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """All published settings, per query head and per kv head."""
    for run in case["runs"]:
        cap, w = run["capacity"], run["window"]
        name = f"{cap}/{w}/{run['kernel']}/{run['pooling']} {run['granularity']} {run.get('agg', '')}"
        if run.get("all") or case["L"] < cap:
            yield name, None if case["L"] < cap and run.get("all") else "everything stays"
            continue
        per = "query_head" if run["granularity"] == "query_head" else run.get("agg", "mean")
        scores = _window(case, a, run, per, mean=False)
        yield f"{name} score", same_numbers(scores[0, :4], run["score_first4_head0"])
        yield from _sets(name, scores, cap - w, run["heads"])


def pyramidkv(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Entries per layer, the window included."""
    for run in case["runs"]:
        n, layers = run["L"], run["layers"]
        if case["form"] == "factory":
            got = [pyramid_entries(i, layers, n, run["capacity"], run["window"], run["beta"]) for i in range(layers)]
        else:
            mean = n * (1 - run["ratio"])
            got = [pyramid_exact(i, layers, n, mean, run["window"], run["beta"]) for i in range(layers)]
        want = run["entries_per_layer"]
        yield f"{case['form']} {n} {run.get('capacity', run.get('ratio'))}", None if got == want else f"{got[:4]}"


def vlcache(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Sparsity, layer budgets, shared and separate sets of a public port."""
    n, p, n_kv = case["L"], case["post_vision"], case["n_kv"]
    n_layers = sum(name.startswith("Q") for name in a)
    gammas = [sparse_share(a[f"Q{i}"][:, -p:], a[f"K{i}"], threshold=0.01, relative=True) for i in range(n_layers)]
    for run in case["runs"]:
        name, own = f"{run['alpha']} {run['form']} {run['sets']}", run["form"] == "own_window"
        yield f"{name} gamma", same_numbers(gammas, run["gamma"])
        betas = sparsity_shares(gammas, run["alpha"], own_window=own)
        yield f"{name} beta", same_numbers(betas, run["beta"])
        for i, layer in enumerate(run["layers"]):
            window = max(1, int((betas[i] if own else run["alpha"]) * n * 0.1))
            size = max(1, int(betas[i] * n))
            right = window == layer["window"] and size == layer["n_image"]
            yield f"{name} layer {i} sizes", None if right else f"{size} + {window}"
            received = received_attention(a[f"Q{i}"][:, -p:], a[f"K{i}"])[:, : n - window]
            heads = per_kv_head(received, 1 if run["sets"] == "shared" else n_kv, "sum")
            kept = best(heads, min(size, n - window), ties="late")
            for h, want in enumerate(layer["kept_before_window"]):
                recorded = {**want} if isinstance(want, dict) else {"kept": want, **_near(layer)}
                yield f"{name} layer {i} head {h}", same_set(kept[h], recorded)


def _near(layer: dict[str, Any]) -> dict[str, Any]:
    return {"near_tie": layer["near_tie"]} if "near_tie" in layer else {}


def h2o(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Accumulated attention; kvpress' observed attention divides by the rows that see an entry."""
    n = case["L"]
    received = received_attention(a["Q"], a["K"])
    for run in case["runs"]:
        kind, name = run["kind"], f"{run['kind']} {run.get('capacity', run.get('ratio'))}/{run.get('window', '')}"
        if kind == "per_row_mean":
            scores, k = scores_of.observed(a["Q"], a["K"]), int(n * (1 - run["ratio"]))
            yield f"{name} count", None if k == run["n_kept"] else f"{k} instead of {run['n_kept']}"
        else:
            scores = received if kind == "query_head" else per_kv_head(received, case["n_kv"])
            scores, k = scores[:, : n - run["window"]], run["capacity"] - run["window"]
        yield f"{name} score", same_numbers(scores[0, :4], run["score_first4_head0"])
        yield from _sets(name, scores, k, run["heads"])


def streamingllm(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """First and last entries."""
    for run in case["runs"]:
        n = run["L"]
        size = int(n * (1 - run["ratio"])) if run["form"] == "kvpress" else run["capacity"]
        first, last = sink_and_recent(size, n, recent=run.get("window"))
        if run.get("all"):
            yield f"{run['form']} {n} {size}", None if first + last == n else f"{first} + {last}"
            continue
        right = (first, last) == (run["first"], run["last"])
        yield f"{run['form']} {n} {size}", None if right else f"{first} + {last}"


def adakv(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """One top-k over all heads, with a floor per head."""
    n = case["L"]
    for run in case["runs"]:
        w = run["window"]
        if run["form"] == "kvpress":
            scores = _window(case, a, run, "query_head", mean=True)
            scores = per_kv_head(scores, case["n_kv"])
            scores = torch.cat([scores, (scores.max() + 1).expand(len(scores), w)], 1)
            k = int(n * (1 - run["ratio"]))
            certain = int(k * run["alpha"])
            right = (k, certain) == (run["n"], run["certain"])
            yield f"kvpress {run['ratio']} counts", None if right else f"{k}, {certain}"
            keep = kvpress_heads(scores, k, certain)
            for h, want in enumerate(run["heads"]):
                yield f"kvpress {run['ratio']} head {h}", same_set(mask_set(keep[h]), want)
            continue
        name, base = f"{run['capacity']}/{w} {run['group']} {run['normalize']}", run["capacity"] - w
        if run.get("all") or base > n - w:
            yield name, None if run.get("all") and base > n - w else "everything stays"
            continue
        scores = _window(case, a, run, run["group"], mean=True)
        counts = ada_counts(scores, base, run["normalize"])
        yield f"{name} counts", None if counts.tolist() == run["counts"] else f"{counts.tolist()}"
        for h, (size, want) in enumerate(zip(ada_sizes(counts, base, run["alpha"]), run["heads"], strict=True)):
            kept = best(scores[h : h + 1], size, ties="late")[0]
            yield f"{name} head {h}", f"{size} entries" if size != want["size"] else same_set(kept, want)


def expected_attention(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Mean and covariance of the prompt's queries, rotated to the future."""
    n, d = case["L"], a["Q"].shape[-1]
    for run in case["runs"]:
        name = f"{run['ratio']} {run['n_future']} {run['cov']} {run['vnorm']}"
        theta = run["base"] ** (-2 * torch.arange(d // 2) / d)
        angle = (torch.arange(n, n + run["n_future"])[:, None] * theta).repeat(1, 2)
        rotation = scores_of.mean_rotation(angle.cos(), angle.sin())
        scores = scores_of.expected_attention(a["Q"], a["K"], a["V"], rotation, cov=run["cov"], vnorm=run["vnorm"])
        k = int(n * (1 - run["ratio"]))
        yield f"{name} count", None if k == run["n_kept"] else f"{k} instead of {run['n_kept']}"
        yield f"{name} score", same_numbers(scores[0, 4:8], run["score_4_to_7_head0"], 2e-5)
        yield from _sets(name, scores, k, run["heads"])


def kvzip(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Largest attention while the context is repeated."""
    for run in case["runs"]:
        start, end, name = run["start"], run["end"], f"{run['start']}-{run['end']} {run['ratio']}"
        scores = scores_of.reconstruction(a["Q"], a["K"], case["c"], start, end, run["sink"])
        yield f"{name} score", same_numbers(scores[0, :4], run["score_first4_head0"])
        yield from _sets(f"{name} uniform", scores, int((end - start) * run["ratio"]), run["kept_uniform"])
        keep = scores_of.above_threshold(scores, run["ratio"])
        for h, want in enumerate(run["kept_threshold"]):
            yield f"{name} threshold head {h}", same_set(mask_set(keep[h]), {"kept": want})


def kvpress_scores(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """knorm, tova, lagkv, keydiff, cur."""
    q, k, v = a["Q"], a["K"], a["V"]
    for run in case["runs"]:
        name = run["score"]
        scores = {
            "knorm": lambda: scores_of.knorm(k),
            "keydiff": lambda: scores_of.keydiff(k),
            "tova": lambda: scores_of.tova(q, k),
            "lagkv": lambda run=run: scores_of.lagkv(k, v, run["lag_size"]),
            "cur": lambda: scores_of.cur(k, v),
        }[name]().expand(case["n_kv"], -1)
        size = int(case["L"] * (1 - run["ratio"]))
        yield f"{name} count", None if size == run["n_kept"] else f"{size} instead of {run['n_kept']}"
        yield f"{name} score", same_numbers(scores[0, 4:8], run["score_4_to_7_head0"])
        yield from _sets(f"{name} {run['ratio']}", scores, size, run["heads"])


CHECKS: dict[str, Check] = {
    f.__name__: f
    for f in (
        snapkv,
        pyramidkv,
        vlcache,
        h2o,
        streamingllm,
        adakv,
        expected_attention,
        kvzip,
        kvpress_scores,
    )
}


def matches(path: Path, data: Any) -> bool:
    """The file names its method."""
    return isinstance(data, dict) and data.get("method") in CHECKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """See :class:`Checker`."""
    yield from cases(data, CHECKS[data["method"]])
