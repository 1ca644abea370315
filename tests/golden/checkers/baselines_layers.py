"""Selection inside the decoder: fastv, pyramiddrop, dart, sparsevlm, sparsevlm_plus, showui."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.golden.checkers.support.recipe import (
    Case,
    Check,
    cases,
    mask_set,
    same_numbers,
    same_order,
    same_set,
)
from vtprune_eval.methods.kernels.attention import window_attention
from vtprune_eval.methods.kernels.merging import density_peaks
from vtprune_eval.methods.kernels.pivots import (
    dart_share,
    evenly_in_components,
    falling,
    largest_norms,
    least_similar,
)
from vtprune_eval.methods.kernels.raters import (
    LISTS,
    after_stage,
    corrected_scores,
    n_clusters,
    n_recycled,
    rater_scores,
    text_raters,
)
from vtprune_eval.methods.kernels.schedules import floor_share, nearest_share
from vtprune_eval.methods.kernels.topk import kept_by_score


def _last_row(q: Tensor, k: Tensor) -> Tensor:
    return window_attention(q[:, -1:], k).mean(0)


def fastv(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """The last row's attention."""
    start, n = case["start"], case["N"]
    scores = _last_row(a["Q"], a["K"])[start : start + n]
    for run in case["runs"]:
        k, name = nearest_share(n, 1 - run["R"]), f"R {run['R']}"
        yield f"{name} count", None if k == run["n_kept"] else f"{k} instead of {run['n_kept']}"
        yield name, same_set(mask_set(kept_by_score(scores, k)), run)
        yield f"{name} score", same_numbers(scores[:4], run["score_first4"])


