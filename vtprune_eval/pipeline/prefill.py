"""Stage 4 and 5: the decoder layers in order, with the two hooks that act inside the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..clock import StageClock
from ..methods.base import LayerEdit, LayerView, Method, Places, TokenLayout
from ..methods.kernels.topk import kept_by_score, true_places
from ..models.base import VlmAdapter
from .cache import KVCache
from .repeat import Whole, repeated


@dataclass
class State:
    """The sequence while it passes through the decoder (batch 1).

    Attributes:
        hidden: ``(1, n, dim)``.
        index: positions in the full prompt, int64 ``(n,)``.
        visual: bool ``(n,)``.
        rope: cos and sin of the tokens, ``(1, n, head_dim)`` each.
        deepstack: per level ``(n_visual_rows, dim)``.
        deepstack_rows: rows of ``hidden`` that they are added to.
        places: ``index`` on the host, where it is known.
    """

    hidden: Tensor
    index: Tensor
    visual: Tensor
    rope: tuple[Tensor, Tensor]
    deepstack: tuple[Tensor, ...]
    deepstack_rows: Tensor
    places: Places | None = None

    def on_host(self) -> Places:
        """``index`` on the host, read once for all that see these tokens."""
        if self.places is None:
            self.places = Places(self.index.cpu().numpy)
        return self.places

    def to(self, device: torch.device) -> None:
        """Move everything to the device of the next layer, which is another one where the model lies on several."""
        if self.hidden.device == device:
            return
        self.hidden, self.index, self.visual = (t.to(device) for t in (self.hidden, self.index, self.visual))
        self.rope = (self.rope[0].to(device), self.rope[1].to(device))
        self.deepstack = tuple(level.to(device) for level in self.deepstack)
        self.deepstack_rows = self.deepstack_rows.to(device)

    def cut(self, keep: Tensor, kept: Tensor, n_before: int, n_visual: int, levels_done: int) -> None:
        """Shorten everything.

        Args:
            keep: bool mask ``(n,)``.
            kept: where it is True, sorted int64 ``(n_kept,)``.
            n_before: visual tokens, markers included, before the cut.
            n_visual: those among the kept.
            levels_done: DeepStack levels that were added already; without a level to come its rows are let go.
        """
        markers, self.places = len(self.deepstack_rows) != n_before, None
        self.hidden = self.hidden.index_select(1, kept)
        self.index, self.visual = self.index[kept], self.visual[kept]
        self.rope = (self.rope[0].index_select(1, kept), self.rope[1].index_select(1, kept))
        if levels_done >= len(self.deepstack):
            self.deepstack, self.deepstack_rows = (), self.deepstack_rows[:0]
            return
        survives = keep[self.deepstack_rows]
        # Without markers every visual token has a row, so that the number of rows is known without the device.
        rows = survives.nonzero()[:, 0] if markers else true_places(survives[None], n_visual)[0]
        new_row = keep.cumsum(0) - 1
        self.deepstack = tuple(level[rows] for level in self.deepstack)
        self.deepstack_rows = new_row[self.deepstack_rows[rows]]


@dataclass(frozen=True)
class PrefillResult:
    """Last hidden state ``(1, 1, dim)`` after the final norm, and what each layer processed.

    ``visual_index``: places in the full prompt of the visual tokens that are left at the end; ``layer_index``: of all
    tokens that each layer processed, one tensor for layers that saw the same. Where the model points: what it answers,
    and the number of visual tokens it could choose from.
    """

    last: Tensor
    layer_tokens: tuple[int, ...]
    layer_visual: tuple[int, ...]
    visual_index: Tensor
    layer_index: tuple[Tensor, ...]
    pointed: str | None = None
    candidates: int = 0


@dataclass(frozen=True)
class Compression:
    """One branch of the prompt's cache.

    Attributes:
        method: of ``compress_kv``.
        budget: what it is told.
        apply: takes a decoder layer and the entries that the method keeps there, int64 ``(heads, n_kept)``.
    """

    method: Method
    budget: StageBudget
    apply: Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Hooks:
    """The methods that act inside the decoder, and what they are told.

    Attributes:
        pruner: the method of ``prune_layer``, None where there is none.
        prune_budget: its budget.
        left: visual tokens that may be left behind each of its layers, () where it decides itself.
        compressions: branches of the cache; several only where the prefill is shared. Beside a pruner all branches are
            of one method, so that every view is the one that a separate run would give.
        seed: seed of the sample.
        images: pixels that the model sees, for the views.
    """

    pruner: Method | None = None
    prune_budget: StageBudget | None = None
    left: tuple[int, ...] = ()
    compressions: tuple[Compression, ...] = ()
    seed: int = 0
    images: tuple[np.ndarray, ...] = ()

    @property
    def compressors(self) -> tuple[Method, ...]:
        """The different methods among the branches, by identity."""
        return tuple({id(c.method): c.method for c in self.compressions}.values())

    @property
    def observers(self) -> tuple[Method, ...]:
        """Methods whose ``observe`` is called after every layer."""
        methods = (*self.compressors, *([self.pruner] if self.pruner else []))
        return tuple(m for m in methods if m.observes)


@dataclass(frozen=True)
class Halfway:
    """Layers that were run before, shared with other branches (:mod:`.trunk`).

    Attributes:
        layer: the last of them, whose hooks have not run.
        entered: hidden states that went into it, ``(1, n, dim)``.
    """

    layer: int
    entered: Tensor


@dataclass
class _Seen:
    """What was observed of the layers so far, per method; (decoder layer, view) that wait for the end; and what was
    found of the entries that methods keep, on the device: reading it at every layer would make the device wait."""

    statistics: dict[int, list[Any]] = field(default_factory=dict)
    waiting: dict[int, list[tuple[int, LayerView]]] = field(default_factory=dict)
    checks: list[tuple[str, Tensor]] = field(default_factory=list)


def prefill(
    adapter: VlmAdapter,
    state: State,
    cache: KVCache,
    layout: TokenLayout,
    hooks: Hooks,
    clock: StageClock,
    since: Halfway | None = None,
) -> PrefillResult:
    """Run all decoder layers; after layer k DeepStack of level k is added, then the hooks of layer k run.

    With ``since``, ``state`` and ``cache`` are those behind its layer, up to which no hook acts.

    Everything that ``full`` does not do (views, hooks, cutting) is timed as ``select``. Where only some layers have a
    cache (linear attention in the others), cache methods act on those, and their views count those alone.
    """
    n_layers = len(adapter.text.layers)
    pruner, compressors, observers = hooks.pruner, hooks.compressors, hooks.observers
    prune_at = pruner.layers_of(n_layers) if pruner else ()
    left_behind = dict(zip(prune_at, hooks.left, strict=False))
    cached = [number for number in range(n_layers) if adapter.has_cache(number)]
    # Markers have no DeepStack rows, in families without DeepStack, too; an action head chooses from the others.
    shown = (state.hidden[0, state.deepstack_rows], state.index[state.deepstack_rows]) if adapter.points else None
    tokens, visual, places = [], [], []
    n_visual = int(state.visual.sum())  # read from the device only when it changes
    mask = causal_mask(adapter, state.hidden)
    repeating = [m for m in compressors if m.repeats]
    whole = None
    if repeating:  # what layer 0 sees; a hidden state is never written to
        positions = layout.positions.to(state.hidden.device)[:, state.index]
        whole = Whole(state.hidden, positions, state.deepstack, state.deepstack_rows)
    seen = _Seen({id(m): [] for m in observers}, {id(m): [] for m in compressors if m.deferred})
    for number in range(n_layers):
        tokens.append(state.hidden.shape[1])
        visual.append(n_visual)
        places.append(state.index)
        if since is not None and number < since.layer:
            continue
        done = since is not None and number == since.layer
        entered = since.entered if since is not None and done else run_layer(adapter, state, number, mask, cache)
        place = cached.index(number) if number in cached else -1
        observing = [m for m in observers if place in m.observed_layers(len(cached))]
        compressing = compressors if place >= 0 else ()
        pruning = [pruner] if pruner is not None and number in prune_at else []
        if not (compressing or pruning or observing):
            continue
        with clock.stage("select"):
            beside = None if pruner is None else [*compressing, *pruning, *observing]
            make_view = _views(adapter, number, n_layers, layout, state, entered, cache, beside, hooks, seen)
            for m in observing:
                seen.statistics[id(m)].append(m.observe(replace(make_view(m), layer=place, n_layers=len(cached))))
            for m in compressing:
                view = replace(make_view(m), layer=place, n_layers=len(cached))
                if m.deferred:
                    seen.waiting[id(m)].append((number, view))
                else:
                    _compress(m, view, hooks.compressions, number, seen)
            for m in pruning:
                assert hooks.prune_budget is not None
                told = replace(hooks.prune_budget, n_keep=left_behind.get(number, hooks.prune_budget.n_keep))
                keep, n_left = _prune(m, make_view(m), told, state, n_visual)
                n_text = state.hidden.shape[1] - n_visual
                kept = true_places(keep[None], n_text + n_left)[0]
                if m.trim_cache:
                    for earlier in (layer for layer in cached if layer <= number):
                        cache.keep(earlier, kept.expand(cache.heads()[earlier], -1), ragged=False)
                state.cut(keep, kept, n_visual, n_left, number + 1)
                n_visual = n_left
                mask = causal_mask(adapter, state.hidden)
    for m in compressors:
        if m.deferred:
            with clock.stage("select"):
                if m.repeats and whole is not None:
                    views = [view for _, view in seen.waiting[id(m)]]
                    seen.statistics[id(m)] = repeated(adapter, whole, cache, m, views)
                seen.statistics[id(m)] = _numbers(seen.statistics.get(id(m), []))
                for number, view in seen.waiting[id(m)]:
                    observed = _observed(seen, m, view.keys.device)
                    _compress(m, replace(view, observed=observed), hooks.compressions, number, seen)
    _read_checks(seen)
    last = adapter.text.norm(state.hidden[:, -1:])
    result = PrefillResult(last, tuple(tokens), tuple(visual), state.index[state.visual], tuple(places))
    if shown is None:
        return result
    return replace(
        result, pointed=adapter.point(last[0, 0], *shown, layout.spans, layout.grids), candidates=len(shown[1])
    )


def run_layer(
    adapter: VlmAdapter, state: State, number: int, mask: Tensor | None, cache: KVCache | None, **attention: Any
) -> Tensor:
    """One decoder layer and, behind it, the DeepStack level of its number; evaluation and training run the same.

    Args:
        adapter: the model.
        state: what enters the layer; its ``hidden`` leaves it.
        number: of the layer.
        mask: see :func:`causal_mask`.
        cache: takes keys and values; None where none are kept.
        attention: further arguments of the attention function, where sequences are packed.

    Returns:
        What entered the layer, ``(1, n, dim)``.
    """
    state.to(adapter.layer_devices[number])
    entered, layer = state.hidden, adapter.text.layers[number]
    left = layer(entered, position_embeddings=state.rope, attention_mask=mask, past_key_values=cache, **attention)
    state.hidden = left
    if number < len(state.deepstack) and len(state.deepstack_rows):
        state.hidden = left.index_add(1, state.deepstack_rows, state.deepstack[number][None].to(left.dtype))
    return entered


def _compress(method: Method, view: LayerView, compressions: tuple[Compression, ...], layer: int, seen: _Seen) -> None:
    for branch in compressions:
        if branch.method is method:
            kept = method.compress_kv(view, branch.budget)
            seen.checks.append((method.name, _checked(kept, view, method, branch.budget)))
            # An index outside would stop a GPU for good before the check is read; the answer is refused all the same.
            branch.apply(layer, kept.clamp(-1, view.keys.shape[1] - 1))


def causal_mask(adapter: VlmAdapter, hidden: Tensor) -> Tensor | None:
    """None where the attention backend is causal by itself; ``eager`` needs the mask spelled out, ``(1, 1, n, n)``."""
    if adapter.attention != "eager":
        return None
    n = hidden.shape[1]
    return torch.full((n, n), float("-inf"), dtype=hidden.dtype, device=hidden.device).triu(1)[None, None]


def _views(
    adapter: VlmAdapter,
    number: int,
    n_layers: int,
    layout: TokenLayout,
    state: State,
    entered: Tensor,
    cache: KVCache,
    beside: list[Method] | None,
    hooks: Hooks,
    seen: _Seen,
) -> Callable[[Method], LayerView]:
    """Views of a layer; queries are projected once, for the longest window that any method of a run asks for.

    ``beside``: methods that act together at this layer; None where every method is a run of its own. The last bits of
    a projection depend on its number of rows, so windows of different runs are projected separately.
    """
    adapter.require_cache(number)
    n = entered.shape[1]
    normed = adapter.text.layers[number].input_layernorm(entered[0])
    keys, values = cache.entries(number)
    projected: dict[int, Tensor] = {}

    def queries_of(method: Method) -> Tensor:
        asked = [m.observation(layout) for m in beside or [method]]
        window = n if min(asked) < 0 else min(max(*asked, 1), n)
        if window not in projected:
            rows = slice(n - window, n)
            projected[window] = adapter.project(number, normed[rows], _rope_rows(state, rows))[0]
        own = method.observation(layout)
        return projected[window] if own < 0 else projected[window][:, window - min(max(own, 1), n) :]

    def next_layer(rows: Tensor) -> tuple[Tensor, Tensor]:
        if number + 1 >= n_layers:
            raise RuntimeError("the last layer has no next layer")
        here, there = state.hidden.device, adapter.layer_devices[number + 1]
        after = adapter.text.layers[number + 1].input_layernorm(state.hidden[0, rows].to(there))
        cos, sin = _rope_rows(state, rows)
        q, k, _ = adapter.project(number + 1, after, (cos.to(there), sin.to(there)))
        return q.to(here), k.to(here)

    def rope_at(places: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = adapter.text.rotary_emb(state.hidden[:, :1], places.expand(3, 1, -1))
        return cos[0], sin[0]

    def view(method: Method) -> LayerView:
        return LayerView(
            layer=number,
            n_layers=n_layers,
            layout=layout,
            index=state.index,
            visual=state.visual,
            keys=keys,
            values=values,
            queries=queries_of(method),
            hidden_in=entered[0],
            hidden_out=state.hidden[0],
            hidden_normed=normed,
            seed=hooks.seed,
            images=hooks.images,
            observed=_observed(seen, method, keys.device),
            next_layer=next_layer,
            final_norm=adapter.final_norm,
            rope=(state.rope[0][0], state.rope[1][0]),
            rope_at=rope_at,
            attention=adapter.text.layers[number].self_attn,
            places=state.on_host(),
        )

    return view


def _observed(seen: _Seen, method: Method, device: torch.device) -> tuple[Any, ...]:
    """What a method observed, tensors on ``device``."""
    return tuple(s.to(device) if isinstance(s, Tensor) else s for s in seen.statistics.get(id(method), ()))


def _numbers(statistics: list[Any]) -> list[Any]:
    """Statistics with single numbers of the device as numbers, with one read for all layers; others as they are."""

    def single(x: Any) -> bool:
        return isinstance(x, Tensor) and x.ndim == 0

    found = [x for s in statistics if isinstance(s, tuple) for x in s if single(x)]
    if not found:
        return statistics
    read = iter(torch.stack([x.to(found[0].device) for x in found]).tolist())
    return [tuple(next(read) if single(x) else x for x in s) if isinstance(s, tuple) else s for s in statistics]


def _rope_rows(state: State, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
    return state.rope[0][:, rows], state.rope[1][:, rows]


def _prune(method: Method, view: LayerView, budget: StageBudget, state: State, n_visual: int) -> tuple[Tensor, int]:
    """Turn what ``prune_layer`` returned into a mask that keeps all text and at most the budget of visual tokens.

    Args:
        method: that prunes.
        view: of the layer.
        budget: what it is told.
        state: whose hidden states it may change.
        n_visual: visual tokens of the layer.

    Returns:
        bool ``(n,)``, and the visual tokens among them; after a score that number is known without the device.
    """
    answer = method.prune_layer(view, budget)
    if isinstance(answer, LayerEdit):
        keep = answer.keep | ~view.visual
        there, n_left = torch.stack([keep[answer.rows].all().long(), (keep & view.visual).sum()]).tolist()
        if not there:
            raise RuntimeError(f"{method.name}.prune_layer changes tokens that it drops")
        state.hidden = state.hidden.index_copy(1, answer.rows, answer.hidden[None].to(state.hidden.dtype))
        return keep, n_left
    if answer.dtype == torch.bool:
        keep = answer | ~view.visual
        return keep, int((keep & view.visual).sum())
    n_keep = n_visual if budget.n_keep is None else min(n_visual, max(1, budget.n_keep))
    lowest = torch.finfo(torch.float32).min
    ranked = torch.nan_to_num(answer.float(), nan=lowest).clamp(min=lowest)
    chosen = kept_by_score(torch.where(view.visual, ranked, float("-inf")), n_keep) if n_keep else view.visual
    return chosen | ~view.visual, n_keep


def _checked(kept: Tensor, view: LayerView, method: Method, budget: StageBudget) -> Tensor:
    """What is wrong with the entries that a method keeps: 0 nothing, 1 not sorted, distinct and inside, 2 text is
    missing; on the device, read once for all layers.

    Raises:
        RuntimeError: the shape is wrong, which is known without the device.
    """
    n_q, n_kv = view.queries.shape[0], view.keys.shape[0]
    heads = n_q if method.kv_granularity == "query_head" else n_kv
    if kept.dtype.is_floating_point:
        raise RuntimeError(f"{method.name}.compress_kv returned a score; return it from score_kv, or return entries")
    if kept.ndim != 2 or kept.shape[0] != heads or kept.shape[1] < 1:
        raise RuntimeError(f"{method.name}.compress_kv returned shape {tuple(kept.shape)}; ({heads}, n) is needed")
    n = view.keys.shape[1]
    backwards = kept[:, 1:] <= kept[:, :-1]
    if method.ragged:  # padding in front of heads that keep fewer than others
        backwards = backwards & ~((kept[:, :-1] == -1) & (kept[:, 1:] == -1))
    lowest = -1 if method.ragged else 0
    wrong = backwards.any() | (kept[:, -1].min() < 0) | (kept.min() < lowest) | (kept.max() >= n)
    if not budget.n_text:
        return wrong.long()
    text = ~view.visual
    missing = ((text[kept.clamp(0, n - 1)] & (kept >= 0)).sum(1) < text.sum()).any()
    return torch.where(wrong, 1, missing.long() * 2)


def _read_checks(seen: _Seen) -> None:
    """Refuse what a method should not have kept; one read from the device for all layers.

    Raises:
        RuntimeError: the first fault, with the method's name.
    """
    if not seen.checks:
        return
    device = seen.checks[0][1].device
    for (name, _), fault in zip(seen.checks, torch.stack([c.to(device) for _, c in seen.checks]).tolist(), strict=True):
        if fault == 1:
            raise RuntimeError(f"{name}.compress_kv must return sorted, distinct entries of the view")
        if fault == 2:
            raise RuntimeError(
                f"{name}.compress_kv dropped text; in the reading equal all of it stays: write score_kv, or use "
                "kernels.topk.best_and_text"
            )
