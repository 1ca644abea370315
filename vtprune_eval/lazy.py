"""Imports that wait: a command line that is refused must not pay for a library that it never used."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Waiting(ModuleType):
    """A module that is executed when an attribute is looked up that it does not have yet.

    ``importlib.util.LazyLoader`` does not do: a second ``import`` statement looks up ``__spec__``, which loads it.
    """

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # its own code looks up what is not there yet
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        try:
            spec.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(spec.name, None)
            raise
        return getattr(self, name)


def load_on_first_use(name: str) -> None:
    """Let ``import name`` succeed at once; the module is executed when something of it is first looked up.

    Nothing happens where it is loaded already or not installed. Call it before other threads start: two of them must
    not look up the first attribute at the same time.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    if type(module) is not ModuleType:  # a loader that makes modules of its own
        return
    module.__class__ = _Waiting
    vars(module).pop("__path__", None)  # so that the import of a submodule executes its package first
    sys.modules[name] = module
