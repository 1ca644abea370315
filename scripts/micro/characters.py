"""Where characters stand, and the reader's targets that follow from it, per 16-px patch."""

from __future__ import annotations

import numpy as np

CHAR_IDS = {c: i + 1 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz0123456789")}
SLOTS = 3  # characters of one patch that are asked for
CELL = (8, 16)  # width and height of a character cell in CSS px


def characters(words: list) -> np.ndarray:
    """All characters of ``words`` (text, x, y): rows of centre x, centre y, id, id before, id after; CSS px."""
    rows = []
    for text, x, y in words:
        ids = [CHAR_IDS.get(c, 0) for c in text]
        around = [0, *ids, 0]
        rows += [
            (x + (j + 0.5) * CELL[0], y + CELL[1] / 2, i, around[j], around[j + 2]) for j, i in enumerate(ids) if i
        ]
    return np.array(rows, np.float32).reshape(-1, 5)


def patch_targets(chars: np.ndarray, advance: float, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets of every patch of one picture.

    Args:
        chars: rows of :func:`characters` in pixels of the picture.
        advance: width of a character cell in pixels.
        width: of the picture, multiples of 32.
        height: of the picture, multiples of 32.

    Returns:
        characters int64 ``(n_blocks, 4, SLOTS)``, left to right, 0 for none; and the ones before and after
        ``(n_blocks, 4, 2)``, 0 for none, -100 where the patch has no character or the neighbour is off the picture.
    """
    rows, cols = height // 16, width // 16
    inner = np.zeros((rows * cols, SLOTS), np.int64)
    outer = np.full((rows * cols, 2), -100, np.int64)
    x, y = chars[:, 0], chars[:, 1]
    shown = chars[(x >= 0) & (x < width) & (y >= 0) & (y < height)]
    if len(shown):
        at = (shown[:, 1] // 16).astype(int) * cols + (shown[:, 0] // 16).astype(int)
        order = np.lexsort((shown[:, 0], at))
        at, shown = at[order], shown[order]
        first = np.r_[True, at[1:] != at[:-1]]
        last = np.r_[first[1:], True]
        slot = np.arange(len(at)) - np.maximum.accumulate(np.where(first, np.arange(len(at)), 0))
        fits = slot < SLOTS
        inner[at[fits], slot[fits]] = shown[fits, 2]
        known = first & (shown[:, 0] >= advance)
        outer[at[known], 0] = shown[known, 3]
        known = last & (shown[:, 0] < width - advance)
        outer[at[known], 1] = shown[known, 4]

    def by_block(a: np.ndarray) -> np.ndarray:
        return a.reshape(rows // 2, 2, cols // 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(rows * cols // 4, 4, -1)

    return by_block(inner), by_block(outer)
