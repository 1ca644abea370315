"""A run: every sample of every task through every cell, resumable, then the summary."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.prompts import style_of
from ..benchmarks.tasks import Task, load_task
from ..budget import LEGACY
from ..console import crash_sentence, progress_bar, tell_crash
from ..errors import UserError
from ..extras import host_version
from ..models import check_model_name
from ..models.defaults import SPREAD
from ..models.identity import ModelIdentity, is_foreign
from ..notes import Note
from ..profiling.gpu import Gpu, NoGpu, marked, open_gpu
from ..profiling.own_cost import sentence as profiler_sentence
from ..results.breakdown import breakdown, breakdown_text
from ..results.record import all_failed, light
from ..results.store import RunFolder, digests, read_records, write_atomic
from ..results.summary import Streamed, merge_draws, summarise
from ..results.table import footnotes, table
from ..results.types import Record
from ..sample import target_box
from .cells import Done, Job, OpenCell, answer_task, open_cache
from .defaults import resolved
from .feasible import check_samples
from .header import header, processor
from .spec import Cell, RunSpec
from .workers.shards import Shard

if TYPE_CHECKING:
    from ..models.base import VlmAdapter

# Samples that are looked at to see whether a task has target boxes; a mixed one (OSWorld-G) has some among them.
LOOKED_AT = 50


def execute(spec: RunSpec, adapter: VlmAdapter | None = None, progress: bool = True) -> int:
    """Run ``spec``; prints the summary on stdout, everything else on stderr.

    Args:
        spec: what to run.
        adapter: the model where it is loaded already (:func:`load_adapter`), for the local engine.
        progress: False hides the progress bar.

    Returns:
        The exit code: 0 done, 1 after a crash, 130 interrupted.
    """
    try:
        return _execute(spec, adapter, progress and not spec.quiet)
    except SystemExit as error:  # of somebody's method: a run never ends without a word
        tell_crash(error)
        raise UserError(
            f"{crash_sentence(error)} was called while the run was working: a method must not end the program. What "
            "was written is kept; mend the method and start the same command again."
        ) from error


def _execute(spec: RunSpec, adapter: VlmAdapter | None, progress: bool) -> int:
    tasks = load_tasks(spec)
    _check_targets(spec, tasks)
    if spec.reading == LEGACY:
        raise UserError("--reading legacy is of results that were measured before; choose equal or paper.")
    check_samples(spec, tasks)
    if spec.shard:  # after the checks, so that all shards of a run are refused alike
        tasks = [Shard.parse(spec.shard).of(task) for task in tasks]
    spec = resolved(spec)
    if adapter is None and progress:
        print(header(spec, tasks), file=sys.stderr, flush=True)
    with RunFolder(spec.folder) as folder:
        if spec.engine == "ray" or (spec.engine == "vllm" and spec.workers):
            from .workers.ray import run_on_ray

            identity, finished = run_on_ray(spec, tasks, folder)
        elif spec.engine == "vllm":
            from .workers.vllm import run_on_vllm

            identity, finished = run_on_vllm(spec, tasks, folder)
        else:
            identity, finished = _run_here(spec, tasks, folder, adapter, progress)
        if not finished:
            print(f"interrupted; start the same command again to go on ({folder.path}).", file=sys.stderr)
            return 130
        return report(spec, tasks, folder, identity)


def load_tasks(spec: RunSpec) -> list[Task]:
    """The tasks of a run, as its model is asked.

    Raises:
        UserError: absent data, or one folder for several tasks.
    """
    style = style_of(spec.model, check_model_name(spec.model).family)
    tasks = [
        load_task(name, spec.limit, spec.data_path, protocol=spec.protocol, history=spec.history, style=style)
        for name in spec.tasks
    ]
    if spec.data_path and len(tasks) > 1:
        raise UserError("--data-path belongs to one task; run the tasks one at a time.")
    return tasks


def _check_targets(spec: RunSpec, tasks: list[Task]) -> None:
    """Refuse a method that reads the target on a task without boxes, before anything is computed."""
    reading = [name for name in spec.methods if any(m.sees_target for m in spec.make(name))]
    for task in tasks if reading else ():
        if not any(target_box(task.samples[i].target) for i in range(min(len(task.samples), LOOKED_AT))):
            raise UserError(
                f"{reading[0]} keeps the blocks under the target box, and {task.name} has none; leave it "
                "out, or choose a grounding task (mini-grounding, screenspot_v2, osworld_g)."
            )


def _run_here(
    spec: RunSpec, tasks: list[Task], folder: RunFolder, adapter: VlmAdapter | None, progress: bool
) -> tuple[ModelIdentity, bool]:
    """All cells in this process; identity of the model, and False if the user interrupted."""
    identity, factory, coordinates = load_factory(spec, adapter)
    folder.settle(settings_of(spec, tasks, identity))
    gpu = open_gpu(spec.device, spec.profile)
    write_environment(folder, environment_of(identity), gpu.state(), gpu.reason)
    meter = gpu if spec.profile == "full" else NoGpu(f"--profile {spec.profile}")
    with interrupts() as stop:
        finished = _all_cells(spec, tasks, folder, factory, coordinates, identity, stop, meter, progress)
    environment = environment_of(identity) | {"profiler": _profiler_cost(spec, meter)}
    write_environment(folder, environment, gpu.state(), gpu.reason)  # again, with what disturbed the run
    gpu.close()
    return identity, finished


def _profiler_cost(spec: RunSpec, meter: Gpu) -> dict[str, float] | None:
    """Microseconds of the profiler's readings on this machine; None for the stub, or if a GPU is gone."""
    if spec.model == "stub":
        return None
    import torch

    from ..profiling.own_cost import measure_own_cost

    names = [spec.device] if spec.device != SPREAD else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    try:
        return measure_own_cost([torch.device(name) for name in names], meter).as_json()
    except RuntimeError:
        return None


