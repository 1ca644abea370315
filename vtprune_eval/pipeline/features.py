"""Outputs of the ViT as entries of the disk cache, by everything that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata

import numpy as np
import torch
from torch import Tensor

from ..models.base import Encoded, VlmAdapter


def vit_key(
    adapter: VlmAdapter,
    pixels: Sequence[np.ndarray],
    keep: Sequence[np.ndarray | None],
    depth: int,
    needs: Sequence[str],
) -> str:
    """Hash of the images as the model sees them, what is dropped of them, and what computes the output.

    The last bits of a matrix product depend on the processor, the number of threads and the library, and the rows of
    all images of a sample pass through one product: all of that is part of the key, so that a stored output is the
    one that would be computed.

    Args:
        adapter: the model.
        pixels: RGB uint8 per image at the model's size.
        keep: bool ``(rows, columns)`` of merge blocks per image, None for all.
        depth: see :meth:`VlmAdapter.encode`.
        needs: its extra outputs.
    """
    digest = hashlib.sha256(
        repr(("vit 1", _computed_by(adapter), torch.get_num_threads(), depth, tuple(needs))).encode()
    )
    for picture, mask in zip(pixels, keep, strict=True):
        digest.update(repr((picture.shape, None if mask is None else mask.shape)).encode())
        digest.update(picture.tobytes())
        if mask is not None:
            digest.update(mask.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)  # a model that is no longer in use must not be kept
def _computed_by(adapter: VlmAdapter) -> str:
    """Weights, configuration, type, device and libraries, as text."""
    device = adapter.device
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "numpy")]
    return repr(
        (
            adapter.name,
            adapter.identity.get("fingerprint"),
            str(adapter.model.config.to_dict()),
            str(adapter.images),
            str(adapter.dtype),
            device.type,
            chip,
            adapter.model.config.vision_config._attn_implementation,
            versions,
            torch.get_float32_matmul_precision(),
        )
    )


def packed(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors by name, for :meth:`DiskCache.put`."""
    return {
        "tokens": encoded.tokens,
        **{f"deepstack.{i}": level for i, level in enumerate(encoded.deepstack)},
        **{f"extra.{name}": extra for name, extra in encoded.extras.items()},
    }


def unpacked(tensors: dict[str, Tensor], device: torch.device) -> Encoded:
    """What :func:`packed` took, on ``device``."""
    levels = sum(name.startswith("deepstack.") for name in tensors)
    return Encoded(
        tensors["tokens"].to(device),
        tuple(tensors[f"deepstack.{i}"].to(device) for i in range(levels)),
        {name.removeprefix("extra."): t.to(device) for name, t in tensors.items() if name.startswith("extra.")},
    )
