"""Tasks: a folder each under ``tasks/``, with ``task.yaml``, a data card, prompts, and data where it is embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError, unknown_name
from .paths import tasks_dir
from .readers import READERS
from .sample import Sample, Score
from .scoring.rules import RULES

DEFAULT_TASKS = ("mini-grounding", "mini-doc", "mini-nav")
_KEYS = {"name", "title", "version", "reader", "rule", "protocol", "max_new_tokens", "prompt", "history", "source",
         "licence", "floor"}


@dataclass(frozen=True)
class Task:
    """A loaded task.

    Attributes:
        name, title, version: what it is; protocol: whose scoring rule (``official`` unless said otherwise).
        samples: the questions, images as paths; fingerprint: SHA-256 of the records and the image files' sizes.
        max_new_tokens: answer length limit; rule: name of the scoring rule, or "none".
        floor: accuracy below which a trained full model points to a mistake in the set-up.
    """

    name: str
    title: str
    version: str
    protocol: str
    samples: tuple[Sample, ...]
    fingerprint: str
    max_new_tokens: int
    rule: str
    floor: float

    @property
    def scored(self) -> bool:
        """False where the task measures cost only."""
        return self.rule != "none"

    def score(self, sample: Sample, text: str, frame: dict[str, Any]) -> Score:
        """Score one answer; never raises on what a model said.

        Args:
            sample: the question; text: the model's answer.
            frame: ``coordinates`` of the model, ``model_sizes`` and ``file_sizes`` of the images.
        """
        return RULES[self.rule](text, sample.target, frame)


def task_names() -> tuple[str, ...]:
    """Every task with a definition."""
    return tuple(sorted(p.parent.name for p in tasks_dir().glob("*/task.yaml")))


def check_task_name(name: str) -> None:
    """Refuse an unknown task.

    Raises:
        UserError: with the nearest names.
    """
    if name not in task_names():
        raise unknown_name("task", name, task_names(), "`python -m vtprune_eval list tasks` shows all.")


def definition(name: str) -> dict[str, Any]:
    """The parsed ``task.yaml``.

    Raises:
        UserError: unknown task, or a definition with unknown or missing keys.
    """
    import yaml

    check_task_name(name)
    path = tasks_dir() / name / "task.yaml"
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} of task {name} is not valid YAML: {str(error).splitlines()[0]}.") from None
    for key in data:
        if key not in _KEYS:
            raise unknown_name(f"key in {name}/task.yaml", key, _KEYS)
    return data


def load_task(name: str, limit: int | None = None, data_path: str | None = None) -> Task:
    """Read a task's records (no image is opened).

    Args:
        name: task name.
        limit: at most so many samples: those whose ids have the lowest SHA-256, in the order of the task. Taking every
            k-th would pick one group only wherever groups alternate.
        data_path: folder of the original data, for tasks that are not embedded.

    Raises:
        UserError: unknown task, absent or changed data.
    """
    spec = definition(name)
    folder = Path(data_path) if data_path else tasks_dir() / name / "data"
    if not folder.is_dir():
        raise UserError(f"task {name}: no data in {folder}; give the folder of {spec['source']} with --data-path.")
    samples = READERS[spec["reader"]](folder, spec)
    if not samples:
        raise UserError(f"task {name}: {folder} holds no records.")
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise UserError(f"task {name}: the sample id {sample.id!r} occurs twice in {folder}.")
        seen.add(sample.id)
    if limit is not None and limit < len(samples):
        chosen = set(sorted((s.id for s in samples), key=lambda i: hashlib.sha256(i.encode()).digest())[:limit])
        samples = [s for s in samples if s.id in chosen]
    return Task(
        name=name, title=spec["title"], version=str(spec["version"]), protocol=spec["protocol"],
        samples=tuple(samples), fingerprint=_fingerprint(samples), max_new_tokens=spec["max_new_tokens"],
        rule=spec["rule"], floor=float(spec.get("floor", 0.0)),
    )


def _fingerprint(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for s in samples:
        sizes = [(p.name, p.stat().st_size if p.exists() else -1) for p in s.images]
        digest.update(repr((s.id, sizes, s.question, s.target)).encode())
    return digest.hexdigest()[:16]
