"""``task.yaml`` as a type: every key documented, an unknown or missing one refused in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown_name
from ..json_values import JsonObject

_REQUIRED = ("title", "version", "benchmark", "max_new_tokens", "source", "licence")


@dataclass(frozen=True)
class TaskSpec:
    """The definition of a task: its ``task.yaml`` with the changes of a variant.

    Attributes:
        name: of the folder, with ``_VARIANT`` behind it for a variant.
        title: one line for lists.
        version: raised whenever the same answer could get another score, or the samples change.
        benchmark: module that reads and scores the data (:mod:`vtprune_eval.benchmarks`).
        max_new_tokens: limit of an answer.
        source: which data, in words; shown with the licence before a download.
        licence: of the data.
        folder: where ``task.yaml`` lies; embedded data are in ``data/`` below it.
        protocol: whose scoring rule; the benchmark's first one until a run chooses another.
        history: earlier screenshots per step, by protocol; None for a task without screenshot history.
        shown: earlier screenshots that a step comes with, under the chosen protocol.
        prompts: a shared prompt set (a folder of ``tasks/prompts/``), beside the task's own ``prompts/``.
        floor: accuracy below which a trained full model points to a mistake in the set-up.
        expected: numbers of records, whole and per group, that the published data have.
        download: where ``data get`` fetches from.
        obtain: what a user does to have data that cannot be fetched.
        package: an installed package that holds the data, for data that is too large for this one.
        variants: name to changed keys; each is a task of its own.
        settings: keys that the benchmark itself defines (``split``, ``level``, ``file``, ``rule``).
        data_folder: where the data lie by themselves, for data that another package fetches.
    """

    name: str
    title: str
    version: int
    benchmark: str
    max_new_tokens: int
    source: str
    licence: str
    folder: Path | None = None
    protocol: str = ""
    history: Mapping[str, int] | None = None
    shown: int = 0
    prompts: str = ""
    floor: float = 0.0
    expected: Mapping[str, Any] = field(default_factory=dict)
    download: tuple[Mapping[str, Any], ...] = ()
    obtain: str = ""
    package: str = ""
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data_folder: Path | None = None

    def setting(self, key: str, default: Any = None) -> Any:
        """A key that the benchmark itself defines."""
        return self.settings.get(key, default)

    def changed(self, **fields: Any) -> TaskSpec:
        """A copy with other values."""
        return dataclasses.replace(self, **fields)


# Keys of a file, and what each of them must be.
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a text"),
    "title": (str, "a text"),
    "version": (int, "a whole number"),
    "benchmark": (str, "a text"),
    "max_new_tokens": (int, "a whole number"),
    "source": (str, "a text"),
    "licence": (str, "a text"),
    "history": (dict, "a mapping of protocols to numbers of screenshots"),
    "prompts": (str, "the name of a shared prompt set"),
    "floor": ((int, float), "a number"),
    "expected": (dict, "a mapping"),
    "download": (list, "a list"),
    "obtain": (str, "a text"),
    "package": (str, "the name of a package"),
    "variants": (dict, "a mapping of names to changed keys"),
}


def read_yaml(path: Path) -> JsonObject:
    """The mapping in a ``task.yaml``, keys not yet checked.

    Raises:
        UserError: unreadable, not YAML, not a mapping.
    """
    import yaml

    where = f"{path.parent.name}/{path.name}"
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(data, dict):
        raise UserError(f"{where}: a mapping of keys is needed, for example 'title: My task'.")
    return data


def task_spec(data: Mapping[str, Any], where: str, folder: Path, name: str, settings: Iterable[str] = ()) -> TaskSpec:
    """A definition out of a parsed file.

    Args:
        data: keys and values, those of a variant already merged in.
        where: the file, for messages.
        folder: where it lies.
        name: of the task.
        settings: further keys that the benchmark defines.

    Raises:
        UserError: an unknown key (the nearest right one is offered), a missing one, a value of another kind.
    """
    own = set(settings)
    for key in data:
        if key not in _KINDS and key not in own:
            raise unknown_name(f"key in {where}", str(key), {*_KINDS, *own})
    for key in _REQUIRED:
        if key not in data:
            raise UserError(
                f"{where}: the key {key!r} is missing ({_KINDS[key][1]}); every task has {', '.join(_REQUIRED)}."
            )
    for key, value in data.items():
        kind, words = _KINDS.get(key, (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not object):
            raise UserError(f"{where}: {key} is {value!r} where {words} is needed.")
    if data["max_new_tokens"] < 1:
        raise UserError(f"{where}: max_new_tokens is {data['max_new_tokens']}, at least 1 is needed.")
    fields = {k: v for k, v in data.items() if k in _KINDS and k != "name"}
    if "download" in fields:
        fields["download"] = tuple(fields["download"])
    return TaskSpec(name=name, folder=folder, settings={k: v for k, v in data.items() if k in own}, **fields)
