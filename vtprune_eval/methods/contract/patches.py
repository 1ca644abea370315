"""Hook 2, ``select_patches``: which merge blocks of an image enter the ViT, by their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ...budget import StageBudget


@dataclass(frozen=True)
class PatchView:
    """What ``select_patches`` may see: the images' pixels after the processor's resize, before normalisation.

    Attributes:
        images: RGB uint8 ``(rows * block, columns * block, 3)`` per image, read-only.
        grids: (rows, columns) of merge blocks per image.
        block: pixels per merge-block side (32 for Qwen3-VL).
        seed: seed of this sample, for methods that draw at random (from RunSpec seed and the sample's id).
    """

    images: tuple[np.ndarray, ...]
    grids: tuple[tuple[int, int], ...]
    block: int
    seed: int


class PatchHook:
    """A method that drops merge blocks before or inside the ViT."""

    @property
    def vit_depth(self) -> int:
        """ViT blocks that still see the patches that are dropped (0: dropped before the ViT)."""
        return 0

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """Keep mask per image, bool ``(rows, columns)`` of merge blocks; at least one block per prompt."""
        raise AssertionError("not overridden")
