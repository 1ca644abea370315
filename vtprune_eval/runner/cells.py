"""The cells of one task, answered: a timed pass in which every cell runs alone, and a pass in which cells share.

Times are taken only in the timed pass, from samples that run on their own, after a warm-up, with nothing beside them.
Where cells can share computation (or a disk cache is used), that pass covers a few samples spread over the task, and
the records of all others carry no times: ``times`` and ``peak_bytes`` are null, ``shared`` says what was shared.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.tasks import Task
from ..errors import SampleError, UserError
from ..notes import Note
from ..outcome import Outcome
from ..profiling.gpu import Gpu
from ..results.store import RecordWriter, changed_meanwhile, file_digest, rewrite_in_order
from ..results.types import Record
from ..sample import Sample
from ..units import parse_bytes
from .answers import metered, outcome_of, record_of, untimed, warm_up
from .spec import Cell, RunSpec

if TYPE_CHECKING:
    from ..pipeline.answer import Answer
    from ..pipeline.disk_cache import DiskCache
    from ..pipeline.images import Images
    from ..pipeline.sweep import Sweep

CRASHES_BEFORE_STOP = 5
# How an answer was decoded that shared no step with another (:mod:`..pipeline.batch`, which needs torch).
ALONE = "alone"
# Samples per task and cell that are timed where the others share computation, unless --timings says another number.
TIMED_SAMPLES = 8

# Ids of a cell's records in the order of its file; the records themselves stay on disk, or memory would grow with them.
Done = dict[str, None]
Answers = Generator[tuple[Sample, int, "Outcome | Exception", str, str], None, None]


@dataclass
class Job:
    """What the cells of a run have in common.

    Attributes:
        spec: of the run.
        factory: gives the runner of a (cell, task).
        coordinates: frame of the model's answers.
        trained: False for random weights.
        bar: progress.
        stop: filled when the user interrupts.
        meter: of the GPU.
        store: cache on disk, if there is one.
        mark: a note for every record, where the model is not the one that was named.
    """

    spec: RunSpec
    factory: Callable[[Cell, Task], Any]
    coordinates: str
    trained: bool
    bar: Any
    stop: list[bool]
    meter: Gpu
    store: DiskCache | None = None
    mark: Note | None = None


@dataclass
class OpenCell:
    """One (task, cell) that is being answered: what is there, the writer of its file, and how it goes."""

    task: Task
    cell: Cell
    key: str
    path: Path
    done: Done
    right: float = 0.0
    graded: int = 0
    _crashes: Counter[str] = field(default_factory=Counter)
    _files: ExitStack = field(default_factory=ExitStack)
    _writer: RecordWriter | None = None
    _left: str | None = None  # digest of the file when this process last closed it

    def __enter__(self) -> OpenCell:
        self.check()
        self._writer = self._files.enter_context(RecordWriter(self.path))
        return self

    def __exit__(self, *error: Any) -> None:
        writer, self._writer = self._writer, None
        self._files.__exit__(*error)
        if writer is not None and error[0] is None:
            self._left = writer.check()

    def check(self) -> None:
        """Whether the file is as this process left it.

        Raises:
            UserError: somebody else wrote to it.
        """
        if self._left is not None and self._left != file_digest(self.path):
            raise changed_meanwhile(self.path)

    def add(self, record: Record) -> None:
        """Hand one record to the writer.

        Raises:
            UserError: the disk is full, or every first sample fails in the same way.
        """
        if record["reason"] == "crash":
            self._crashes[record["message"]] += 1
            if len(self._crashes) == 1 and self._crashes.total() == CRASHES_BEFORE_STOP and not self.graded:
                raise UserError(
                    f"{self.cell.method} on {self.task.name}: the first {CRASHES_BEFORE_STOP} samples all "
                    f"failed ({record['message']}); this is a mistake in the method or the model."
                )
        elif record["score"] is not None:
            self.right, self.graded = self.right + record["score"], self.graded + 1
        assert self._writer is not None
        self._writer.append(record)
        self.done[record["id"]] = None


def open_cache(spec: RunSpec) -> DiskCache | None:
    """The run's cache on disk, None without ``--cache``.

    Raises:
        UserError: its folder cannot be written.
    """
    if spec.cache is None:
        return None
    from ..pipeline.disk_cache import DiskCache

    return DiskCache(Path(spec.cache), parse_bytes(spec.cache_size, "--cache-size"))


def answer_task(job: Job, task: Task, cells: Sequence[OpenCell]) -> None:
    """Answer what ``cells`` lack: all that is timed first, cell by cell, then the rest, sample by sample.

    Raises:
        UserError: a user's mistake that only a sample shows, or a full disk.
    """
    ids = task.samples.ids
    if any(len(cell.done) < len(ids) for cell in cells):
        _answer_task(job, task, cells)
    if not job.stop:
        for cell in cells:
            cell.check()
            if list(cell.done) != ids:  # samples were answered in another order, or a kill came before this line
                rewrite_in_order(cell.path, ids)


def _answer_task(job: Job, task: Task, cells: Sequence[OpenCell]) -> None:
    timed = timed_ids(job, task)
    left = [dict.fromkeys(set(task.samples.ids) - timed) | cell.done for cell in cells]
    if any(len(done) < len(task.samples.ids) for done in left):
        _timed(job, task, cells, left)
    if job.stop:
        return
    rest = [cell for cell in cells if len(cell.done) < len(task.samples)]
    if rest:
        _untimed(job, task, rest)


def timed_ids(job: Job, task: Task) -> set[str]:
    """Ids of the samples that are timed: all of them where nothing is shared, else some, evenly spread."""
    return timed_among(job.spec, task, lambda: _shares(job.spec, job.factory, task))


def timed_among(spec: RunSpec, task: Task, shares: Callable[[], bool]) -> set[str]:
    """The same, where ``shares`` says whether cells have more in common than the decoded images."""
    ids = task.samples.ids
    n = spec.timings
    if n is None:
        n = TIMED_SAMPLES if spec.cache or shares() else len(ids)
    n = min(n, len(ids))
    return {ids[i * len(ids) // n] for i in range(n)}


def _shares(spec: RunSpec, factory: Callable[[Cell, Task], Any], task: Task) -> bool:
    """Whether cells of the run have more in common than the decoded images."""
    if spec.share == "off" or spec.model == "stub":
        return False
    from ..pipeline.sweep import Sweep

    return any(Sweep([factory(cell, task) for cell in spec.cells()], max_branch_bytes=0).sharing().values())


def _timed(job: Job, task: Task, cells: Sequence[OpenCell], done: Sequence[Done]) -> None:
    """What the cells lack of the timed samples: each answered alone, the cells of a sample one after the other.

    A machine's speed drifts over minutes and its clock over seconds; cells that are measured in turn, in another random
    order for every sample, meet the same drift, so that the ratio of two times of one sample means something.

    Args:
        job: of the run.
        task: whose samples.
        cells: to be timed.
        done: per cell, the ids that are there or are not timed.
    """
    runners = {}
    for number, cell in enumerate(cells):
        own = task.samples.without(done[number])
        if len(own):
            runners[number] = job.factory(cell.cell, task)
            warm_up(runners[number], own)
    pending = task.samples.without({i: None for i in task.samples.ids if all(i in d for d in done)})
    with ExitStack() as files:
        for number in runners:
            files.enter_context(cells[number])
        for sample in pending:
            order = [number for number in runners if sample.id not in done[number]]
            shuffle(order, job.spec, task, sample)
            for number in order:
                record = metered(job.meter, cells[number].key, task, sample, runners[number], job.coordinates)
                _write(job, cells[number], record)
                if job.stop:
                    return


def shuffle(order: list[int], spec: RunSpec, task: Task, sample: Sample) -> None:
    """Put the cells of a timed sample into its own random order."""
    random.Random(f"{spec.seed}/{task.name}/{sample.id}").shuffle(order)


def _untimed(job: Job, task: Task, cells: Sequence[OpenCell]) -> None:
    """All that the cells lack, sample by sample, the next sample's images being prepared meanwhile."""
    complete = {i for i in cells[0].done if all(i in cell.done for cell in cells[1:])}
    pending = task.samples.without(dict.fromkeys(complete))
    with ExitStack() as files:
        answers = files.enter_context(
            closing((_stub_answers if job.spec.model == "stub" else _shared_answers)(job, task, cells, pending))
        )
        for cell in cells:
            files.enter_context(cell)
        for sample, number, outcome, shared, decoded in answers:
            cell = cells[number]
            record = record_of(cell.key, task, sample, outcome, job.coordinates)
            _write(job, cell, untimed(record, shared, decoded))
            if job.stop:
                return


