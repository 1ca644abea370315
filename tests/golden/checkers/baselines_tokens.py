"""Selection behind the ViT (hiprune, prumerge, visionzip, divprune, cdpruner, vispruner, vscan, scope, tome, evs)."""

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
from vtprune_eval.methods.kernels.diversity import (
    greedy_cover,
    greedy_map,
    max_min,
    mean_cosine,
    min_max_scaled,
    thin_out,
)
from vtprune_eval.methods.kernels.merging import (
    averaged_in,
    bipartite,
    contextual,
    even_targets,
    nearest_target,
    neighbours_added,
)
from vtprune_eval.methods.kernels.outliers import merge_all, n_kept, n_outliers, plus_order
from vtprune_eval.methods.kernels.pivots import (
    anchors_and_registers,
    best_per_window,
    falling,
    n_anchors,
    window_of_token,
    wrapped_neighbours,
)
from vtprune_eval.methods.kernels.schedules import nearest_share
from vtprune_eval.methods.kernels.temporal import change_of_frames, n_frames_kept
from vtprune_eval.methods.kernels.topk import best, kept_by_score
from vtprune_eval.models.vit_extras import encoder_received


def hiprune(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Anchors by plain rounding, neighbours by index as upstream takes them."""
    middle, last, n, width = a["A"], a["B"], case["N"], case["grid"][1]
    for run in case["runs"]:
        k, name = run["K"], f"K {run['K']} alpha {run['alpha']}"
        count = n_anchors(k, run["alpha"])
        yield f"{name} anchors", None if count == run["anchors_n"] else f"{count} anchors"
        anchors = best(middle[None], count)[0]
        near = torch.zeros(n, dtype=torch.bool)
        near[wrapped_neighbours(anchors, n, width)] = True
        keep = anchors_and_registers(middle, last, k, near)
        if run.get("raises"):  # upstream asks for a negative number; the best of anchors and neighbours stay here
            yield name, None if int(keep.sum()) == k and bool((near | ~keep).all()) else "not k of the anchors' tokens"
            continue
        yield f"{name} anchor set", same_set(anchors, run, "anchors")
        yield f"{name} neighbours", same_set(mask_set(near), run, "anchors_and_neighbours")
        yield name, same_set(mask_set(keep), run)


def prumerge(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """One softmax over the full width, outliers, PruMerge+'s spacing, merging, the extra token."""
    scores = encoder_received(a["q"][None, :1], a["k"][None], case["C"] ** -0.5)[1:]
    keys, x = a["k"][1:], a["X"]
    for run in case["runs"]:
        name, plus = run["variant"], run["variant"] == "plus"
        if run.get("raises"):
            try:
                order = plus_order(scores, n_kept(scores)) if plus else falling(scores)[: n_kept(scores)]
                yield name, None if len(order) <= len(x) else "more tokens than there are"
            except ValueError:
                yield name, None
            continue
        got = n_outliers(scores)
        yield f"{name} outliers", None if got == run["n_out"] else f"{got} instead of {run['n_out']}"
        t = n_kept(scores)
        yield f"{name} count", None if t == run["T"] else f"{t} instead of {run['T']}"
        order = plus_order(scores, t) if plus else falling(scores)[:t]
        yield f"{name} order", same_order(order, run["order"])
        yield f"{name} score", same_numbers(scores[:4], run["score_first4"])
        yield f"{name} merged", same_numbers(merge_all(x, keys, scores, order), run["out"])
        own = neighbours_added(x, keys, scores, order, 32)
        yield f"{name} rows", same_numbers(own, run["out"][:-1])


def visionzip(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Dominant and contextual tokens."""
    heads, _, d = a["Q"].shape
    received = heads * encoder_received(a["Q"][:, :1], a["K"], d**-0.5)[1:]
    keys, x = a["K"].mean(0)[1:], a["H"][1:]
    for run in case["runs"]:
        name = f"{run['dominant_n']} + {run['contextual_n']}"
        keep = kept_by_score(received, run["dominant_n"])
        yield f"{name} dominant", same_set(mask_set(keep), run, "dominant")
        yield f"{name} score", same_numbers(received[:4], run["score_first4"])
        rest = (~keep).nonzero()[:, 0]
        targets = even_targets(rest, run["contextual_n"])
        yield f"{name} targets", same_order(targets, run["targets"])
        others = rest[~torch.isin(rest, targets)]
        yield f"{name} assign", same_order(nearest_target(keys, targets, others), run["assign"])
        yield f"{name} contextual", same_numbers(contextual(x, keys, targets, others), run["contextual"])


def divprune(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Greedy max-min diversity."""
    for run in case["runs"]:
        k = nearest_share(case["N"], run["r"])
        yield f"r {run['r']} count", None if k == run["K"] else f"{k} instead of {run['K']}"
        yield f"r {run['r']}", same_order(max_min(a["X"], k), run["order"])


def cdpruner(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Released sign of the relevance, scaling, greedy MAP."""
    raw = a["R"] if "R" in a else -mean_cosine(a["I"], a["T"])
    quality = min_max_scaled(raw)
    for run in case["runs"]:
        yield f"K {run['K']} q", same_numbers(quality[:4], run["q_check"])
        yield f"K {run['K']}", same_order(greedy_map(a["X"], quality, run["K"]), run["order"])


def vispruner(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Important tokens, then rounds of removal; in float64 where the file asks for it."""
    for run in case["runs"]:
        name = f"T {run['T']} share {run['ratio']}"
        x = a["X"].double() if run.get("float64_only") else a["X"]
        order, n_important = falling(a["A"]), int(run["T"] * run["ratio"])
        n_diverse = run["T"] - n_important
        rest = order[n_important:]
        kept = thin_out(x, rest, n_diverse) if n_diverse else rest[:0]
        if run.get("raises"):  # unequal halves, or more than a half in one round: ours still gives the count
            yield name, None if len(kept) == n_diverse else f"{len(kept)} of {n_diverse}"
            continue
        yield f"{name} important", same_set(order[:n_important], run, "important")
        yield name, same_set([*order[:n_important].tolist(), *kept.tolist()], run)


def vscan(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Local windows, global scan, merging by feature."""
    (h, w), n = case["grid"], case["N"]
    for run in case["runs"]:
        llava = run["form"] == "llava"
        total = run["T"] if llava else int(run["ratio"] * n)
        name = f"{run['form']} {total}"
        n_local = int(total * 0.5) if llava else total // 2
        window, n_windows = window_of_token(h, w, 6 if llava else 4)
        if llava:  # the same number of every window
            n_local = n_local // n_windows * n_windows
        local = best_per_window(a["A"], window, n_windows, n_local)
        if run.get("raises"):
            yield name, None if len(local) == n_local else f"{len(local)} local tokens"
            continue
        yield f"{name} local", same_set(local, run, "local")
        rest = a["B"].clone()
        rest[local] = 0
        keep = torch.zeros(n, dtype=torch.bool)
        keep[local] = True
        # As upstream: the zeros of the local tokens compete, too (attention is positive).
        keep[best(rest[None], total - (int(total * 0.5) if llava else n_local))[0]] = True
        yield name, same_set(mask_set(keep), run)
        kept, others = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
        yield f"{name} assign", same_order(nearest_target(a["X"], kept, others), run["assign"])
        yield f"{name} merged", same_numbers(averaged_in(a["X"], kept, others), run["merged"])


def scope(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Coverage times saliency, greedily."""
    for run in case["runs"]:
        got = greedy_cover(a["X"], a["A"] ** run["alpha"], run["K"])
        yield f"K {run['K']}", same_order(got, run["order"])


def tome(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Bipartite soft matching in every layer."""
    for run in case["runs"]:
        x, size = a["x"], torch.ones(case["t"])
        source = torch.arange(case["t"])
        for i, r in enumerate(run["r"]):
            match = bipartite(a[f"K{i + 1}"].mean(0), r, class_token=run["class_token"])
            pairs = [list(p) for p in zip(match.merged.tolist(), match.into.tolist(), strict=True)]
            yield f"layer {i} pairs", None if pairs == run["merged"][i] else "other pairs"
            weighted = match.sums(x * size[:, None])
            size = match.sums(size)
            x, source = weighted / size[:, None], match.source(source)
        yield "source", same_order(source, run["source"])
        yield "size", same_order(size.long(), run["size"])
        yield "features", same_numbers(x, run["x_out"])


def evs(case: dict[str, Any], a: dict[str, Tensor]) -> Iterator[Case]:
    """Least like the same place of the previous frame."""
    for run in case["runs"]:
        scores = torch.cat([row.reshape(-1) for row in change_of_frames(list(a["X"]))])
        n = n_frames_kept(case["T"], case["P"], run["q"])
        yield f"q {run['q']} count", None if n == run["n_kept"] else f"{n} instead of {run['n_kept']}"
        kept = kept_by_score(scores, n)
        yield f"q {run['q']}", same_set(mask_set(kept), run)
        per_frame = kept.view(case["T"], case["P"]).sum(1).tolist()
        yield f"q {run['q']} per frame", None if per_frame == run["per_frame"] else f"{per_frame}"


CHECKS: dict[str, Check] = {
    f.__name__: f for f in (hiprune, prumerge, visionzip, divprune, cdpruner, vispruner, vscan, scope, tome, evs)
}


def matches(path: Path, data: Any) -> bool:
    """The file names its method."""
    return isinstance(data, dict) and data.get("method") in CHECKS and "cases" in data


def check(path: Path, data: Any) -> Iterator[Case]:
    """See :class:`Checker`."""
    yield from cases(data, CHECKS[data["method"]])
    if data["method"] == "divprune":
        for n, r, k in data.get("counts", ()):
            got = nearest_share(n, r)
            yield f"count {n} {r}", None if got == k else f"{got} instead of {k}"
    if data["method"] == "prumerge":
        for n, slips in data.get("count_slips", {}).items():
            got = [i for i in range(1, int(n)) if int(int(n) * (i / int(n))) != i]
            yield f"slips {n}", None if got == slips else f"{got[:4]} instead of {slips[:4]}"
