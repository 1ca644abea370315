"""Classes that modules define: how registries find a method or a benchmark in a file or an entry point."""

from __future__ import annotations

from types import GenericAlias
from typing import Any, TypeGuard, TypeVar

T = TypeVar("T")


def is_subclass(found: object, base: type[T]) -> TypeGuard[type[T]]:
    """Whether something is a class below ``base``: an alias like ``list[int]`` calls itself a type on Python 3.10."""
    return isinstance(found, type) and not isinstance(found, GenericAlias) and issubclass(found, base)


def classes_of(module: Any, base: type[T], name: str) -> list[type[T]]:
    """Classes below ``base`` that a module itself defines under ``name``.

    Args:
        module: an imported module.
        base: what they derive from.
        name: value of their own attribute ``name``.
    """
    found = (c for c in vars(module).values() if is_subclass(c, base))
    return [c for c in found if c.__module__ == module.__name__ and c.__dict__.get("name") == name]
