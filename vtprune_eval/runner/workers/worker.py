"""One worker of the engine ray: a model, alone on its device, that answers what the driver sends it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from ...benchmarks.tasks import Task
from ...errors import UserError
from ...models.identity import ModelIdentity
from ...profiling.gpu import GpuState, NoGpu, marked, open_gpu
from ...results.run_files import Environment
from ...results.types import Record
from ...sample import Sample
from ...units import parse_bytes
from ..answers import WARMUP_SAMPLES, Runs, metered, record_of, untimed, warm_up
from ..cells import loader, shuffle, slots_of, timed_among
from ..environment import environment_of
from ..folder import task_of
from ..spec import Cell, RunSpec

if TYPE_CHECKING:
    from ...pipeline.answer import Answer

# A call returns after the first record that ends later than this, with what it has: the driver sees progress, a lost
# worker costs little, and the cost of a call (about 1 ms) stays below a thousandth.
CALL_SECONDS = 2.0


class Welcome(TypedDict):
    """What a worker says once it has loaded.

    Attributes:
        worker: its name.
        identity: of its model.
        environment: of its machine.
    """

    worker: str
    identity: ModelIdentity
    environment: Environment


class Shared:
    """The cells of a task in one process, as the local engine holds them.

    Attributes:
        sweep: of their pipelines.
        load: gives the images of a sample.
        timed: ids of the samples that run alone.
    """

    def __init__(self, spec: RunSpec, task: Task, cells: Sequence[Cell], factory: Callable[[Cell, Task], Any]) -> None:
        from ...pipeline.sweep import Sweep

        self._pipelines = [factory(cell, task) for cell in cells]
        room = parse_bytes(spec.max_branch_bytes, "--max-branch-bytes")
        self.sweep = Sweep(self._pipelines, max_branch_bytes=room, decode_batch=slots_of(spec))
        self.load = loader(self._pipelines, None)
        self.timed = timed_among(spec, task, lambda: any(self.sweep.sharing().values()))
        self._warm: set[int] = set()

    def warm(self, place: int, samples: Sequence[Sample]) -> Runs:
        """A cell's pipeline, after the untimed calls before its first timed one."""
        runner: Runs = self._pipelines[place]
        if place not in self._warm:
            self._warm.add(place)
            warm_up(runner, samples)
        return runner

    @staticmethod
    def failed(sample: Sample, places: Sequence[int], error: Exception) -> Iterator[Answer]:
        """The answers of a sample whose images cannot be read."""
        from ...pipeline.answer import IMAGES, Answer

        return (Answer(place, error, IMAGES, sample) for place in places)