def settings_of(spec: RunSpec, tasks: list[Task], identity: ModelIdentity) -> dict[str, Any]:
    """What ``run.json`` holds. The commit stands in ``environment.json``: another commit of one version may resume."""
    return {
        **spec.canonical(),
        "fingerprint": identity["fingerprint"],
        "architecture": identity["architecture"],
        "data": {t.name: f"v{t.version} {t.fingerprint}" for t in tasks},
        **({"shard": spec.shard} if spec.shard else {}),
        **({"engine_version": identity["engine"]} if "engine" in identity else {}),
    }


def load_adapter(spec: RunSpec) -> VlmAdapter:
    """The model of a run.

    Raises:
        UserError: anything a user can mend (missing weights, unknown device, ...).
    """
    from ..models import load_model

    return load_model(
        spec.model,
        weights=spec.weights,
        path=spec.model_path,
        dtype=spec.dtype,
        device=spec.device,
        seed=spec.seed,
        attn=spec.attn,
        trust_remote_code=spec.trust_remote_code,
    )


def load_factory(spec: RunSpec, adapter: VlmAdapter | None = None) -> tuple[ModelIdentity, Any, str]:
    """Model identity, a factory of pipelines per (cell, task), and the frame of its coordinates.

    Args:
        spec: of the run.
        adapter: the model where it is loaded already.

    Raises:
        UserError: anything a user can mend (missing weights, unknown device, ...).
    """
    if spec.model == "stub":
        from ..models.stub import COORDINATES, IDENTITY, StubPipeline

        return IDENTITY, lambda cell, task: StubPipeline(cell.method, spec.budget(cell)), COORDINATES
    from ..pipeline.generate import Pipeline

    model = adapter if adapter is not None else load_adapter(spec)

    def factory(cell: Cell, task: Task) -> Pipeline:
        return Pipeline(
            model,
            spec.make(cell.method),
            spec.budget(cell),
            seed=spec.seed,
            max_new_tokens=spec.max_new_tokens or task.max_new_tokens,
            logprobs=spec.logprobs,
            copied=spec.copied,
            record_kept=spec.record_kept == "full",
        )

    return model.identity, factory, model.coordinates


def cell_key(spec: RunSpec, task: Task, cell: Cell) -> str:
    """Identity of a cell's records: everything that could change an answer."""
    parts = {k: v for k, v in spec.canonical().items() if k not in {"methods", "budgets", "tasks", "limit"}}
    parts |= {"method": cell.method, "budget": cell.budget, "task": task.name, "task_version": task.version}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def plan_of(spec: RunSpec, tasks: list[Task], folder: RunFolder) -> list[tuple[Task, Cell, Path, Done]]:
    """Every (task, cell) with its record file and the ids of the records in it, mended; says what is resumed."""
    plan = []
    for task in tasks:
        ids = set(task.samples.ids)
        for cell in spec.cells():
            path = folder.records_path(task.name, cell.slug)
            done, notes = read_records(path, cell_key(spec, task, cell), ids, shape=lambda record: None)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            plan.append((task, cell, path, dict.fromkeys(done)))
    before = sum(len(done) for _, _, _, done in plan)
    if before:
        total = sum(len(task.samples) for task, _, _, _ in plan)
        print(f"resuming: {before} of {total} records are there.", file=sys.stderr)
    return plan


