"""Vectors of GUI-KV and of the cache methods it was compared with: inputs from a recipe, kept sets per query head."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.methods.base import LayerView, TokenLayout
from vtprune_eval.methods.guikv import residuals
from vtprune_eval.methods.kernels.attention import sparse_share
from vtprune_eval.methods.vlcache import VLCache, layer_shares
from vtprune_eval.registry import make_method

Case = tuple[str, str | None]
NAMES = {"snapkv": "snapkv", "gui_kv": "guikv", "pyramidkv": "pyramidkv"}


def matches(path: Path, data: Any) -> bool:
    """Case files, ``edge_cases.json`` and ``layer_budgets.json``."""
    return isinstance(data, dict) and bool(
        {"sha256_f32_le", "params"} <= data.keys() or {"gammas", "betas", "table"} <= data.keys()
    )


def check(path: Path, data: Any) -> Iterator[Case]:
    """Inputs bit for bit, then kept sets (ties as recorded), layer sizes and sparsity."""
    if "table" in data:
        yield from _layer_budgets(data)
        return
    arrays = inputs(data["params"])
    for name, array in arrays.items():
        digest = hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()
        yield f"input {name}", None if digest == data["sha256_f32_le"][name] else "the recipe gives another array"
    spans = tuple(zip(data["vision_start"], data["vision_end"], strict=True))
    make = _Views(arrays, spans)
    if "vl_gamma_layer0_causal" in data:
        view = make.view(0, 28, data["seq_len"] - spans[-1][1])
        got = sparse_share(view.queries, view.keys, threshold=0.01, relative=False)
        want = data["vl_gamma_layer0_causal"]
        yield "vl gamma", None if abs(got - want) < 1e-5 else f"{got} instead of {want}"
    for run in data.get("runs", ()):
        yield from _run(make, data, run)
    if "budgets" in data:
        yield from _edges(make, data)


class _Views:
    """Layer views of one case."""

    def __init__(self, arrays: dict[str, np.ndarray], spans: tuple[tuple[int, int], ...]) -> None:
        self.q, self.k, self.x = (torch.from_numpy(arrays[n]) for n in "QKX")
        self.n = self.k.shape[1]
        self.layout = TokenLayout(
            tuple((1, b - a) for a, b in spans),
            spans,
            self.n,
            2,
            16,
            torch.zeros(3, self.n, dtype=torch.long),
            tuple((32, 32) for _ in spans),
        )
        self.visual = torch.zeros(self.n, dtype=torch.bool)
        for a, b in spans:
            self.visual[a:b] = True

    def view(self, layer: int, n_layers: int, window: int, observed: tuple[float, ...] = ()) -> LayerView:
        return LayerView(
            layer=layer,
            n_layers=n_layers,
            layout=self.layout,
            index=torch.arange(self.n),
            visual=self.visual,
            keys=self.k,
            values=self.k,
            queries=self.q[:, self.n - min(self.n, window) :],
            hidden_in=self.x,
            hidden_out=self.x,
            hidden_normed=self.x,
            seed=0,
            observed=observed,
        )


def _budget(capacity: int) -> StageBudget:
    return StageBudget(capacity, None, capacity, Budget.parse(f"{max(1, capacity)}tok"))


def _method(params: dict[str, Any], name: str, granularity: str = "query_head") -> Any:
    extra: dict[str, Any] = {
        "granularity": granularity,
        "kernel": params.get("kernel_size", 5),
        "pooling": params.get("pooling", "avgpool").removesuffix("pool"),
    }
    if name == "guikv":
        extra |= {"alpha": float(params.get("alpha", 2.0)), "temperature": float(params.get("temperature", 3.5))}
    return make_method(name, extra)


def _run(make: _Views, data: dict[str, Any], run: dict[str, Any]) -> Iterator[Case]:
    name, layer, n_layers = run["method"], run.get("layer", 0), run.get("n_layers", 28)
    case = f"{name} {run['budget_pct']} % layer {layer}"
    if name == "pyramidkv_layer_sizes":
        method = _method(data["params"], "pyramidkv")
        sizes = [
            method.compress_kv(make.view(i, n_layers, method.window), _budget(run["capacity"])).shape[1]
            for i in range(n_layers)
        ]
        yield case, None if sizes == run["n_cached_per_layer"] else f"{sizes} instead of {run['n_cached_per_layer']}"
        return
    if name == "vl_cache":
        vl = VLCache(
            upstream_compat=True,
            granularity="query_head",
            kernel=data["params"].get("kernel_size", 5),
            pooling=data["params"].get("pooling", "avgpool").removesuffix("pool"),
        )
        kept = vl.layer_entries(make.view(layer, n_layers, make.n - make.layout.spans[-1][1]), run["layer_budget"])
    else:
        method = _method(data["params"], NAMES[name])
        kept = method.compress_kv(make.view(layer, n_layers, method.window), _budget(run["capacity"]))
    window = run["window"]
    if kept.shape[1] != run["n_cached"]:
        yield case, f"{kept.shape[1]} entries instead of {run['n_cached']}"
        return
    for h, head in enumerate(run["heads"]):
        got = set(kept[h].tolist())
        tail = set(range(make.n - window, make.n))
        yield f"{case} head {h}", _difference(got - tail, head) if tail <= got else "the window is not kept"
    if "residual_gap_rel" in run:
        yield f"{case} suppressed", _suppressed(make, run)


def _difference(got: set[int], head: dict[str, Any]) -> str | None:
    """None for the recorded set, or for another choice among recorded ties."""
    want = set(head["kept"])
    free = set(head.get("tied_at_cut", ())) | set(head.get("near_tie", ()))
    wrong = (got ^ want) - free
    if wrong or len(got) != len(want):
        return f"differs at positions {sorted(wrong)[:8]}"
    return None


def _suppressed(make: _Views, run: dict[str, Any]) -> str | None:
    """The number of suppressed tokens follows from the capacity; the residual gap at that cut is a recorded number."""
    view = make.view(0, 28, 8)
    earlier = torch.cat([view.rows_of(i) for i in range(len(make.layout.spans) - 1)])
    n_zero = int((1 - run["capacity"] / make.n) * len(earlier))
    if n_zero != run["n_suppressed_per_head"]:
        return f"{n_zero} suppressed instead of {run['n_suppressed_per_head']}"
    ordered = residuals(view.keys, view.rows_of(-1), earlier, 32).sort(-1).values
    if not 0 < n_zero < ordered.shape[1]:
        return None
    gaps = (ordered[:, n_zero] - ordered[:, n_zero - 1]) / ordered[:, n_zero]
    got = gaps.repeat_interleave(make.q.shape[0] // make.k.shape[0]).tolist()
    # Residuals come from a float32 difference of squares, good to 1e-5; a gap is the difference of two of them.
    wrong = [(a, b) for a, b in zip(got, run["residual_gap_rel"], strict=True) if abs(a - b) > 2e-5]
    return f"residual gap {wrong[0]}" if wrong else None


def _edges(make: _Views, data: dict[str, Any]) -> Iterator[Case]:
    for entry in data["budgets"]:
        method = _method(data["params"], NAMES[entry["method"]])
        kept = method.compress_kv(make.view(entry["layer"], 28, method.window), _budget(entry["capacity_nominal"]))
        case = f"{entry['method']} nominal capacity {entry['capacity_nominal']}"
        # Where the published code raises, ours keeps at least two entries and at most the prompt.
        legal = entry["capacity_nominal"] if "raises" not in entry else min(max(2, entry["capacity_nominal"]), make.n)
        want = entry.get("n_cached", legal)
        if "raises" in entry and entry["method"] == "pyramidkv" and entry["capacity_nominal"] < make.n:
            yield case, None if 2 <= kept.shape[1] <= make.n else f"{kept.shape[1]} entries"
            continue
        yield case, None if kept.shape[1] == want else f"{kept.shape[1]} entries instead of {want}"
    vl = VLCache(upstream_compat=True, granularity="query_head")
    for entry in data["vl_layer_budgets"]:
        kept = vl.layer_entries(make.view(0, 28, entry["text_tail"]), entry["layer_budget"])
        want = entry.get("n_cached", 2)
        case = f"vl_cache layer budget {entry['layer_budget']}"
        yield case, None if kept.shape[1] == want else f"{kept.shape[1]} entries instead of {want}"
    stored = data["grouped_storage"]
    method = _method(data["params"], NAMES[stored["method"]], "first")
    capacity = int(make.n * stored["budget_pct"] / 100)
    kept = method.compress_kv(make.view(0, 28, method.window), _budget(capacity))
    for h, want in enumerate(stored["stored_positions_per_kv_head"]):
        yield f"grouped storage head {h}", None if set(kept[h].tolist()) == set(want) else "another set"
    whole = data["degenerate_head_dim_32"]
    wide = inputs(whole["params"])
    ends = list(
        itertools.accumulate(
            x for pair in itertools.zip_longest(whole["params"]["texts"], whole["params"]["images"]) for x in pair if x
        )
    )
    spans = tuple((ends[2 * i], ends[2 * i + 1]) for i in range(len(whole["params"]["images"])))
    other = _Views(wide, spans)
    method = _method(whole["params"], "guikv")
    capacity = int(other.n * whole["budget_pct"] / 100)
    kept = method.compress_kv(other.view(0, 28, method.window), _budget(capacity))
    yield "head size 32", None if kept.shape[1] == whole["n_cached"] else f"{kept.shape[1]} entries"


def _layer_budgets(data: dict[str, Any]) -> Iterator[Case]:
    for key in ("gammas", "gammas_extreme"):
        want = data[key.replace("gammas", "betas")]
        got = layer_shares(tuple(data[key]), 0.001)
        wrong = [i for i, (a, b) in enumerate(zip(got, want, strict=True)) if abs(a - b) > 1e-5 * b + 1e-8]
        yield key, f"layer {wrong[0]}: {got[wrong[0]]} instead of {want[wrong[0]]}" if wrong else None
    shares = layer_shares(tuple(data["gammas"]), 0.001)
    for row in data["table"]:
        got_sizes = [int(row["capacity"] * 28 * s + 1e-9) for s in shares]
        # float32 shares upstream: a product just below a whole number may fall on either side
        wrong = [
            i
            for i, (a, b) in enumerate(zip(got_sizes, row["vl_layer_budget"], strict=True))
            if a != b and abs(row["capacity"] * 28 * shares[i] - max(a, b)) > 1e-4
        ]
        yield (
            f"layer budgets at {row['seq_len']} x {row['budget_pct']} %",
            (f"layer {wrong[0]}: {got_sizes[wrong[0]]}" if wrong else None),
        )


class _Stream:
    """Numbers of the recipe: raw PCG64 words, four per value."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def normal(self, *shape: int) -> np.ndarray:
        n = int(np.prod(shape))
        u = (self._bits.random_raw(4 * n) >> np.uint64(40)).astype(np.float64).reshape(n, 4) / 2.0**24
        return (((u[:, 0] + u[:, 1]) + (u[:, 2] + u[:, 3]) - 2.0) * 1.7320508075688772).reshape(shape)

    def below(self, m: int, n: int) -> np.ndarray:
        return (self._bits.random_raw(n) % np.uint64(m)).astype(np.int64)


