"""What a method kept of a sample, block by block: numbers for pictures, and sentences for captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import UserError
from ..pipeline.recall import blocks_of
from ..results.inside import Inside, inside_of
from ..sample import Sample

Grid = tuple[int, int]
NEAR = 2  # blocks around the target's that count as around it
# Anchors of a colour map whose lightness rises evenly, from blue to yellow, for any colour vision and in grey print.
_ANCHORS = np.array([(0, 32, 81), (60, 77, 110), (124, 123, 120), (187, 173, 108), (253, 234, 69)], float)


@dataclass(frozen=True)
class Kept:
    """An answered record's blocks.

    Attributes:
        record: with status ok.
        block: pixels per merge-block side.
    """

    record: Mapping[str, Any]
    block: int

    @cached_property
    def grids(self) -> tuple[Grid, ...]:
        """(rows, columns) of every image as the model saw it."""
        return tuple((h // self.block, w // self.block) for w, h in self.record["frame"]["model_sizes"])

    @cached_property
    def inside(self) -> Inside | None:
        """What layers and heads held; None where the record does not say."""
        return inside_of(self.record, tuple(rows * columns for rows, columns in self.grids))

    @property
    def cut_cache(self) -> bool:
        """Whether caches hold less than their layers processed."""
        c = self.record["counts"]
        return any(
            heads and held < seen
            for held, heads, seen in zip(c["cache_entries"], c["cache_heads"], c["layer_tokens"], strict=True)
        )

    @property
    def cut_layers(self) -> bool:
        """Whether later layers processed less than the first."""
        return len(set(self.record["counts"]["layer_visual"])) > 1

    def entered(self, image: int) -> np.ndarray:
        """Blocks that reached decoder layer 0, bool ``(rows, columns)``."""
        return self._bits("kept", image)

    def stayed(self, image: int) -> np.ndarray:
        """Blocks that the last layer left, bool ``(rows, columns)``; what entered, where none was cut."""
        return self._bits("kept_last" if "kept_last" in self.record else "kept", image)

    def share(self, image: int) -> np.ndarray | None:
        """The map of a block, ``(rows, columns)``: share of layers and heads that hold it, or where caches are whole,
        of layers that processed it; None where nothing was cut inside, or the record does not say."""
        if not (self.cut_cache or self.cut_layers) or self.inside is None:
            return None
        values = self.inside.held if self.cut_cache else self.inside.depth
        first = sum(rows * columns for rows, columns in self.grids[:image])
        rows, columns = self.grids[image]
        return values[first : first + rows * columns].reshape(rows, columns)

    @property
    def title(self) -> str:
        """What the numbers of :meth:`share` are shares of."""
        return "share of layers and heads that hold a block" if self.cut_cache else "share of layers a block reached"

    def weight(self, image: int) -> np.ndarray:
        """What is left of every block at the end, 0 to 1."""
        found = self.share(image)
        return self.stayed(image).astype(float) if found is None else found

    @property
    def lacks(self) -> str:
        """What the record does not say of itself, "" where nothing is missing."""
        if not (self.cut_cache or self.cut_layers) or self.inside is not None:
            return ""
        what = "which cache entries were kept" if self.cut_cache else "after which layer a block was dropped"
        return f"{what} is not in this record: run with --record-kept full"

    def _bits(self, name: str, image: int) -> np.ndarray:
        return np.array(kept_blocks(self.record[name][image], self.grids[image]), bool)


def kept_blocks(bitmap: str, grid: Grid) -> list[list[bool]]:
    """Merge blocks of a bitmap, rows of columns.

    Args:
        bitmap: hex number of the record, bit i for block i in raster order.
        grid: (rows, columns).

    Raises:
        UserError: the bitmap names blocks outside the image.
    """
    rows, columns = grid
    bits = int(bitmap, 16)
    if bits >> (columns * rows):
        raise UserError(f"a record keeps merge blocks outside its image of {rows} x {columns} blocks; run it again.")
    return [[bool(bits >> (r * columns + c) & 1) for c in range(columns)] for r in range(rows)]


def colours(values: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 as colours, uint8 ``(..., 3)``."""
    at = np.clip(values, 0, 1) * (len(_ANCHORS) - 1)
    mixed = [np.interp(at, np.arange(len(_ANCHORS)), _ANCHORS[:, k]) for k in range(3)]
    out: np.ndarray = np.stack(mixed, -1).round().astype(np.uint8)
    return out


def looked(sample: Sample, kept: Kept) -> list[str]:
    """Where a method looked, in sentences: by target, by height, by frame; none where it kept everything.

    Args:
        sample: with its target.
        kept: its record.
    """
    weights = [kept.weight(i) for i in range(len(kept.grids))]
    if not weights or kept.lacks or all((w == 1).all() for w in weights):
        return []
    last, out = weights[-1], []
    size = kept.record["frame"]["file_sizes"][-1]
    target = blocks_of(sample.boxes(tuple(size)), tuple(size), last.shape)
    if len(target):
        on = np.zeros(last.shape, bool)
        on.reshape(-1)[target] = True
        near = _grown(on, NEAR) & ~on
        rest = ~on & ~near
        parts = [
            (last[m].mean(), name)
            for m, name in ((on, "the target"), (near, "around it"), (rest, "elsewhere"))
            if m.any()
        ]
        out.append(
            "kept: "
            + ", ".join(
                f"{100 * v:.0f} % of {name}" if name == "the target" else f"{100 * v:.0f} % {name}" for v, name in parts
            )
        )
    if last.shape[0] >= 3:
        thirds = [100 * part.mean() for part in np.array_split(last, 3)]
        out.append("top, middle, bottom third: {:.0f}, {:.0f}, {:.0f} %".format(*thirds))
    if len(weights) > 1:
        n, total = sum(w.size for w in weights[:-1]), sum(w.sum() for w in weights[:-1])
        out.append(f"history frames {100 * total / n:.0f} %, current frame {100 * last.mean():.0f} %")
    return out


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Cells within ``by`` rows and columns of a True one."""
    out = np.zeros_like(mask)
    for r, c in np.argwhere(mask):
        out[max(0, r - by) : r + by + 1, max(0, c - by) : c + by + 1] = True
    return out


def recall_sentence(record: Mapping[str, Any]) -> str:
    """Target recall by stage, "" for a sample without a box or a record from before it was taken."""
    found = record.get("target_recall")
    if not found:
        return ""
    names = {
        "patches": "through the ViT",
        "tokens": "into the decoder",
        "layers": "over its layers",
        "cache": "in the cache",
    }
    said = [f"{100 * found[k]:.0f} % {names[k]}" for k in names if k in found]
    return "target recall: " + ("100 %" if all(v == 1 for v in found.values()) else ", ".join(said))
