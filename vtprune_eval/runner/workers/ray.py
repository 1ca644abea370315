"""``--engine ray``: workers of a Ray cluster answer, this process alone writes.

Each worker is an actor with one model, alone on its device. The driver gives it a few samples at a time and appends
what comes back to the run folder, the same one that a single process would write. A worker that is lost takes only its
unanswered samples with it: they are given to another, and a new worker is asked for. How many machines there are is
Ray's affair: workers that find no place wait, which is what makes an autoscaler add nodes.

``RAY_ADDRESS`` names the cluster (``auto``: the one that this machine belongs to); without it one is started here and
ends with the run.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ...benchmarks.tasks import Task
from ...console import progress_bar
from ...errors import UserError
from ...models.identity import ModelIdentity
from ...results.run_files import Environment
from ...results.store import RunFolder
from .. import execute as loop
from ..cells import Done
from ..environment import write_environment
from ..plan import cell_key, plan_of, settings_of
from ..spec import Cell, RunSpec
from .machines import joined
from .queue import Bundle, Part, Queue, choose
from .worker import Welcome, Worker, portable

WAIT_SECONDS = 0.5
PATIENCE_SECONDS = 20.0  # without a single worker, before it is said what is waited for
ANSWER_SECONDS = 10.0  # for a worker that has nothing to do to say how its machine is
CONNECT_SECONDS = 10.0
STORE_BYTES = 128 << 20  # of the local cluster: only records travel
Plan = Sequence[tuple[Task, Cell, Path, Done]]


@dataclass
class _Held:
    """An actor, and what it is doing: ``part`` and ``ids`` of the call it has, None and () while it loads."""

    actor: Any
    part: Queue | None = None
    ids: Sequence[str] = ()
    ready: bool = False


class RayEngine:
    """The workers of one run (context manager).

    Attributes:
        identity: of the model that every worker loaded.

    Raises:
        UserError: Ray is missing, no cluster at the address, no GPU in it, or a model that cannot be loaded.
    """

    def __init__(self, spec: RunSpec, tasks: Sequence[Task]) -> None:
        if spec.device not in ("cpu", "cuda"):
            raise UserError(
                f"--device {spec.device}: --engine ray gives every worker a GPU of its own; write --device cuda."
            )
        try:
            import ray
        except ImportError:
            raise UserError("--engine ray needs the package ray: pip install 'vtprune_eval[ray]'.") from None
        self._ray, self._spec = ray, portable(spec)
        self._fingerprints = {t.name: t.fingerprint for t in tasks}
        self._calls: dict[Any, _Held] = {}
        self._idle: list[_Held] = []
        self._machines: dict[str, Environment] = {}
        self._started = self._deaths = 0
        self.identity: ModelIdentity = {}

    def __enter__(self) -> RayEngine:
        try:
            self._connect()
            self._wanted, self._options = self._sizes()
            for _ in range(self._wanted):
                self._start()
            self._first()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()  # ends the actors of this driver, and the cluster if it was started here

    def write_environment(self, folder: RunFolder) -> None:
        """Write ``environment.json``: what all machines have in common, and each worker's as it is now."""
        calls = [held.actor.environment.remote() for held in self._idle]
        for ref in self._ray.wait(calls, num_returns=len(calls), timeout=ANSWER_SECONDS)[0] if calls else []:
            try:
                environment = self._ray.get(ref)
            except self._ray.exceptions.RayError:  # its machine has gone; what it said before stands
                continue
            self._machines[environment["worker"]] = environment
        data = joined(list(self._machines.values()))
        write_environment(folder, {**data, "workers": list(self._machines.values())}, data["gpu"], "")

    def answer(self, plan: Plan, bar: Any, stop: list[bool]) -> bool:
        """Answer what the plan lacks.

        Args:
            plan: from :func:`~vtprune_eval.runner.plan.plan_of`.
            bar: progress over all workers.
            stop: filled when the user interrupts: calls that are on their way are waited for and written.

        Returns:
            False if it was interrupted.

        Raises:
            UserError: a full disk, workers that die one after the other, a machine that differs from the others.
        """
        parts = self._parts(plan)
        try:
            while True:
                if not stop:
                    self._assign(parts)
                if not any(h.ids for h in self._calls.values()) and (stop or not any(p.pending for p in parts)):
                    return not stop
                for held, value in self._ready():
                    self._take(held, value, bar)
        finally:
            for part in parts:
                part.close()

    def _parts(self, plan: Plan) -> list[Queue]:
        """What is handed out: the cells of a task together where they may share, else each on its own."""
        single = [
            Part(task, cell, cell_key(self._spec, task, cell), path, done)
            for task, cell, path, done in plan
            if len(done) < len(task.samples)
        ]
        if self._spec.engine != "ray" or self._spec.share == "off" or self._spec.model == "stub":
            return list(single)
        by_task: dict[str, list[Part]] = {}
        for part in single:
            by_task.setdefault(part.task.name, []).append(part)
        return [Bundle(parts[0].task, parts) for parts in by_task.values()]

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        address = os.environ.get("RAY_ADDRESS")
        _check_address(address)
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        local = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        try:
            self._ray.init(address=address or "local", **quiet, **({} if address else local))
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"--engine ray: no cluster at RAY_ADDRESS={address or 'local'} ({_line(error)}); start one "
                "with `ray start --head`, or unset RAY_ADDRESS to run on this machine alone."
            ) from error

    def _sizes(self) -> tuple[int, dict[str, Any]]:
        """How many workers, and what each reserves: a GPU, or an equal share of the processors."""
        nodes = [n["Resources"] for n in self._ray.nodes() if n["Alive"]]
        if self._spec.device == "cuda":
            n = self._spec.workers or int(sum(r.get("GPU", 0) for r in nodes))
            if not n:
                raise UserError(
                    "--engine ray --device cuda: the Ray cluster has no GPU now; give --workers N to wait "
                    "for nodes that an autoscaler adds."
                )
            return n, {"num_gpus": 1, "num_cpus": 1}
        cores = [int(r["CPU"]) for r in nodes if r.get("CPU", 0) >= 1]
        n = self._spec.workers or max(1, len(cores))
        return n, {"num_cpus": cores_per_worker(cores, n)}

    def _start(self) -> None:
        kind: type[Worker] = Worker
        if self._spec.engine == "vllm":
            from .vllm import VllmWorker

            kind = VllmWorker
        actor = (
            self._ray.remote(kind)
            .options(
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
                **self._options,
            )
            .remote(self._spec, str(self._started), loop.load_factory)
        )
        self._started += 1
        self._calls[actor.load.remote(self._fingerprints)] = _Held(actor)

    def _first(self) -> None:
        """Wait until one worker is ready; the others follow while it works."""
        patience: float | None = time.monotonic() + PATIENCE_SECONDS
        while not self._idle:
            for held, value in self._ready():
                self._take(held, value, None)
            if patience and time.monotonic() > patience:
                patience = None
                print(
                    f"waiting for the first of {self._wanted} workers, which reserves {self._options}; the cluster "
                    f"has {_plain(self._ray.available_resources())} free.",
                    file=sys.stderr,
                )

    def _assign(self, parts: Sequence[Queue]) -> None:
        for held in list(self._idle):
            part = choose(parts, held.part)
            if part is not held.part:
                if held.part is not None:
                    held.part.workers -= 1
                if part is not None:
                    part.workers += 1
                held.part = part
            if part is not None:
                self._idle.remove(held)
                held.ids = part.take()
                self._calls[part.ask(held.actor, held.ids)] = held

    def _ready(self) -> list[tuple[_Held, Any]]:
        """Calls that came back, with their value or with the error of a lost worker."""
        if not self._calls:
            return []
        errors = self._ray.exceptions
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=WAIT_SECONDS)
        if done:
            done, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        out = []
        for ref in done:
            held = self._calls.pop(ref)
            try:
                out.append((held, self._ray.get(ref)))
            except errors.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise
            except errors.RayError as error:
                out.append((held, error))
        return out

    def _take(self, held: _Held, value: Any, bar: Any) -> None:
        if isinstance(value, Exception):
            self._lost(held, value, bar)
            return
        if held.ready:
            assert held.part is not None
            for record in value:
                held.part.add(record)
            answered = {record["id"] for record in value}
            held.part.put_back([i for i in held.ids if i not in answered])
            self._advance(bar, held.part, len(value))
            self._deaths = 0
        else:
            self._welcome(held, value)
        held.ids = ()
        self._idle.append(held)

    def _welcome(self, held: _Held, answer: Welcome) -> None:
        """A worker is ready; it must be like the others, or the records would depend on who answered."""
        name, environment = answer["worker"], answer["environment"]
        self.identity = self.identity or answer["identity"]
        other = next(iter(self._machines.values()), environment)
        if answer["identity"] != self.identity:
            raise UserError(
                f"worker {name} loaded another model than {other['worker']} "
                f"({answer['identity']['fingerprint']} instead of {self.identity['fingerprint']}); give "
                "every node the same weights."
            )
        if environment["packages"] != other["packages"]:
            raise UserError(
                f"worker {name} has other package versions than {other['worker']}; install the same "
                "environment on every node."
            )
        held.ready = True
        self._machines[name] = environment

    def _advance(self, bar: Any, part: Queue, n: int) -> None:
        now = part.latest
        if now.graded and self.identity["trained"]:
            bar.set_postfix_str(
                f"{now.task.name} {now.cell.method}@{now.cell.budget} acc {100 * now.right / now.graded:.1f}",
                refresh=False,
            )
        bar.update(n)

    def _lost(self, held: _Held, error: Exception, bar: Any) -> None:
        self._deaths += 1
        if self._deaths > 4 * self._wanted + 4:
            raise UserError(
                f"--engine ray: {self._deaths} workers died one after the other without an answer "
                f"({_line(error)}); look at Ray's logs on their machines (session_latest/logs)."
            ) from error
        self._ray.kill(held.actor)  # one that is only out of reach must not answer later
        if held.part is not None:
            held.part.workers -= 1
            failed = held.part.lost(held.ids)
            for record in failed:
                held.part.add(record)
                self._deaths = 0
            self._advance(bar, held.part, len(failed))
        print(
            f"\nnote: a worker was lost ({type(error).__name__}); its {len(held.ids)} samples are given to another.",
            file=sys.stderr,
        )
        self._start()


