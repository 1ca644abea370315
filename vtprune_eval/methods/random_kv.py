"""``random-kv``: cache entries drawn uniformly, the same in every layer; the floor of every cache method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, hyper
from .snapkv import all_entries, window_of, with_window

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomKV(Method):
    """Random entries plus the observation window of the cache methods."""

    name: ClassVar[str] = "random-kv"

    window_size: int = hyper(8, "last prompt positions that always stay", low=1, unit="tokens")

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`."""
        assert budget.n_keep is not None
        n, n_kv = len(view.index), view.keys.shape[0]
        capacity = max(2, budget.n_keep)
        window = window_of(self.window_size, capacity)
        if capacity >= n:
            return all_entries(view, n_kv)
        generator = torch.Generator().manual_seed(view.seed)
        past = torch.randperm(n - window, generator=generator)[: capacity - window].sort().values
        return with_window(past.to(view.index.device).expand(n_kv, -1), n, window)
