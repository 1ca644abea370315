"""The decoder layers that methods inside the decoder have in common: each branches off behind the last one that it
leaves alone, with the hidden states and the cache that a run of its own would have there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..methods.base import Method
from ..models.base import VlmAdapter
from .cache import KVCache
from .prefill import Halfway
from .state import State, causal_mask, run_layer


def first_hook(adapter: VlmAdapter, pruner: Method, compressor: Method | None) -> int:
    """The first decoder layer behind which a method looks or acts; up to there the layers are those of ``full``."""
    n_layers = len(adapter.text.layers)
    cached = [number for number in range(n_layers) if adapter.has_cache(number)]
    stops = list(pruner.layers_of(n_layers))
    for method in (pruner, compressor):
        if method is not None and method.observes:
            stops += [cached[place] for place in method.observed_layers(len(cached)) if place < len(cached)]
    if compressor is not None:
        stops.append(cached[0])
    return min(stops, default=n_layers - 1)


def trunk(
    adapter: VlmAdapter, state: State, cache: KVCache, stops: Iterable[int]
) -> Iterator[tuple[Halfway, State, KVCache]]:
    """Run the layers up to each of ``stops``, in their order.

    Args:
        adapter: the model.
        state: before the first layer; not changed.
        cache: an empty one.
        stops: decoder layers.

    Yields:
        Behind every stop, what is done, the state and the cache; a branch takes a copy of the state and a fork of the
        cache, and neither is valid any more when the next is asked for.
    """
    state, mask, number = replace(state), causal_mask(adapter, state.hidden), 0
    for stop in sorted(set(stops)):
        entered = state.hidden
        while number <= stop:
            entered = run_layer(adapter, state, number, mask, cache)
            number += 1
        yield Halfway(stop, entered), state, cache
