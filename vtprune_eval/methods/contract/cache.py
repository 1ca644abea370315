"""Hook 6, ``compress_kv``: which cache entries of a decoder layer stay for decoding.

Most methods write one function, :meth:`CacheHook.score_kv`: a score per head and entry. The window of recent entries,
the best of each head, the heads that share a set and the budget are done here, the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ...budget import StageBudget
    from .layers import LayerView


@dataclass(frozen=True)
class Room:
    """What a layer's cache may hold.

    Attributes:
        capacity: entries per head that the budget gives to a layer on average, the window included.
        window: last entries of the prompt that always stay.
        text: of ``capacity``, entries of text: all of it stays, and only the others are competed for; 0 where text
            competes, too (the paper's reading).
    """

    capacity: int
    window: int
    text: int = 0


@dataclass(frozen=True)
class Repeated:
    """One decoder layer while a chunk of the prompt is repeated behind it.

    Attributes:
        queries: rotated, of the repeat pass, ``(n_q_heads, m, head_dim)``.
        keys: of the prompt, then of the repeat pass, ``(n_kv_heads, n_context + m, head_dim)``.
        n_context: entries of the prompt.
        start: the chunk.
        end: the chunk.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    n_context: int
    start: int
    end: int


class CacheHook:
    """A method that shortens the cache of the prompt."""

    @property
    def kv_granularity(self) -> str:
        """Heads that hold sets of their own: ``kv_head``, or ``query_head`` (each stores its entries once)."""
        return "kv_head"

    @property
    def deferred(self) -> bool:
        """Whether the cache is cut only after the last layer, when ``observed`` is known for all layers."""
        return False

    @property
    def ragged(self) -> bool:
        """Whether heads of a layer may keep different numbers of entries."""
        return False

    @property
    def repeats(self) -> str:
        """Instruction after which the prompt runs once more behind itself; "" for no such pass (``deferred`` only)."""
        return ""

    def chunks(self, n: int) -> Iterable[tuple[int, int]]:
        """The half-open parts of a prompt of ``n`` tokens that are repeated, one after the other."""
        return ((0, n),)

    def observe_repeat(self, view: LayerView, again: Repeated) -> Any:
        """A statistic of a layer and chunk of the repeat pass; ``view.observed`` holds one tuple of them per layer."""
        return None

    def kept_window(self, capacity: int) -> int:
        """Last entries of the prompt that always stay, out of ``capacity``; none by default."""
        return 0

    def layer_capacity(self, view: LayerView, room: Room) -> int:
        """Entries of this layer, the window included; uniform by default."""
        return room.capacity

    def score_kv(self, view: LayerView, room: Room) -> torch.Tensor:
        """Score of the entries, float32 ``(heads, n)``; those of the window (the last) may be left out.

        ``heads`` is the number of kv heads (of query heads where ``kv_granularity`` says so), or 1 for a set that all
        heads share.
        """
        raise AssertionError("not overridden")

    def compress_kv(self, view: LayerView, budget: StageBudget) -> torch.Tensor:
        """Sorted indices into the view's ``n`` entries to keep, int64 ``(heads, n_kept)``.

        A head that keeps fewer than another has -1 in front, where :attr:`ragged`.

        Overridden only by a method that is no score: one with layer budgets of all layers, for example. It must keep
        all text, too, where ``budget.n_text`` is not 0 (:func:`.kernels.topk.best_and_text`).
        """
        # Costs are planned without torch, which naming the contract does not need.
        from ..kernels.topk import best_and_text, best_and_window, everything

        n, per_query = len(view.index), self.kv_granularity == "query_head"
        heads = (view.queries if per_query else view.keys).shape[0]
        capacity = max(1, budget.limit)
        room = Room(capacity, min(self.kept_window(capacity), capacity, n), budget.n_text)
        size = self.layer_capacity(view, room)
        if capacity >= n or size >= n:
            return everything(n, heads, view.index.device)
        scores = self.score_kv(view, room)
        if room.text:
            return best_and_text(scores.expand(heads, -1), size, view.visual, room.window)
        return best_and_window(scores.expand(heads, -1), size, n, min(room.window, size))
