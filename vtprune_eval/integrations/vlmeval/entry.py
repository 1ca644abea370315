"""The kit's run entry, in both layouts: ``vlmeval.run`` of the packages, ``run.py`` at the root of a git checkout."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from ...errors import UserError


def run_module() -> Any:
    """The module with the kit's ``main``.

    Raises:
        UserError: neither layout is there.
    """
    spec = importlib.util.find_spec("vlmeval")
    assert spec is not None and spec.origin is not None  # checked before
    package = Path(spec.origin).parent
    if (package / "run.py").is_file():
        return importlib.import_module("vlmeval.run")
    path = package.parent / "run.py"
    if not path.is_file():
        raise UserError(
            f"VLMEvalKit at {package.parent} has no run.py; install ms-vlmeval, or put the root of a git checkout on "
            "PYTHONPATH."
        )
    known = sys.modules.get("run")
    if known is not None and Path(getattr(known, "__file__", "") or "") == path:
        return known
    found = importlib.util.spec_from_file_location("run", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["run"] = module  # the kit's own processes import it by this name
    found.loader.exec_module(module)
    return module


def has_option(module: Any, option: str) -> bool:
    """Whether the entry of this version knows an option of the command line."""
    return f"'{option}'" in (text := inspect.getsource(module.parse_args)) or f'"{option}"' in text
