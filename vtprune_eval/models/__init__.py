"""Short names to models. Nothing heavy is imported until a model is loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, unknown_name

if TYPE_CHECKING:
    from .base import VlmAdapter

NANO = Path(__file__).parent / "nano"
DTYPES = ("float32", "bfloat16", "float16")
ATTENTION = ("sdpa", "eager", "flash_attention_2")


@dataclass(frozen=True)
class ModelCard:
    """What a short name stands for."""

    family: str
    hub_id: str | None
    coordinates: str
    about: str


# No revision is pinned: none could be verified without network access; the weight fingerprint in every record tells
# two revisions apart.
MODELS = {
    "nano": ModelCard("qwen3_vl", None, "hundredths", "embedded 9.8 M instrument for the mini suite; no download"),
    "qwen3vl-2b": ModelCard("qwen3_vl", "Qwen/Qwen3-VL-2B-Instruct", "thousandths", "Qwen3-VL 2B Instruct"),
    "qwen3vl-4b": ModelCard("qwen3_vl", "Qwen/Qwen3-VL-4B-Instruct", "thousandths", "Qwen3-VL 4B Instruct"),
    "qwen3vl-8b": ModelCard("qwen3_vl", "Qwen/Qwen3-VL-8B-Instruct", "thousandths", "Qwen3-VL 8B Instruct"),
    "stub": ModelCard("stub", None, "hundredths", "scripted stand-in without a network; tests of the harness only"),
}


def model_names() -> tuple[str, ...]:
    """Every short name."""
    return tuple(MODELS)


def check_model_name(name: str) -> ModelCard:
    """The card of ``name``.

    Raises:
        UserError: unknown name, with the nearest ones.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS, "`python -m vtprune_eval list models` shows all.")
    return MODELS[name]


def load_model(name: str, *, weights: str = "hub", path: str | None = None, dtype: str = "float32",
               device: str = "cpu", seed: int = 0, attn: str = "sdpa") -> VlmAdapter:
    """Load a model behind its family's adapter.

    Args:
        name: short name.
        weights: ``hub`` (a local folder or the hub) or ``random`` (true architecture, no download).
        path: local hub-format folder, instead of the hub.
        dtype, device, attn: floating type, torch device, attention backend.
        seed: of random weights.

    Raises:
        UserError: anything a user can mend (missing weights, wrong architecture, unknown device, ...).
    """
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
    from transformers import logging as hf_logging

    from .qwen3_vl import TRUE_SIZES, Qwen3VL, image_rules
    from .random_init import random_model

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    card = check_model_name(name)
    _check_runtime(device, dtype, attn)
    kind = getattr(torch, dtype)
    if weights == "random" and name != "nano" and path is None:
        tokenizer = _tokenizer(NANO)
        special = {f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<|{v}|>") for k, v in (
            ("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
            ("vision_end", "vision_end"))}
        config = Qwen3VLConfig(**TRUE_SIZES[name], **special)
        config._attn_implementation = attn
        model = random_model(Qwen3VLForConditionalGeneration, config, dtype=kind, device=device, seed=seed)
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        folder, print_ = None, f"random:{seed}"
        note = "text tokens are those of nano's tokenizer, because the model's own needs a download"
    else:
        folder = Path(path) if path else NANO if name == "nano" else _hub_folder(name, card)
        config = _read_config(folder, name)
        tokenizer = _tokenizer(folder)
        try:
            model, report = Qwen3VLForConditionalGeneration.from_pretrained(
                folder, dtype=kind, attn_implementation=attn, local_files_only=True, output_loading_info=True)
            model = model.to(device).eval()
        except Exception as error:
            raise UserError(f"{name}: the weights in {folder} cannot be loaded ({_first_line(error)}); download the "
                            "folder again or point --model-path to a complete one.") from error
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise UserError(f"{name}: the weights in {folder} lack {len(report['missing_keys'])} tensors (for example "
                            f"{sorted(report['missing_keys'])[0]}); download the folder again or point --model-path to "
                            "a complete one.")
        if weights == "random":
            model = random_model(type(model), config, dtype=kind, device=device, seed=seed)
            model.generation_config.eos_token_id = tokenizer.eos_token_id
        print_ = f"random:{seed}" if weights == "random" else fingerprint(folder)
        note = ""
    model.requires_grad_(False)
    identity: dict[str, Any] = {
        "model": name, "hub_id": card.hub_id, "architecture": type(model).__name__,
        "weights": "random" if weights == "random" else "trained", "fingerprint": print_, "dtype": dtype,
        "attention": attn, "device": device, "trained": weights != "random", "note": note,
    }
    return Qwen3VL(name, model, tokenizer, image_rules(config, folder), identity, card.coordinates)


def fingerprint(folder: Path) -> str:
    """SHA-256 over name, size and content of every weight file (of large files: the first and last 8 MiB)."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size};".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 23) if size > 1 << 28 else stream.read())
            if size > 1 << 28:
                stream.seek(-(1 << 23), 2)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _check_runtime(device: str, dtype: str, attn: str) -> None:
    import importlib.util

    import torch

    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if attn not in ATTENTION:
        raise unknown_name("attention backend", attn, ATTENTION)
    if attn == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise UserError("--attn flash_attention_2 needs the package flash-attn: pip install 'vtprune_eval[flash]'.")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UserError(f"--device {device!r} is not a device; use cpu, cuda or cuda:N.") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu.")


def _hub_folder(name: str, card: ModelCard) -> Path:
    from huggingface_hub import snapshot_download

    assert card.hub_id
    try:
        return Path(snapshot_download(card.hub_id, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"]))
    except Exception as error:
        raise UserError(
            f"{name}: the weights of {card.hub_id} are neither cached nor reachable ({_first_line(error)}); "
            "connect to the hub once, give a local folder with --model-path, or use --weights random."
        ) from error


def _read_config(folder: Path, name: str) -> Any:
    from transformers import Qwen3VLConfig

    from .qwen3_vl import ARCHITECTURE

    path = folder / "config.json"
    if not folder.is_dir() or not path.exists():
        raise UserError(f"{name}: {folder} is not a model folder (no config.json); point --model-path to one.")
    try:
        data = json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{name}: {path} is not valid JSON; download the folder again.") from None
    found = (data.get("architectures") or [data.get("model_type", "unknown")])[0]
    if found not in {ARCHITECTURE, "qwen3_vl"}:
        raise UserError(f"{name}: {folder} holds a {found}, but {ARCHITECTURE} is needed.")
    return Qwen3VLConfig.from_pretrained(folder)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise UserError(f"the folder {folder} has no usable tokenizer ({_first_line(error)}); download its tokenizer "
                        "files too.") from error
    if not tokenizer.chat_template:
        raise UserError(f"the folder {folder} has no chat template; add the model's chat_template.json or "
                        "chat_template.jinja.")
    return tokenizer


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".:")[:200]
