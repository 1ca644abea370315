"""Names of methods that carry settings: ``pixelprune[tau=0.02]``, ``a[x=1,y=2]+b``, and lists of such names.

A cell of a sweep over hyper-parameters is known by such a name everywhere: in records, tables, figures and boards.
Inside the brackets a backslash stands before a character that would end a value: ``x[at=1\\,2]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import UserError

_ESCAPED = re.compile(r"([\\,\[\]])")


def split_outside(text: str, at: str) -> list[str]:
    """The pieces of ``text`` between the characters ``at`` that stand in no brackets; escapes stay as they are."""
    out, depth, skip = [""], 0, False
    for ch in text:
        if skip or ch == "\\":
            skip = not skip
        elif ch in "[]":
            depth = max(0, depth + (1 if ch == "[" else -1))
        elif ch == at and not depth:
            out.append("")
            continue
        out[-1] += ch
    return out


def split_values(text: str) -> list[str]:
    """``1,2`` as two values, ``1\\,2`` as one with a comma in it; a backslash elsewhere is itself."""
    out, skip = [""], False
    for i, ch in enumerate(text):
        if not skip and ch == "\\" and text[i + 1 : i + 2] in (",", "\\"):
            skip = True
        elif not skip and ch == ",":
            out.append("")
        else:
            out[-1] += ch
            skip = False
    return [v.strip() for v in out]


def typed_settings(items: Sequence[str]) -> dict[str, Any]:
    """What ``--set KEY=VALUE[,VALUE...]`` gave: a text by key, or a list of them for a sweep.

    Raises:
        UserError: an item without a key or ``=``, or a key that is given twice.
    """
    out: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {item!r}: write KEY=VALUE, for example --set pixelprune.tau=0.02.")
        if key.strip() in out:
            raise UserError(f"--set {key.strip()} is given twice; leave one out, or write both values in one: KEY=1,2.")
        values = split_values(value)
        out[key.strip()] = values if len(values) > 1 else values[0]
    return out


def parts_of(name: str) -> list[str]:
    """The methods of a composition, each with its brackets."""
    return split_outside(name, "+")


def typed(value: Any) -> str:
    """A setting's value as ``--set`` takes it: several with commas between, a comma in one with a backslash."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    return ",".join(re.sub(r"\\(?=[\\,]|$)|,", r"\\\g<0>", shown_value(v)) for v in values)


def bare(part: str) -> str:
    """A method's name without its brackets; of a composition, that of every part."""
    return "+".join(p.partition("[")[0] for p in parts_of(part)) if "[" in part else part


def settings_in(part: str) -> dict[str, str]:
    """What stands in the brackets of one method's name.

    Raises:
        UserError: brackets that hold no ``key=value``, or are not closed.
    """
    name, opened, rest = part.partition("[")
    if not opened:
        return {}
    wrong = UserError(f"{part!r}: settings of a method stand behind its name, as in {name or 'pixelprune'}[tau=0.02].")
    if not name or not rest.endswith("]") or rest.endswith("\\]"):
        raise wrong
    out: dict[str, str] = {}
    for item in split_outside(rest[:-1], ","):
        key, equals, value = item.partition("=")
        if not key.strip() or not equals or key.strip() in out or re.search(r"(?<!\\)[\[\]]", value):
            raise wrong
        out[key.strip()] = re.sub(r"\\([\\,\[\]])", r"\1", value.strip())
    return out


def named(name: str, settings: Mapping[str, Any]) -> str:
    """``name[key=value,...]``; ``name`` alone for no settings."""
    escaped = {k: _ESCAPED.sub(r"\\\1", shown_value(v)) for k, v in settings.items()}
    inside = ",".join(f"{k}={v}" for k, v in escaped.items())
    return f"{name}[{inside}]" if inside else name


def shown_value(value: Any) -> str:
    """A hyper-parameter's value as it is typed: ``true``, ``2``, ``0.02``."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
