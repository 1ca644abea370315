"""The screens that the selftest shows to its models; drawn, so that nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..sample import Sample

# (width, height) of every image.
SIZES = ((150, 130), (210, 98))


def draw(width: int, height: int, seed: int) -> np.ndarray:
    """A screen: flat areas, which are equal tokens before the encoder, beside noise; uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 255, 3), np.uint8)
    for _ in range(9):
        x, y, w, h = (int(n) for n in rng.integers(0, (width, height, width // 2, height // 2)))
        area = image[y : y + h, x : x + w]
        area[:] = rng.integers(0, 255, area.shape if rng.random() < 0.4 else 3)
    return image


def large_sample(folder: Path) -> Sample:
    """One large image: an answer of tens of milliseconds, beside which what lies between the stages is little."""
    path = folder / "large.png"
    Image.fromarray(draw(1280, 800, 7)).save(path)
    return Sample("selftest-large", (path,), "click the icon under 7", {"type": "box", "box_xyxy": [20, 10, 90, 60]})


def make_sample(folder: Path) -> Sample:
    """Two images, a question, and a box for methods that read the target."""
    paths = []
    for number, (width, height) in enumerate(SIZES):
        path = folder / f"{number}.png"
        Image.fromarray(draw(width, height, number)).save(path)
        paths.append(path)
    return Sample("selftest", tuple(paths), "click the icon under 7", {"type": "box", "box_xyxy": [20, 10, 90, 60]})
