"""How other projects resize an image of the Qwen2-VL line; ``smart_resize`` beside this file is transformers' way.

A scorer that has to reproduce such a project needs its very size: answers in pixels of the resized image are divided by
it. Where the size that the model really saw is known, use that instead.

Sources: UI-TARS (codes/ui_tars/action_parser.py), OpenCUA (evaluation/agentnetbench, its two agents), GUI-KV
(eval/opencua_utils.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .smart_resize import smart_resize

Size = tuple[int, int]
FACTOR = 28
UI_TARS_MIN_PIXELS, UI_TARS_MAX_PIXELS = 100 * 28 * 28, 16_384 * 28 * 28
OPENCUA_MIN_PIXELS, OPENCUA_MAX_PIXELS = 3_136, 12_845_056
AGENTNETBENCH_QWEN_MAX_PIXELS, AGENTNETBENCH_QWEN_LONG_SIDE = 2_560 * 28 * 28, 8_192


def ui_tars(
    width: int,
    height: int,
    *,
    factor: int = FACTOR,
    min_pixels: int = UI_TARS_MIN_PIXELS,
    max_pixels: int = UI_TARS_MAX_PIXELS,
) -> Size:
    """UI-TARS: each rounded side is at least ``factor``; a side shrunk for ``max_pixels`` may become 0.

    Returns:
        (width, height) in pixels.

    Raises:
        ValueError: no pixel, or one side more than 200 times the other.
    """
    _check_sides(width, height)
    if max(width, height) / min(width, height) > 200:
        raise ValueError(f"{width}x{height} pixels: one side is more than 200 times the other")
    w, h = max(factor, round(width / factor) * factor), max(factor, round(height / factor) * factor)
    if w * h > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        return math.floor(width / beta / factor) * factor, math.floor(height / beta / factor) * factor
    if w * h < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        return math.ceil(width * beta / factor) * factor, math.ceil(height * beta / factor) * factor
    return w, h


def opencua_agent(
    width: int,
    height: int,
    *,
    factor: int = FACTOR,
    min_pixels: int = OPENCUA_MIN_PIXELS,
    max_pixels: int = OPENCUA_MAX_PIXELS,
) -> Size:
    """OpenCUA's AgentNetBench agent: any aspect ratio, sides at least ``factor``.

    Growing adds ``factor - 1`` before the floor division, so a side less than one pixel above a multiple stays there
    (a true ceiling would go to the next multiple).
    """
    _check_sides(width, height)
    w, h = max(1, round(width / factor)) * factor, max(1, round(height / factor)) * factor
    if w * h > max_pixels:
        beta = (width * height / max_pixels) ** 0.5
        return tuple(max(1, int(side / beta // factor) * factor) for side in (width, height))  # type: ignore[return-value]
    if w * h < min_pixels:
        beta = (min_pixels / (width * height)) ** 0.5
        return tuple(int((side * beta + factor - 1) // factor) * factor for side in (width, height))  # type: ignore[return-value]
    return w, h


def guikv_opencua(
    width: int,
    height: int,
    *,
    factor: int = FACTOR,
    min_pixels: int = UI_TARS_MIN_PIXELS,
    max_pixels: int = UI_TARS_MAX_PIXELS,
) -> Size:
    """GUI-KV's copy for OpenCUA: UI-TARS's limits, sides at least ``factor``, any aspect ratio.

    Raises:
        ValueError: a side is below ``factor``.
    """
    if min(width, height) < factor:
        raise ValueError(f"{width}x{height} pixels: a side is below {factor}")
    w, h = max(1, round(width / factor)) * factor, max(1, round(height / factor)) * factor
    if w * h > max_pixels:
        beta = math.sqrt(height * width / max_pixels)
        return max(1, math.floor(width / beta / factor)) * factor, max(1, math.floor(height / beta / factor)) * factor
    if w * h < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        return math.ceil(width * beta / factor) * factor, math.ceil(height * beta / factor) * factor
    return w, h


def agentnetbench_qwen(
    width: int,
    height: int,
    *,
    factor: int = FACTOR,
    min_pixels: int = OPENCUA_MIN_PIXELS,
    max_pixels: int = AGENTNETBENCH_QWEN_MAX_PIXELS,
    max_long_side: int = AGENTNETBENCH_QWEN_LONG_SIDE,
) -> Size:
    """AgentNetBench's helper for Qwen2.5-VL: the longer side is cut to ``max_long_side`` first, then as UI-TARS.

    Raises:
        ValueError: no pixel, or one side more than 200 times the other.
    """
    _check_sides(width, height)
    if max(width, height) > max_long_side:
        beta = max(width, height) / max_long_side
        width, height = int(width / beta), int(height / beta)
    return ui_tars(width, height, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels)


def _check_sides(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise ValueError(f"an image of {width}x{height} pixels has no content")


VARIANTS: dict[str, Callable[..., Size]] = {
    "transformers": smart_resize,
    "ui_tars": ui_tars,
    "opencua_agent": opencua_agent,
    "guikv_opencua": guikv_opencua,
    "agentnetbench_qwen": agentnetbench_qwen,
}
