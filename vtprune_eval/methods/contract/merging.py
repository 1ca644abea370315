"""Hook 3, ``merge_patches``: merge blocks that become one between the ViT's blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ...budget import StageBudget
    from ..kernels.merging import Matching


class MergeHook:
    """A method that merges inside the ViT.

    The unit is the merge block (the patches that become one visual token): the model's merger needs its blocks whole.
    Blocks are merged patch by patch, as the mean over what they stand for; the block that is merged into keeps its
    place.
    """

    @property
    def weighs_by_size(self) -> bool:
        """Whether a merged block counts in the attention of later ViT blocks as often as it stands for blocks."""
        return False

    def merge_patches(
        self, n_blocks: tuple[int, ...], vit_blocks: int, budget: StageBudget
    ) -> tuple[tuple[int, ...], ...]:
        """Merge blocks that vanish behind the attention of every ViT block, per image.

        Args:
            n_blocks: merge blocks per image that enter the ViT.
            vit_blocks: of the model.
            budget: merge blocks that may leave it.

        Returns:
            one tuple of ``vit_blocks`` numbers per image.
        """
        raise AssertionError("not overridden")

    def match(self, metric: torch.Tensor, r: int) -> Matching:
        """Which ``r`` of the blocks of one image vanish, and into which; by default bipartite soft matching.

        Args:
            metric: mean key over the heads of every patch, ``(n_blocks, patches_per_block * head_dim)``.
        """
        from ..kernels.merging import bipartite

        return bipartite(metric, r)
