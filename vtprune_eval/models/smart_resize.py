"""The size at which a model of the Qwen2-VL line sees an image."""

from __future__ import annotations

import math


def smart_resize(
    width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int, clamp: bool = False
) -> tuple[int, int]:
    """Size after the processor's resize, as transformers 5.23 computes it.

    Each side is rounded to a multiple of ``factor`` (half to even). If the product then leaves
    [``min_pixels``, ``max_pixels``], both ORIGINAL sides are scaled by one factor and floored (too large) or ceiled
    (too small) to multiples of ``factor``.

    Args:
        width: pixels of the file.
        height: pixels of the file.
        factor: patch size x merge size (28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL).
        min_pixels: limits on width x height, in pixels.
        max_pixels: limits on width x height, in pixels.
        clamp: lift each rounded side to at least ``factor`` first, as UI-TARS and qwen-vl-utils do.

    Returns:
        (width, height) in pixels.

    Raises:
        ValueError: a side is below 1 pixel, or one side is more than 200 times the other.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width}x{height} pixels has no content")
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"{width}x{height} pixels: one side is more than 200 times the other")
    w, h = round(width / factor) * factor, round(height / factor) * factor
    if clamp:
        w, h = max(factor, w), max(factor, h)
    if w * h > max_pixels:
        beta = math.sqrt(width * height / max_pixels)
        w = max(factor, math.floor(width / beta / factor) * factor)
        h = max(factor, math.floor(height / beta / factor) * factor)
    elif w * h < min_pixels:
        beta = math.sqrt(min_pixels / (width * height))
        w, h = math.ceil(width * beta / factor) * factor, math.ceil(height * beta / factor) * factor
    return w, h
