"""What of a run is refused before anything is loaded: unknown names, wrong values, settings that exclude each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..benchmarks.definitions import check_protocol, check_task_name
from ..budget import LEGACY, READINGS
from ..errors import UserError, unknown_name
from ..naming import bare, parts_of
from ..profiling.gpu import PROFILES
from ..profiling.plan import n_layers_of
from ..registry import check_method_name, method_class
from ..units import parse_bytes
from .engines import ENGINES, engine_module
from .workers.shards import Shard

if TYPE_CHECKING:
    from .spec import RunSpec


def check_named(spec: RunSpec) -> None:
    """Refuse unknown names and values that no setting takes.

    Raises:
        UserError: with the nearest name, or what is needed.
    """
    from ..models import check_model_name

    check_model_name(spec.model)
    for task in spec.tasks:
        check_task_name(task)
        check_protocol(task, spec.protocol, spec.history)
    check_device(spec.device)
    for method in spec.methods:
        check_method_name(method)
        if "full" in (parts := parts_of(method)) and len(parts) > 1:
            raise UserError(f"{method}: full reduces nothing, so nothing is composed; name the other alone.")
    _check_choices(spec)
    _check_values(spec)
    for budget in spec.asked:
        if budget.like:
            check_method_name(budget.like)


def _check_choices(spec: RunSpec) -> None:
    """Settings that take one of a few words."""
    from ..models import ATTENTION, DTYPES

    for name, value, known in (
        ("--weights", spec.weights, ("hub", "random")),
        ("--dtype", spec.dtype, (*DTYPES, "auto")),
        ("--profile", spec.profile, PROFILES),
        ("--share", spec.share, ("auto", "off")),
        ("--record-kept", spec.record_kept, ("off", "full")),
        ("--attn", spec.attn, ATTENTION),
        ("--reading", spec.reading, (*READINGS, LEGACY)),
        ("--engine", spec.engine, ("local", "ray", "vllm")),
        ("--format", spec.format, ("table", "json", "md", "csv")),
    ):
        if value not in known:
            raise unknown_name(f"value of {name}", str(value), known)


def _check_values(spec: RunSpec) -> None:
    """Settings that are true or false, and whole numbers."""
    for name, flag in (
        ("trust_remote_code", spec.trust_remote_code),
        ("logprobs", spec.logprobs),
        ("decode_graphs", spec.decode_graphs),
        ("wide", spec.wide),
        ("quiet", spec.quiet),
    ):
        if not isinstance(flag, bool):
            raise UserError(f"{name}={flag!r}: true or false is needed.")
    if spec.logprobs and spec.engine == "vllm":
        raise UserError("--logprobs belongs to --engine local or ray; leave it out.")
    if spec.decode_graphs and (spec.engine == "vllm" or spec.model == "stub"):
        raise UserError("--decode-graphs belongs to --engine local or ray, with a model; leave it out.")
    if spec.decode_graphs and spec.logprobs:
        raise UserError("--decode-graphs reads no probabilities for --logprobs; leave one of them out.")
    for name, number, low in (
        ("--limit", spec.limit, 1),
        ("--max-new-tokens", spec.max_new_tokens, 1),
        ("--seed", spec.seed, 0),
        ("--seeds", spec.seeds, 1),
        ("--workers", spec.workers, 1),
        ("--timings", spec.timings, 0),
    ):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < low):
            raise UserError(f"{name}={number!r}: a whole number of at least {low} is needed.")
    if spec.decode_graphs and spec.timings == 0:
        raise UserError("--decode-graphs is for timed answers, and --timings 0 times none; leave one of them out.")


def _check_decodes_together(spec: RunSpec) -> None:
    """Refuse ``--decode-batch N`` beside what decodes every answer alone, or leaves decoding to others."""
    asked = f"--decode-batch {spec.decode_batch}"
    if spec.share == "off":
        raise UserError(f"{asked} decodes answers together, and --share off each alone; leave one of them out.")
    if spec.logprobs:
        raise UserError(f"{asked} decodes answers together, and --logprobs each alone; leave one of them out.")
    if spec.engine == "vllm":
        raise UserError(f"{asked} belongs to --engine local or ray; leave it out: vLLM batches on its own.")


def check_whole(spec: RunSpec) -> None:
    """Refuse settings that do not go together, and methods that cannot be built.

    Raises:
        UserError: with the remedy.
    """
    if spec.cache is not None and not (isinstance(spec.cache, str) and spec.cache.strip()):
        raise UserError("--cache needs the name of a folder; leave it out to run without a cache.")
    parse_bytes(spec.max_branch_bytes, "--max-branch-bytes")
    if spec.decode_batch != "auto" and not (spec.decode_batch.isdecimal() and 1 <= int(spec.decode_batch) <= 1024):
        raise UserError(f"--decode-batch {spec.decode_batch!r}: auto, or a whole number from 1 to 1024, is needed.")
    if spec.decode_batch not in ("auto", "1"):
        _check_decodes_together(spec)
    parse_bytes(spec.cache_size, "--cache-size")
    if not spec.methods or not spec.tasks or not spec.budgets:
        raise UserError("a run needs at least one method, one budget and one task.")
    if spec.shard is not None:
        Shard.parse(spec.shard)
    if spec.workers is not None and spec.engine == "local":
        raise UserError("--workers belongs to --engine ray or vllm; add one, or leave --workers out.")
    if spec.engine != "local" and spec.cache is not None:
        why = "workers compute on their own" if spec.engine == "ray" else "vLLM caches on its own"
        raise UserError(f"--cache belongs to --engine local; leave it out: {why}.")
    if spec.engine == "vllm" and spec.timings is not None:
        raise UserError("--timings belongs to --engine local or ray; leave it out: vLLM times nothing.")
    _check_cells(spec)
    if spec.engine == "vllm" and spec.record_kept != "off":
        raise UserError(
            "--record-kept full has nothing to add with --engine vllm, whose caches are whole; leave it out."
        )
    if spec.engine in ENGINES:
        engine_module(spec.engine).check_engine(spec)


def _check_cells(spec: RunSpec) -> None:
    """Build every method once: hyper-parameters, collisions and budgets are refused before anything is loaded."""
    from ..pipeline.budgets import budget_of, by_hook, check_budget, sees_every_token

    known = {bare(part) for m in spec.methods for part in parts_of(m)}
    known |= {bare(b.like) for b in spec.asked if b.like}
    if any(b.kind == "auto" for b in spec.asked):
        known |= {like for part in known for like in [method_class(part).default_like] if like}
    for key in spec.params:
        if "." in key and key.split(".")[0] not in known:
            raise unknown_name("method in --set", key.split(".")[0], known)
    shared = next((k for k in spec.params if "." not in k), None)
    if shared and len({bare(p) for m in spec.methods for p in parts_of(m) if p != "full"}) > 1:
        raise UserError(f"--set {shared}=... is ambiguous with several methods; write METHOD.{shared}=...")
    for cell in spec.cells():
        parts, budget = spec.make(cell.method), spec.budget(cell)
        by_hook(parts)
        for part in parts:
            if spec.reading != LEGACY:
                sized = sees_every_token(part, parts) and not spec.model_path
                n_layers = n_layers_of(spec.model) if sized else None
                check_budget(part, budget_of(part, parts, budget), n_layers)
        if budget.kind == "flops" and sum(bool(p.hooks()) for p in parts) > 1:
            raise UserError(f"budget {cell.budget} takes one method, {cell.method} are several; give a percentage.")


def check_device(name: str) -> None:
    """Refuse a device that torch could not have.

    Raises:
        UserError: another form.
    """
    if not re.fullmatch(r"cpu|auto|spread|mps|cuda(:\d{1,3})?", str(name)):
        raise UserError(f"--device {name!r}: cpu, cuda, cuda:N or spread is needed.")
