"""``kvzip``: keep the cache entries that are needed to repeat the prompt.

Kim et al., "KVzip: Query-Agnostic KV Cache Compression with Context Reconstruction", arXiv 2505.23416, section 3: the
model is asked to repeat the context, chunk by chunk; an entry scores by the largest attention that it then receives.
The pass costs about a second prefill, and is timed as selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ..budget import StageBudget
from .base import LayerView, Method, Repeated, Room, hyper
from .kernels.cache_scores import above_threshold, reconstruction, threshold
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
        "all layers and heads together, is rule=threshold and the reading paper; it keeps one entry fewer, as released "
        "(rule=layer-threshold takes one threshold per layer). No head is left without an entry.",
        "The chunks of a prompt are repeated behind an instruction alone, without the last tokens of the chunk before.",
    )

    chunk: int = hyper(2000, "positions that are repeated at a time", low=1, unit="tokens")
    rule: str = hyper(
        "uniform",
        "the same number per head, or one threshold over all layers and heads, or one per layer",
        choices=("uniform", "threshold", "layer-threshold"),
    )
    sinks: int = hyper(4, "first positions that always stay", low=0, unit="entries")

    paper_of: ClassVar[str] = "prompt"
    paper_defaults: ClassVar[dict[str, Any]] = {"rule": "threshold"}
    paper_reading: ClassVar[str] = "b % of the entries of all layers and kv heads together, those above one threshold"

    @property
    def ragged(self) -> bool:
        """See :attr:`Method.ragged`."""
        return self.rule != "uniform"

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
        return self._of_layer(view, view.layer)

    def _of_layer(self, view: LayerView, layer: int) -> Tensor:
        """Scores of all entries of a layer; sinks are above those of every layer, since a weight is at most 1."""
        scores = torch.cat(view.observed[layer], 1)
        return torch.nn.functional.pad(scores, (len(view.index) - scores.shape[1], 0), value=2.0)

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`; a threshold where text competes, too."""
        n = len(view.index)
        if self.rule == "uniform" or budget.n_text or budget.limit >= n:
            return super().compress_kv(view, budget)
        own, share = self._of_layer(view, view.layer), Fraction(budget.limit, n)
        if self.rule == "threshold":
            whole = torch.cat([self._of_layer(view, i).to(own.device) for i in range(len(view.observed))])
            keep = own > threshold(whole, share)
        else:
            keep = above_threshold(own, share)
        keep[:, -1] = True  # no head is empty
        return padded(keep)
