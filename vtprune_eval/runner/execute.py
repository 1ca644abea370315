"""A run: every sample of every task through every cell, resumable, then the summary."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..benchmarks.prompts import style_of
from ..benchmarks.tasks import Task, load_task
from ..budget import LEGACY
from ..console import crash_sentence, progress_bar, tell_crash
from ..errors import UserError
from ..models import EMBEDDED, check_model_name, embedded_folder
from ..models.defaults import SPREAD
from ..models.identity import ModelIdentity, is_foreign
from ..notes import Note
from ..profiling.gpu import Gpu, NoGpu, open_gpu
from ..results.store import RunFolder
from ..sample import target_box
from .cells import Job, OpenCell, answer_task, open_cache
from .defaults import resolved
from .environment import environment_of, write_environment
from .feasible import check_samples
from .header import header
from .plan import cell_key, plan_of, settings_of
from .report import report
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
    if adapter is None and spec.model in EMBEDDED and not spec.model_path and spec.weights == "hub":
        embedded_folder(spec.model, with_weights=True)  # nothing is announced that cannot be loaded
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
            decode_graphs=spec.decode_graphs,
            copied=spec.copied,
            record_kept=spec.record_kept == "full",
        )

    return model.identity, factory, model.coordinates


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
