"""The values of a summary, as ``summary.json`` holds them; see :mod:`.types`."""

from __future__ import annotations

from typing import Any, TypedDict

from ..models.identity import ModelIdentity
from ..notes import Note

__all__ = ["CellCosts", "CellSummary", "Comparison", "Paired", "Summary", "TaskSummary"]


class Paired(TypedDict, total=False):
    """What two series of scores on the same samples say; see :class:`Comparison`."""

    n: int
    difference: float
    ci95: list[float] | None
    only_own: int
    only_other: int
    test: str
    p: float
    p_holm: float
    crashed: int
    distinguishable: bool
    verdict: str


class Comparison(Paired, total=False):
    """Two cells on the same samples, paired.

    Attributes:
        task: compared on, and a, b: (method, budget) of both sides; of comparisons between methods alone.
        a: first cell.
        b: second cell.
        n: pairs.
        difference: of the accuracies, in [-1, 1].
        ci95: of a paired bootstrap over clusters; null where there are too few.
        only_own: samples on which the first scores higher.
        only_other: samples on which the second does.
        test: mcnemar or sign-flip.
        p: of the test.
        p_holm: adjusted for the family.
        crashed: pairs of which a side is a crash of the program.
        distinguishable: whether p_holm is below 0.05.
        verdict: better, worse, not distinguishable, equal on every sample, or no verdict (crashed).
    """

    task: str
    a: list[str]
    b: list[str]


class TaskSummary(TypedDict, total=False):
    """One task of a row.

    Attributes:
        n: samples.
        n_failed: of them that failed.
        failures: number of failures by reason.
        accuracy: mean score.
        ci95: its interval; null where there are too few clusters.
        format_error_rate: share of answers that could not be read.
        seeds: n, accuracies and sd of the repetitions of a random control.
        vs_full: paired comparison with the full model; null while it is not made.
        target_recall: mean share of the target's blocks that survive, by stage, and n.
        breakdown: accuracy by the benchmark's groups.
        measures: secondary measures of the rule.
        authors: the aggregate that the benchmark's papers print.
    """

    n: int
    n_failed: int
    failures: dict[str, int]
    accuracy: float
    ci95: list[float] | None
    format_error_rate: float
    seeds: dict[str, Any]
    vs_full: Comparison | None
    target_recall: dict[str, float]
    breakdown: dict[str, Any]
    measures: dict[str, Any]
    authors: dict[str, Any]


class CellCosts(TypedDict, total=False):
    """Costs of a row: means of counts over the answered samples, medians of times over the timed ones.

    Attributes:
        visual_tokens: into the decoder, mean per sample.
        visual_kept_pct: of the full model's visual tokens.
        patches_kept_pct: of the full model's ViT patches.
        layer_visual_pct: visual tokens per decoder layer, of the full model's.
        achieved_pct: what the budget was spent on, in the unit of all methods.
        target_recall: see TaskSummary.
        flops: mean per sample.
        flops_ratio: full model's over the method's.
        kv_bytes: held after prefill, mean per sample.
        peak_bytes: largest peak of memory.
        ttft_ms: time to first token, median.
        tpot_ms: time per further token, median.
        e2e_ms: end to end, median.
        e2e_p95_ms: end to end, 95th percentile.
        select_ms: spent by the method's hooks, median.
        vit_ms: ViT, median.
        prefill_ms: prefill, median.
        preprocess_ms: preprocessing, median.
        image_decode_ms: decoding of image files, median.
        decode_ms: decoding of tokens, median.
        timed_samples: how many samples were timed, where not all were.
        drift: how much slower the last third of the timed samples was than the first, per FLOP.
        energy_j: joules, mean per sample.
        energy_per_correct_j: joules per right answer.
        speedup: full model's end-to-end time over the method's, paired.
        speedup_ci95: its interval.
        speedup_ttft: the same of the time to first token.
        speedup_ttft_ci95: its interval.
        speedup_tpot: the same of the time per further token.
        speedup_tpot_ci95: its interval.
        accuracy_change: mean of the tasks' differences to the full model.
    """

    visual_tokens: float
    visual_kept_pct: float
    patches_kept_pct: float
    layer_visual_pct: float | None
    achieved_pct: float
    target_recall: dict[str, float]
    flops: float | None
    flops_ratio: float
    kv_bytes: float | None
    peak_bytes: int | None
    ttft_ms: float | None
    tpot_ms: float | None
    e2e_ms: float | None
    e2e_p95_ms: float | None
    select_ms: float | None
    vit_ms: float | None
    prefill_ms: float | None
    preprocess_ms: float | None
    image_decode_ms: float | None
    decode_ms: float | None
    timed_samples: int
    drift: float | None
    energy_j: float
    energy_per_correct_j: float
    speedup: float | None
    speedup_ci95: list[float] | None
    speedup_ttft: float | None
    speedup_ttft_ci95: list[float] | None
    speedup_tpot: float | None
    speedup_tpot_ci95: list[float] | None
    accuracy_change: float | None


class _Labelled(TypedDict, total=False):
    label: str


class CellSummary(_Labelled):
    """A row of a table: one method at one budget.

    Attributes:
        model: short name.
        method: name, or a composition.
        label: the method with every setting that is no default; absent in summaries of early versions.
        budget: as asked for; - for the full model.
        tasks: by the name of the task.
        costs: of all its samples.
        notes: what a reader must know; in files, the sentences.
    """

    model: str
    method: str
    budget: str
    tasks: dict[str, TaskSummary]
    costs: CellCosts
    notes: list[Note]


class Summary(TypedDict, total=False):
    """A run in a page: ``summary.json``.

    Attributes:
        model: short name.
        trained: false for random weights, which have costs and no accuracy.
        reading: of the budgets: equal, paper or legacy; null where records do not agree.
        rows: one per method and budget.
        between: paired comparisons of the reduced cells with each other.
        set: settings of the run that are no defaults.
        run: identity of the run.
        identity: of the model.
        folder: of the run.
        digests: SHA-256 of every record file.
    """

    model: str
    trained: bool
    reading: str | None
    rows: list[CellSummary]
    between: list[Comparison]
    set: dict[str, Any]
    run: str
    identity: ModelIdentity
    folder: str
    digests: dict[str, str]
