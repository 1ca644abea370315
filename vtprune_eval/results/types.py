"""The values that leave the pipeline, as the files of a run hold them.

``docs/records.md`` and the JSON schemas beside it are made from this module (``scripts/schemas.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from ..models.identity import ModelIdentity
from ..notes import Note, Value
from ..sample import Frame

__all__ = [
    "Answered",
    "CellCosts",
    "CellSummary",
    "Comparison",
    "Failed",
    "Frame",
    "Paired",
    "Record",
    "RecordCounts",
    "Spent",
    "Summary",
    "TaskSummary",
]


class RecordCounts(TypedDict, total=False):
    """What really went through each stage of one answer; see :class:`vtprune_eval.outcome.Counts`.

    Attributes:
        patches_full: ViT patches per image of the full model.
        patches: patches per image that went through the ViT.
        visual_full: visual tokens per image of the full model.
        visual: visual tokens per image at the input of decoder layer 0.
        n_text: text tokens of the prompt.
        prompt_full: tokens of the full prompt.
        prompt: tokens of the prompt at the input of layer 0.
        layer_tokens: tokens that every decoder layer processed in prefill.
        layer_visual: visual tokens that every decoder layer processed in prefill.
        cache_entries: entries held after prefill, per layer and stored head.
        cache_heads: stored heads per layer.
        n_new: generated tokens.
        vit_depth: ViT blocks that saw patches_entered; 0 where nothing is dropped inside.
        patches_entered: patches per image that entered the ViT, empty where they are patches.
        candidates: visual tokens that an action head chose from; 0 where the model decodes text.
        vit_patches: patches per image that every ViT block processed, where blocks were merged inside.
        cache_visual: entries of visual tokens held after prefill, over the stored heads of every layer.
    """

    patches_full: list[int]
    patches: list[int]
    visual_full: list[int]
    visual: list[int]
    n_text: int
    prompt_full: int
    prompt: int
    layer_tokens: list[int]
    layer_visual: list[float]
    cache_entries: list[int]
    cache_heads: list[int]
    n_new: int
    vit_depth: int
    patches_entered: list[int]
    candidates: int
    vit_patches: list[list[int]]
    cache_visual: list[int]


class Spent(TypedDict):
    """What a budget was and what came of it.

    Attributes:
        asked: the budget as asked for.
        reading: what its number counts: equal, paper or legacy.
        achieved_pct: percent of the full model's visual tokens per decoder layer, or of visual entries per layer and
            kv head where the cache was cut; null without images.
    """

    asked: str
    reading: str
    achieved_pct: float | None


class _Sample(TypedDict):
    schema: int
    key: str
    id: str
    reason: str
    message: str
    answer: str
    ids: list[int]
    finish: str
    score: float | None
    parsed: Any
    cluster: str | None
    meta: dict[str, Any]
    parts: Mapping[str, Any]
    protocol: str
    notes: list[dict[str, Value]]


class _Extra(TypedDict, total=False):
    kept_last: list[str]
    kept_inside: dict[str, Any]
    logprobs: list[float]
    energy_j: float | None
    gpu_process_bytes: int | None
    shared: str
    decoded: str
    worker: str
    engine: str
    draws: list[Any]


class Answered(_Sample, _Extra):
    """The record of a sample that was answered: one line of a file in ``records/``.

    Attributes:
        schema: version of the record, 1.
        key: identity of the cell: run, task, method and budget.
        id: of the sample.
        status: ok.
        reason: ok, wrong, partial, format_error, no_target or unscorable.
        message: empty.
        answer: the decoded text.
        ids: generated ids.
        finish: eos, length, or pointer where an action head answered.
        score: in [0, 1], null where the sample has no accuracy.
        parsed: the answer as understood.
        cluster: samples of one cluster (an episode) are not independent; null where the sample stands alone.
        meta: keys of the breakdown.
        parts: what the rule understood, and its secondary measures.
        protocol: whose rule gave the score.
        counts: what went through each stage.
        flops: per stage, 1 multiply-add = 2; an engine of others leaves null.
        kv_bytes: held by the KV cache after prefill.
        kept: merge blocks per image at the input of layer 0, as a hexadecimal bitmap.
        kept_last: the same behind the last layer, where a method drops inside the decoder.
        kept_inside: blocks by layer and head (with --record-kept full).
        frame: of the answer's coordinates.
        spent: the budget and what came of it; absent before there were readings.
        notes: what a reader must know: a code with its values (a sentence in records of early versions).
        target_recall: share of the target's blocks that survive, by stage; null where a sample has no box.
        logprobs: of every generated id (with --logprobs).
        peak_bytes: peak of memory; null for an answer from shared work.
        times: of every stage in ms; null for an answer from shared work.
        energy_j: joules; null without a GPU, and for an answer from shared work.
        gpu_process_bytes: GPU memory of the process; null likewise.
        shared: what the answer was branched from: prefill, layers (of the decoder), vit, vit_blocks or images.
        decoded: batched, alone, or again (alone, after the pool was not sure).
        worker: that answered, where there were several.
        engine: of others that answered, with its version.
        draws: records of the repetitions of a random control, in memory alone.
    """

    status: Literal["ok"]
    counts: RecordCounts
    flops: dict[str, float] | None
    kv_bytes: int | None
    kept: list[str]
    frame: Frame
    spent: Spent
    target_recall: dict[str, float] | None
    peak_bytes: int | None
    times: dict[str, float | None] | None


class Failed(_Sample, _Extra):
    """The record of a sample that could not be answered: it counts as wrong, with a reason.

    Attributes:
        status: failed.
        reason: why, for example bad_image, oom or crash.
        message: what went wrong, one sentence.
        score: 0 where the task is scored, else null.
    """

    status: Literal["failed"]
    counts: None
    flops: None
    kv_bytes: None
    kept: None
    frame: None
    spent: None
    target_recall: None
    peak_bytes: None
    times: None


Record = Answered | Failed


class Reference(TypedDict):
    """What ratios to the full model need of its record."""

    id: str
    status: str
    times: dict[str, float | None] | None
    flops: dict[str, float] | None


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
