"""Which samples are whose: the bookkeeping of a run on several workers, without any cluster in it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...results.record import failed_record
from ...results.store import rewrite_in_order
from ...results.types import Record
from ..cells import OpenCell

MAX_CALL = 32
# A sample that was alone with a worker when it died, so often, is what kills it.
DEATHS_OF_A_SAMPLE = 3


@dataclass
class Part(OpenCell):
    """One (task, cell) that several workers answer; its file is opened with the first record.

    Attributes:
        pending: ids that no worker has.
        suspects: ids that a worker had when it died; deaths: of workers that had this sample alone; workers: how many
            work on it now.
    """

    pending: deque[str] = field(init=False)
    suspects: set[str] = field(default_factory=set)
    deaths: Counter[str] = field(default_factory=Counter)
    workers: int = 0

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

    def lost(self, ids: Sequence[str]) -> Record | None:
        """A worker died with ``ids``. They are done again, one by one, to find the one that kills; that one becomes a
        failed record in the end, which is returned."""
        self.suspects.update(ids)
        if len(ids) == 1:
            self.deaths[ids[0]] += 1
            if self.deaths[ids[0]] >= DEATHS_OF_A_SAMPLE:
                sample = self.task.samples[self.task.samples.ids.index(ids[0])]
                return failed_record(
                    self.key,
                    sample,
                    "worker_lost",
                    f"{DEATHS_OF_A_SAMPLE} workers died on this sample",
                    self.task.scored,
                    self.task.protocol,
                )
        self.put_back(ids)
        return None

    def add(self, record: Record) -> None:
        """Write one record; the file is put in order with the last.

        Raises:
            UserError: see :meth:`OpenCell.add`.
        """
        if self._writer is None:
            self.__enter__()
        super().add(record)
        if len(self.done) == len(self.task.samples):
            self.close()
            rewrite_in_order(self.path, self.task.samples.ids)

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self.__exit__(None, None, None)


def choose(parts: Sequence[Part], own: Part | None) -> Part | None:
    """The part that a free worker goes on with; None where nothing waits.

    Its own first: a change costs a warm-up. Then one that nobody works on, then the one with the most left per worker.
    """
    if own is not None and own.pending:
        return own
    waiting = [p for p in parts if p.pending]
    free = next((p for p in waiting if not p.workers), None)
    return free or max(waiting, key=lambda p: len(p.pending) / (p.workers + 1), default=None)
