"""vtprune_eval: one harness for visual-token pruning of vision-language models.

The names of ``__all__`` are the public API (:mod:`.api`); they are imported when first used, so that
``import vtprune_eval`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
_HOME = {
    "run": "api",
    "load_model": "api",
    "load_task": "api",
    "load_result": "api",
    "LoadedModel": "api",
    "Result": "api",
    "Budget": "budget",
    "UserError": "errors",
    "Method": "methods.base",
    "hyper": "methods.base",
}
__all__ = [
    "Budget",
    "LoadedModel",
    "Method",
    "Result",
    "UserError",
    "__version__",
    "hyper",
    "load_model",
    "load_result",
    "load_task",
    "run",
]

if TYPE_CHECKING:
    from .api import LoadedModel, Result, load_model, load_result, load_task, run
    from .budget import Budget
    from .errors import UserError
    from .methods.base import Method, hyper


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
