"""Inputs of the baselines' vectors, bit for bit, and how kept sets are compared (README of the vectors)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Case = tuple[str, str | None]
Check = Callable[[dict[str, Any], dict[str, Tensor]], Iterator[Case]]


class Stream:
    """Numbers of the recipe: raw PCG64 words, four per value."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def normal(self, *shape: int) -> np.ndarray:
        n = int(np.prod(shape))
        u = (self._bits.random_raw(4 * n) >> np.uint64(40)).astype(np.float64).reshape(n, 4) / 2.0**24
        return (((u[:, 0] + u[:, 1]) + (u[:, 2] + u[:, 3]) - 2.0) * 1.7320508075688772).reshape(shape)

    def below(self, m: int, *shape: int) -> np.ndarray:
        n = int(np.prod(shape))
        return (self._bits.random_raw(n) % np.uint64(m)).astype(np.int64).reshape(shape)


def _draw(stream: Stream, spec: dict[str, Any]) -> np.ndarray:
    kind, shape, scale = spec["kind"], spec["shape"], spec.get("scale", 1)
    if kind == "labels":
        a, s = stream.below(spec["labels"], *shape), stream.below(100, *shape)
        for i in range(1, len(a)):
            if s[i] < spec["stay_pct"]:
                a[i] = a[i - 1]
        return a
    if kind == "frames":
        frames = [stream.normal(*shape[1:])]
        for _ in range(1, shape[0]):
            change = stream.below(100, shape[1]) < spec["change_pct"]
            z = stream.normal(*shape[1:])
            frames.append(np.where(change[:, None], z, frames[-1] + spec["noise"] * z))
        return np.stack(frames) * scale
    if kind == "clusters":
        n, dim = shape
        common, centres = stream.normal(dim), stream.normal(spec["centres"], dim)
        index, noise = stream.below(spec["centres"], n), stream.normal(n, dim)
        return ((centres[index] + spec["noise"] * noise) + spec["offset"] * common) * scale
    z = stream.normal(*shape)
    if kind == "square":
        return (z * z) * scale
    if kind == "fourth":
        z = z * z
        return (z * z) * scale
    if kind == "normal":
        return z * scale
    raise ValueError(f"unknown kind {kind!r}")


def arrays(case: dict[str, Any]) -> dict[str, Tensor]:
    """The arrays of a case, float32, checked against their recorded digests.

    Raises:
        ValueError: a digest differs.
    """
    if "draw" not in case:
        return {}
    stream, out = Stream(case["seed"]), {}
    for spec in case["draw"]:
        array = _draw(stream, spec).astype(np.float32)
        digest = hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()[:16]
        if digest != case["sha256"][spec["name"]]:
            raise ValueError(f"{case['case']}: the digest of {spec['name']} differs")
        out[spec["name"]] = torch.from_numpy(array)
    return out


def cases(data: dict[str, Any], check: Check) -> Iterator[Case]:
    """Everything that ``check`` yields of every case."""
    for case in data["cases"]:
        for name, failure in check(case, arrays(case)):
            yield f"{case['case']} {name}", failure


def same_set(got: Iterable[int], run: dict[str, Any], key: str = "kept") -> str | None:
    """None for the recorded set, or for another choice among the entries that are recorded as tied."""
    found = [int(i) for i in got]
    chosen = set(found)
    if len(chosen) != len(found):
        return "an entry twice"
    if "above_cut" in run:
        above, tied = set(run["above_cut"]), set(run["tied_at_cut"])
        if above <= chosen and chosen - above <= tied and len(chosen - above) == run["n_from_tied"]:
            return None
        return f"{sorted(chosen)[:9]} against ties {sorted(tied)[:9]} above {sorted(above)[:9]}"
    want = set(run[key])
    wrong = (chosen ^ want) - set(run.get("near_tie", ()))
    if wrong or len(chosen) != len(want):
        return f"{len(chosen)} of {len(want)}, differs at {sorted(wrong)[:8]}"
    return None


def same_order(got: Sequence[int], want: Sequence[int]) -> str | None:
    """None for equal sequences."""
    found = [int(i) for i in got]
    if found == list(want):
        return None
    at = next((i for i, (a, b) in enumerate(zip(found, want, strict=False)) if a != b), min(len(found), len(want)))
    return f"differs from place {at}: {found[at : at + 4]} instead of {list(want)[at : at + 4]}"


def same_numbers(got: Tensor | Sequence[float], want: Any, tolerance: float = 1e-5) -> str | None:
    """None within ``tolerance`` of the largest value."""
    a, b = torch.as_tensor(got, dtype=torch.float64), torch.as_tensor(want, dtype=torch.float64)
    if a.shape != b.shape:
        return f"shape {tuple(a.shape)} instead of {tuple(b.shape)}"
    if not a.numel():
        return None
    off = float((a - b).abs().max())
    return None if off <= tolerance * max(1e-12, float(b.abs().max())) else f"off by {off:.3g}"


def mask_set(mask: Tensor) -> list[int]:
    """Indices of a mask."""
    return [int(i) for i in mask.nonzero()[:, 0]]
