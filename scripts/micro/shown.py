"""A page as it is shown: resized to any size, with its facts in displayed pixels and its blocks numbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .characters import CELL, characters

FILTERS = (*[Image.Resampling.BICUBIC] * 3, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR, Image.Resampling.BOX)
Word = tuple[str, float, float]  # text, left and top in displayed pixels


@dataclass
class Shown:
    """One displayed page.

    Attributes:
        image: RGB uint8 ``(height, width, 3)``, sides multiples of 32.
        advance: width of a character cell.
        cell: its height; displayed pixels.
        words: every word with its place.
        chars: rows of :func:`characters`; both in displayed pixels.
        targets: things to click, with ``box`` in displayed pixels.
        facts: keys with their values.
        cells: of tables.
    """

    image: np.ndarray
    advance: float
    cell: float
    words: list[Word]
    chars: np.ndarray
    targets: list[dict[str, Any]]
    facts: list[dict[str, str]]
    cells: list[dict[str, str]]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in displayed pixels."""
        return self.image.shape[1], self.image.shape[0]

    @property
    def grid(self) -> tuple[int, int]:
        """(columns, rows) of blocks."""
        return self.image.shape[1] // 32, self.image.shape[0] // 32

    def block_at(self, x: float, y: float) -> int | None:
        """Number of the block that holds a point, None off the page."""
        cols, rows = self.grid
        col, row = int(x // 32), int(y // 32)
        return row * cols + col if 0 <= col < cols and 0 <= row < rows else None

    def char_block(self, word: Word, offset: int) -> list[int]:
        """The block with the centre of a word's character, empty off the page."""
        at = self.block_at(word[1] + (offset + 0.5) * self.advance, word[2] + self.cell / 2)
        return [] if at is None else [at]

    def word_blocks(self, word: Word) -> list[int]:
        """Blocks with the centre of any character of ``word``."""
        return sorted({b for j in range(len(word[0])) for b in self.char_block(word, j)})

    def box_blocks(self, box: list[float]) -> list[int]:
        """Blocks whose centre lies in ``box``, and the one with the box's centre."""
        cols, rows = self.grid
        x = np.arange(cols) * 32 + 16
        y = np.arange(rows) * 32 + 16
        inside = ((x >= box[0]) & (x <= box[2]))[None] & ((y >= box[1]) & (y <= box[3]))[:, None]
        found = set(np.flatnonzero(inside).tolist())
        middle = self.block_at((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        return sorted(found | ({middle} if middle is not None else set()))

    def touched(self, box: list[float]) -> list[int]:
        """Blocks that ``box`` covers a part of."""
        cols, rows = self.grid
        x, y = np.arange(cols) * 32, np.arange(rows) * 32
        inside = ((x < box[2]) & (x + 32 > box[0]))[None] & ((y < box[3]) & (y + 32 > box[1]))[:, None]
        return np.flatnonzero(inside).tolist()


def show(
    image: np.ndarray,
    facts: dict[str, Any],
    scale: float,
    size: tuple[int, int],
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Shown:
    """Show a drawn page at ``size``.

    Args:
        image: RGB uint8 as drawn.
        facts: of the page, CSS px.
        scale: device pixels per CSS pixel of ``image``.
        size: (width, height) in displayed pixels, multiples of 32.
        resample: filter of the resize.
    """
    fx, fy = size[0] * scale / image.shape[1], size[1] * scale / image.shape[0]
    if (image.shape[1], image.shape[0]) != size:
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, resample))
    chars = characters(facts["words"]) * np.array([fx, fy, 1, 1, 1], np.float32)
    targets = [{**t, "box": [v * f for v, f in zip(t["box"], (fx, fy, fx, fy), strict=True)]} for t in facts["targets"]]
    return Shown(
        image,
        CELL[0] * fx,
        CELL[1] * fy,
        [(t, x * fx, y * fy) for t, x, y in facts["words"]],
        chars,
        targets,
        facts["facts"],
        facts["cells"],
    )


def snap(width: float, height: float) -> tuple[int, int]:
    """The nearest sides that are multiples of 32, at least two blocks each."""
    return max(64, round(width / 32) * 32), max(64, round(height / 32) * 32)
