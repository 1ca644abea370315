"""Vectors of PixelPrune and of the baselines that copy its counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import Method, PatchView
from vtprune_eval.methods.kernels.blocks import connected_components
from vtprune_eval.registry import make_method

BLOCK = 32
Case = tuple[str, str | None]


def matches(path: Path, data: Any) -> bool:
    """Single images and calls: images, results per selector, counts and components."""
    return isinstance(data, dict) and {"images", "results", "count_only", "components"} <= data.keys()


def check(path: Path, data: Any) -> Iterator[Case]:
    """Kept sets exactly; counts of the random baselines; labels and members of the components."""
    images = []
    for entry in data["images"]:
        pixels = np.array(Image.open(path.parent / "images" / entry["file"]).convert("RGB"))
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        yield f"{entry['file']} pixels", None if digest == entry["rgb_sha256"] else "sha256 of the pixels differs"
        images.append(pixels)
    grids = tuple((p.shape[0] // BLOCK, p.shape[1] // BLOCK) for p in images)
    view = PatchView(tuple(images), grids, BLOCK, seed=0)
    for result in data["results"] + data["sliding"]:
        yield _kept(view, result)
    for entry in data["count_only"]:
        yield from _counts(view, entry)
    for entry in data["components"]:
        yield from _components(view, entry)


def _kept(view: PatchView, result: dict[str, Any]) -> Case:
    method = make_method(
        "pixelprune",
        {
            "predictor": result["selector"],
            "metric": result["metric"],
            "tau": result["tau"],
            "anchored": result.get("anchored", True),
        },
    )
    sliding = "" if result.get("anchored", True) else " sliding"
    case = f"{result['selector']} {result['metric']} tau={result['tau']}{sliding}"
    got = [np.flatnonzero(mask).tolist() for mask in _run(method, view, None)]
    if got == result["kept"]:
        return case, None
    different = [len(set(a) ^ set(b)) for a, b in zip(got, result["kept"], strict=True)]
    return case, f"kept sets differ in {different} blocks per image"


def _run(method: Method, view: PatchView, counts: tuple[int, ...] | None) -> tuple[np.ndarray, ...]:
    n = sum(h * w for h, w in view.grids)
    asked = Budget("auto")
    budget = StageBudget(None if counts is None else sum(counts), counts, n, asked)
    return method.select_patches(view, budget)


def _counts(view: PatchView, entry: dict[str, Any]) -> Iterator[Case]:
    at = {"metric": entry["metric"], "tau": entry["tau"]}
    tag = f"{entry['metric']} tau={entry['tau']}"
    counts = tuple(int(m.sum()) for m in _run(make_method("pixelprune", at), view, None))
    yield f"pred_2d count {tag}", _differ(list(counts), entry["pred_2d_n_kept"])
    kept = [int(m.sum()) for m in _run(make_method("random"), view, counts)]
    yield f"random count {tag}", _differ(kept, entry["random_n_kept"])
    masks = _run(make_method("conncomp", at), view, counts)
    yield f"conncomp count {tag}", _differ([int(m.sum()) for m in masks], entry["conncomp_aligned_n_kept"])
    labels = [connected_components(i, BLOCK, entry["tau"], entry["metric"]) for i in view.images]
    yield f"components {tag}", _differ([int(v.max()) + 1 for v in labels], entry["n_components"])
    largest = [int(np.bincount(v.reshape(-1)).max()) for v in labels]
    yield f"largest component {tag}", _differ(largest, entry["largest_component"])


def _components(view: PatchView, entry: dict[str, Any]) -> Iterator[Case]:
    tag = f"{entry['metric']} tau={entry['tau']}"
    labels = [connected_components(i, BLOCK, entry["tau"], entry["metric"]).reshape(-1) for i in view.images]
    expected = [[v for v, n in rle for _ in range(n)] for rle in entry["labels_rle"]]
    yield f"labels {tag}", None if [v.tolist() for v in labels] == expected else "component labels differ"
    for share, kept in entry.get("kept_even_spacing", {}).items():
        got = [_even_members(v, float(share)) for v in labels]
        yield f"even members, skip {share} {tag}", None if got == kept else "members of the components differ"
    if "kept_all_at_skip0" in entry:
        all_kept = all(len(_even_members(v, 0.0)) == len(v) for v in labels)
        yield f"skip 0 {tag}", None if all_kept == entry["kept_all_at_skip0"] else "skip 0 does not keep all"


def _even_members(labels: np.ndarray, skip: float) -> list[int]:
    """The deterministic variant: members at even places, rounded down in float32 as upstream computes them."""
    import torch

    kept: list[int] = []
    for component in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == component)
        n = len(members)
        k = n if n == 1 else max(1, n - round(n * skip))
        places = torch.linspace(0, n - 1, k).long().numpy() if k < n else np.arange(n)
        kept += members[places].tolist()
    return sorted(kept)


def _differ(got: list[int], expected: list[int]) -> str | None:
    return None if got == expected else f"{got} instead of {expected}"
