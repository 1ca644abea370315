"""Shards of a run, for clusters that have only a scheduler.

Shard ``i/n`` answers samples i, i + n, i + 2n, ... of every task, in the task's fixed order. Neighbouring samples are
often alike (one document, one episode), so that striding spreads expensive ones evenly. The shards never talk to each
other: each is a run folder of its own that resumes by itself, and ``merge`` puts them together.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from ...benchmarks.tasks import Task
from ...errors import UserError

MAX_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts of every task; ``index`` counts from 0, as ranks and array indices do."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            UserError: another form, or an index outside 0 ... n - 1.
        """
        found = re.fullmatch(r"(\d{1,18})/(\d{1,18})", text) if isinstance(text, str) and text.isascii() else None
        if found is None:
            raise UserError(f"--shard {text!r}: write INDEX/COUNT, for example 0/4 for the first of four.")
        index, count = int(found[1]), int(found[2])
        if not 1 <= count <= MAX_SHARDS:
            raise UserError(f"--shard {text}: a count from 1 to {MAX_SHARDS} is needed.")
        if index >= count:
            raise UserError(
                f"--shard {text}: shards are numbered from 0, so that the last of {count} is {count - 1}/{count}."
            )
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def slug(self) -> str:
        """Form for a folder's name."""
        return f"shard-{self.index}-of-{self.count}"

    def of(self, task: Task) -> Task:
        """The task with this shard's samples; its fingerprint stays that of the whole task."""
        return dataclasses.replace(task, samples=task.samples[self.index :: self.count])
