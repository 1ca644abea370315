"""Experiment 7's records: the second question of a page, compressed for itself and for the first one."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from vtprune_eval.benchmarks.tasks import Task, load_task
from vtprune_eval.budget import Budget
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.second import SecondQuestion
from vtprune_eval.registry import make_method, method_class
from vtprune_eval.runner.answers import outcome_of, record_of
from vtprune_eval.sample import Sample

from .runs import SEEDS, TWICE, TWICE_AT, Study

SIDES = ("itself", "the first")


def pairs_of(task: Task, limit: int | None) -> list[tuple[Sample, Sample]]:
    """The first two questions of every page that has two; of ``limit`` pages, evenly spread."""
    pages: dict[tuple[Path, ...], list[Sample]] = defaultdict(list)
    for sample in task.samples:
        pages[sample.images].append(sample)
    found = [(own[0], own[1]) for own in pages.values() if len(own) > 1]
    n = len(found) if limit is None else min(limit, len(found))
    return [found[i * len(found) // n] for i in range(n)]


def budget_of(method: str) -> str:
    """The budget that a method of a stage is asked at."""
    return TWICE_AT[method_class(method).hooks()[-1]]


class _Second:
    """A runner of one question: the second, compressed for the first."""

    def __init__(self, runner: SecondQuestion, first: Sample) -> None:
        self._runner, self._first = runner, first

    def run(self, sample: Sample) -> Any:
        """Answer."""
        return self._runner.run(self._first, sample)


def answer(study: Study, methods: tuple[str, ...] = TWICE) -> None:
    """Run what is missing; one file per task, method and draw."""
    for task in map(load_task, study.tasks):  # whole: a draw of samples has few pages with two
        pairs = pairs_of(task, study.limit)
        for method in (m for m in methods if study.model.name == "nano" or m != "focusui"):
            for draw in range(SEEDS if method_class(method).draws else 1):
                _answer(study, task, method, draw, pairs)


def _answer(study: Study, task: Task, method: str, draw: int, pairs: list[tuple[Sample, Sample]]) -> None:
    path = path_of(study, task.name, method, draw)
    done = {(r["id"], r["side"]) for r in read(path)}
    if len(done) == 2 * len(pairs):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    text = budget_of(method)
    budget = Budget.parse(f"{text}#{draw}" if draw else text)
    adapter = study.model.adapter
    pipeline = Pipeline(adapter, make_method(method), budget, max_new_tokens=task.max_new_tokens, logprobs=True)
    second = SecondQuestion(pipeline)
    with path.open("a", encoding="utf-8") as stream:
        for first, asked in pairs:
            for side, runner in zip(SIDES, (pipeline, _Second(second, first)), strict=True):
                if (asked.id, side) not in done:
                    record = record_of("", task, asked, outcome_of(runner, asked), adapter.coordinates)
                    stream.write(json.dumps({**record, "side": side}) + "\n")
                    stream.flush()


def path_of(study: Study, task: str, method: str, draw: int) -> Path:
    """File of a cell."""
    return study.folder / "twice" / f"{task}--{method}-{draw}.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file; the last one of a run that was killed may be half."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]), encoding="utf-8")
        lines = lines[:-1]
    return [json.loads(line) for line in lines]


def cell(study: Study, method: str, side: str) -> list[dict[str, Any]]:
    """Records of one side over all tasks, scores averaged over the draws."""
    out = []
    for task in study.tasks:
        drawn = []
        for draw in range(SEEDS if method_class(method).draws else 1):
            own = {r["id"]: r for r in read(path_of(study, task, method, draw)) if r["side"] == side}
            if own:
                drawn.append(own)
        for name in sorted(set.intersection(*(set(d) for d in drawn))) if drawn else ():
            rows = [d[name] for d in drawn]
            score = sum(r["score"] or 0.0 for r in rows) / len(rows)
            where = f"{task}/{rows[0]['cluster'] or name}"
            out.append({**rows[0], "id": f"{task}/{name}", "cluster": where, "score": score})
    return out
