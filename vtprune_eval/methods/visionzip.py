"""``visionzip``: keep the tokens that the encoder attends to, merge the others into contextual tokens.

Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models", arXiv 2412.04467 (CVPR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..budget import StageBudget
from .base import Method, TokenEdit, TokenView, hyper
from .kernels.merging import contextual, even_targets
from .kernels.topk import best

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class VisionZip(Method):
    """Dominant tokens by attention received, contextual tokens by key similarity."""

    name: ClassVar[str] = "visionzip"
    paper: ClassVar[str] = "Yang et al., VisionZip, arXiv 2412.04467"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "Without a CLS token the score is the attention received from all patches of the image (the paper's rule), "
        "averaged over the patches of a merge block.",
        "Merging acts on merged tokens with the mean key of a block; a contextual token keeps its target's place and "
        "DeepStack features.",
        "All images of a prompt compete together; no CLS token is kept where there is none.",
        "Behind the merger, with kept positions; the published LLaVA form merges before the projector and renumbers.",
        "Where ViT blocks attend in windows, the full-attention block nearest to the penultimate one is used, since "
        "the attention received inside a window does not compare with that of another (Qwen2.5-VL: the last block).",
    )

    dominant: float = hyper(
        5.4 / 6.4, "share of the kept tokens that are dominant (54 of 64 in the paper)", low=0.0, high=1.0
    )
    layer: str = hyper(
        "penultimate",
        "ViT block whose attention and keys are used: penultimate, mid, last (each moves "
        "to the nearest one with full attention), or an index; negative counts from the end",
    )

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received and keys at the chosen block."""
        return (f"encoder_attention:{self.layer}", f"encoder_keys:{self.layer}")

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        received, keys = (view.extras[name] for name in self.needs)
        n = len(view.features)
        n_keep = min(n, budget.limit)
        n_dominant = max(1, round(n_keep * self.dominant))
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        keep[best(received.float()[None], n_dominant)[0]] = True
        rest = (~keep).nonzero()[:, 0]
        features = view.features.clone()
        n_context = n_keep - n_dominant
        if n_context and len(rest):
            targets = even_targets(rest, n_context)
            keep[targets] = True
            others = rest[~torch.isin(rest, targets)]
            features[targets] = contextual(view.features, keys, targets, others).to(features.dtype)
        return TokenEdit(keep, features=features[keep])
