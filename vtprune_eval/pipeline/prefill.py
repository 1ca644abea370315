"""Stage 4 and 5: the decoder layers in order, with the two hooks that act inside the language model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..clock import StageClock
from ..methods.base import LayerView, Method, TokenLayout
from ..methods.kernels.topk import true_places
from ..models.base import VlmAdapter
from .cache import KVCache
from .hooks import Hooks, Seen, Sight, compress, numbers, pruned
from .repeat import Whole, repeated
from .state import State, causal_mask, run_layer


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
class Halfway:
    """Layers that were run before, shared with other branches (:mod:`.trunk`).

    Attributes:
        layer: the last of them, whose hooks have not run.
        entered: hidden states that went into it, ``(1, n, dim)``.
    """

    layer: int
    entered: Tensor


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
    # Markers have no DeepStack rows, in families without DeepStack, too; an action head chooses from the others.
    shown = (state.hidden[0, state.deepstack_rows], state.index[state.deepstack_rows]) if adapter.points else None
    course = _Course(adapter, state, cache, layout, hooks, clock)
    tokens, visual, places = [], [], []
    for number in range(len(adapter.text.layers)):
        tokens.append(state.hidden.shape[1])
        visual.append(course.n_visual)
        places.append(state.index)
        if since is not None and number < since.layer:
            continue
        done = since is not None and number == since.layer
        entered = since.entered if since is not None and done else run_layer(adapter, state, number, course.mask, cache)
        course.act(number, entered)
    course.finish()
    last = adapter.text.norm(state.hidden[:, -1:])
    result = PrefillResult(last, tuple(tokens), tuple(visual), state.index[state.visual], tuple(places))
    if shown is None:
        return result
    return replace(
        result, pointed=adapter.point(last[0, 0], *shown, layout.spans, layout.grids), candidates=len(shown[1])
    )


class _Course:
    """The hooks of one prompt, layer by layer.

    Attributes:
        n_visual: visual tokens now; read from the device only when it changes.
        mask: of the attention, see :func:`.state.causal_mask`.
    """

    def __init__(
        self, adapter: VlmAdapter, state: State, cache: KVCache, layout: TokenLayout, hooks: Hooks, clock: StageClock
    ) -> None:
        self._adapter, self._state, self._cache, self._layout = adapter, state, cache, layout
        self._hooks, self._clock = hooks, clock
        self.n_visual = int(state.visual.sum())
        self.mask = causal_mask(adapter, state.hidden)
        n_layers = len(adapter.text.layers)
        self._prune_at = hooks.pruner.layers_of(n_layers) if hooks.pruner else ()
        self._left_behind = dict(zip(self._prune_at, hooks.left, strict=False))
        self._cached = [number for number in range(n_layers) if adapter.has_cache(number)]
        self._seen = Seen({id(m): [] for m in hooks.observers}, {id(m): [] for m in hooks.compressors if m.deferred})
        self._whole = None
        if any(m.repeats for m in hooks.compressors):  # what layer 0 sees; a hidden state is never written to
            positions = layout.positions.to(state.hidden.device)[:, state.index]
            self._whole = Whole(state.hidden, positions, state.deepstack, state.deepstack_rows)

    def act(self, number: int, entered: Tensor) -> None:
        """The hooks behind layer ``number``, which ``entered`` went into."""
        hooks, cached, seen = self._hooks, self._cached, self._seen
        place = cached.index(number) if number in cached else -1
        observing = [m for m in hooks.observers if place in m.observed_layers(len(cached))]
        compressing = hooks.compressors if place >= 0 else ()
        pruning = [hooks.pruner] if hooks.pruner is not None and number in self._prune_at else []
        if not (compressing or pruning or observing):
            return
        with self._clock.stage("select", number):
            beside = None if hooks.pruner is None else [*compressing, *pruning, *observing]
            sight = Sight(self._adapter, number, self._layout, self._state, entered, self._cache, hooks, seen, beside)
            for m in observing:
                seen.statistics[id(m)].append(m.observe(replace(sight.view(m), layer=place, n_layers=len(cached))))
            for m in compressing:
                view = replace(sight.view(m), layer=place, n_layers=len(cached))
                if m.deferred:
                    seen.waiting[id(m)].append((number, view))
                else:
                    compress(m, view, hooks.compressions, number, seen)
            for m in pruning:
                self._cut(m, sight.view(m), number)

    def _cut(self, pruner: Method, view: LayerView, number: int) -> None:
        """Shorten the sequence behind layer ``number``."""
        state, budget = self._state, self._hooks.prune_budget
        assert budget is not None
        told = replace(budget, n_keep=self._left_behind.get(number, budget.n_keep))
        keep, n_left = pruned(pruner, view, told, state, self.n_visual)
        n_text = state.hidden.shape[1] - self.n_visual
        kept = true_places(keep[None], n_text + n_left)[0]
        if pruner.trim_cache:
            for earlier in (layer for layer in self._cached if layer <= number):
                self._cache.keep(earlier, kept.expand(self._cache.heads()[earlier], -1), ragged=False)
        state.cut(keep, kept, self.n_visual, n_left, number + 1)
        self.n_visual = n_left
        self.mask = causal_mask(self._adapter, state.hidden)

    def finish(self) -> None:
        """What methods decide when they have seen all layers, and the checks of what they keep."""
        seen = self._seen
        for m in (m for m in self._hooks.compressors if m.deferred):
            with self._clock.stage("select"):
                if m.repeats and self._whole is not None:
                    views = [view for _, view in seen.waiting[id(m)]]
                    seen.statistics[id(m)] = repeated(self._adapter, self._whole, self._cache, m, views)
                seen.statistics[id(m)] = numbers(seen.statistics.get(id(m), []))
                for number, view in seen.waiting[id(m)]:
                    told = replace(view, observed=seen.of(m, view.keys.device))
                    compress(m, told, self._hooks.compressions, number, seen)
        seen.read_checks()
