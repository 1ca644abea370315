"""The compact form of what layers and heads hold, and how it is read again: see ``kept_inside`` of a record."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np


def packed(bits: bytes) -> str:
    """Bits of :class:`~vtprune_eval.outcome.KeptInside`, deflated, as base64; "" for none."""
    return base64.b64encode(zlib.compress(bits, 9)).decode() if bits else ""


def unpacked(text: str, n_rows: int, n_blocks: int) -> np.ndarray:
    """The opposite of :func:`packed`, bool ``(n_rows, n_blocks)``.

    Raises:
        UserError: no such text, or bits of another shape.
    """
    import numpy as np

    n_bytes = (n_rows * n_blocks + 7) // 8
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(base64.b64decode(text, validate=True), n_bytes + 1)  # no more than is asked for
    except (binascii.Error, zlib.error, ValueError, TypeError):
        raw = b""
    if len(raw) != n_bytes:
        raise UserError(f"what a record says of its heads is not {n_rows} x {n_blocks} bits; run it again.")
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=n_rows * n_blocks).reshape(n_rows, n_blocks).astype(bool)


@dataclass(frozen=True)
class Inside:
    """What the decoder held of the blocks of all images together.

    Attributes:
        depth: share of the decoder layers that processed a block, ``(n_blocks,)``.
        held: share of all layers and heads of the cache that hold it after prefill, ``(n_blocks,)``.
        by_layer: the same by layer, ``(layers with a cache, n_blocks)``.
    """

    depth: np.ndarray
    held: np.ndarray
    by_layer: np.ndarray


def inside_of(record: Mapping[str, Any], n_blocks: tuple[int, ...]) -> Inside | None:
    """Read a record; None where it does not say what happened inside (it is older, or was not asked to).

    Without ``kept_inside`` the counts may tell all the same: a cache that holds all that its layers processed, and at
    most one layer at which tokens were dropped.

    Args:
        record: of an answered sample.
        n_blocks: merge blocks of every image as the model saw it.

    Raises:
        UserError: bits or layers that do not fit the record.
    """
    import numpy as np

    counts = record["counts"]
    n_layers, n = len(counts["layer_tokens"]), sum(n_blocks)
    stored = record.get("kept_inside")
    if stored is None:
        stored = _told_by_counts(record)
        if stored is None:
            return None
    alive = np.zeros((n_layers, n), bool)
    alive[:] = _flat(record["kept"], n_blocks)
    for layer, bitmaps in stored["layers"]:
        if not 0 <= layer < n_layers:
            raise UserError(f"a record names decoder layer {layer} of {n_layers}; run it again.")
        alive[layer:] = _flat(bitmaps, n_blocks)
    heads = list(stored["heads"])
    if len(heads) != n_layers or any(not isinstance(h, int) or not 0 <= h <= 4096 for h in heads):
        raise UserError("what a record says of its heads does not fit its layers; run it again.")
    bits = unpacked(stored["bits"], sum(heads), n) if sum(heads) else np.zeros((0, n), bool)
    layers, at = [], 0
    for layer, own in enumerate(heads):
        if not counts["cache_heads"][layer]:
            continue  # linear attention: no cache
        layers.append(bits[at : at + own].mean(0) if own else alive[layer].astype(float))
        at += own
    by_layer = np.stack(layers) if layers else np.zeros((0, n))
    return Inside(alive.mean(0), by_layer.mean(0) if layers else alive.mean(0), by_layer)


def _told_by_counts(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """``kept_inside`` from the lengths, where they leave no doubt."""
    c = record["counts"]
    tokens, visual = list(c["layer_tokens"]), list(c["layer_visual"])
    cached = [i for i, heads in enumerate(c["cache_heads"]) if heads]
    if any(c["cache_entries"][i] != tokens[i] for i in cached):
        return None  # entries were dropped, nobody knows which
    drops = [i for i in range(1, len(visual)) if visual[i] != visual[i - 1]]
    if not drops:
        return {"layers": [], "heads": [0] * len(tokens), "bits": ""}
    if len(drops) > 1 or "kept_last" not in record:
        return None
    return {"layers": [[drops[0], record["kept_last"]]], "heads": [0] * len(tokens), "bits": ""}


def _flat(bitmaps: list[str], n_blocks: tuple[int, ...]) -> np.ndarray:
    """Bitmaps of the images one behind the other, bool ``(n_blocks of all,)``."""
    import numpy as np

    parts = []
    if len(bitmaps) != len(n_blocks):
        raise UserError(f"a record holds bitmaps of {len(bitmaps)} images, and it has {len(n_blocks)}; run it again.")
    for text, n in zip(bitmaps, n_blocks, strict=True):
        bits = int(text, 16)
        if bits >> n:
            raise UserError(f"a record keeps merge blocks outside its image of {n} blocks; run it again.")
        raw = np.frombuffer(bits.to_bytes((n + 7) // 8, "little"), np.uint8)
        parts.append(np.unpackbits(raw, bitorder="little", count=n).astype(bool))
    return np.concatenate(parts) if parts else np.zeros(0, bool)
