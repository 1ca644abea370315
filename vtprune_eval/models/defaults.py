"""Device and floating type where the user named none: the best device that is there, and what suits it."""

from __future__ import annotations

import json
from pathlib import Path

# What stands for "choose for me", and the device name that spreads one model over all visible GPUs.
BEST, SPREAD = "auto", "spread"


def best_device() -> str:
    """``cuda`` where torch can use one, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve(name: str, device: str, dtype: str, folder: str | Path | None = None) -> tuple[str, str]:
    """Device and floating type of a run.

    Args:
        name: short name of the model.
        device: as asked for; ``auto`` is the best one present.
        dtype: as asked for; ``auto`` is float32 on a CPU, and on a GPU the checkpoint's own type (bfloat16 for all
            published models), or float16 where the GPU does not compute in bfloat16.
        folder: local hub-format folder, whose ``config.json`` names the checkpoint's type.

    Returns:
        Both, neither of them ``auto``.
    """
    if name == "stub":  # without a network nothing is computed anywhere
        return ("cpu" if device == BEST else device), ("float32" if dtype == BEST else dtype)
    if device == BEST:
        device = best_device()
    if dtype != BEST:
        return device, dtype
    if device == "cpu":
        return device, "float32"
    from .embedded import EMBEDDED, embedded_folder

    own = _own_dtype(Path(folder) if folder else embedded_folder(name) if name in EMBEDDED else None)
    return device, ("float16" if own == "bfloat16" and not _has_bfloat16() else own)


def _own_dtype(folder: Path | None) -> str:
    """The checkpoint's floating type; bfloat16 where the folder does not say, or says something else."""
    if folder is None:
        return "bfloat16"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = config.get("text_config") or {}
        found = str(next((c[k] for c in (config, text) for k in ("dtype", "torch_dtype") if c.get(k)), "bfloat16"))
    except (OSError, ValueError, AttributeError):  # refused with a sentence when the model is loaded
        return "bfloat16"
    return found if found in ("float32", "bfloat16", "float16") else "bfloat16"


def _has_bfloat16() -> bool:
    import torch

    try:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    except (AssertionError, RuntimeError):  # a broken driver; what follows says so
        return False
