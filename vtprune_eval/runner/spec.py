"""What a run is: one immutable object from the command line or a YAML file; its hash is the run's identity."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..benchmarks.definitions import DEFAULT_TASKS
from ..budget import Budget
from ..naming import bare, parts_of
from ..registry import method_class
from . import sweeps
from .checks import check_named, check_whole
from .workers.shards import Shard

# Fields that say where or how results are shown, not what they are.
_NOT_IDENTITY = {
    "out",
    "format",
    "data_path",
    "model_path",
    "profile",
    "trust_remote_code",
    "share",
    "decode_batch",
    "wide",
    "quiet",
    "timings",
    "max_branch_bytes",
    "cache",
    "cache_size",
    "shard",
    "engine",
    "workers",
    "record_kept",  # only where it is asked for: a run of before the option is the same run
}


_OF_ALL_ROWS = ("limit", "protocol", "history", "max_new_tokens", "seed", "seeds", "attn", "engine", "decode_graphs")
MAX_SLUG = 120  # characters; a file system takes 255 bytes


@dataclass(frozen=True)
class Cell:
    """One line of the table: a method at a budget."""

    method: str
    budget: str

    @property
    def slug(self) -> str:
        """File-name form, e.g. ``pixelprune@auto`` or ``pixelprune_tau=0.02@auto``; a third-party method's name cannot
        lead out of the folder, and no two cells share a name."""
        text = f"{self.method}@{self.budget}"
        if "[" not in text:
            return re.sub(r"[^A-Za-z0-9.+_@-]", "-", text)
        plain = re.sub(r"[^A-Za-z0-9.+_@=-]", "-", re.sub(r"[\[,]", "_", text.replace("]", "")))
        values = re.findall(r"=((?:\\.|[^\\,\]])*)", text)
        if len(plain) <= MAX_SLUG and all(re.fullmatch(r"[a-z0-9.-]+", v) for v in values):
            return plain
        return f"{plain[:MAX_SLUG]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class RunSpec:
    """All settings of a run; every name is checked on construction, nothing is loaded.

    Attributes:
        model: short name.
        methods: names of methods, each crossed with every budget and task.
        budgets: as on the command line.
        tasks: names, or folders of tasks.
        params: ``method.key`` to value; several values (a list) are a sweep, whose cells are named
            ``method[key=value]`` (:mod:`.sweeps`).
        weights: ``hub`` or ``random``.
        model_path: local folder of the weights, instead of a download.
        data_path: local folder of the tasks' data, instead of a download.
        trust_remote_code: whether Python code of the model's folder may be run.
        limit: samples per task, None for all.
        seed: of everything random.
        seeds: repetitions of random controls.
        dtype: floating type, ``auto`` until :func:`~vtprune_eval.runner.defaults.resolved` has chosen.
        device: torch device, ``auto`` until the same.
        attn: attention backend.
        reading: of the budgets, ``equal`` or ``paper`` (``legacy`` for runs that are older than readings, which can be
            read and not started).
        protocol: whose scoring rule, None for each task's official one.
        history: earlier screenshots, None for the protocol's own number.
        max_new_tokens: answer limit, None for the task's own.
        out: run folder.
        format: of the summary.
        profile: what is read of the GPU (``full``, ``light``, ``off``).
        share: ``auto`` (cells compute once what they have in common) or ``off``.
        timings: samples per task and cell that are timed, each on its own, None for all, or for a few where computation
            is shared or cached.
        decode_batch: branches that decode together at most, ``auto``, or 1 for none.
        max_branch_bytes: memory for shared state, such as ``4GB``.
        cache: folder of the disk cache, None for no cache.
        cache_size: its limit.
        record_kept: ``off``, or ``full``: records say which blocks every layer and head holds.
        logprobs: whether records say how probable the model found each token of its answer.
        decode_graphs: whether timed answers are decoded with static shapes, on CUDA as a captured graph.
        wide: whether tables may be wider than the terminal.
        quiet: whether a terminal shows the main table alone.
        shard: ``i/n``, the part of every task's samples that this run answers, None for all of them.
        engine: ``local`` (this process), ``ray`` (a cluster) or ``vllm`` (many samples at once).
        workers: of the engine ray, None for its own number, or replicas of vLLM under Ray, None for one engine without
            Ray.
    """

    model: str = "nano"
    methods: tuple[str, ...] = ("full", "pixelprune")
    budgets: tuple[str, ...] = ("auto",)
    tasks: tuple[str, ...] = DEFAULT_TASKS
    params: dict[str, Any] = field(default_factory=dict)
    weights: str = "hub"
    model_path: str | None = None
    trust_remote_code: bool = False
    data_path: str | None = None
    limit: int | None = None
    seed: int = 0
    seeds: int = 1
    dtype: str = "auto"
    device: str = "auto"
    attn: str = "sdpa"
    reading: str = "equal"
    protocol: str | None = None
    history: int | None = None
    max_new_tokens: int | None = None
    out: str | None = None
    format: str = "table"
    wide: bool = False
    quiet: bool = False
    profile: str = "full"
    share: str = "auto"
    decode_batch: str = "auto"
    timings: int | None = None
    logprobs: bool = False
    decode_graphs: bool = False
    max_branch_bytes: str = "4GB"
    cache: str | None = None
    cache_size: str = "20GB"
    shard: str | None = None
    engine: str = "local"
    workers: int | None = None
    record_kept: str = "off"

    def __post_init__(self) -> None:
        check_named(self)
        object.__setattr__(self, "params", sweeps.checked(self.params))
        check_whole(self)

    def make(self, name: str) -> tuple[Any, ...]:
        """The method objects of ``name`` (several for a composition ``a+b``), with this run's hyper-parameters."""
        return sweeps.made(name, self.params, self.reading)

    def label(self, name: str) -> str:
        """The method of a cell as tables name it: with every setting that is no default."""
        return sweeps.labelled(name, self.make(name), self.reading)

    @property
    def changed(self) -> dict[str, Any]:
        """Settings of the whole run that change answers or costs and are no defaults; hyper-parameters stand in the
        methods' labels, weights, device and floating type beside the table."""
        usual = {f.name: f.default for f in dataclasses.fields(self)}
        return {k: getattr(self, k) for k in _OF_ALL_ROWS if getattr(self, k) != usual[k]}

    def copied(self, name: str) -> Any:
        """The method whose count ``auto`` or ``like:`` copies, with the hyper-parameters it has in this run."""
        if any(bare(name) in bare(m).split("+") for m in self.methods):
            return self.make(name)[0]
        return sweeps.made(name, self.params, self.reading, shared=False)[0]

    @cached_property
    def asked(self) -> tuple[Budget, ...]:
        """The budgets as asked for; a cell's own may follow from a sweep or a repetition (:meth:`budget`)."""
        return tuple(map(Budget.parse, self.budgets))

    def budget(self, cell: Cell) -> Budget:
        """The parsed budget of a cell."""
        return Budget.parse(cell.budget, self.reading)  # type: ignore[arg-type]

    def cells(self) -> tuple[Cell, ...]:
        """Methods x budgets; ``full`` once, at 100; a random control once per seed (``10``, ``10#1``, ...);
        a method with swept settings once per combination (:mod:`.sweeps`)."""
        out: dict[Cell, None] = {}
        for method in self.methods:
            for name in sweeps.variants(method, self.params):
                for asked in (Budget.parse("100"),) if method == "full" else self.asked:
                    for number in sweeps.budgets_of(name, asked, self.methods, self.params):
                        for draw in range(self._draws(method)):
                            out[Cell(name, f"{number}#{draw}" if draw else number)] = None
        return tuple(out)

    def _draws(self, method: str) -> int:
        """How often a method is run: several times where it draws at random."""
        return self.seeds if self.seeds > 1 and any(method_class(p).draws for p in parts_of(method)) else 1

    def canonical(self) -> dict[str, Any]:
        """The settings that make up the identity, as plain JSON values."""
        return dict(self._canonical)

    @functools.cached_property
    def _canonical(self) -> dict[str, Any]:
        data = {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_IDENTITY}
        if not self.logprobs:  # records without them are those of a run that never heard of them
            del data["logprobs"]
        if not self.decode_graphs:  # likewise
            del data["decode_graphs"]
        if self.engine == "vllm":  # its answers may differ in the last bits; those of workers are the local ones
            data["engine"] = self.engine
        if self.record_kept != "off":
            data["record_kept"] = self.record_kept
        return {"package": __version__, **json.loads(json.dumps(data))}

    @property
    def identity(self) -> str:
        """SHA-256 of the canonical JSON, 12 hex digits."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """The run folder: ``--out``, else ``runs/<model>-<identity>``, with the shard's number behind it."""
        part = f"-{Shard.parse(self.shard).slug}" if self.shard else ""
        return Path(self.out) if self.out else Path("runs") / f"{self.model}-{self.identity}{part}"
