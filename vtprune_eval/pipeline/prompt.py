"""Stage 1: files to pixels, sizes, patches; the full prompt with its positions, built once and never renumbered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SampleError
from ..methods.base import TokenLayout
from ..models.base import ImageRules, VlmAdapter
from ..models.smart_resize import smart_resize


@dataclass(frozen=True)
class Prompt:
    """The full prompt: ids, layout (positions included), and the pixels behind every visual token.

    Attributes:
        ids: int64 ``(n_prompt,)``.
        layout: grids, spans and positions.
        pixels: RGB uint8 ``(height, width, 3)`` per image, at the size that the model sees.
    """

    ids: Tensor
    layout: TokenLayout
    pixels: tuple[np.ndarray, ...]


def full_size(size: tuple[int, int], rules: ImageRules, name: str) -> tuple[int, int]:
    """(width, height) that the processor gives a file of ``size``.

    Raises:
        SampleError: ``bad_image`` where the processor refuses the shape.
    """
    try:
        return smart_resize(*size, factor=rules.block, min_pixels=rules.min_pixels, max_pixels=rules.max_pixels)
    except ValueError as error:
        raise SampleError("bad_image", f"{name}: {error}.") from None


def resize(pixels: np.ndarray, size: tuple[int, int], resample: str = "bicubic") -> np.ndarray:
    """Resize RGB uint8 to (width, height), antialiased, rounded to 8 bits; ``bicubic`` is what the processors do."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
    out = F.interpolate(tensor, size=(size[1], size[0]), mode=resample, align_corners=False, antialias=True)
    return np.ascontiguousarray(out[0].permute(1, 2, 0).numpy())


def build_prompt(adapter: VlmAdapter, pixels: Sequence[np.ndarray], question: str) -> Prompt:
    """The full prompt for images already at the model's size."""
    block = adapter.images.block
    grids = tuple((p.shape[0] // block, p.shape[1] // block) for p in pixels)
    ids, spans = adapter.prompt_ids([h * w for h, w in grids], question)
    limit = getattr(adapter.text.config, "max_position_embeddings", None)
    if limit and len(ids) > limit:
        raise SampleError("too_long", f"the prompt has {len(ids)} tokens, the model takes {limit}.")
    layout = TokenLayout(
        grids=grids,
        spans=tuple(spans),
        n_prompt=len(ids),
        merge_size=adapter.images.merge_size,
        patch_size=adapter.images.patch_size,
        positions=adapter.positions(len(ids), spans, grids),
        image_sizes=tuple((p.shape[1], p.shape[0]) for p in pixels),
    )
    return Prompt(torch.tensor(ids), layout, tuple(pixels))


def patch_rows(pixels: np.ndarray, rules: ImageRules, keep: np.ndarray | None) -> Tensor:
    """Normalised patch rows of the kept merge blocks, in the processor's order.

    Args:
        pixels: RGB uint8 ``(rows * block, columns * block, 3)``.
        rules: patch geometry and normalisation.
        keep: bool ``(rows, columns)`` or None for all; dropped blocks are never normalised or copied.

    Returns:
        float32 ``(n_kept * merge^2, 3 * temporal * patch^2)``.
    """
    p, m, block = rules.patch_size, rules.merge_size, rules.block
    rows, cols = pixels.shape[0] // block, pixels.shape[1] // block
    view = pixels.reshape(rows, m, p, cols, m, p, 3).transpose(0, 3, 1, 4, 6, 2, 5)  # rows cols m m 3 p p
    chosen = view.reshape(rows * cols, m * m, 3, p, p) if keep is None else view[keep].reshape(-1, m * m, 3, p, p)
    x = torch.from_numpy(np.ascontiguousarray(chosen)).flatten(0, 1).float()
    mean = torch.tensor(rules.mean).view(1, 3, 1, 1) * 255
    std = torch.tensor(rules.std).view(1, 3, 1, 1) * 255
    x.sub_(mean).div_(std)
    # The width is named: of an image that loses all its blocks nothing is left to infer it from.
    return x[:, :, None].expand(-1, -1, rules.temporal, -1, -1).reshape(len(x), 3 * rules.temporal * p * p)
