"""Synthetic screenshots for the benches: flat areas and lines of text-like marks, with a wanted share of kept blocks.

What a pixel-based method keeps depends on the image, so a bench of such a method has to fix that share.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from vtprune_eval.methods.kernels.scans import pred_2d_exact
from vtprune_eval.models.base import ImageRules
from vtprune_eval.pipeline.prompt import full_size, resize

LINE, WORD = 32, 96  # pixels: height of a line of text, and the unit of its length
STEPS = 9  # of the bisection


def screen(width: int, height: int, share: float, seed: int = 0) -> np.ndarray:
    """RGB uint8 ``(height, width, 3)``: a light background on which ``share`` of the words are drawn.

    The words of a smaller share are among those of a larger one.
    """
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 245, np.uint8)
    places = [(y, x) for y in range(0, height, LINE) for x in range(0, width, WORD)]
    order = rng.permutation(len(places))
    marks = rng.integers(0, 2, (16, LINE // 2, WORD, 1), np.uint8) * 200 + 20  # sixteen words, black on grey
    for number, place in enumerate(order[: round(share * len(places))]):
        y, x = places[place]
        area = image[y + LINE // 4 : y + 3 * LINE // 4, x : x + WORD]
        area[:] = marks[number % len(marks), : area.shape[0], : area.shape[1]]
    return image


def kept_share(image: np.ndarray, rules: ImageRules) -> float:
    """Share of merge blocks that PixelPrune keeps at tau 0 (pred-2d), at the size that the model sees."""
    size = full_size((image.shape[1], image.shape[0]), rules, "screen")
    return float(pred_2d_exact(resize(image, size), rules.block).mean())


def size(text: str) -> tuple[int, int]:
    """``WxH`` in pixels."""
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) > 0 and int(height) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 2716x1616")
    return int(width), int(height)


@lru_cache(maxsize=8)  # models with one processor see the same screens
def screen_keeping(
    width: int, height: int, wanted: float, rules: ImageRules, seed: int = 0
) -> tuple[np.ndarray, float]:
    """A screen of which PixelPrune keeps about ``wanted`` of the blocks, and the share that it really keeps."""
    low, high = 0.0, 1.0
    best: tuple[np.ndarray, float] | None = None
    for _ in range(STEPS):
        middle = (low + high) / 2
        image = screen(width, height, middle, seed)
        kept = kept_share(image, rules)
        if best is None or abs(kept - wanted) < abs(best[1] - wanted):
            best = (image, kept)
        low, high = (middle, high) if kept < wanted else (low, middle)
    assert best is not None
    return best


def save(image: np.ndarray, path: Path) -> Path:
    """Write a PNG (fast compression) and return its path."""
    Image.fromarray(image).save(path, compress_level=1)
    return path
