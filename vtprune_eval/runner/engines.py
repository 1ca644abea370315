"""Engines of other projects that answer a run's samples (``--engine``), found by name: nothing here imports one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import UserError
from ..models.identity import ModelIdentity

if TYPE_CHECKING:
    from ..outcome import Outcome
    from ..sample import Sample
    from .spec import Cell, RunSpec

# Name of an engine to the module that holds ``check_engine`` and ``load_engine``.
ENGINES = {"vllm": "vtprune_eval.integrations.vllm.engine"}


class EngineStopped(UserError):
    """An engine cannot go on; a new one can."""


class Engine(Protocol):
    """A loaded engine.

    Attributes:
        identity: as of a loaded model, and ``engine``: name and version.
        coordinates: frame of the answers.
    """

    identity: ModelIdentity
    coordinates: str

    def answer(
        self, cell: Cell, samples: Iterable[Sample], max_new_tokens: int
    ) -> Iterator[tuple[Sample, Outcome | Exception]]:
        """Answers as they come, each sample with its outcome or with what went wrong for it alone."""

    def ask(self, cell: Cell, sample: Sample, max_new_tokens: int, *, exactly: bool = False) -> tuple[str, Any]:
        """Hand one sample over; the request's number and what is needed to read its answer."""

    def step(self) -> list[Any]:
        """Compute a step; what came of it, of finished requests and of others."""


class EngineModule(Protocol):
    """What the module of an engine holds."""

    def check_engine(self, spec: RunSpec) -> None:
        """Refuse, with a :class:`UserError`, what the engine cannot run, before anything is loaded."""

    def load_engine(self, spec: RunSpec, **options: Any) -> Engine:
        """The engine with the model of ``spec``; ``options`` are its own."""


def engine_module(name: str) -> EngineModule:
    """The module of an engine.

    Args:
        name: as ``--engine`` takes it, one of :data:`ENGINES`.
    """
    module: Any = import_module(ENGINES[name])
    found: EngineModule = module
    return found