def _all_cells(
    spec: RunSpec,
    tasks: list[Task],
    folder: RunFolder,
    factory: Any,
    coordinates: str,
    identity: ModelIdentity,
    stop: list[bool],
    meter: Gpu,
    progress: bool,
) -> bool:
    plan = plan_of(spec, tasks, folder)
    total = sum(len(task.samples) for task, _, _, _ in plan)
    before = sum(len(done) for _, _, _, done in plan)
    store = open_cache(spec)
    with progress_bar(total, before, progress) as bar:
        mark = Note("foreign", {"model": spec.model}) if is_foreign(identity) else None
        job = Job(spec, factory, coordinates, identity["trained"], bar, stop, meter, store, mark)
        for task in tasks:
            answer_task(
                job,
                task,
                [
                    OpenCell(task, cell, cell_key(spec, task, cell), path, done)
                    for own, cell, path, done in plan
                    if own is task
                ],
            )
            if stop:
                return False
    if store is not None:
        print(f"cache: {store.hits} entries found, {store.misses} computed.", file=sys.stderr)
    return True


def report(spec: RunSpec, tasks: list[Task], folder: RunFolder, identity: ModelIdentity) -> int:
    """Write and print the summary of a finished run from its records; returns the exit code: 1 after a crash."""
    stream = _Stream(spec, tasks, folder)
    records = stream.records
    dead = []
    for task in tasks:
        own = stream.only_failures(task)
        if own and not spec.shard:  # of a shard's few samples all may fail; `merge` looks at the whole
            dead.append(task)
            print(f"vtprune_eval: {_why_dead(task, own)}", file=sys.stderr)
    tasks = [t for t in tasks if t not in dead]
    if not tasks:
        return 1
    cells, rows = merge_draws([(c.method, c.budget) for c in spec.cells()], records)
    by_label = {task.label: task for task in tasks}
    summary = summarise(
        spec.model,
        cells,
        [(t.label, t.scored) for t in tasks],
        rows,
        identity["trained"],
        (lambda label, own: breakdown(by_label[label].of, own)) if identity["trained"] else None,
        {c.method: spec.label(c.method) for c in spec.cells()},
    )
    summary |= {"set": spec.changed}
    summary |= {"run": spec.identity, "identity": identity, "folder": str(folder.path), "digests": digests(folder.path)}
    for task in tasks:
        for row in summary["rows"]:
            entry = row["tasks"][task.label]
            # The whole interval: a handful of samples may miss the floor by chance.
            if row["method"] == "full" and (entry.get("ci95") or (1.0, 1.0))[1] < task.floor:
                stated: dict[str, str | float] = {
                    "percent": 100 * entry["accuracy"],
                    "task": task.name,
                    "floor": 100 * task.floor,
                }
                row["notes"].append(Note("row_below_floor", stated))
    write_atomic(folder.path / "summary.json", table(summary, "json") + "\n")
    part = f", shard {spec.shard} (a part of the samples)" if spec.shard else ""
    heading = f"# {spec.model}, run {spec.identity}{part}\n\n"
    about = (
        f"\n\nWeights: {identity['weights']} ({identity['fingerprint']}), {identity['dtype']}, "
        f"{identity['device']}. Accuracy in %, with 95 % intervals. Times are medians. "
        f"{profiler_sentence(_profiler_of(folder), stream.timed)}".rstrip()
        + "\n"
    )
    write_atomic(folder.path / "report.md", heading + table(summary, "md") + about + breakdown_text(summary))
    print(table(summary, spec.format, terminal_width(spec.wide), spec.quiet))
    where = sys.stdout if spec.format == "table" else sys.stderr
    print(f"\nrun folder: {folder.path}\nreport:     {folder.path / 'report.md'}", file=where)
    if spec.format != "table":  # where they already stand
        for note in footnotes(summary):
            if note.warning:
                print(note, file=sys.stderr)
    if spec.shard:
        print(
            f"this is shard {spec.shard}; when all are done: python -m vtprune_eval merge RUN ... --out DIR",
            file=sys.stderr,
        )
    return int(bool(dead) or stream.crashed)