class Worker:
    """Made by the driver as a Ray actor. Nothing is loaded before :meth:`load`, whose errors reach the driver.

    Args:
        spec: the run's.
        name: of the worker, for records.
        load_factory: makes model identity, factory and frame out of a specification.
    """

    def __init__(self, spec: RunSpec, name: str, load_factory: Any) -> None:
        self._spec, self._name, self._load_factory = spec, f"{platform.node()}:{name}", load_factory
        self._runner: tuple[tuple[str, Cell], Runs] | None = None
        self._shared: tuple[tuple[str, list[Cell]], Shared] | None = None

    def load(self, fingerprints: dict[str, str]) -> Welcome:
        """Load the model and the tasks.

        Args:
            fingerprints: by task, of the driver's data.

        Returns:
            ``worker`` name, ``identity`` of the model, and ``environment`` of this machine.

        Raises:
            UserError: a model that cannot be loaded here, or data that differ from the driver's.
        """
        spec = self._spec
        try:
            self._tasks = {name: task_of(spec, name, spec.data_path) for name in spec.tasks}
            for name, task in self._tasks.items():
                if task.fingerprint != fingerprints[name]:
                    raise UserError(
                        f"the data of {name} differ from those of the driver; copy the same data to every node."
                    )
            self._identity, self._factory, self._coordinates = self._load_factory(spec)
        except UserError as error:
            raise UserError(f"worker {self._name}: {error}") from None
        self._index = {name: {own: i for i, own in enumerate(t.samples.ids)} for name, t in self._tasks.items()}
        self._gpu = open_gpu(spec.device, spec.profile)
        self._meter = self._gpu if spec.profile == "full" else NoGpu(f"--profile {spec.profile}")
        return {"worker": self._name, "identity": self._identity, "environment": self.environment()}

    def environment(self) -> Environment:
        """This machine: versions, processor, state of the GPU now."""
        return {
            "worker": self._name,
            **environment_of(self._identity),
            "gpu": marked(self._gpu.state(), self._gpu.reason, GpuState()),
        }

    def answer(self, name: str, cell: Cell, key: str, ids: list[str]) -> list[Record]:
        """Records of the first samples of ``ids``, at least one, until :data:`CALL_SECONDS` are over.

        Args:
            name: of the task.
            cell: method and budget.
            key: of the cell's records.
            ids: of samples, in order.
        """
        task, index = self._tasks[name], self._index[name]
        samples = task.samples
        runner = self._runner_of(task, cell, [samples[index[i]] for i in ids[:WARMUP_SAMPLES]])
        start = time.monotonic()
        records = []
        for own in ids:
            record = metered(self._meter, key, task, samples[index[own]], runner, self._coordinates)
            record["worker"] = self._name
            records.append(record)
            if time.monotonic() - start > CALL_SECONDS:
                break
        return records

    def answer_all(self, name: str, cells: list[tuple[Cell, str]], lacking: dict[str, list[int]]) -> list[Record]:
        """Records of several cells on the first samples of ``lacking``, at least one, until :data:`CALL_SECONDS` are
        over; what the cells have in common is computed once. The samples that are timed run cell by cell, each alone.

        Args:
            name: of the task.
            cells: with the keys of their records.
            lacking: ids of samples, in order, with the places in ``cells`` that lack them.
        """
        task, index, start = self._tasks[name], self._index[name], time.monotonic()
        shared = self._shared_of(task, [cell for cell, _ in cells])
        records: list[Record] = []

        def take(answers: Iterable[Answer]) -> None:
            for a in answers:
                record = record_of(cells[a.cell][1], task, a.sample, a.outcome, self._coordinates)
                record = untimed(record, a.shared, a.decoded)
                record["worker"] = self._name
                records.append(record)

        for own, places in lacking.items():
            sample = task.samples[index[own]]
            if own in shared.timed:
                order = list(places)
                shuffle(order, self._spec, task, sample)
                for place in order:
                    runner = shared.warm(place, task.samples)
                    record = metered(self._meter, cells[place][1], task, sample, runner, self._coordinates)
                    record["worker"] = self._name
                    records.append(record)
            else:
                try:
                    images = shared.load(sample)
                except Exception as error:  # every cell of the sample would have met it
                    take(shared.failed(sample, places, error))
                else:
                    take(shared.sweep.run(sample, images, places))
            if time.monotonic() - start > CALL_SECONDS:
                break
        take(shared.sweep.drain())
        return records

    def _shared_of(self, task: Task, cells: list[Cell]) -> Shared:
        """The pipelines of a task's cells; those of one task are held at a time."""
        if self._shared is None or self._shared[0] != (task.name, cells):
            self._runner = self._shared = None
            self._shared = (task.name, cells), Shared(self._spec, task, cells, self._factory)
        return self._shared[1]

    def _runner_of(self, task: Task, cell: Cell, first: list[Sample]) -> Runs:
        """The pipeline of a cell, made and warmed up when the cell changes; one is held at a time."""
        if self._runner is None or self._runner[0] != (task.name, cell):
            self._runner = None
            runner = self._factory(cell, task)
            warm_up(runner, first)
            self._runner = ((task.name, cell), runner)
        return self._runner[1]


def portable(spec: RunSpec) -> RunSpec:
    """The specification with absolute paths: a worker starts in another folder."""
    from pathlib import Path

    def absolute(path: str | None) -> str | None:
        return str(Path(path).resolve()) if path else path

    return replace(spec, data_path=absolute(spec.data_path), model_path=absolute(spec.model_path))
