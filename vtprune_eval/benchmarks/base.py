"""What a reader yields: one item at a time, from the disk, without any image opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from ..errors import UserError
from ..json_values import JsonObject
from ..paths import inside_folder
from .action import Action
from .spec import TaskSpec

Field = TypeVar("Field")


@dataclass(frozen=True)
class Step:
    """An earlier step of the episode, as annotated.

    Attributes:
        text: what the data set says about it in words, empty where it says nothing.
        action: in common form; None where it cannot be expressed.
        thought: the annotators' (or their model's) reasoning, where the data set has it.
        observation: the annotators' (or their model's) reasoning, where the data set has it.
    """

    text: str
    action: Action | None
    thought: str = ""
    observation: str = ""


@dataclass(frozen=True)
class Item:
    """One record of a data set, before any prompt.

    Attributes:
        id: unique in the task, stable over versions of the data.
        images: as many earlier screenshots as were asked for, oldest first; the last one is the current screen.
        fields: what a prompt may name (``instruction``, ``goal``, ...).
        past: the earlier steps, oldest first.
        target: ``type`` (``box``, ``region``, ``step``, ...), ``truth`` for the scoring rule, optional ``box_xyxy``.
        cluster: episode, where steps belong together.
        meta: breakdown keys.
    """

    id: str
    images: tuple[Path, ...]
    fields: Mapping[str, str]
    target: JsonObject
    past: tuple[Step, ...] = ()
    cluster: str | None = None
    meta: JsonObject = field(default_factory=dict)


class Records(ABC):
    """All records of a task: ids are known, everything else is read when asked for."""

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Sample ids in the order of the data set."""

    @abstractmethod
    def item(self, i: int) -> Item:
        """Record ``i``."""


class Episodes(Records):
    """Records that are steps of episodes. ``shown`` of the definition: how many earlier screenshots a step comes with;
    the paths of others are not even looked up."""

    def __init__(self, spec: TaskSpec) -> None:
        self._history = spec.shown

    def _first(self, at: int) -> int:
        """First step whose screenshot is shown with step ``at``."""
        return max(0, at - self._history)


class Recent:
    """The last few values of a function of one argument: steps of an episode are asked for in order."""

    def __init__(self, make: Callable[[Any], Any], keep: int = 4) -> None:
        self._make, self._keep, self._known = make, keep, OrderedDict[Hashable, Any]()

    def __call__(self, key: Hashable) -> Any:
        if key not in self._known:
            if len(self._known) >= self._keep:
                self._known.popitem(last=False)
            self._known[key] = self._make(key)
        self._known.move_to_end(key)
        return self._known[key]


@overload
def need(record: Any, key: str, where: str, kind: type[Field]) -> Field: ...
@overload
def need(record: Any, key: str, where: str, kind: tuple[type, ...] = (object,)) -> Any: ...
def need(record: Any, key: str, where: str, kind: type | tuple[type, ...] = (object,)) -> Any:
    """A field that the format promises.

    Raises:
        UserError: it is missing or of another type; says which, what was expected and what was found.
    """
    if not isinstance(record, dict) or key not in record:
        found = ", ".join(sorted(map(str, record))) if isinstance(record, dict) else type(record).__name__
        raise UserError(
            f"{where}: a record has no field {key!r} (found: {found}); the data has another format or "
            "version, see the task's README."
        )
    value = record[key]
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(k.__name__ for k in kinds)
        raise UserError(
            f"{where}: the field {key!r} should be {names} but is {type(value).__name__} "
            f"({str(value)[:60]!r}); the data has another format or version, see the task's README."
        )
    return value


def numbers(record: Any, key: str, where: str, n: int | None) -> list[float]:
    """A field with ``n`` numbers (any count for None).

    Raises:
        UserError: as ``need``.
    """
    values: list[float] = need(record, key, where, list)
    if (n is not None and len(values) != n) or any(
        isinstance(v, bool) or not isinstance(v, (int, float)) for v in values
    ):
        raise UserError(
            f"{where}: the field {key!r} should hold {n or 'only'} numbers, found {str(values)[:80]}; the "
            "data has another format or version, see the task's README."
        )
    return values


class ImageRoots:
    """Where images lie: archives of one data set unpack to different folders.

    Args:
        folder: of the data.
        roots: folders below it, the first one in which a file exists is taken.
        flat: also try the bare file name.
    """

    def __init__(self, folder: Path, roots: Sequence[str], *, flat: bool = False) -> None:
        self._folder = folder
        self._roots = [r for r in roots if (folder / r).is_dir()] or [""]
        self._flat = flat
        self._found: dict[str, Path] = {}

    def find(self, name: str, where: str) -> Path:
        """The first existing candidate; the first candidate if there is none (a sample with a missing image)."""
        if len(self._roots) == 1 and not self._flat:
            if name not in self._found:  # nothing is looked up on disk here, and histories name a screenshot again
                if len(self._found) >= 256:
                    self._found.clear()
                self._found[name] = inside_folder(self._folder, name, where, self._roots[0])
            return self._found[name]
        names = [name, Path(name).name] if self._flat and Path(name).name != name else [name]
        first = None
        for root in self._roots:
            for candidate in names:
                path = inside_folder(self._folder, candidate, where, root)
                if path.exists():
                    return path
                first = first or path
        assert first is not None
        return first


def first_file(folder: Path, names: Sequence[str], source: str) -> Path:
    """The first of ``names`` (patterns) in ``folder``.

    Raises:
        UserError: none of them is there.
    """
    for name in names:
        found = sorted(folder.glob(name))
        if found:
            return found[0]
    raise UserError(f"{folder} has none of {', '.join(names)}; give the folder of {source} with --data-path.")
