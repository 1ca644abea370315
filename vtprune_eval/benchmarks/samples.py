"""The samples of a task, made one at a time from a reader's records, and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..sample import Sample
from .base import Records
from .benchmark import Benchmark
from .prompts import Prompt


class Samples(Sequence[Sample]):
    """The samples of a task, made one at a time: a big data set never lies in memory.

    Args:
        records: from a reader.
        prompt: None where the data holds the question itself.
        chosen: numbers of the records to use, in order.
        of: the benchmark, which says where a target is.
    """

    def __init__(self, records: Records, prompt: Prompt | None, chosen: Sequence[int], of: Benchmark) -> None:
        self._records, self._prompt, self._chosen, self._of = records, prompt, chosen, of

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return Samples(self._records, self._prompt, self._chosen[i], self._of)
        item = self._records.item(self._chosen[i])
        question = item.fields["question"] if self._prompt is None else self._prompt.question(item)
        instruction = item.fields.get("instruction") or item.fields.get("goal") or None
        question = whole_signs(question)
        instruction = whole_signs(instruction) if instruction else None
        return Sample(
            id=item.id,
            images=item.images,
            question=question,
            target=item.target,
            cluster=item.cluster,
            meta=item.meta,
            instruction=instruction,
            boxes_of=self._of.boxes,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """Ids in order, without reading a record."""
        ids = self._records.ids
        return [ids[i] for i in self._chosen]

    def without(self, done: Mapping[str, Any]) -> Samples:
        """The samples whose ids are not in ``done``."""
        ids = self._records.ids
        return Samples(self._records, self._prompt, [i for i in self._chosen if ids[i] not in done], self._of)


def whole_signs(text: str) -> str:
    """The text with halves of surrogate pairs put together, and a replacement sign for a half without its other."""
    if not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over ids, image names and sizes in bytes, questions and targets, 16 hex digits."""
    digest = hashlib.sha256()
    for s in samples:
        update_fingerprint(digest, s)
    return digest.hexdigest()[:16]


def update_fingerprint(digest: Any, sample: Sample) -> None:
    """Add one sample to a hash; a missing image counts with a size of -1."""
    sizes = [(p.name, _size(p)) for p in sample.images]
    digest.update(repr((sample.id, sizes, sample.question, sample.target)).encode("utf-8", "surrogatepass"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
