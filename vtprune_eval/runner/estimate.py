"""About how long a run takes, from its FLOPs and bytes and from what this machine does in a tenth of a second.

No promise: a run of ``full`` on the first sample of every task stands for all samples and cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..benchmarks.tasks import Task
from ..errors import UserError
from ..models.defaults import SPREAD
from .spec import RunSpec

# Python's share of one forward pass, per decoder layer.
LAYER_SECONDS = 2e-4
# What a token of text is taken to be, in characters, and the length of a template around the question.
CHARACTERS, TEMPLATE = 4, 30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def pixel_limits(spec: RunSpec) -> tuple[int, int] | None:
    """Smallest and largest area of an image after the resize; None for the stub, or where the folder is damaged."""
    from ..models import family_of
    from ..profiling.plan import model_dims

    if spec.model == "stub":
        return None
    try:
        if spec.model_path:
            from pathlib import Path

            family, folder = family_of(spec.model), Path(spec.model_path)
            rules = family.image_rules(family.read_config(folder, spec.model), folder)
            return rules.min_pixels, rules.max_pixels
        return model_dims(spec.model)[1]
    except UserError:  # said with its remedy when the model is loaded
        return None


def estimated_seconds(spec: RunSpec, tasks: Sequence[Task]) -> float | None:
    """Seconds of all cells in this process; None where nothing is known of the model, or other machines compute."""
    if spec.model == "stub" or spec.model_path or spec.engine != "local":
        return None
    from ..profiling.flops import flops_of
    from ..profiling.plan import block_grids, model_block, model_dims, planned_counts

    try:
        dims, pixels = model_dims(spec.model)
        flops_rate, bytes_rate = measured_rates(spec.device, spec.dtype)
        total = 0.0
        for task in tasks:
            if not len(task.samples):
                continue
            sample = task.samples[0]
            new = spec.max_new_tokens or task.max_new_tokens
            grids = block_grids([_size(path) for path in sample.images], pixels, model_block(spec.model))
            counts = planned_counts(dims, grids, TEMPLATE + len(sample.question) // CHARACTERS, new)
            prefill = flops_of(dims, counts)["total_prefill"] / flops_rate
            heads = 2 * (dims.q_heads + dims.kv_heads) * dims.head_dim
            weights = dims.layers * dims.dim * (3 * dims.ffn + heads) + dims.vocab * dims.dim
            step = weights * BYTES[spec.dtype] / bytes_rate
            total += len(task.samples) * (prefill + new * (step + dims.layers * LAYER_SECONDS))
    except (UserError, OSError, RuntimeError, ValueError, SyntaxError):  # said when the sample or the model is met
        return None
    return total * len(spec.cells())


def _size(path: Any) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.width, image.height


def measured_rates(device: str, dtype: str) -> tuple[float, float]:
    """FLOPs per second of a matrix product, and bytes per second of a product with one row, on one device."""
    import torch

    place = torch.device("cuda" if device == SPREAD else device)
    side = 4096 if place.type == "cuda" else 768
    kind = getattr(torch, dtype)
    matrix = torch.ones(side, side, dtype=kind, device=place)

    def seconds(call: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            call()
            if place.type == "cuda":
                torch.cuda.synchronize(place)
            best = min(best, time.perf_counter() - start)
        return best

    row = matrix[:1]
    return 2 * side**3 / seconds(lambda: matrix @ matrix), side * side * kind.itemsize / seconds(lambda: row @ matrix.T)
