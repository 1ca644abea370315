"""What every hook shares: hyper-parameters as fields, and where the images sit in the prompt."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import UserError

if TYPE_CHECKING:
    import torch

HOOKS = ("reduce_images", "select_patches", "merge_patches", "select_tokens", "prune_layer", "compress_kv")


def hyper(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    unit: str = "",
) -> Any:
    """A hyper-parameter field: default, one sentence of meaning, and its range (inclusive) or its choices."""
    return dataclasses.field(
        default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices, "unit": unit}
    )


def check_fields(method: Any) -> None:
    """Refuse a hyper-parameter outside its range or choices.

    Raises:
        UserError: with the field, the value and what is allowed.
    """
    for field in dataclasses.fields(method):
        value, meta = getattr(method, field.name), field.metadata
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{method.name}: {field.name}={value!r} is not a finite number.")
        unit = f" {meta['unit']}" if meta.get("unit") else ""
        if meta.get("choices") is not None and value not in meta["choices"]:
            raise UserError(
                f"{method.name}: {field.name}={value!r} is not one of {', '.join(map(str, meta['choices']))}."
            )
        low, high = meta.get("low"), meta.get("high")
        if (low is not None or high is not None) and not _in_range(value, low, high):
            bounds = f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"
            raise UserError(f"{method.name}: {field.name}={value!r} is outside {bounds}{unit}.")


def _in_range(value: Any, low: float | None, high: float | None) -> bool:
    try:
        return (low is None or value >= low) and (high is None or value <= high)  # NaN fails both
    except TypeError:
        return False


@dataclass(frozen=True)
class TokenLayout:
    """Where the images of one prompt sit, on the FULL prompt (never renumbered).

    Attributes:
        grids: merge blocks per image, (rows, columns); one block is one visual token.
        spans: half-open positions of each image's visual tokens in the full prompt.
        n_prompt: tokens of the full prompt.
        merge_size: patches per block side.
        patch_size: pixels per patch side.
        positions: rotary position ids of the full prompt, ``(3, n_prompt)`` int64 (t, h, w).
        image_sizes: (width, height) in pixels that the model sees, per image.
    """

    grids: tuple[tuple[int, int], ...]
    spans: tuple[tuple[int, int], ...]
    n_prompt: int
    merge_size: int
    patch_size: int
    positions: torch.Tensor
    image_sizes: tuple[tuple[int, int], ...]

    @cached_property
    def next_position(self) -> int:
        """Position of the first token behind the prompt, in all three of t, h, w."""
        return int(self.positions.max()) + 1

    @property
    def n_tokens(self) -> tuple[int, ...]:
        """Visual tokens per image."""
        return tuple(h * w for h, w in self.grids)

    @property
    def n_visual(self) -> int:
        """Visual tokens of the whole prompt."""
        return sum(self.n_tokens)
