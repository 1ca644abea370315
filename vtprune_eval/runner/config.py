"""Settings of a run as a YAML file or the command line give them, made into a :class:`~.spec.RunSpec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..benchmarks.definitions import SUITES, named_task
from ..benchmarks.registry import include
from ..errors import UserError, unknown_name
from ..json_values import JsonObject
from ..naming import split_outside
from .spec import RunSpec

BUDGET_OF = (
    "--budget-of is gone: --reading paper counts as each method's paper does (cache methods: the whole prompt), and "
    "without it all methods are counted alike (`python -m vtprune_eval explain METHOD` says how)."
)


def from_mapping(values: Mapping[str, Any]) -> RunSpec:
    """Build a spec from parsed YAML or command-line values; unknown keys are refused.

    Raises:
        UserError: unknown key (nearest offered) or a value of the wrong form.
    """
    names = {f.name: str(f.type) for f in dataclasses.fields(RunSpec)}
    clean: JsonObject = {}
    aliases = {"method": "methods", "budget": "budgets", "task": "tasks", "set": "params"}
    folders = values.get("include_path", values.get("include-path"))
    if folders is not None:
        values = {k: v for k, v in values.items() if k.replace("-", "_") != "include_path"}
        include(folders if isinstance(folders, (list, tuple)) else [folders])
    for key, value in values.items():
        key = aliases.get(key.replace("-", "_"), key.replace("-", "_"))
        if key == "budget_of":
            raise UserError(BUDGET_OF)
        if key not in names:
            raise unknown_name("setting", key, {*names, *aliases})
        if key in {"methods", "budgets", "tasks"}:
            items = (
                split_outside(value, ",") if isinstance(value, str) else value if isinstance(value, list) else [value]
            )
            value = tuple("" if v is None else str(v).strip() for v in items)
            if any(value) and not all(value):
                raise UserError(f"--{key}: an empty name stands in {','.join(value)!r}; leave it out, or name one.")
            value = tuple(filter(None, value))
        if key == "tasks":
            value = tuple(dict.fromkeys(task for name in value for task in SUITES.get(name) or (named_task(name),)))
        if key == "params" and not isinstance(value, dict):
            raise UserError("the setting 'set' must map METHOD.key to a value.")
        if key in {"share", "profile", "record_kept"} and value is False:
            value = "off"  # YAML reads the word as a truth value
        if names[key].startswith("str") and value is not None:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise UserError(f"the setting {key!r} must be a text, found {value!r}.")
            value = str(value)  # YAML reads a folder called 5 as a number
            if not value.strip():
                raise UserError(f"--{key.replace('_', '-')} is empty; give a value, or leave it out.")
        clean[key] = value
    return RunSpec(**clean)


def _once() -> Any:
    """A safe loader that refuses a key that stands twice in one mapping, where YAML takes the last in silence."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise UserError(f"the key {key.value!r} stands twice (line {key.start_mark.line + 1}); keep one.")
                if isinstance(key.value, str):
                    seen.add(key.value)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    return Loader


def read_yaml(path: str) -> JsonObject:
    """Read a ``--config`` file.

    Raises:
        UserError: unreadable, not YAML, or not a mapping.
    """
    import yaml

    try:
        data = _once()(Path(path).read_text(encoding="utf-8")).get_single_data()
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from None
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not valid YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(data, dict):
        raise UserError(f"--config {path}: a mapping of settings is needed, for example 'model: nano'.")
    return {str(k): v for k, v in data.items()}
