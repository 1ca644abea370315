"""``--engine vllm``: the samples of a run are answered inside vLLM, many at once.

The run folder, its records and its resume are those of every run. What an engine that computes many samples together
cannot know (times, memory, energy, FLOPs and bytes of one sample) is null: costs come from our own pipeline alone.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from ...benchmarks.tasks import Task
from ...console import progress_bar
from ...models.identity import ModelIdentity
from ...outcome import Outcome
from ...profiling.gpu import open_gpu
from ...results.store import RunFolder, rewrite_in_order
from ...results.types import Record
from ...sample import Sample
from ..answers import record_of
from ..cells import OpenCell
from ..defaults import resolved
from ..engines import Engine, EngineStopped, engine_module
from ..environment import environment_of, write_environment
from ..execute import interrupts
from ..plan import cell_key, plan_of, settings_of
from ..spec import Cell, RunSpec
from .worker import Worker


def record_of_engine(engine: Engine, key: str, task: Task, sample: Sample, outcome: Outcome | Exception) -> Record:
    """The record of one answer: without costs, with the engine's name and version."""
    record = record_of(key, task, sample, outcome, engine.coordinates)
    record["times"] = record["peak_bytes"] = record["flops"] = record["kv_bytes"] = None
    record["energy_j"] = record["gpu_process_bytes"] = None
    record["engine"] = engine.identity["engine"]
    return record


def run_on_vllm(spec: RunSpec, tasks: list[Task], folder: RunFolder) -> tuple[ModelIdentity, bool]:
    """All cells of a run in one engine of this process; identity of the model, and False if the user interrupted.

    Raises:
        UserError: as the engine's own, and other settings in the folder.
    """
    engine = engine_module("vllm").load_engine(spec)
    folder.settle(settings_of(spec, tasks, engine.identity))
    gpu = open_gpu(spec.device, spec.profile)
    write_environment(folder, environment_of(engine.identity), gpu.state(), gpu.reason)
    plan = plan_of(spec, tasks, folder)
    total, before = sum(len(task.samples) for task, *_ in plan), sum(len(done) for *_, done in plan)
    with (
        interrupts() as stop,
        progress_bar(total, before, not spec.quiet) as bar,
    ):
        for task, cell, path, done in plan:
            answer_cell(engine, spec, OpenCell(task, cell, cell_key(spec, task, cell), path, done), bar, stop)
            if stop:
                break
    gpu.close()
    return engine.identity, not stop


def answer_cell(engine: Engine, spec: RunSpec, cell: OpenCell, bar: Any, stop: list[bool]) -> None:
    """Answer what a cell lacks; records are written as answers come, and put in order with the last.

    Args:
        engine: the loaded one.
        spec: of the run.
        cell: to be answered.
        bar: progress.
        stop: filled when the user interrupts: the requests on their way are given up, the records so far are kept.

    Raises:
        UserError: see :meth:`.engines.Engine.answer`; a full disk.
    """
    task = cell.task
    pending = task.samples.without(cell.done)
    if len(pending):
        with cell:
            for sample, outcome in engine.answer(cell.cell, pending, spec.max_new_tokens or task.max_new_tokens):
                cell.add(record_of_engine(engine, cell.key, task, sample, outcome))
                if cell.graded:
                    bar.set_postfix_str(
                        f"{task.name} {cell.cell.method}@{cell.cell.budget} acc {100 * cell.right / cell.graded:.1f}",
                        refresh=False,
                    )
                bar.update()
                if stop:
                    return
    if list(cell.done) != task.samples.ids:
        rewrite_in_order(cell.path, task.samples.ids)


class VllmWorker(Worker):
    """One worker of a Ray cluster that holds an engine instead of a pipeline; the driver treats both alike."""

    def __init__(self, spec: RunSpec, name: str, load_factory: Any) -> None:
        super().__init__(spec, name, self._load_engine)

    def _load_engine(self, spec: RunSpec) -> tuple[ModelIdentity, Any, str]:
        self._engine = engine_module("vllm").load_engine(spec)
        return self._engine.identity, None, self._engine.coordinates

    def answer(self, name: str, cell: Cell, key: str, ids: list[str]) -> list[Record]:
        """Records of all samples of ``ids``, which vLLM answers together; see :meth:`Worker.answer`."""
        task, index = self._tasks[name], self._index[name]
        samples = [task.samples[index[i]] for i in ids]
        limit = self._spec.max_new_tokens or task.max_new_tokens
        try:
            found = {sample.id: outcome for sample, outcome in self._engine.answer(cell, samples, limit)}
        except EngineStopped as error:  # this replica is of no use any more: to the driver it is lost
            print(f"worker {self._name}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        records = [record_of_engine(self._engine, key, task, sample, found[sample.id]) for sample in samples]
        for record in records:
            record["worker"] = self._name
        return records


def bench_engine(spec: RunSpec, in_flight: int) -> Engine:
    """An engine for measuring throughput; on a GPU it computes in a process of its own, beside the preparation."""
    spec = resolved(spec)
    if spec.device != "cpu":
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    return engine_module("vllm").load_engine(spec, max_num_seqs=in_flight)
