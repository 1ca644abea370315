"""How much memory a model's weights need, asked before they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import UserError

GIB = float(1 << 30)
_HALF = 2  # bytes per weight of bfloat16 and float16


def n_weights(model_class: Any, config: Any) -> int:
    """Weights of ``model_class(config)``, shared ones counted once; nothing is allocated."""
    with torch.device("meta"):
        model = model_class(config)
    model.tie_weights()
    return sum(p.numel() for p in model.parameters())


def free_bytes(device: str) -> int | None:
    """Bytes that can still be allocated on ``device``; None where this cannot be known.

    On the CPU: what the system has available, or what the container's limit (cgroup v2) leaves, if that is less.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    bounds = [available for available in (_system_bytes(), _container_bytes()) if available is not None]
    return min(bounds, default=None)


def _system_bytes(path: Path = Path("/proc/meminfo")) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _container_bytes(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # The kernel gives up cached files that are not in use before it refuses memory.
        return None if limit == "max" else max(0, int(limit) - int(used) + int(statistics.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def check_memory(name: str, model_class: Any, config: Any, dtype: torch.dtype, device: str) -> None:
    """Refuse a model whose weights alone exceed the free memory.

    Raises:
        UserError: how much is needed, how much is free, and what would fit.
    """
    free = free_bytes(device)
    if free is None:
        return
    count = n_weights(model_class, config)
    need = count * dtype.itemsize
    if need <= free:
        return
    from . import MODELS

    def said(number: float) -> str:
        return f"{number / GIB:.1f} GiB"

    if dtype.itemsize > _HALF and count * _HALF <= free:
        fits = f"--dtype bfloat16 would fit ({said(count * _HALF)})"
    else:
        # A model that points answers another kind of question than one that writes.
        points = name in MODELS and MODELS[name].coordinates == "fractions"
        smaller = sorted(
            (card.weights * dtype.itemsize, other)
            for other, card in MODELS.items()
            if 0 < card.weights * dtype.itemsize <= free and (card.coordinates == "fractions") == points
        )
        fits = (
            f"the largest model that fits is {smaller[-1][1]} ({said(smaller[-1][0])})" if smaller else "no model fits"
        )
    raise UserError(
        f"{name}: the weights need {said(need)} in {str(dtype).removeprefix('torch.')}, {device} has "
        f"{said(free)} free; {fits}."
    )