def inputs(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Queries ``Q``, keys ``K`` and hidden states ``X`` of a case, float32."""
    stream = _Stream(params["seed"])
    texts, images, structure = params["texts"], params["images"], params["structure"]
    starts = list(itertools.accumulate(t + (images[i - 1] if i else 0) for i, t in enumerate(texts[: len(images)])))
    n = sum(texts) + sum(images)
    n_q, n_kv, dim = params["n_q_heads"], params["n_kv_heads"], params["head_dim"]
    q, k, x = stream.normal(n_q, n, dim), stream.normal(n_kv, n, dim), stream.normal(n, params["hidden_dim"])
    if "frames" in structure:
        index = stream.below(params["palette"], max(images))
        palette = stream.normal(n_kv, params["palette"], dim)
        for start, m in zip(starts, images, strict=True):
            changed = stream.below(100, m) < params["changed_pct"]
            noise = stream.normal(n_kv, m, dim)
            same = palette[:, index[:m]] + params["frame_noise"] * noise
            k[:, start : start + m] = np.where(changed[None, :, None], 1.5 * noise, same)
    if "salient" in structure:
        for start, m in zip(starts, images, strict=True):
            chosen = stream.below(100, m) < params["salient_pct"]
            x[start : start + m] *= np.where(chosen, 3, 1)[:, None]
    if "heavy" in structure:
        places = stream.below(n - 16, params["n_heavy"])
        for g in range(n_kv):
            mean = np.zeros(dim)
            for row in q[g * (n_q // n_kv), n - 8 :]:
                mean = mean + row
            mean = mean / 8
            for p in places:
                k[g, p] += params["heavy_gain"] * mean
    return {"Q": q.astype(np.float32), "K": k.astype(np.float32), "X": x.astype(np.float32)}
