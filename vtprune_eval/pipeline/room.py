"""How much cells may share within the memory that a run gives to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..methods.base import Method
from ..models.base import Encoded
from .generate import Pipeline
from .hooks import Compression
from .stages import Entered, value_of


def trunks_within(entered: Entered, pipelines: dict[int, Pipeline], room: int) -> list[list[int]]:
    """Cells that prune inside the decoder, by equal sequences that enter it; groups of at least two.

    Args:
        entered: the sample.
        pipelines: by cell.
        room: bytes for what they share; where it does not suffice, there are none.
    """
    if not pipelines:
        return []
    adapter, layout = next(iter(pipelines.values())).adapter, entered.prompt.layout
    dims, size = adapter.dims, adapter.text.embed_tokens.weight.element_size()
    n_layers = len(adapter.text.layers)
    # The cache of the full prompt, and the states before and behind a layer.
    shared = layout.n_prompt * (n_layers * 2 * dims.kv_heads * dims.head_dim + 4 * dims.dim) * size
    if shared > room or adapter.points or not all(map(adapter.has_cache, range(n_layers))):
        return []
    groups: dict[tuple[object, ...], list[int]] = {}
    for cell, pipeline in pipelines.items():
        if pipeline.method_of("prune_layer") is not None:
            groups.setdefault((pipeline.key("select_tokens"), pipeline.placing), []).append(cell)
    return [group for group in groups.values() if len(group) > 1]


def branches_within(entered: Entered, pipelines: Sequence[Pipeline], room: int) -> int:
    """How many of ``pipelines`` may branch from one prefill, given bytes for what they share; 1 for none of them.

    An upper bound is taken: the cache of the full prompt, hidden states and queries of every layer where a method
    decides after the last one, and for every branch as many indices as there are entries.
    """
    adapter = pipelines[0].adapter
    dims, n, n_layers = adapter.dims, entered.prompt.layout.n_prompt, len(adapter.text.layers)
    if len(pipelines) < 2 or not all(map(adapter.has_cache, range(n_layers))):
        return 1  # the fixed state of a linear-attention layer belongs to one cache and cannot be branched from
    size = adapter.dtype.itemsize
    shared = n_layers * n * 2 * dims.kv_heads * dims.head_dim * size
    methods = [pipeline.method_of("compress_kv") for pipeline in pipelines]
    deferred = {value_of(m) for m in methods if m is not None and m.deferred}
    shared += n_layers * n * (3 * dims.dim + len(deferred) * dims.q_heads * dims.head_dim) * size * bool(deferred)
    per_branch = n_layers * dims.q_heads * n * 8
    return max(1, min(len(pipelines), int((room - shared) // per_branch)))


def one_object_each(compressions: list[Compression]) -> tuple[Compression, ...]:
    """Equal methods as one object, so that each observes a layer once."""
    first: dict[object, Method] = {}
    return tuple(replace(c, method=first.setdefault(value_of(c.method), c.method)) for c in compressions)


def bytes_of(encoded: Encoded) -> int:
    """Bytes of what the ViT gave."""
    return sum(t.numel() * t.element_size() for t in (encoded.tokens, *encoded.deepstack, *encoded.extras.values()))
