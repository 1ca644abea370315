"""The values of a result file (:mod:`.result_file`)."""

from __future__ import annotations

from typing import TypedDict

from ..results.run_files import Environment, RunSettings
from ..results.summary_types import CellCosts, Comparison


class _Cell(TypedDict):
    task: str
    method: str
    budget: str
    stage: str
    ranked: bool
    n: int
    n_failed: int
    sample_set: str
    costs: CellCosts


class ResultCell(_Cell, total=False):
    """Aggregates of one task, method and budget.

    Attributes:
        task: its name.
        method: as records name it.
        budget: as asked for.
        stage: at which the method acts.
        ranked: false for an upper bound that sees the target.
        n: samples.
        n_failed: of them that failed.
        sample_set: hash of their ids.
        costs: of the samples.
        accuracy: mean score; absent, with the rest, for random weights and unscored tasks.
        ci95: its interval; null where there are too few clusters.
        format_error_rate: share of answers that could not be read.
        vs_full: paired comparison with the full model.
    """

    accuracy: float
    ci95: list[float] | None
    format_error_rate: float
    vs_full: Comparison


class RecordsFile(TypedDict):
    """The file of records beside a result.

    Attributes:
        file: its name.
        n: records in it.
        sha256: of its text.
    """

    file: str
    n: int
    sha256: str


class Submission(TypedDict, total=False):
    """Who submits a result.

    Attributes:
        author: name.
        account: of the forge.
        date: of the submission.
        licence: of the records.
    """

    author: str
    account: str
    date: str
    licence: str


class Submitted(Submission, total=False):
    """What a submitted result holds of it.

    Attributes:
        paper: to cite.
    """

    paper: str


class _Result(TypedDict):
    schema: int
    name: str
    group: str
    settings: RunSettings
    environment: Environment
    cells: list[ResultCell]
    records: RecordsFile


class ResultFile(_Result, total=False):
    """A result.

    Attributes:
        schema: version, 1.
        name: of both files.
        group: which ranking it may enter.
        settings: of the run.
        environment: of the run.
        cells: one per task, method and budget.
        records: the file beside it.
        submission: author, account, date, paper and licence of one that was submitted.
        fingerprint: of all the rest.
    """

    submission: Submitted
    fingerprint: str


class MethodFacts(TypedDict, total=False):
    """What a reader asks of a method.

    Attributes:
        description: one sentence.
        paper: where it was published.
        year: of the paper; null where there is none.
        query_aware: whether it reads the question.
        trained: whether it was trained.
        origin: whose implementation.
    """

    description: str
    paper: str
    year: int | None
    query_aware: bool
    trained: bool
    origin: str


class BoardRow(MethodFacts, Submission, total=False):
    """A row of the leaderboard: a cell of a result with what its page shows; what is not known is null.

    Attributes:
        result: name of the result.
        file: its file, below the leaderboard's folder.
        records_file: the records beside it.
        group: which ranking it may enter.
        model: short name.
        reading: of the budgets.
        weights: their fingerprint.
        task: its name.
        set: task, rule, data and sample set: what rows must share to be ranked together.
        method: without settings.
        cell: the method with its swept settings.
        budget: as asked for.
        stage: at which the method acts.
        set_to: settings that are no defaults.
        notes: what a reader must know.
        ranked: false for an upper bound.
        device: processor or GPU.
        machine: device, floating type and attention backend.
        n: samples.
        n_failed: of them that failed.
        timed: of them that were timed.
        accuracy: mean score.
        ci95: its interval.
        difference: of the accuracy to the full model's.
        finding: verdict of the paired comparison.
        marked: what disturbed the GPU.
        speedup: see CellCosts.
        speedup_ci95: see CellCosts.
        no_effect: whether nothing was dropped.
        flops_prefill: mean FLOPs to the first token.
        layer_visual_pct: see CellCosts.
        achieved_pct: see CellCosts.
        e2e_ms: see CellCosts.
        target_recall: share of the target's blocks in the cache.
        cites: the paper that a submission names.
        visual_kept_pct: see CellCosts.
        energy_per_correct_j: see CellCosts.
        visual_tokens: see CellCosts.
        kv_bytes: see CellCosts.
        flops: see CellCosts.
        ttft_ms: see CellCosts.
        peak_bytes: see CellCosts.
        energy_j: see CellCosts.
        states: how far the result was checked.
        unchecked: why it could not be computed again; empty where it was.
        dominated: by axis, whether another row is as good and costs less.
    """

    result: str
    file: str
    records_file: str
    group: str
    model: str
    reading: str
    weights: str
    task: str
    set: str
    method: str
    cell: str | None
    budget: str
    stage: str
    set_to: str
    notes: list[str]
    ranked: bool
    device: str
    machine: str
    n: int
    n_failed: int
    timed: int | None
    accuracy: float | None
    ci95: list[float] | None
    difference: float | None
    finding: str | None
    marked: list[str]
    speedup: float | None
    speedup_ci95: list[float] | None
    no_effect: bool
    flops_prefill: float | None
    layer_visual_pct: float | None
    achieved_pct: float | None
    e2e_ms: float | None
    target_recall: float | None
    cites: str | None
    visual_kept_pct: float | None
    energy_per_correct_j: float | None
    visual_tokens: float | None
    kv_bytes: float | None
    flops: float | None
    ttft_ms: float | None
    peak_bytes: int | None
    energy_j: float | None
    states: list[str]
    unchecked: str
    dominated: dict[str, bool | None]
