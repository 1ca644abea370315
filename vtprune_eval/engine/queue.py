"""Which samples are whose: the bookkeeping of a run on several workers, without any cluster in it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..pipeline.cells import CRASHES_BEFORE_STOP, Done
from ..results.record import failed_record
from ..results.store import RecordWriter, rewrite_in_order
from ..spec import Cell
from ..tasks import Task

MAX_CALL = 32
# A sample that was alone with a worker when it died, so often, is what kills it.
DEATHS_OF_A_SAMPLE = 3


@dataclass
class Part:
    """One (task, cell): what is to be done, what is done, and the one writer of its record file.

    Attributes:
        task, cell, key, path: what it is; done: ids of its records; pending: ids that no worker has.
        suspects: ids that a worker had when it died; deaths: of workers that had this sample alone; workers: how many
            work on it now.
    """

    task: Task
    cell: Cell
    key: str
    path: Path
    done: Done
    pending: deque[str] = field(init=False)
    suspects: set[str] = field(default_factory=set)
    deaths: Counter[str] = field(default_factory=Counter)
    workers: int = 0
    graded: int = 0
    right: float = 0.0
    _crashes: Counter[str] = field(default_factory=Counter)
    _files: ExitStack = field(default_factory=ExitStack)
    _writer: RecordWriter | None = None

    def __post_init__(self) -> None:
        self.pending = deque(i for i in self.task.samples.ids if i not in self.done)

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

    def lost(self, ids: Sequence[str]) -> dict[str, Any] | None:
        """A worker died with ``ids``. They are done again, one by one, to find the one that kills; that one becomes a
        failed record in the end, which is returned."""
        self.suspects.update(ids)
        if len(ids) == 1:
            self.deaths[ids[0]] += 1
            if self.deaths[ids[0]] >= DEATHS_OF_A_SAMPLE:
                sample = self.task.samples[self.task.samples.ids.index(ids[0])]
                return failed_record(self.key, sample, "worker_lost", f"{DEATHS_OF_A_SAMPLE} workers died on this "
                                     "sample", self.task.scored, self.task.protocol)
        self.put_back(ids)
        return None

    def add(self, record: dict[str, Any]) -> None:
        """Write one record.

        Raises:
            UserError: the disk is full, or every first sample fails in the same way.
        """
        if record["reason"] == "crash":
            self._crashes[record["message"]] += 1
            if len(self._crashes) == 1 and self._crashes.total() == CRASHES_BEFORE_STOP and not self.graded:
                raise UserError(f"{self.cell.method} on {self.task.name}: the first {CRASHES_BEFORE_STOP} samples all "
                                f"failed ({record['message']}); this is a mistake in the method or the model.")
        elif record["score"] is not None:
            self.right, self.graded = self.right + record["score"], self.graded + 1
        if self._writer is None:
            self._writer = self._files.enter_context(RecordWriter(self.path))
        self._writer.append(record)
        self.done[record["id"]] = None
        if len(self.done) == len(self.task.samples):
            self.close()
            rewrite_in_order(self.path, self.task.samples.ids)

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self._files.close()
        self._writer = None


def choose(parts: Sequence[Part], own: Part | None) -> Part | None:
    """The part that a free worker goes on with; None where nothing waits.

    Its own first: a change costs a warm-up. Then one that nobody works on, then the one with the most left per worker.
    """
    if own is not None and own.pending:
        return own
    waiting = [p for p in parts if p.pending]
    free = next((p for p in waiting if not p.workers), None)
    return free or max(waiting, key=lambda p: len(p.pending) / (p.workers + 1), default=None)
