"""``random-kv``: cache entries drawn uniformly, the same in every layer; the floor of every cache method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import LayerView, Method, Room, hyper
from .kernels.window import window_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomKV(Method):
    """Random entries plus the observation window of the cache methods."""

    name: ClassVar[str] = "random-kv"
    draws: ClassVar[bool] = True
    paper_of: ClassVar[str] = "prompt"

    window_size: int = hyper(8, "last prompt positions that always stay", low=1, unit="tokens")

    def kept_window(self, capacity: int) -> int:
        """See :meth:`Method.kept_window`."""
        return window_of(self.window_size, capacity)

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`; the same draws in every layer."""
        n = len(view.index)
        generator = torch.Generator().manual_seed(view.seed)
        order = torch.randperm(n - room.window, generator=generator)
        return -order.argsort().float()[None].to(view.index.device)
