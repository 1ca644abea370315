"""Names to methods: a scan of ``vtprune_eval/methods/`` plus the entry-point group ``vtprune_eval.methods``.

The file name is the method's name (``guipruner_tar.py`` is ``guipruner-tar``; a plus sign composes methods, so
PruMerge+ is ``prumerge-plus``), so names are known without importing torch; a method's module is imported when it is
first used. ``kvpress:NAME`` is a press of another library.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import crash_sentence
from .errors import UserError, unknown_name
from .naming import bare, parts_of, settings_in
from .plugins import classes_of, is_subclass

if TYPE_CHECKING:
    from .budget import Reading
    from .methods.base import Method

ENTRY_POINT_GROUP = "vtprune_eval.methods"
# Names of the presses of another library.
BRIDGE = "kvpress:"
_NOT_METHODS = {"__init__", "base"}


@cache
def method_names() -> dict[str, str]:
    """Every method name and where it comes from (``builtin`` or an entry point's value).

    A name that is taken already stays with its first owner, and standard error says so: a run that silently measures
    another method than the one that was installed would be worse than a refusal.
    """
    folder = Path(__file__).parent / "methods"
    names = {p.stem.replace("_", "-"): "builtin" for p in sorted(folder.glob("*.py")) if p.stem not in _NOT_METHODS}
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if names.setdefault(point.name, point.value) != point.value:
            print(
                f"warning: the method {point.name!r} of {point.value} is ignored, since "
                f"{_owner(names[point.name])} has that name; rename it in its package's entry points.",
                file=sys.stderr,
            )
    return names


_REGISTERED: dict[str, type[Method]] = {}


def register(cls: type[Method]) -> None:
    """Make a method of this process known by its name, for one that is in no package (a notebook's).

    Args:
        cls: its class; registering the class of an installed method changes nothing.

    Raises:
        UserError: an installed method has the name.
    """
    if cls.name in method_names():
        if method_class(cls.name) is cls:
            return
        if cls.name not in _REGISTERED:
            raise UserError(f"a method named {cls.name!r} is installed; give {cls.__name__} another name.")
    _REGISTERED[cls.name] = cls  # a notebook's cell that is run again defines the class anew
    method_names()[cls.name] = "registered"


def _owner(source: str) -> str:
    return "a built-in method" if source == "builtin" else source


def check_method_name(name: str) -> None:
    """Refuse an unknown method (or composition ``a+b``, or settings in brackets that cannot be read) without importing
    any.

    Raises:
        UserError: with the nearest names.
    """
    for part in parts_of(name):
        settings_in(part)
        if bare(part) not in method_names() and not part.startswith(BRIDGE):
            raise unknown_name("method", bare(part), method_names(), "`python -m vtprune_eval list methods` shows all.")


def method_class(name: str) -> type[Method]:
    """Import and return the class of one method, whatever settings stand behind its name.

    Raises:
        UserError: unknown name, or a third-party entry point that cannot be imported or is no method of that name.
    """
    check_method_name(name)
    name = bare(name)
    from .methods.base import Method

    if name.startswith(BRIDGE):
        from .methods.bridges.kvpress import bridge

        return bridge(name)
    source = method_names()[name]
    if source == "registered":
        return _REGISTERED[name]
    if source == "builtin":
        file = f"vtprune_eval/methods/{name.replace('-', '_')}.py"
        try:
            module = importlib.import_module(f"vtprune_eval.methods.{name.replace('-', '_')}")
        except (Exception, SystemExit) as error:  # one file must not end a run, or hide the others in a list
            raise UserError(
                f"method {name!r} ({file}) cannot be imported ({crash_sentence(error)}); fix that file."
            ) from error
        classes = classes_of(module, Method, name)
        if len(classes) != 1:
            raise UserError(f"{file} must define exactly one Method named {name!r}, found {len(classes)}; fix it.")
        return classes[0]
    point = next(p for p in metadata.entry_points(group=ENTRY_POINT_GROUP) if (p.name, p.value) == (name, source))
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"method {name!r} ({source}) cannot be imported ({crash_sentence(error)}); mend or uninstall its package."
        ) from error
    if not (is_subclass(found, Method) and found.name == name):
        raise UserError(
            f"method {name!r} ({source}) is not a subclass of vtprune_eval.methods.base.Method with that "
            "name; mend or uninstall its package."
        )
    return found


def make_method(name: str, params: dict[str, Any] | None = None, reading: Reading = "equal") -> Method:
    """Build the method ``name`` with hyper-parameters ``params`` (text values are converted to the field's type).

    Args:
        name: of one method, perhaps with settings in brackets, which go first.
        params: by name, what is absent has its default.
        reading: of its budget, on which some defaults depend.

    Raises:
        UserError: unknown method or hyper-parameter, a value that does not convert or is out of range.
    """
    cls, given = method_class(name), {**(params or {}), **settings_in(name)}
    values = {key: converted(bare(name), key, value) for key, value in given.items()}
    if reading != "equal":
        values = {**cls.paper_defaults, **values}
    return cls(**values)


def converted(name: str, key: str, value: Any) -> Any:
    """A hyper-parameter's value in the type of its field.

    Raises:
        UserError: the method has no such hyper-parameter, or a text that does not convert.
    """
    fields = {f.name: f for f in dataclasses.fields(method_class(name))}
    if key not in fields:
        raise unknown_name(f"hyper-parameter of {name}", key, fields or ["(it has none)"])
    return _convert(name, key, value, type(fields[key].default))


def _convert(method: str, key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, str):
        return float(value) if kind is float and isinstance(value, int) and not isinstance(value, bool) else value
    if kind is bool:
        if value.lower() in {"true", "1", "yes"}:
            return True
        if value.lower() in {"false", "0", "no"}:
            return False
        raise UserError(f"{method}: {key}={value!r} is not true or false.")
    if kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            raise UserError(f"{method}: {key}={value!r} is not {'a whole' if kind is int else 'a'} number.") from None
    return value
