"""Classes in modules: an alias of a type is none, on any Python."""

from types import SimpleNamespace
from typing import Any

from vtprune_eval.methods.base import Method
from vtprune_eval.plugins import classes_of, is_subclass


class Mine(Method):
    name = "mine"


def test_aliases_of_types_are_no_classes():
    assert is_subclass(Mine, Method)
    assert not any(is_subclass(c, Method) for c in (list[int], dict[str, Any], int | None, 3, Any))


def test_a_module_may_hold_aliases_beside_its_class():
    module = SimpleNamespace(__name__=__name__, Pair=tuple[int, int], Mine=Mine, Method=Method, other=Method)
    assert classes_of(module, Method, "mine") == [Mine] and classes_of(module, Method, "yours") == []
