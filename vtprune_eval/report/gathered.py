"""Rows of one or several runs for figures, tables and comparisons: run folders, or the result files of a board.

Rows of several runs stand in one figure only where nothing but methods, budgets and settings of methods differs: the
same model and weights, floating type, reading of budgets, rules and samples; for times the same machine, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..budget import reading_of
from ..errors import UserError, unknown_name
from ..naming import bare, parts_of, split_outside
from ..registry import method_class
from ..results.record import all_failed
from ..results.run_files import Environment, RunSettings
from ..results.summary import merge_draws
from ..results.types import Record
from ..runner.folder import Key, identity_of, read_run, spec_of
from ..runner.spec import RunSpec
from .result_file import device_of, group_of, read

MEAN = "mean"
_WORDS = {
    "model": "the model",
    "fingerprint": "the weights",
    "weights": "where the weights come from",
    "architecture": "the architecture",
    "dtype": "the floating type",
    "reading": "the reading of budgets",
    "protocol": "the scoring rule",
    "history": "the number of earlier screenshots",
    "max_new_tokens": "the limit of an answer",
    "engine": "the engine",
}


@dataclass(frozen=True)
class Source:
    """One run, from its folder or from a result file.

    Attributes:
        path: as given.
        settings: of the run.
        environment: of the run.
        records: by (task, method, budget), in the task's order.
    """

    path: Path
    settings: RunSettings
    environment: Environment
    records: dict[Key, list[Record]]

    @property
    def spec(self) -> RunSpec:
        """The settings as a specification."""
        return spec_of(self.settings)

    @property
    def trained(self) -> bool:
        """False for random weights, whose answers mean nothing."""
        return group_of(self.settings) != "random"

    @property
    def machine(self) -> str:
        """What its times were measured on."""
        return f"{device_of(self.settings, self.environment)}, {self.settings.get('attn', '-')}"

    @property
    def identity(self) -> str:
        """12 hex digits of the run's settings."""
        return identity_of(self.settings)


@dataclass(frozen=True)
class Row:
    """A method at a budget.

    Attributes:
        label: the method with every setting that is no default.
        method: as records name it.
        budget: as asked for (``-`` of ``full``).
        records: by task; repetitions of a random control are one record with ``draws``.
        ranked: False for an upper bound that reads the target.
        source: where it comes from.
    """

    label: str
    method: str
    budget: str
    records: dict[str, list[Record]]
    ranked: bool
    source: Source = field(repr=False)

    @property
    def name(self) -> str:
        """As a reader would say it."""
        return self.label if self.method == "full" else f"{self.label} at {self.budget}"

    def answers(self, task: str) -> list[Record]:
        """All records of a task, every repetition for itself: what costs are counted from."""
        return [d for r in self.records[task] for d in r.get("draws", (r,))]


@dataclass(frozen=True)
class Gathered:
    """Rows of runs that may stand together.

    Attributes:
        rows: in the order of the runs, ``full`` first.
        tasks: of any run, in their order.
        sources: the runs.
        notes: what a reader must know (on stderr, and in the caption).
    """

    rows: tuple[Row, ...]
    tasks: tuple[str, ...]
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """False for random weights."""
        return self.sources[0].trained

    @property
    def full(self) -> Row | None:
        """The row of the full model, where one was run."""
        return next((r for r in self.rows if r.method == "full"), None)

    def same_machine(self, what: str) -> None:
        """Refuse what depends on the machine where runs come from several.

        Raises:
            UserError: names both machines.
        """
        for other in self.sources[1:]:
            if other.machine != self.sources[0].machine:
                raise UserError(
                    f"{what} of {self.sources[0].path} and {other.path} were measured on different machines "
                    f"({self.sources[0].machine}; {other.machine}) and are not comparable; choose a cost that does not "
                    "depend on the machine, or measure both on one."
                )


def load(path: str | Path) -> Source:
    """One run.

    Args:
        path: a finished run folder, or a result file (``leaderboards/results/NAME.json``).

    Raises:
        UserError: neither, damaged or half-done.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".json":
        result, records = read(path)
        return Source(path, result["settings"], result["environment"], records)
    run = read_run(path)
    run.tell_unsealed()
    return Source(path, run.settings, run.environment, {k: list(own.values()) for k, own in run.records.items()})


def differing(a: RunSettings, b: RunSettings) -> list[str]:
    """What in two runs' settings makes their answers incomparable, as words with both values."""
    out = []
    for key, words in _WORDS.items():
        one, other = (reading_of(s) if key == "reading" else s.get(key) for s in (a, b))
        if one != other:
            out.append(f"{words} ({_short(one)}; {_short(other)})")
    return out


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def gather(paths: Sequence[str | Path]) -> Gathered:
    """The rows of runs that may stand together.

    Raises:
        UserError: a run that cannot be read, or runs that may not: what differs.
    """
    if not paths:
        raise UserError("no run is named; give the folder that a run printed at its end.")
    sources = tuple(load(p) for p in dict.fromkeys(map(str, paths)))
    first = sources[0]
    for other in sources[1:]:
        _check_together(first, other)
    rows: dict[tuple[str, str], Row] = {}
    notes: list[str] = []
    for source in sources:
        for row in rows_of_source(source):
            known = rows.setdefault((row.label, row.budget), row)
            if known is not row:
                rows[row.label, row.budget] = _joined(known, row)
    for source in sources[1:]:
        if source.settings.get("package") != first.settings.get("package"):
            notes.append(
                f"{first.path} was made by version {first.settings.get('package')}, {source.path} by "
                f"{source.settings.get('package')}: CHANGELOG.md says where numbers changed their meaning."
            )
    ordered = sorted(rows.values(), key=lambda r: r.method != "full")
    tasks = tuple(dict.fromkeys(t for s in sources for t, _, _ in s.records))
    return Gathered(tuple(ordered), tasks, sources, tuple(notes))


