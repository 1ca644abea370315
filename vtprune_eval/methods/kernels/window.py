"""The observation window of SnapKV and of the methods that build on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import LayerView, Method, Room, hyper
from .attention import per_kv_head, pooled, window_attention

if TYPE_CHECKING:
    from torch import Tensor

GRANULARITY = (
    "sets per kv head (mean over its query heads), per query head (stored once each, as published; --reading paper "
    "alone), or the set of each group's first query head"
)


# Published settings by name: window, pooling width, pooling.
PRESETS: dict[str, tuple[int, int, str]] = {
    "guikv": (8, 5, "avg"),  # GUI-KV's comparison
    "longbench": (32, 7, "max"),  # the authors' LongBench configuration
    "kvcache-factory": (8, 7, "max"),  # KVCache-Factory's run_longbench
    "class-default": (64, 5, "avg"),  # default of the authors' class, and of kvpress
    "fallback": (32, 5, "avg"),  # what the authors' code falls back to
}


def window_of(size: int, capacity: int) -> int:
    """Observation window for a capacity: at most ``size``, and two entries are left for the past (GUI-KV, Q6)."""
    return min(size, max(1, capacity - 2))


@dataclass(frozen=True)
class WindowScored(Method):
    """Entries are scored by the attention of the last prompt positions, which always stay."""

    paper_of: ClassVar[str] = "prompt"
    paper_defaults: ClassVar[dict[str, Any]] = {"granularity": "query_head"}
    paper_reading: ClassVar[str] = (
        "int(b % of the whole prompt) entries per query head, window and text included, stored once per query head"
    )

    preset: str = hyper(
        "guikv",
        "published setting, as window/width/pooling: "
        + ", ".join(f"{n} {w}/{k}/{p}" for n, (w, k, p) in PRESETS.items()),
        choices=tuple(PRESETS),
    )
    window_size: int = hyper(0, "last prompt positions that observe and always stay; 0 is the preset's", low=0)
    kernel: int = hyper(0, "pooling width along the prompt; 0 is the preset's", choices=(0, 1, 3, 5, 7, 9, 11))
    pooling: str = hyper("", "pooling of the scores; empty is the preset's", choices=("", "avg", "max"))
    granularity: str = hyper("kv_head", GRANULARITY, choices=("query_head", "kv_head", "first"))

    @property
    def window(self) -> int:
        """Last queries needed."""
        return self.window_size or PRESETS[self.preset][0]

    @property
    def kv_granularity(self) -> str:
        """Heads that hold separate sets."""
        return "query_head" if self.granularity == "query_head" else "kv_head"

    def kept_window(self, capacity: int) -> int:
        """See :meth:`Method.kept_window`."""
        return window_of(self.window, capacity)

    def layer_capacity(self, view: LayerView, room: Room) -> int:
        """See :meth:`Method.layer_capacity`; the window and at least one entry."""
        return room.window + max(1, room.capacity - room.window)

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """Pooled window attention of the past, ``(heads, n - window)``, for the heads that hold sets."""
        past = len(view.index) - room.window
        received = window_attention(view.queries[:, -room.window :], view.keys)[:, :past]
        if self.granularity != "query_head":
            received = per_kv_head(received, view.keys.shape[0], {"kv_head": "mean"}.get(self.granularity, "first"))
        _, kernel, pooling = PRESETS[self.preset]
        return pooled(received, self.kernel or kernel, self.pooling or pooling)