def cores_per_worker(cores: Sequence[int], n: int) -> int:
    """The largest equal share with which ``n`` workers find room on machines with ``cores`` processors each; 1 where
    they do not (some then wait)."""
    return next((c for c in range(max(cores, default=1), 1, -1) if sum(m // c for m in cores) >= n), 1)


def run_on_ray(spec: RunSpec, tasks: list[Task], folder: RunFolder) -> tuple[ModelIdentity, bool]:
    """All cells of a run on workers; identity of the model, and False if the user interrupted.

    Raises:
        UserError: as :class:`RayEngine`, and other settings in the folder.
    """
    with RayEngine(spec, tasks) as engine:
        folder.settle(settings_of(spec, tasks, engine.identity))
        engine.write_environment(folder)
        plan = plan_of(spec, tasks, folder)
        total, before = sum(len(task.samples) for task, *_ in plan), sum(len(done) for *_, done in plan)
        with (
            loop.interrupts() as stop,
            progress_bar(total, before, not spec.quiet) as bar,
        ):
            finished = engine.answer(plan, bar, stop)
        engine.write_environment(folder)  # again, with what disturbed the run
        return engine.identity, finished


def _check_address(address: str | None) -> None:
    """Refuse an address at which nobody listens: Ray itself would try for minutes.

    Raises:
        UserError: no server there, or the address of a Ray client, whose driver is outside of the cluster.
    """
    if not address or address in ("auto", "local"):
        return
    if "://" in address:
        raise UserError(
            f"--engine ray: RAY_ADDRESS={address} is for a driver outside of the cluster; start this "
            "command on one of its machines, with RAY_ADDRESS=auto."
        )
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"--engine ray: nobody answers at RAY_ADDRESS={address} ({_line(error)}); start a cluster with "
            "`ray start --head`, or unset RAY_ADDRESS to run on this machine alone."
        ) from None


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".:")[:200]


def _plain(resources: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in resources.items() if k in ("CPU", "GPU")}