def _stub_answers(job: Job, task: Task, cells: Sequence[OpenCell], pending: Sequence[Sample]) -> Answers:
    runners = [job.factory(cell.cell, task) for cell in cells]
    for sample in pending:
        for number, runner in enumerate(runners):
            if sample.id not in cells[number].done:
                yield sample, number, outcome_of(runner, sample), "", ALONE


def _shared_answers(job: Job, task: Task, cells: Sequence[OpenCell], pending: Sequence[Sample]) -> Answers:
    from ..pipeline.answer import IMAGES
    from ..pipeline.images import ahead
    from ..pipeline.sweep import Sweep

    pipelines = [job.factory(cell.cell, task) for cell in cells]
    room = parse_bytes(job.spec.max_branch_bytes, "--max-branch-bytes")
    batch = slots_of(job.spec)
    sweeps: list[tuple[Sweep, list[int]]] = (
        [(Sweep([p], max_branch_bytes=room, store=job.store), [i]) for i, p in enumerate(pipelines)]
        if job.spec.share == "off"
        else [
            (
                Sweep(pipelines, max_branch_bytes=room, store=job.store, decode_batch=batch),
                list(range(len(cells))),
            )
        ]
    )
    for sample, future in ahead(pending, loader(pipelines, job.store)):
        images, failed = _result(future)
        for sweep, numbers in sweeps:
            chosen = [at for at, number in enumerate(numbers) if sample.id not in cells[number].done]
            if images is None:
                yield from ((sample, numbers[at], failed, IMAGES, ALONE) for at in chosen)
            else:
                yield from (_told(a, numbers) for a in sweep.run(sample, images, chosen))
    for sweep, numbers in sweeps:
        yield from (_told(a, numbers) for a in sweep.drain())
    failures = [f for sweep, _ in sweeps for f in sweep.failures]
    if failures:
        print(
            f"\nnote: {task.name}: {len(failures)} times cells were answered one by one, because what they share "
            f"failed; first: {failures[0]}",
            file=sys.stderr,
        )


