"""Cells that come to the very same tokens or cache entries: their answers are one answer.

On small images several budgets keep the same number of blocks, and several methods the same ones. What enters the
decoder, or what is left in the cache, then is equal bit for bit, and so is everything that follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from .stages import Begun, Ready
from .state import State

Item = TypeVar("Item")


def of_one_prompt(waiting: Iterable[tuple[Ready, int]]) -> list[list[Ready]]:
    """Cells without hooks in the decoder, by equal prompts.

    Args:
        waiting: cells whose ``begun`` is known, with the new tokens that each may take.

    Returns:
        Groups in the order of their first.
    """
    groups: dict[Hashable, list[list[Ready]]] = {}
    for ready, limit in waiting:
        begun = ready.begun
        assert begun is not None
        key = (ready.entered.sample.id, limit, begun.n_in, begun.next_position, begun.kept)
        _join(groups.setdefault(key, []), ready, lambda a, b: _same_input(_begun(a), _begun(b)))
    return [group for some in groups.values() for group in some]


def of_one_cache(kept: Mapping[int, Mapping[int, Tensor]], limits: Mapping[int, int]) -> list[list[int]]:
    """Cells of one prefill, by equal caches.

    Args:
        kept: by cell and decoder layer, the entries that it keeps, int64 ``(heads, n)``.
        limits: by cell, the new tokens that it may take.

    Returns:
        Groups in the order of their first.
    """
    groups: dict[Hashable, list[list[int]]] = {}
    for cell, layers in kept.items():
        key = (limits[cell], tuple((layer, *own.shape) for layer, own in sorted(layers.items())))
        _join(groups.setdefault(key, []), cell, lambda a, b: all(torch.equal(kept[a][n], kept[b][n]) for n in kept[a]))
    return [group for some in groups.values() for group in some]


def _join(groups: list[list[Item]], item: Item, same: Callable[[Item, Item], bool]) -> None:
    """Put ``item`` into the group whose first is the ``same``, else into one of its own."""
    for group in groups:
        if same(group[0], item):
            group.append(item)
            return
    groups.append([item])


def _begun(ready: Ready) -> Begun:
    assert ready.begun is not None
    return ready.begun


def _same_input(one: Begun, other: Begun) -> bool:
    a, b = _tensors(one.state), _tensors(other.state)
    return len(a) == len(b) and all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _tensors(state: State) -> tuple[Tensor, ...]:
    return state.index, state.visual, state.deepstack_rows, *state.rope, *state.deepstack, state.hidden
