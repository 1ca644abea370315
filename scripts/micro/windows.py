"""The reading stage's batches: square windows cut from text pages at any pixel offset and any text size.

Targets are local, so that a window teaches reading without the rest of the page: per 16-px patch the characters whose
CENTRES lie in it, and the character before the first and after the last of them in the same word; per block the digits
of the number that it shows.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .characters import CELL, patch_targets
from .sheets import read
from .shown import FILTERS, Shown, show
from .targets import digits


@dataclass
class WindowBatch:
    """``n`` windows of ``side`` px.

    Attributes:
        images: uint8 ``(n, side, side, 3)``.
        inner: of :func:`~micro.characters.patch_targets`.
        outer: of the same.
        digits: of :func:`~micro.targets.digits`.
        cells: height of a character cell per window, px.
    """

    images: torch.Tensor
    inner: torch.Tensor
    outer: torch.Tensor
    digits: torch.Tensor
    cells: np.ndarray


class Windows:
    """Draws windows from the text sheets in ``folder``."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sheets = list(read(folder, "text"))

    def batch(self, n: int, side: int, low: float, high: float) -> WindowBatch:
        """``n`` windows of ``side`` px with character cells ``low`` to ``high`` px high (log-uniform)."""
        shown = [self._window(side, math.exp(self.rng.uniform(math.log(low), math.log(high)))) for _ in range(n)]
        read_out = [patch_targets(s.chars, s.advance, side, side) for s in shown]
        return WindowBatch(
            torch.from_numpy(np.stack([s.image for s in shown])),
            torch.from_numpy(np.stack([inner for inner, _ in read_out])),
            torch.from_numpy(np.stack([outer for _, outer in read_out])),
            torch.from_numpy(np.stack([digits(s) for s in shown])),
            np.array([s.cell for s in shown]),
        )

    def _window(self, side: int, want: float) -> Shown:
        """A window whose character cell is about ``want`` px high."""
        rng = self.rng
        able = [s for s in self.sheets if want <= CELL[1] * s[2] * 1.5] or self.sheets
        sheet, facts, scale = rng.choice(able)
        k = rng.randrange(len(sheet))
        full_h, full_w = sheet.shape[1:3]
        f = want / (CELL[1] * scale)
        w = min(full_w, round(side / (f * rng.uniform(0.96, 1.04))))
        h = min(full_h, round(side / (f * rng.uniform(0.96, 1.04))))
        x, y = rng.randint(0, full_w - w), rng.randint(0, full_h - h)
        words = [(text, left - x / scale, top - y / scale) for text, left, top in facts[k]["words"]]
        page = {"words": words, "targets": [], "facts": [], "cells": []}
        return show(sheet[k, y : y + h, x : x + w], page, scale, (side, side), rng.choice(FILTERS))