def _check_together(a: Source, b: Source) -> None:
    wrong = differing(a.settings, b.settings)
    for task in a.settings["data"]:
        one, other = a.settings["data"][task], b.settings["data"].get(task)
        if other is not None and ids_of(a, task) != ids_of(b, task):
            wrong.append(f"the samples of {task} ({len(ids_of(a, task))}; {len(ids_of(b, task))})")
        elif other is not None and one != other:
            wrong.append(f"the data of {task} ({one}; {other})")
    if wrong:
        raise UserError(f"{a.path} and {b.path} cannot stand together: they differ in {', in '.join(wrong)}.")


def ids_of(source: Source, task: str) -> set[str]:
    """Ids of a run's samples of one task."""
    return {r["id"] for r in next((own for (t, _, _), own in source.records.items() if t == task), [])}


def rows_of_source(source: Source) -> list[Row]:
    """Every row of one run, repetitions of a random control as one."""
    spec = source.spec
    cells, merged = merge_draws([(c.method, c.budget) for c in spec.cells()], source.records)
    out = []
    for method, budget in cells:
        own = {t: merged[t, m, b] for t, m, b in merged if (m, b) == (method, budget)}
        ranked = not any(method_class(part).sees_target for part in parts_of(method))
        shown = "-" if method == "full" else budget
        out.append(Row(spec.label(method), method, shown, own, ranked, source))
    return out


def _joined(a: Row, b: Row) -> Row:
    """One row of the same cell in two runs: the first, with the tasks that only the second has.

    Raises:
        UserError: the two gave different answers.
    """
    for task in a.records.keys() & b.records.keys():
        scores = {r["id"]: r["score"] for r in b.records[task]}
        other = [r["id"] for r in a.records[task] if r["score"] != scores[r["id"]]]
        if other:
            raise UserError(
                f"{a.source.path} and {b.source.path} cannot stand together: both have {a.name}, and it scores "
                f"differently on {len(other)} of {len(scores)} samples of {task} (first {other[0]}); leave one run out."
            )
    return Row(a.label, a.method, a.budget, {**b.records, **a.records}, a.ranked, a.source)


def chosen(
    data: Gathered, methods: str | None = None, budgets: str | None = None, keep_full: bool = True
) -> tuple[Row, ...]:
    """Rows of some methods and budgets, in the order in which the methods are named.

    Args:
        data: of :func:`gather`.
        methods: names with or without their settings, separated by commas; None for all.
        budgets: as asked for, separated by commas; None for all.
        keep_full: whether the full model stays, named or not.

    Raises:
        UserError: a name or a budget that no row has.
    """
    rows = list(data.rows)
    if methods is not None:
        names = [n.strip() for n in split_outside(methods, ",") if n.strip()]
        known = {n for r in rows for n in (r.label, r.method, bare(r.method))}
        for name in names:
            if name not in known:
                raise unknown_name("method of these runs", name, known)
        picked: dict[int, Row] = {}
        for name in ["full"] * keep_full + names:
            picked |= {id(r): r for r in rows if name in (r.label, r.method, bare(r.method)) and id(r) not in picked}
        rows = list(picked.values())
    if budgets is not None:
        wanted = {b.strip() for b in split_outside(budgets, ",") if b.strip()}
        known = {r.budget for r in data.rows} - {"-"}
        for name in sorted(wanted - known):
            raise unknown_name("budget of these runs", name, known)
        rows = [r for r in rows if r.budget in wanted or r.method == "full"]
    if not [r for r in rows if r.method != "full"] and methods != "full":
        raise UserError("no row is left; choose other --methods or --budgets.")
    return tuple(rows)


def tasks_of(data: Gathered, text: str | None, default: Sequence[str]) -> list[str]:
    """Names of tasks, ``mean`` (over all tasks of the runs) and ``all``, as a list.

    Raises:
        UserError: a task that no run has.
    """
    names = [n.strip() for n in text.split(",") if n.strip()] if text else list(default)
    out: list[str] = []
    for name in names:
        if name == "all":
            out += data.tasks
        elif name == MEAN or name in data.tasks:
            out.append(name)
        else:
            raise unknown_name("task of these runs", name, {*data.tasks, MEAN, "all"})
    return list(dict.fromkeys(out))


def tasks_in(data: Gathered, task: str) -> list[str]:
    """The tasks that a name stands for: itself, or all of them for ``mean``."""
    return list(data.tasks) if task == MEAN else [task]


def has_tasks(row: Row, tasks: Sequence[str]) -> bool:
    """Whether a row has answers on every one of the tasks."""
    return all(row.records.get(t) and not all_failed(row.records[t]) for t in tasks)
