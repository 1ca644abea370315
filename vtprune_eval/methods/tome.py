"""``tome``: merge the most similar tokens between the attention and the feed-forward part of every ViT block.

Bolya et al., "Token Merging: Your ViT But Faster", arXiv 2210.09461 (ICLR 2023), section 3: bipartite soft matching on
the mean key over heads, r pairs per block, weighted by what a token stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..budget import StageBudget, split_proportionally
from ..errors import InfeasibleBudget
from .base import Method, hyper


@dataclass(frozen=True)
class ToMe(Method):
    """Bipartite soft matching in every ViT block."""

    name: ClassVar[str] = "tome"
    paper: ClassVar[str] = "Bolya et al., Token Merging, arXiv 2210.09461"
    year: ClassVar[int] = 2022
    origin: ClassVar[str] = "vectors"
    deviations: ClassVar[tuple[str, ...]] = (
        "The unit is the merge block (2 x 2 patches), merged patch by patch, since the model's merger needs whole "
        "blocks; similarity is that of the four keys together.",
        "r per block follows from the budget: what must vanish is spread evenly over the ViT's blocks, at most half of "
        "the tokens in one.",
        "Proportional attention (the logarithm of sizes added to the logits, the released default) is "
        "proportional=true and the reading paper; without it the model's own attention is called, on any backend.",
        "A merged block stands at the place of the block it was merged into; DeepStack features taken before are "
        "averaged along. Images are merged apart.",
        "ViTs that attend in windows (Qwen2.5-VL) are refused.",
    )

    paper_defaults: ClassVar[dict[str, Any]] = {"proportional": True}

    proportional: bool = hyper(False, "a merged block draws attention in proportion to what it stands for")

    @property
    def weighs_by_size(self) -> bool:
        """See :meth:`Method.weighs_by_size`."""
        return self.proportional

    def merge_patches(
        self, n_blocks: tuple[int, ...], vit_blocks: int, budget: StageBudget
    ) -> tuple[tuple[int, ...], ...]:
        """See :meth:`Method.merge_patches`."""
        left = split_proportionally(min(sum(n_blocks), budget.limit), n_blocks)
        merges = tuple(schedule(n, k, vit_blocks) for n, k in zip(n_blocks, left, strict=True))
        n_left = sum(n_blocks) - sum(map(sum, merges))
        if budget.asked.reading == "equal" and n_left > budget.limit:
            raise InfeasibleBudget(
                f"tome halves the tokens of an image at most once per ViT block: {n_left} are left of {sum(n_blocks)}, "
                f"and {budget.limit} were asked for; give a larger budget."
            )
        return merges


def schedule(n: int, k: int, vit_blocks: int) -> tuple[int, ...]:
    """Merges behind each of ``vit_blocks`` ViT blocks that leave ``k`` of ``n`` tokens, or as few as halving can.

    Evenly spread, the earlier blocks one more; where a block cannot halve that far, the later ones follow.
    """
    out = []
    for number in range(vit_blocks):
        rest = max(0, n - k)
        r = min(-(-rest // (vit_blocks - number)), n // 2)
        out.append(r)
        n -= r
    return tuple(out)
