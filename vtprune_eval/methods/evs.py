"""``evs``: tokens that changed since the previous screenshot at the same place.

Efficient Video Sampling (Bagrov et al., arXiv 2510.14624), as the serving engines vLLM and SGLang ship it for video
(``video_pruning_rate``): the first frame, then the tokens least like the same place of the frame before. Here a frame
is a screenshot of the prompt's history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import Budget, StageBudget, split_proportionally
from .base import Method, TokenView
from .kernels.temporal import change_of_frames, evenly_first, n_frames_kept

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EVS(Method):
    """Score by change; the first screenshot is the best."""

    name: ClassVar[str] = "evs"
    paper: ClassVar[str] = "Bagrov et al., Efficient Video Sampling, arXiv 2510.14624; vLLM's multimodal/evs.py"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "A frame is an image of the prompt, oldest first; one of another size than the image before it starts anew.",
        "The engines keep the first frame whole whatever the rate; a budget below it takes it evenly spaced in "
        "raster order, so that a single image is an even sample.",
        "Compared behind the merger. Positions are kept.",
    )

    paper_reading: ClassVar[str] = "max(P, int(b % of T P)) of T screenshots of P tokens: the first one at least"

    def told(self, budget: Budget, sizes: tuple[int, ...]) -> StageBudget:
        """See :meth:`Method.told`; in the paper's reading the first screenshot is kept whole."""
        told = super().told(budget, sizes)
        if budget.reading != "paper" or budget.kind != "percent" or budget.value is None or len(set(sizes)) != 1:
            return told
        n = n_frames_kept(len(sizes), sizes[0], 1 - float(budget.value) / 100)
        return replace(told, n_keep=n, per_image=split_proportionally(n, sizes))

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.select_tokens`."""
        sizes = [int(part.sum()) for part in view.present.split(list(view.layout.n_tokens))]
        places = torch.cat([torch.arange(n, device=view.present.device) for n in view.layout.n_tokens])[view.present]
        frames, at = view.features.split(sizes), places.split(sizes)
        whole = [len(part) == n for part, n in zip(frames, view.layout.n_tokens, strict=True)]
        # The same place is the same row only where nothing was dropped; elsewhere an image starts anew.
        scores = []
        for i, frame in enumerate(frames):
            same = i and whole[i] and whole[i - 1] and view.layout.grids[i] == view.layout.grids[i - 1]
            change = change_of_frames([frames[i - 1], frame])[1] if same else change_of_frames([frame])[0]
            scores.append(change if same else change + evenly_first(at[i], view.layout.n_tokens[i]))
        return torch.cat(scores)