def slots_of(spec: RunSpec) -> int:
    """Branches that decode together at most."""
    from ..pipeline.batch import AUTO_SLOTS

    return 1 if spec.share == "off" else AUTO_SLOTS if spec.decode_batch == "auto" else int(spec.decode_batch)


def _told(answer: Answer, numbers: list[int]) -> tuple[Sample, int, Outcome | Exception, str, str]:
    return answer.sample, numbers[answer.cell], answer.outcome, answer.shared, answer.decoded


def loader(pipelines: Sequence[Any], store: DiskCache | None) -> Callable[[Sample], Images]:
    """What prepares the images of a sample beside the model; it must not touch the model's device."""
    import torch

    from ..clock import StageClock
    from ..pipeline.images import load_cached, load_images
    from ..pipeline.stages import memory_errors

    rules, cpu = pipelines[0].adapter.images, torch.device("cpu")
    keep_files = any(p.method_of("reduce_images") is not None for p in pipelines)

    def load(sample: Sample) -> Images:
        with memory_errors(sample):
            if store is not None:
                return load_cached(sample, rules, store)
            return load_images(sample, rules, StageClock(cpu), keep_files=keep_files)

    return load


def _result(future: Future[Images]) -> tuple[Images | None, Exception]:
    try:
        return future.result(), SampleError("", "")
    except Exception as error:  # every cell of the sample would have met it
        return None, error


def _write(job: Job, cell: OpenCell, record: Record) -> None:
    if job.mark:
        record["notes"] = [*record["notes"], job.mark.data()]
    cell.add(record)
    if job.trained and cell.graded:
        job.bar.set_postfix_str(
            f"{cell.task.name} {cell.cell.method}@{cell.cell.budget} acc {100 * cell.right / cell.graded:.1f}",
            refresh=False,
        )
    job.bar.update()