def pyramiddrop(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """The last row of the next layer's projections, by stage."""
    start, n = case["start"], case["N"]
    for run in case["runs"]:
        s = run["stage"]
        scores = _last_row(a[f"Q{s}"], a[f"K{s}"])[start : start + run["v"]]
        k = floor_share(n, run["ratio"])
        yield f"stage {s} count", None if k == run["n_kept"] else f"{k} instead of {run['n_kept']}"
        yield f"stage {s}", same_set(mask_set(kept_by_score(scores, k)) if k else [], run)
        yield f"stage {s} score", same_numbers(scores[:4], run["score_first4"])


def dart(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Final norm, pivots, the least similar of each."""
    start, n = case["start"], case["N"]
    h, w = a["H"], a["W"]
    states = h / (h.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w
    norms = a["K"].abs().sum((0, 2))
    image = torch.arange(start, start + n)
    text = torch.arange(start + n, len(h))
    seeds, words = largest_norms(norms, image, text, 4, 4)
    for run in case["runs"]:
        share, name = dart_share(n, run["ratio"]), f"ratio {run['ratio']} {run.get('order_name', '')}"
        yield f"{name} share", None if share == run["per_pivot"] else f"{share} instead of {run['per_pivot']}"
        visited = [*seeds.tolist(), *words.tolist()]
        candidates = image[~torch.isin(image, seeds)]
        if run.get("raises"):
            got = least_similar(states, visited, candidates, [share] * 8)
            yield name, None if len(got) == len(candidates) else "not all of the candidates"
            continue
        if run["order_name"] == "set":
            visited = list(set(visited))
        yield f"{name} pivots", same_order(visited, run["pivots"])
        got = least_similar(states, visited, candidates, [share] * 8)
        yield name, same_set([i - start for i in (*seeds.tolist(), *got.tolist())], run)


def sparsevlm(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Raters, three stages, recycling by density peaks."""
    start, n = case["start"], case["N"]
    raters = text_raters(a["E"][start : start + n], a["E"][start + n :])
    yield "raters", same_order(raters, case["raters"])
    for run in case["runs"]:
        s, v = run["stage"], run["v"]
        name = f"stage {s}"
        scores = rater_scores(a[f"Q{s}"][:, start + v + raters], start + v + raters, a[f"K{s}"])[start : start + v]
        k, merged = after_stage(v, run["list"], 1)
        yield f"{name} count", None if k == run["n_kept"] else f"{k} instead of {run['n_kept']}"
        keep = kept_by_score(scores, k)
        yield name, same_set(mask_set(keep), run)
        yield f"{name} score", same_numbers(scores[:4], run["score_first4"])
        rest = (~keep).nonzero()[:, 0]
        recycled = rest[falling(scores[rest])[: n_recycled(len(rest))]]
        yield f"{name} recycled", same_order(recycled, run["recycled"])
        c = n_clusters(len(recycled))
        left = None if c == merged == run["clusters"] and k + c == run["v_next"] else f"{k} + {c} tokens"
        yield f"{name} left", left
        found = density_peaks(a[f"H{s}"][start : start + v][recycled], c)
        if c == 1:
            yield f"{name} merged", same_numbers(found.means, run["merged"])
            continue
        wanted = run.get("alternatives", [run])
        whys = [_same_clusters(found, want) for want in wanted]
        yield f"{name} clusters", None if None in whys else whys[0]


def _same_clusters(found: Any, want: dict[str, Any]) -> str | None:
    return (
        same_order(found.centres, want["centres"])
        or same_order(found.assign, want["assign"])
        or same_numbers(found.means, want["merged"])
    )


def sparsevlm_plus(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Heads, distance correction, three stages; positions are the row numbers of the first stage."""
    start, n = case["start"], case["N"]
    raters = text_raters(a["E"][start : start + n], a["E"][start + n :])
    yield "raters", same_order(raters, case["raters"])
    position = torch.arange(len(a["E"]))
    for run in case["runs"]:
        s, v, name = run["stage"], run["v"], f"stage {run['stage']}"
        d = a[f"Q{s}"].shape[-1]
        theta = 10000.0 ** (-2 * torch.arange(d // 2, dtype=torch.float64) / d)
        angle = (position[:, None] * theta).repeat(1, 2)
        rows, visual = start + v + raters, torch.arange(start, start + v)
        rope = (angle.cos(), angle.sin())
        if a[f"Q{s}"].shape[0] < 14:
            yield name, None if run.get("raises") else "fewer than 14 heads"
            continue
        scores, heads = corrected_scores(a[f"Q{s}"][:, rows], rows, a[f"K{s}"], rope, visual)
        yield f"{name} heads", same_order(heads, sorted(run["heads"]))
        yield f"{name} score", same_numbers(scores[:4], run["score_first4"])
        keep = kept_by_score(scores, after_stage(v, run["list"], 2)[0])
        yield name, same_set(mask_set(keep), run)
        rows_kept = torch.ones(len(position), dtype=torch.bool)
        rows_kept[visual[~keep]] = False
        position = position[rows_kept]


def showui(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Even places inside every component."""
    labels = a["L"].long()
    for run in case["runs"]:
        keep = evenly_in_components(labels, run["skip"])
        n = int(keep.sum())
        yield f"skip {run['skip']} count", None if n == run["n_kept"] else f"{n} instead of {run['n_kept']}"
        exact = None if "kept_exact" not in run else same_set(mask_set(keep), run, "kept_exact")
        why = same_set(mask_set(keep), run)
        yield f"skip {run['skip']}", why if exact is not None or "kept_exact" not in run else None


CHECKS: dict[str, Check] = {f.__name__: f for f in (fastv, pyramiddrop, dart, sparsevlm, sparsevlm_plus, showui)}


def matches(path: Path, data: Any) -> bool:
    """The file names its method."""
    return isinstance(data, dict) and data.get("method") in CHECKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """See :class:`Checker`."""
    method, counts = data["method"], data.get("counts", ())
    yield from cases(data, CHECKS[method])
    for row in counts:
        if method == "fastv":
            n, ratio, want = row
            got: Any = nearest_share(n, 1 - ratio)
        elif method == "dart":
            n, ratio, share, total = row
            got, want = (dart_share(n, ratio), 4 + 8 * dart_share(n, ratio)), (share, total)
        elif method == "pyramiddrop":
            n, ratio, got, want = (
                row["N"],
                row["ratios"],
                [floor_share(row["N"], r) for r in row["ratios"]],
                row["kept"],
            )
        else:
            n, ratio, want, present, got = row["N"], row["name"], row["after"], row["N"], []
            if LISTS[row["version"]][row["name"]] != tuple(row["list"]):
                yield f"list {ratio}", "another list"
            for listed in row["list"]:
                present = sum(after_stage(present, listed, row["version"]))
                got.append(present)
        yield (
            f"count {n} {ratio}",
            None
            if list([got] if isinstance(got, int) else got) == list([want] if isinstance(want, int) else want)
            else f"{got} instead of {want}",
        )
