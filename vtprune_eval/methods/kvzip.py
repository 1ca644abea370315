"""``kvzip``: keep the cache entries that are needed to repeat the prompt.

Kim et al., "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction", arXiv 2505.23416, section 3: the
model is asked to repeat the context, chunk by chunk; an entry scores by the largest attention that it then receives.
The pass costs about a second prefill, and is timed as selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, Repeated, Room, hyper
from .kernels.cache_scores import above_threshold, reconstruction
from .kernels.topk import padded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KVzip(Method):
    """Largest attention received while the prompt is repeated."""

    name: ClassVar[str] = "kvzip"
    paper: ClassVar[str] = "Kim et al., KVzip, arXiv 2505.23416"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "The whole prompt is the context, the question included (the paper compresses the context before a question is "
        "known); images are repeated by their features.",
        "Every kv head keeps the same number (the library's uniform rule). The released default, one threshold over "
        "all heads, is rule=threshold and the reading paper; here it is taken layer by layer, and keeps one entry "
        "fewer, as released.",
        "The chunks of a prompt are repeated behind an instruction alone, without the last tokens of the chunk before.",
    )

    chunk: int = hyper(2000, "positions that are repeated at a time", low=1, unit="tokens")
    rule: str = hyper("uniform", "the same number per head, or one threshold", choices=("uniform", "threshold"))
    sinks: int = hyper(4, "first positions that always stay", low=0, unit="entries")

    paper_of: ClassVar[str] = "prompt"
    paper_defaults: ClassVar[dict[str, Any]] = {"rule": "threshold"}
    paper_reading: ClassVar[str] = "b % of a layer's entries of all kv heads together, those above one threshold"

    @property
    def ragged(self) -> bool:
        """See :attr:`Method.ragged`."""
        return self.rule == "threshold"

    @property
    def deferred(self) -> bool:
        """The pass needs the whole cache."""
        return True

    @property
    def repeats(self) -> str:
        """See :meth:`Method.repeats`."""
        return "\n\nRepeat the previous context exactly."

    def chunks(self, n: int) -> Iterator[tuple[int, int]]:
        """See :meth:`Method.chunks`; the sinks are not repeated."""
        for start in range(min(self.sinks, n - 1), n, self.chunk):
            yield start, min(n, start + self.chunk)

    def observe_repeat(self, view: LayerView, again: Repeated) -> Tensor:
        """See :meth:`Method.observe_repeat`."""
        return reconstruction(again.queries, again.keys, again.n_context, again.start, again.end, self.sinks)

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`; ``view.observed`` holds the chunks of every layer."""
        scores = torch.cat(view.observed[view.layer], 1)
        first = scores.new_full((len(scores), len(view.index) - scores.shape[1]), float(scores.max()) + 1)
        return torch.cat([first, scores], 1)

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`; a threshold where text competes, too."""
        n = len(view.index)
        if self.rule != "threshold" or budget.n_text or budget.limit >= n:
            return super().compress_kv(view, budget)
        keep = above_threshold(self.score_kv(view, Room(budget.limit, 0)), budget.limit / n)
        keep[:, -1] = True  # no head is empty
        return padded(keep)
