"""A sweep over hyper-parameters: a setting with several values becomes several cells of one run.

``--set pixelprune.tau=0,0.02`` makes ``pixelprune[tau=0]`` and ``pixelprune[tau=0.02]``; several swept settings are
crossed. A method that copies the count of a swept one (``random`` at ``auto``) has a cell for each of its values, with
a budget such as ``like:pixelprune[tau=0.02]``, so that every row has its own control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ..budget import Budget
from ..errors import UserError
from ..naming import bare, named, parts_of, settings_in, shown_value
from ..registry import converted, make_method, method_class

Params = Mapping[str, Any]


def checked(params: Mapping[Any, Any]) -> dict[str, Any]:
    """Settings of a run; several values of one are a tuple.

    Raises:
        UserError: no value, or a value that is no single one.
    """
    out: dict[str, Any] = {}
    for key, value in params.items():
        values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not values or any(v is None or isinstance(v, (list, tuple, dict)) for v in values):
            raise UserError(f"--set {key}: {value!r} is no value; write KEY=VALUE, or KEY=VALUE,VALUE for a sweep.")
        out[str(key)] = values if isinstance(value, (list, tuple)) else value
    return out


def variants(name: str, params: Params) -> list[str]:
    """A method's name for every combination of the values that are swept; itself where none is.

    Args:
        name: a method or a composition, perhaps with settings in brackets, which are not swept.
        params: of the run.

    Raises:
        UserError: an unknown hyper-parameter, a value that does not convert, or one that stands there twice.
    """
    return ["+".join(one) for one in product(*(_of_part(part, params) for part in parts_of(name)))]


def _of_part(part: str, params: Params) -> list[str]:
    name, given = bare(part), settings_in(part)
    if name == "full":
        return [part]
    cls = method_class(name)
    keys: dict[str, tuple[str, ...]] = {}
    for full_key, values in params.items():
        owner, dot, key = full_key.partition(".")
        key = key if dot else owner
        followed = bool(dot) and owner == cls.default_like and key in cls.follows and f"{name}.{key}" not in params
        if isinstance(values, tuple) and key not in given and (not dot or owner == name or followed):
            keys[key] = _typed(name, full_key, key, values)
    own = {k: shown_value(converted(name, k, v)) for k, v in given.items()}
    order = [f.name for f in dataclasses.fields(cls)]  # a name does not depend on the order of what was typed
    swept = [k for k in order if k in keys]
    sets = [own | dict(zip(swept, chosen, strict=True)) for chosen in product(*(keys[k] for k in swept))]
    return [named(name, {k: values[k] for k in order if k in values}) for values in sets]


def _typed(method: str, full_key: str, key: str, values: Sequence[Any]) -> tuple[str, ...]:
    texts = tuple(shown_value(converted(method, key, v)) for v in values)
    twice = next((t for t in texts if texts.count(t) > 1), None)
    if twice is not None:
        raise UserError(f"--set {full_key}: the value {twice} stands there twice; leave one out.")
    return texts


def budgets_of(name: str, budget: Budget, methods: Sequence[str], params: Params) -> list[str]:
    """The budgets of one cell's method: the same, or one per variant of the method whose count it copies.

    Args:
        name: of :func:`variants`.
        budget: as asked for.
        methods: of the run.
        params: of the run.
    """
    text = str(budget)
    parts = parts_of(name)
    if budget.kind == "auto":
        likes = [c.default_like for c in (method_class(p) for p in parts) if not c.adaptive and c.default_like]
    else:
        likes = [budget.like] if budget.like and "[" not in budget.like else []
    if not likes or likes[0] is None:
        return [text]
    like = likes[0]
    run = [p for m in methods if like in bare(m).split("+") for v in variants(m, params) for p in parts_of(v)]
    choices = list(dict.fromkeys(p for p in run if bare(p) == like)) or variants(like, params)
    if choices == [like]:
        return [text]
    told = {
        key: value
        for part in parts
        if method_class(part).default_like == like
        for key, value in settings_in(part).items()
        if key in method_class(part).follows
    }
    same = [c for c in choices if all(settings_in(c).get(k, v) == v for k, v in told.items())]
    return [f"like:{c}" for c in same or choices]


def made(name: str, params: Params, reading: Any = "equal", shared: bool = True) -> tuple[Any, ...]:
    """The method objects of a cell.

    Args:
        name: of a cell; what stands in its brackets goes before ``params``.
        params: of the run; of several values that the name does not choose from, the first.
        reading: of the budget, on which some defaults depend.
        shared: whether settings without a method's name are meant.

    Raises:
        UserError: unknown names, or values that do not convert or are out of range.
    """
    out = []
    single = {k: v[0] if isinstance(v, tuple) else v for k, v in params.items()}
    for part in parts_of(name):
        base = bare(part)
        own = {k.partition(".")[2]: v for k, v in single.items() if k.startswith(base + ".")}
        cls = method_class(base)
        followed = {k: single[f"{cls.default_like}.{k}"] for k in cls.follows if f"{cls.default_like}.{k}" in single}
        common = {k: v for k, v in single.items() if "." not in k} if shared and base != "full" else {}
        out.append(make_method(base, {**followed, **common, **own, **settings_in(part)}, reading))
    return tuple(out)


def labelled(name: str, methods: Sequence[Any], reading: Any = "equal") -> str:
    """A cell's method with every setting that is no default, as tables name it; values of a sweep stand there anyway.

    Args:
        name: of the cell.
        methods: its objects (:func:`made`).
        reading: on which some defaults depend.
    """
    out = []
    for part, method in zip(parts_of(name), methods, strict=True):
        usual, chosen = make_method(bare(part), {}, reading), settings_in(part)
        fields = [f.name for f in dataclasses.fields(method)]
        shown = {k: getattr(method, k) for k in fields if k in chosen or getattr(method, k) != getattr(usual, k)}
        out.append(named(bare(part), shown))
    return "+".join(out)
