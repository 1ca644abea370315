"""Which samples are whose: the bookkeeping of a run on several workers, without any cluster in it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...benchmarks.tasks import Task
from ...results.record import failed_record
from ...results.store import rewrite_in_order
from ...results.types import Record
from ..cells import OpenCell

MAX_CALL = 32
# A sample that was alone with a worker when it died, so often, is what kills it.
DEATHS_OF_A_SAMPLE = 3


@dataclass
class Queue(ABC):
    """Samples that wait for a worker.

    Attributes:
        pending: ids that no worker has.
        suspects: ids that a worker had when it died.
        deaths: of workers that had this sample alone.
        workers: how many work on it now.
    """

    pending: deque[str] = field(init=False)
    suspects: set[str] = field(init=False, default_factory=set)
    deaths: Counter[str] = field(init=False, default_factory=Counter)
    workers: int = field(init=False, default=0)

    def take(self) -> list[str]:
        """Ids for the next call of one worker: fewer towards the end, so that all workers end together, and only one
        where a worker died on it."""
        n = min(MAX_CALL, max(1, math.ceil(len(self.pending) / (2 * max(1, self.workers)))))
        if self.pending[0] in self.suspects:
            return [self.pending.popleft()]
        ids: list[str] = []
        while len(ids) < n and self.pending and self.pending[0] not in self.suspects:
            ids.append(self.pending.popleft())
        return ids

    def put_back(self, ids: Iterable[str]) -> None:
        """Ids that a worker returned unanswered come next."""
        self.pending.extendleft(reversed(list(ids)))

    def lost(self, ids: Sequence[str]) -> list[Record]:
        """A worker died with ``ids``. They are done again, one by one, to find the one that kills; that one becomes a
        failed record per cell in the end, which are returned."""
        self.suspects.update(ids)
        if len(ids) == 1:
            self.deaths[ids[0]] += 1
            if self.deaths[ids[0]] >= DEATHS_OF_A_SAMPLE:
                return self.killed(ids[0])
        self.put_back(ids)
        return []

    @abstractmethod
    def killed(self, own: str) -> list[Record]:
        """The failed records of a sample on which workers die."""

    @abstractmethod
    def ask(self, actor: Any, ids: Sequence[str]) -> Any:
        """Send ``ids`` to a worker; the call."""

    @abstractmethod
    def add(self, record: Record) -> None:
        """Write one record."""

    @abstractmethod
    def close(self) -> None:
        """Write what is waiting and close the files."""

    @property
    @abstractmethod
    def latest(self) -> OpenCell:
        """The cell whose state the progress shows."""


@dataclass
class Part(Queue, OpenCell):
    """One (task, cell) that several workers answer; its file is opened with the first record."""

    def __post_init__(self) -> None:
        self.pending = deque(i for i in self.task.samples.ids if i not in self.done)

    def killed(self, own: str) -> list[Record]:
        """See :meth:`Queue.killed`."""
        return [worker_lost(self, own)]

    def ask(self, actor: Any, ids: Sequence[str]) -> Any:
        """See :meth:`Queue.ask`."""
        return actor.answer.remote(self.task.name, self.cell, self.key, list(ids))

    def add(self, record: Record) -> None:
        """Write one record; the file is put in order with the last.

        Raises:
            UserError: see :meth:`OpenCell.add`.
        """
        if self._writer is None:
            self.__enter__()
        OpenCell.add(self, record)
        if len(self.done) == len(self.task.samples):
            self.close()
            rewrite_in_order(self.path, self.task.samples.ids)

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self.__exit__(None, None, None)

    @property
    def latest(self) -> OpenCell:
        """See :attr:`Queue.latest`."""
        return self


@dataclass
class Bundle(Queue):
    """The cells of one task, of which a worker answers all for the samples that it has: so they share their work."""

    task: Task
    cells: Sequence[Part]
    _latest: Part | None = None

    def __post_init__(self) -> None:
        self.pending = deque(i for i in self.task.samples.ids if any(i not in cell.done for cell in self.cells))

    def killed(self, own: str) -> list[Record]:
        """See :meth:`Queue.killed`."""
        return [worker_lost(cell, own) for cell in self.cells if own not in cell.done]

    def ask(self, actor: Any, ids: Sequence[str]) -> Any:
        """See :meth:`Queue.ask`."""
        lacking = {i: [n for n, cell in enumerate(self.cells) if i not in cell.done] for i in ids}
        return actor.answer_all.remote(self.task.name, [(cell.cell, cell.key) for cell in self.cells], lacking)

    def add(self, record: Record) -> None:
        """Write one record into the file of its cell."""
        self._latest = next(cell for cell in self.cells if cell.key == record["key"])
        self._latest.add(record)

    def close(self) -> None:
        """Write what is waiting and close the files."""
        for cell in self.cells:
            cell.close()

    @property
    def latest(self) -> OpenCell:
        """See :attr:`Queue.latest`."""
        return self._latest or self.cells[0]


def worker_lost(cell: OpenCell, own: str) -> Record:
    """The failed record of a sample on which workers die."""
    sample = cell.task.samples[cell.task.samples.ids.index(own)]
    why = f"{DEATHS_OF_A_SAMPLE} workers died on this sample"
    return failed_record(cell.key, sample, "worker_lost", why, cell.task.scored, cell.task.protocol)


def choose(parts: Sequence[Queue], own: Queue | None) -> Queue | None:
    """The part that a free worker goes on with; None where nothing waits.

    Its own first: a change costs a warm-up. Then one that nobody works on, then the one with the most left per worker.
    """
    if own is not None and own.pending:
        return own
    waiting = [p for p in parts if p.pending]
    free = next((p for p in waiting if not p.workers), None)
    return free or max(waiting, key=lambda p: len(p.pending) / (p.workers + 1), default=None)
