"""Hook 1, ``reduce_images``: fewer pixels per image, before the processor cuts patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...budget import StageBudget


@dataclass(frozen=True)
class ImageView:
    """What ``reduce_images`` may know of one image: its sizes.

    Attributes:
        size: (width, height) of the file in pixels.
        full_size: (width, height) that the processor would resize it to.
        factor: pixels per merge-block side; model sizes are multiples of it.
        seed: seed of the sample, for methods that draw at random.
    """

    size: tuple[int, int]
    full_size: tuple[int, int]
    factor: int
    seed: int = 0


class ImageHook:
    """A method that changes the size of images."""

    @property
    def resample(self) -> str:
        """Resize filter: ``bicubic`` or ``bilinear``, antialiased."""
        return "bicubic"

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """New (width, height) per image, multiples of ``factor``; the pipeline resizes."""
        raise AssertionError("not overridden")