class _Stream:
    """The records of a finished run, cell by cell, and what must be known of all of them.

    Attributes:
        records: by (task, method, budget), read when they are asked for.
        crashed: whether a record that was read is a crash of the program.
    """

    def __init__(self, spec: RunSpec, tasks: list[Task], folder: RunFolder) -> None:
        self._cells = {
            (task.label, cell.method, cell.budget): (
                task,
                folder.records_path(task.name, cell.slug),
                cell_key(spec, task, cell),
            )
            for task in tasks
            for cell in spec.cells()
        }
        self.records = Streamed(self._cells, self._read)
        self.crashed = False
        self._timed: dict[tuple[str, str, str], list[Record]] = {}

    @property
    def timed(self) -> list[list[Record]]:
        """Per cell that was read and timed, the record in the middle of its times."""
        return list(self._timed.values())

    def _read(self, key: tuple[str, str, str]) -> list[Record]:
        """Raises UserError where records are not there any more."""
        task, path, identity = self._cells[key]
        done, _ = read_records(path, identity, shape=light)
        gone = [i for i in task.samples.ids if i not in done]
        if gone:
            raise UserError(
                f"{path.name}: {len(gone)} of {len(task.samples)} records are not there any more (first "
                f"{gone[0]!r}); they were removed or changed while the run wrote. Start the same command again: it "
                "answers what is missing."
            )
        own = [done[i] for i in task.samples.ids]
        self.crashed |= any(r["reason"] == "crash" for r in own)
        timed = [(times["e2e_ms"] or 0.0, i) for i, r in enumerate(own) if (times := r["times"])]
        if timed:
            self._timed[key] = [own[sorted(timed)[len(timed) // 2][1]]]
        return own

    def only_failures(self, task: Task) -> list[Record]:
        """The records of all cells of a task of which nothing was answered; [] for a task that was."""
        found: list[Record] = []
        for key in self._cells:
            if key[0] == task.label:
                own = self.records[key]
                if not all_failed(own):
                    return []
                found += own
        return found


def _why_dead(task: Task, own: list[Record]) -> str:
    """The sentence for a task of which nothing was answered: a table of 0.0 would look like a result."""
    counts = ", ".join(f"{n} times {reason}" for reason, n in Counter(r["reason"] for r in own).most_common())
    only_images = {r["reason"] for r in own} == {"bad_image"}
    remedy = (
        f"`python -m vtprune_eval data check {task.name}` lists the images; mend them and run again in a new folder"
        if only_images
        else "mend the cause and run again in a new folder (--out)"
    )
    first = str(own[0]["message"]).rstrip(".")
    return (
        f"every sample of {task.name} failed ({counts}; the first: {first}), so there is nothing to compare; {remedy}."
    )


def terminal_width(wide: bool) -> int | None:
    """Characters of a line of the terminal; None where the output is no terminal, or is to be as wide as it is."""
    return None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns


def _profiler_of(folder: RunFolder) -> dict[str, float] | None:
    try:
        found: dict[str, float] | None = json.loads((folder.path / "environment.json").read_text()).get("profiler")
    except (OSError, ValueError, AttributeError):
        return None
    return found


def write_environment(
    folder: RunFolder, environment: dict[str, Any], state: dict[str, Any] | None, reason: str
) -> None:
    """Write ``environment.json``; ``state`` is that of the GPU, None without one, for which ``reason`` says why."""
    path = folder.path / "environment.json"
    try:
        earlier = json.loads(path.read_text()).get("gpu", {})
    except (OSError, ValueError, AttributeError):
        earlier = {}
    data = {**environment, "gpu": marked(state, reason, earlier)}
    write_atomic(path, json.dumps(data, indent=2) + "\n")


def environment_of(identity: ModelIdentity) -> dict[str, Any]:
    """What ran here: interpreter, machine, commit, package versions, model."""
    versions: dict[str, str | None] = {}
    for name in ("torch", "transformers", "numpy", "pillow", "torchvision"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    if "vlmeval" in sys.modules:  # a task of the kit: its code is the metric
        versions["vlmeval"] = host_version("vlmeval")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "commit": _commit(),
        "packages": versions,
        "model": identity,
    }


def _commit() -> str | None:
    """Commit of the checkout that the package runs from, if it is one."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@contextmanager
def interrupts() -> Iterator[list[bool]]:
    """Ctrl-C finishes the record in hand; a second one stops at once."""
    stop: list[bool] = []

    def handler(signum: int, frame: Any) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.append(True)
        print("\nfinishing the record in hand; press Ctrl-C again to stop at once.", file=sys.stderr)

    old = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, previous in old.items():
            signal.signal(s, previous)
