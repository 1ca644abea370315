"""Stage 4 and 5: the decoder layers in order, with the two hooks that act inside the language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..budget import StageBudget
from ..methods.base import LayerView, Method, TokenLayout
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


def prefill(adapter: VlmAdapter, state: State, cache: KVCache, layout: TokenLayout, seed: int, *,
            pruner: Method | None, prune_budget: StageBudget | None, compressor: Method | None,
            cache_budget: StageBudget | None, clock: StageClock) -> PrefillResult:
    """Run all decoder layers; after layer k DeepStack of level k is added, then the hooks of layer k run.

    Everything that ``full`` does not do (views, hooks, cutting) is timed as ``select``.
    """
    layers = adapter.text.layers
    n_layers = len(layers)
    prune_at = {k % n_layers for k in pruner.layers} if pruner else set()
    tokens, visual = [], []
    n_visual = int(state.visual.sum())  # read from the device only when it changes
    mask = _mask(adapter, state.hidden)
    for number, layer in enumerate(layers):
        tokens.append(state.hidden.shape[1])
        visual.append(n_visual)
        entered = state.hidden
        left = layer(entered, position_embeddings=state.rope, attention_mask=mask, past_key_values=cache)
        state.hidden = left
        if number < len(state.deepstack) and len(state.deepstack_rows):
            state.hidden = left.index_add(1, state.deepstack_rows, state.deepstack[number][None].to(left.dtype))
        if compressor is None and number not in prune_at:
            continue
        with clock.stage("select"):
            acting = [m for m in (compressor, pruner if number in prune_at else None) if m is not None]
            view = _view(adapter, number, n_layers, layout, state, entered, cache, acting, seed)
            if compressor is not None and cache_budget is not None:
                kept = compressor.compress_kv(view, cache_budget)
                _check_kept(kept, view, compressor)
                cache.keep(number, kept)
            if pruner is not None and number in prune_at and prune_budget is not None:
                state.cut(_prune_mask(pruner, view, prune_budget))
                n_visual = int(state.visual.sum())
                mask = _mask(adapter, state.hidden)
    last = adapter.text.norm(state.hidden[:, -1:])
    return PrefillResult(last, tuple(tokens), tuple(visual))


def _mask(adapter: VlmAdapter, hidden: Tensor) -> Tensor | None:
    """None where the attention backend is causal by itself; ``eager`` needs the mask spelled out, ``(1, 1, n, n)``."""
    if adapter.attention != "eager":
        return None
    n = hidden.shape[1]
    return torch.full((n, n), float("-inf"), dtype=hidden.dtype, device=hidden.device).triu(1)[None, None]


def _view(adapter: VlmAdapter, number: int, n_layers: int, layout: TokenLayout, state: State, entered: Tensor,
          cache: KVCache, acting: list[Method], seed: int) -> LayerView:
    """A layer's view; queries are projected for the last ``window`` tokens only (negative: for all)."""
    n = entered.shape[1]
    windows = [m.window for m in acting]
    window = n if min(windows) < 0 else min(max(windows), n)
    normed = adapter.text.layers[number].input_layernorm(entered[0])
    rope = (state.rope[0][:, n - window:], state.rope[1][:, n - window:])
    queries, _, _ = adapter.project(number, normed[n - window:], rope)
    keys, values = cache.entries(number)
    return LayerView(
        layer=number, n_layers=n_layers, layout=layout, index=state.index, visual=state.visual, keys=keys,
        values=values, queries=queries, hidden_in=entered[0], hidden_out=state.hidden[0], hidden_normed=normed,
        seed=seed,
    )


def _prune_mask(method: Method, view: LayerView, budget: StageBudget) -> Tensor:
    """Turn what ``prune_layer`` returned into a mask that keeps all text and at most the budget of visual tokens."""
    answer = method.prune_layer(view, budget)
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
