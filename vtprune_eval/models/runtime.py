"""Device, floating type and attention backend: what there is to choose, and whether this machine has it."""

from __future__ import annotations

from ..errors import UserError, unknown_name
from .defaults import SPREAD

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("sdpa", "eager", "flash_attention_2")


def check_runtime(device: str, dtype: str, attn: str) -> None:
    """Refuse a device, floating type or attention backend that is not there.

    Raises:
        UserError: with the remedy.
    """
    import importlib.util

    import torch

    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if attn not in ATTENTION:
        raise unknown_name("attention backend", attn, ATTENTION)
    try:
        wanted = torch.device("cuda" if device == SPREAD else device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in {"cpu", "cuda"}:
        raise UserError(f"--device {device!r} is not a device; use cpu, cuda, cuda:N, or spread for all GPUs together.")
    if attn == "flash_attention_2":
        if importlib.util.find_spec("flash_attn") is None:
            raise UserError("--attn flash_attention_2 needs the package flash-attn: pip install 'vtprune_eval[flash]'.")
        if wanted.type != "cuda" or dtype == "float32":
            raise UserError(
                "--attn flash_attention_2 needs --device cuda and --dtype bfloat16 or float16; use --attn sdpa here."
            )
    if wanted.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"--device {device}: this machine has no usable CUDA device; use --device cpu.")
        if (wanted.index or 0) >= torch.cuda.device_count():
            raise UserError(
                f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices; use cuda:0 "
                f"to cuda:{torch.cuda.device_count() - 1}."
            )
        if dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError(
                f"--dtype bfloat16: {torch.cuda.get_device_name(wanted)} does not compute in it; use --dtype float16."
            )
