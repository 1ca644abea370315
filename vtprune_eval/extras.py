"""Optional packages: which extra of ours brings which."""

from __future__ import annotations

import importlib.util

from .errors import UserError

# Import name -> (extra of this package, name on the package index).
EXTRAS = {
    "vlmeval": ("vlmeval", "ms-vlmeval"),
    "pypdfium2": ("vlmeval", "pypdfium2"),
    "lm_eval": ("lm-eval", "lm-eval"),
    "fuzzysearch": ("vlmeval", "fuzzysearch"),
    "bs4": ("vlmeval", "beautifulsoup4"),
    "rapidfuzz": ("vlmeval", "rapidfuzz"),
    "playwright": ("vlmeval", "playwright"),
    "vllm": ("vllm", "vllm"),
}


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
