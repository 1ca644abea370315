"""Stage 4 and 5: the decoder layers in order, with the two hooks that act inside the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..methods.base import LayerEdit, LayerView, Method, TokenLayout
from ..models.base import VlmAdapter
from ..profiling.clock import StageClock
from .cache import KVCache
from .select import kept_by_score


@dataclass
class State:
    """The sequence while it passes through the decoder (batch 1).

    Attributes:
        hidden: ``(1, n, dim)``; index: positions in the full prompt, int64 ``(n,)``.
        visual: bool ``(n,)``; rope: cos and sin of the tokens, ``(1, n, head_dim)`` each.
        deepstack: per level ``(n_visual_rows, dim)``; deepstack_rows: rows of ``hidden`` that they are added to.
    """

    hidden: Tensor
    index: Tensor
    visual: Tensor
    rope: tuple[Tensor, Tensor]
    deepstack: tuple[Tensor, ...]
    deepstack_rows: Tensor

    def cut(self, keep: Tensor) -> None:
        """Shorten everything by one bool mask ``(n,)``."""
        self.hidden = self.hidden[:, keep]
        self.index, self.visual = self.index[keep], self.visual[keep]
        self.rope = (self.rope[0][:, keep], self.rope[1][:, keep])
        row_kept = keep[self.deepstack_rows]
        new_row = keep.cumsum(0) - 1
        self.deepstack = tuple(level[row_kept] for level in self.deepstack)
        self.deepstack_rows = new_row[self.deepstack_rows[row_kept]]


@dataclass(frozen=True)
class PrefillResult:
    """Last hidden state ``(1, 1, dim)`` after the final norm, and what each layer processed."""

    last: Tensor
    layer_tokens: tuple[int, ...]
    layer_visual: tuple[int, ...]


@dataclass(frozen=True)
class Hooks:
    """The methods that act inside the decoder, and what they are told.

    Attributes:
        pruner, compressor: the methods of ``prune_layer`` and ``compress_kv``, None where there is none.
        prune_budget, cache_budget: their budgets.
        seed: seed of the sample; images: pixels that the model sees, for the views.
    """

    pruner: Method | None = None
    prune_budget: StageBudget | None = None
    compressor: Method | None = None
    cache_budget: StageBudget | None = None
    seed: int = 0
    images: tuple[np.ndarray, ...] = ()

    @property
    def observers(self) -> tuple[Method, ...]:
        """Methods whose ``observe`` is called after every layer."""
        return tuple(m for m in (self.compressor, self.pruner) if m and type(m).observe is not Method.observe)


@dataclass
class _Seen:
    """What was observed of the layers so far, per method; and (decoder layer, view) that wait for the end."""

    statistics: dict[int, list[Any]] = field(default_factory=dict)
    waiting: list[tuple[int, LayerView]] = field(default_factory=list)


def prefill(adapter: VlmAdapter, state: State, cache: KVCache, layout: TokenLayout, hooks: Hooks,
            clock: StageClock) -> PrefillResult:
    """Run all decoder layers; after layer k DeepStack of level k is added, then the hooks of layer k run.

    Everything that ``full`` does not do (views, hooks, cutting) is timed as ``select``. Where only some layers have a
    cache (linear attention in the others), cache methods act on those, and their views count those alone.
    """
    layers = adapter.text.layers
    n_layers = len(layers)
    pruner, compressor, observers = hooks.pruner, hooks.compressor, hooks.observers
    prune_at = set(pruner.layers_of(n_layers)) if pruner else set()
    cached = [number for number in range(n_layers) if adapter.has_cache(number)]
    tokens, visual = [], []
    n_visual = int(state.visual.sum())  # read from the device only when it changes
    mask = _mask(adapter, state.hidden)
    seen = _Seen({id(m): [] for m in observers})
    for number, layer in enumerate(layers):
        tokens.append(state.hidden.shape[1])
        visual.append(n_visual)
        entered = state.hidden
        left = layer(entered, position_embeddings=state.rope, attention_mask=mask, past_key_values=cache)
        state.hidden = left
        if number < len(state.deepstack) and len(state.deepstack_rows):
            state.hidden = left.index_add(1, state.deepstack_rows, state.deepstack[number][None].to(left.dtype))
        place = cached.index(number) if number in cached else -1
        observing = [m for m in observers if place in m.observed_layers(len(cached))]
        compressing = compressor if place >= 0 else None
        acting = [m for m in (compressing, pruner if number in prune_at else None, *observing) if m is not None]
        if not acting:
            continue
        with clock.stage("select"):
            make_view = _views(adapter, number, n_layers, layout, state, entered, cache, acting, hooks, seen)
            for m in observing:
                seen.statistics[id(m)].append(m.observe(replace(make_view(m), layer=place, n_layers=len(cached))))
            if compressing is not None and hooks.cache_budget is not None:
                view = replace(make_view(compressing), layer=place, n_layers=len(cached))
                if compressing.deferred:
                    seen.waiting.append((number, view))
                else:
                    _compress(compressing, view, hooks.cache_budget, cache, number)
            if pruner is not None and number in prune_at and hooks.prune_budget is not None:
                keep = _prune(pruner, make_view(pruner), hooks.prune_budget, state)
                if pruner.trim_cache:
                    kept = keep.nonzero()[:, 0]
                    for earlier in (layer for layer in cached if layer <= number):
                        cache.keep(earlier, kept.expand(cache.heads()[earlier], -1))
                state.cut(keep)
                n_visual = int(state.visual.sum())
                mask = _mask(adapter, state.hidden)
    if compressor is not None and hooks.cache_budget is not None and compressor.deferred:
        with clock.stage("select"):
            observed = tuple(seen.statistics.get(id(compressor), ()))
            for number, view in seen.waiting:
                _compress(compressor, replace(view, observed=observed), hooks.cache_budget, cache, number)
    last = adapter.text.norm(state.hidden[:, -1:])
    return PrefillResult(last, tuple(tokens), tuple(visual))


def _compress(method: Method, view: LayerView, budget: StageBudget, cache: KVCache, layer: int) -> None:
    kept = method.compress_kv(view, budget)
    _check_kept(kept, view, method)
    cache.keep(layer, kept)


def _mask(adapter: VlmAdapter, hidden: Tensor) -> Tensor | None:
    """None where the attention backend is causal by itself; ``eager`` needs the mask spelled out, ``(1, 1, n, n)``."""
    if adapter.attention != "eager":
        return None
    n = hidden.shape[1]
    return torch.full((n, n), float("-inf"), dtype=hidden.dtype, device=hidden.device).triu(1)[None, None]


def _views(adapter: VlmAdapter, number: int, n_layers: int, layout: TokenLayout, state: State, entered: Tensor,
           cache: KVCache, acting: list[Method], hooks: Hooks, seen: _Seen) -> Callable[[Method], LayerView]:
    """Views of a layer; queries are projected once, for the longest window that any method asks for."""
    n = entered.shape[1]
    asked = [m.observation(layout) for m in acting]
    window = n if min(asked) < 0 else min(max(*asked, 1), n)
    normed = adapter.text.layers[number].input_layernorm(entered[0])
    queries, _, _ = adapter.project(number, normed[n - window:], _rope_rows(state, slice(n - window, n)))
    keys, values = cache.entries(number)

    def next_layer(rows: Tensor) -> tuple[Tensor, Tensor]:
        if number + 1 >= n_layers:
            raise RuntimeError("the last layer has no next layer")
        after = adapter.text.layers[number + 1].input_layernorm(state.hidden[0, rows])
        q, k, _ = adapter.project(number + 1, after, _rope_rows(state, rows))
        return q, k

    def view(method: Method) -> LayerView:
        own = method.observation(layout)
        return LayerView(
            layer=number, n_layers=n_layers, layout=layout, index=state.index, visual=state.visual, keys=keys,
            values=values, queries=queries if own < 0 else queries[:, window - min(max(own, 1), n):],
            hidden_in=entered[0], hidden_out=state.hidden[0], hidden_normed=normed, seed=hooks.seed,
            images=hooks.images, observed=tuple(seen.statistics.get(id(method), ())), next_layer=next_layer,
        )

    return view


def _rope_rows(state: State, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
    return state.rope[0][:, rows], state.rope[1][:, rows]


def _prune(method: Method, view: LayerView, budget: StageBudget, state: State) -> Tensor:
    """Turn what ``prune_layer`` returned into a mask that keeps all text and at most the budget of visual tokens."""
    answer = method.prune_layer(view, budget)
    if isinstance(answer, LayerEdit):
        keep = answer.keep | ~view.visual
        if not bool(keep[answer.rows].all()):
            raise RuntimeError(f"{method.name}.prune_layer changes tokens that it drops")
        state.hidden = state.hidden.index_copy(1, answer.rows, answer.hidden[None].to(state.hidden.dtype))
        return keep
    if answer.dtype == torch.bool:
        return answer | ~view.visual
    n_keep = int(view.visual.sum()) if budget.n_keep is None else budget.n_keep
    keep = ~view.visual
    keep[view.visual] = kept_by_score(answer[view.visual], n_keep)
    return keep


def _check_kept(kept: Tensor, view: LayerView, method: Method) -> None:
    n_q, n_kv = view.queries.shape[0], view.keys.shape[0]
    heads = n_q if method.kv_granularity == "query_head" else n_kv
    if kept.ndim != 2 or kept.shape[0] != heads or kept.shape[1] < 1:
        raise RuntimeError(f"{method.name}.compress_kv returned shape {tuple(kept.shape)}; ({heads}, n) is needed")
    if bool((kept[:, 1:] <= kept[:, :-1]).any()) or int(kept.min()) < 0 or int(kept.max()) >= view.keys.shape[1]:
        raise RuntimeError(f"{method.name}.compress_kv must return sorted, distinct entries of the view")
