"""What ``run.json`` and ``environment.json`` of a run folder hold. Files of early versions lack the later keys."""

from __future__ import annotations

from typing import Any, TypedDict

from ..models.identity import ModelIdentity
from ..profiling.gpu import GpuState


class RunSettings(TypedDict, total=False):
    """``run.json``: what was asked for (:class:`~vtprune_eval.runner.spec.RunSpec`), and what it turned out to be.

    Attributes:
        package: version of this package.
        model: see RunSpec.
        methods: see RunSpec.
        budgets: see RunSpec.
        tasks: see RunSpec.
        params: see RunSpec.
        weights: see RunSpec.
        limit: see RunSpec.
        seed: see RunSpec.
        seeds: see RunSpec.
        dtype: see RunSpec.
        device: see RunSpec.
        attn: see RunSpec.
        reading: see RunSpec.
        protocol: see RunSpec.
        history: see RunSpec.
        max_new_tokens: see RunSpec.
        logprobs: see RunSpec.
        record_kept: see RunSpec.
        engine: see RunSpec; absent where this package's pipeline answered.
        budget_of: what a budget was of, in runs that are older than readings.
        fingerprint: of the weights.
        architecture: class of the network.
        data: by task, version and fingerprint.
        engine_version: name and version of an engine of others.
        shard: part of the samples that this run answered.
    """

    package: str
    model: str
    methods: list[str]
    budgets: list[str]
    tasks: list[str]
    params: dict[str, Any]
    weights: str
    limit: int | None
    seed: int
    seeds: int
    dtype: str
    device: str
    attn: str
    reading: str
    protocol: str | None
    history: int | None
    max_new_tokens: int | None
    logprobs: bool
    record_kept: str
    engine: str
    budget_of: str
    fingerprint: str
    architecture: str
    data: dict[str, str]
    engine_version: str
    shard: str


class VerifiedCell(TypedDict):
    """How many answers of an engine have the pipeline's ids.

    Attributes:
        task: of the samples.
        method: of the row.
        budget: of the row.
        n: samples that were answered again.
        equal: of them those with the same ids.
        kept: of them those with the same kept blocks.
    """

    task: str
    method: str
    budget: str
    n: int
    equal: int
    kept: int


class Verified(TypedDict, total=False):
    """What ``verify`` found.

    Attributes:
        engine: name and version.
        samples: answered again, per task and cell.
        cells: one per task, method and budget.
    """

    engine: str
    samples: int
    cells: list[VerifiedCell]


class Environment(TypedDict, total=False):
    """``environment.json``: what ran where.

    Attributes:
        python: version.
        machine: architecture of the processor.
        processor: its name.
        commit: of the checkout; null for an installed package.
        packages: name to version; null where it is not installed.
        model: what was loaded.
        gpu: state of the GPU at the end, or why there is none.
        profiler: microseconds of the profiler's own readings.
        verified: an engine's answers, compared with the pipeline's.
        worker: name of the worker that this machine is.
        workers: of a run that several machines answered, each machine.
        shards: of a merged run, each shard's machine.
    """

    python: str
    machine: str
    processor: str | None
    commit: str | None
    packages: dict[str, str | None]
    model: ModelIdentity
    gpu: GpuState
    profiler: dict[str, float] | None
    verified: Verified
    worker: str
    workers: list[Environment]
    shards: list[Environment]
