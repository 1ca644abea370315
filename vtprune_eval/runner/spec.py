"""What a run is: one immutable object from the command line or a YAML file; its hash is the run's identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..benchmarks.registry import include
from ..benchmarks.tasks import DEFAULT_TASKS, SUITES, check_protocol, check_task_name, named_task
from ..budget import LEGACY, READINGS, Budget
from ..errors import UserError, unknown_name
from ..naming import bare, parts_of, split_outside
from ..profiling.gpu import PROFILES
from ..profiling.plan import n_layers_of
from ..registry import check_method_name, method_class
from ..units import parse_bytes
from . import sweeps
from .engines import ENGINES, engine_module
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


_OF_ALL_ROWS = ("limit", "protocol", "history", "max_new_tokens", "seed", "seeds", "attn", "engine")
MAX_SLUG = 120  # characters; a file system takes 255 bytes

BUDGET_OF = (
    "--budget-of is gone: --reading paper counts as each method's paper does (cache methods: the whole prompt), and "
    "without it all methods are counted alike (`python -m vtprune_eval explain METHOD` says how)."
)


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
    max_branch_bytes: str = "4GB"
    cache: str | None = None
    cache_size: str = "20GB"
    shard: str | None = None
    engine: str = "local"
    workers: int | None = None
    record_kept: str = "off"

    def __post_init__(self) -> None:
        from ..models import ATTENTION, DTYPES, check_model_name

        check_model_name(self.model)
        for task in self.tasks:
            check_task_name(task)
            check_protocol(task, self.protocol, self.history)
        check_device(self.device)
        for method in self.methods:
            check_method_name(method)
            if "full" in (parts := parts_of(method)) and len(parts) > 1:
                raise UserError(f"{method}: full reduces nothing, so nothing is composed; name the other alone.")
        for name, value, known in (
            ("--weights", self.weights, ("hub", "random")),
            ("--dtype", self.dtype, (*DTYPES, "auto")),
            ("--profile", self.profile, PROFILES),
            ("--share", self.share, ("auto", "off")),
            ("--record-kept", self.record_kept, ("off", "full")),
            ("--attn", self.attn, ATTENTION),
            ("--reading", self.reading, (*READINGS, LEGACY)),
            ("--engine", self.engine, ("local", "ray", "vllm")),
            ("--format", self.format, ("table", "json", "md", "csv")),
        ):
            if value not in known:
                raise unknown_name(f"value of {name}", str(value), known)
        for name, flag in (
            ("trust_remote_code", self.trust_remote_code),
            ("logprobs", self.logprobs),
            ("wide", self.wide),
            ("quiet", self.quiet),
        ):
            if not isinstance(flag, bool):
                raise UserError(f"{name}={flag!r}: true or false is needed.")
        if self.logprobs and self.engine == "vllm":
            raise UserError("--logprobs belongs to --engine local or ray; leave it out.")
        for name, number, low in (
            ("--limit", self.limit, 1),
            ("--max-new-tokens", self.max_new_tokens, 1),
            ("--seed", self.seed, 0),
            ("--seeds", self.seeds, 1),
            ("--workers", self.workers, 1),
            ("--timings", self.timings, 0),
        ):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < low):
                raise UserError(f"{name}={number!r}: a whole number of at least {low} is needed.")
        for text in self.budgets:
            if like := Budget.parse(text).like:
                check_method_name(like)
        object.__setattr__(self, "params", sweeps.checked(self.params))
        if self.cache is not None and not (isinstance(self.cache, str) and self.cache.strip()):
            raise UserError("--cache needs the name of a folder; leave it out to run without a cache.")
        parse_bytes(self.max_branch_bytes, "--max-branch-bytes")
        if self.decode_batch != "auto" and not (self.decode_batch.isdecimal() and 1 <= int(self.decode_batch) <= 1024):
            raise UserError(f"--decode-batch {self.decode_batch!r}: auto, or a whole number from 1 to 1024, is needed.")
        parse_bytes(self.cache_size, "--cache-size")
        if not self.methods or not self.tasks or not self.budgets:
            raise UserError("a run needs at least one method, one budget and one task.")
        if self.shard is not None:
            Shard.parse(self.shard)
        if self.workers is not None and self.engine == "local":
            raise UserError("--workers belongs to --engine ray or vllm; add one, or leave --workers out.")
        if self.engine != "local" and self.cache is not None:
            why = "workers compute on their own" if self.engine == "ray" else "vLLM caches on its own"
            raise UserError(f"--cache belongs to --engine local; leave it out: {why}.")
        if self.engine == "vllm" and self.timings is not None:
            raise UserError("--timings belongs to --engine local or ray; leave it out: vLLM times nothing.")
        self._check_cells()
        if self.engine == "vllm" and self.record_kept != "off":
            raise UserError(
                "--record-kept full has nothing to add with --engine vllm, whose caches are whole; leave it out."
            )
        if self.engine in ENGINES:
            engine_module(self.engine).check_engine(self)

    def _check_cells(self) -> None:
        """Build every method once: hyper-parameters, collisions and budgets are refused before anything is loaded."""
        from ..pipeline.budgets import budget_of, check_budget, sees_every_token

        known = {bare(part) for m in self.methods for part in parts_of(m)}
        known |= {bare(b.like) for b in map(Budget.parse, self.budgets) if b.like}
        if any(Budget.parse(text).kind == "auto" for text in self.budgets):
            known |= {like for part in known for like in [method_class(part).default_like] if like}
        for key in self.params:
            if "." in key and key.split(".")[0] not in known:
                raise unknown_name("method in --set", key.split(".")[0], known)
        shared = next((k for k in self.params if "." not in k), None)
        if shared and len({bare(p) for m in self.methods for p in parts_of(m) if p != "full"}) > 1:
            raise UserError(f"--set {shared}=... is ambiguous with several methods; write METHOD.{shared}=...")
        used: dict[str, str] = {}
        for cell in self.cells():
            parts = self.make(cell.method)
            used.clear()
            for part in parts:
                for hook in part.hooks():
                    if hook in used:
                        raise UserError(f"{used[hook]} and {part.name} both use {hook}: they cannot be combined.")
                    used[hook] = part.name
                if self.reading != LEGACY:
                    sized = sees_every_token(part, parts) and not self.model_path
                    n_layers = n_layers_of(self.model) if sized else None
                    check_budget(part, budget_of(part, parts, self.budget(cell)), n_layers)
            if self.budget(cell).kind == "flops" and sum(bool(p.hooks()) for p in parts) > 1:
                raise UserError(f"budget {cell.budget} takes one method, {cell.method} are several; give a percentage.")

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

    def budget(self, cell: Cell) -> Budget:
        """The parsed budget of a cell."""
        return Budget.parse(cell.budget, self.reading)  # type: ignore[arg-type]

    def cells(self) -> tuple[Cell, ...]:
        """Methods x budgets; ``full`` once, at 100; a random control once per seed (``10``, ``10#1``, ...);
        a method with swept settings once per combination (:mod:`.sweeps`)."""
        out: dict[Cell, None] = {}
        for method in self.methods:
            for name in sweeps.variants(method, self.params):
                for text in ("100",) if method == "full" else self.budgets:
                    for number in sweeps.budgets_of(name, str(Budget.parse(text)), self.methods, self.params):
                        for draw in range(self._draws(method)):
                            out[Cell(name, f"{number}#{draw}" if draw else number)] = None
        return tuple(out)

    def _draws(self, method: str) -> int:
        """How often a method is run: several times where it draws at random."""
        return self.seeds if self.seeds > 1 and any(method_class(p).draws for p in parts_of(method)) else 1

    def canonical(self) -> dict[str, Any]:
        """The settings that make up the identity, as plain JSON values."""
        data = {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_IDENTITY}
        if not self.logprobs:  # records without them are those of a run that never heard of them
            del data["logprobs"]
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


def check_device(name: str) -> None:
    """Refuse a device that torch could not have.

    Raises:
        UserError: another form.
    """
    if not re.fullmatch(r"cpu|auto|spread|mps|cuda(:\d{1,3})?", str(name)):
        raise UserError(f"--device {name!r}: cpu, cuda, cuda:N or spread is needed.")


def from_mapping(values: dict[str, Any]) -> RunSpec:
    """Build a spec from parsed YAML or command-line values; unknown keys are refused.

    Raises:
        UserError: unknown key (nearest offered) or a value of the wrong form.
    """
    names = {f.name: str(f.type) for f in dataclasses.fields(RunSpec)}
    clean: dict[str, Any] = {}
    aliases = {"method": "methods", "budget": "budgets", "task": "tasks", "set": "params"}
    folders = values.get("include_path", values.get("include-path"))
    if folders is not None:
        values = {k: v for k, v in values.items() if k.replace("-", "_") != "include_path"}
        include(folders if isinstance(folders, (list, tuple)) else [folders])
    for key, value in values.items():
        key = aliases.get(key.replace("-", "_"), key.replace("-", "_"))
        if key == "budget_of":
            raise UserError(BUDGET_OF)
        if key not in names:
            raise unknown_name("setting", key, {*names, *aliases})
        if key in {"methods", "budgets", "tasks"}:
            items = (
                split_outside(value, ",") if isinstance(value, str) else value if isinstance(value, list) else [value]
            )
            value = tuple("" if v is None else str(v).strip() for v in items)
            if any(value) and not all(value):
                raise UserError(f"--{key}: an empty name stands in {','.join(value)!r}; leave it out, or name one.")
            value = tuple(filter(None, value))
        if key == "tasks":
            value = tuple(dict.fromkeys(task for name in value for task in SUITES.get(name) or (named_task(name),)))
        if key == "params" and not isinstance(value, dict):
            raise UserError("the setting 'set' must map METHOD.key to a value.")
        if key in {"share", "profile", "record_kept"} and value is False:
            value = "off"  # YAML reads the word as a truth value
        if names[key].startswith("str") and value is not None:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise UserError(f"the setting {key!r} must be a text, found {value!r}.")
            value = str(value)  # YAML reads a folder called 5 as a number
            if not value.strip():
                raise UserError(f"--{key.replace('_', '-')} is empty; give a value, or leave it out.")
        clean[key] = value
    return RunSpec(**clean)


def _once() -> Any:
    """A safe loader that refuses a key that stands twice in one mapping, where YAML takes the last in silence."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise UserError(f"the key {key.value!r} stands twice (line {key.start_mark.line + 1}); keep one.")
                if isinstance(key.value, str):
                    seen.add(key.value)
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    return Loader


def read_yaml(path: str) -> dict[str, Any]:
    """Read a ``--config`` file.

    Raises:
        UserError: unreadable, not YAML, or not a mapping.
    """
    import yaml

    try:
        data = _once()(Path(path).read_text(encoding="utf-8")).get_single_data()
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from None
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not valid YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(data, dict):
        raise UserError(f"--config {path}: a mapping of settings is needed, for example 'model: nano'.")
    return {str(k): v for k, v in data.items()}
