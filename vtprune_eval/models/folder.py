"""Files of a hub-format model folder: download, tokenizer, image processor, fingerprint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_values import JsonObject

_WANTED = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
_CODE = ["*.py", "*.model"]


def hub_folder(name: str, hub_id: str, revision: str | None, with_code: bool = False) -> Path:
    """The cached snapshot of a hub repository, downloaded if it is not there; ``with_code``: its Python files, too.

    Raises:
        UserError: gated, missing, an unknown revision, or no network and no cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()  # its retries are told line by line; the sentences below say how it ended
    wanted = [*_WANTED, *_CODE] if with_code else _WANTED
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted))
    except GatedRepoError as error:
        raise UserError(
            f"{name}: {hub_id} is gated; accept its licence at https://huggingface.co/{hub_id}, log in "
            "with `hf auth login`, and start again."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{name}: {hub_id} has no revision {revision} any more; give a local folder with --model-path."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: the hub has no repository {hub_id}, or it is private; log in with `hf auth login` or "
            "give a local folder with --model-path."
        ) from error
    except Exception as error:
        raise UserError(
            f"{name}: the weights of {hub_id} are neither cached nor reachable ({first_line(error)}); "
            "connect to the hub once, give a local folder with --model-path, or use --weights random."
        ) from error


def fingerprint(folder: Path) -> str:
    """SHA-256 over name, size and content of every weight file (of large files: the first and last 8 MiB).

    A scorer in the sub-folder ``focusui`` counts, because answers depend on it.
    """
    digest = hashlib.sha256()
    files = [*folder.glob("*.safetensors"), *folder.glob("focusui/*.safetensors")]
    for file in sorted(files, key=lambda f: f.name):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size};".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(1 << 23) if size > 1 << 28 else stream.read())
            if size > 1 << 28:
                stream.seek(-(1 << 23), 2)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def read_json(path: Path) -> JsonObject:
    """The object in a JSON file.

    Raises:
        UserError: unreadable, not JSON, or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = None
    if not isinstance(data, dict):
        raise UserError(f"{path} is not valid JSON; download the folder again.")
    return data


def processor_settings(folder: Path) -> JsonObject:
    """The image processor's settings: a file of its own, or (transformers 5) a part of ``processor_config.json``.

    Raises:
        UserError: neither file, or damaged.
    """
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = folder / name
        if path.exists():
            data = read_json(path)
            if key is None or key in data:
                return data[key] if key else data
    raise UserError(
        f"{folder} has no preprocessor_config.json, which says how images are resized; download the "
        "model's processor files too."
    )


def chat_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer with its chat template; ``trust_remote_code``: the folder's own tokenizer code may be run.

    Raises:
        UserError: no usable tokenizer, or no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise UserError(
            f"the folder {folder} has no usable tokenizer ({first_line(error)}); download its tokenizer files too."
        ) from error
    legacy = folder / "chat_template.json"
    if legacy.exists() and not (folder / "chat_template.jinja").exists():
        # The processor's template, as older repositories store it; the tokenizer's own may know no images.
        tokenizer.chat_template = read_json(legacy).get("chat_template") or tokenizer.chat_template
    if not tokenizer.chat_template:
        raise UserError(
            f"the folder {folder} has no chat template; add the model's chat_template.json or chat_template.jinja."
        )
    return tokenizer


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop, for a sentence of ours."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".:")[:200]
