"""The full leaderboard on paper: GPU-hours, hours on 8, 64 and 512 GPUs, and what saturates first.

    python scripts/scaling_cost.py
    python scripts/scaling_cost.py --mfu 0.25 --models qwen3vl-2b,qwen3vl-8b

Nothing here is measured on a GPU. FLOPs are those of ``python -m vtprune_eval flops`` (planned lengths, the records'
own formula) for a typical prompt of each task; the speed of the GPU and of everything around it are assumptions, all
of them options or in the tables below, and printed with the result. Selectors' own cost is not in it; a method whose
lengths follow from no single share is counted as ``full``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.budget import Budget
from vtprune_eval.errors import InfeasibleBudget, UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.models import MODELS
from vtprune_eval.models.dims import ModelDims
from vtprune_eval.outcome import Counts
from vtprune_eval.pipeline.budgets import check_budget
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.profiling.plan import block_grids, model_block, model_dims, planned_counts
from vtprune_eval.registry import make_method
from vtprune_eval.runner.cells import TIMED_SAMPLES

GPUS = (8, 64, 512)
BUDGETS = "1,3,5,10,15,20,40,80"
# (samples or None where the task's definition counts them, image width, height, images, text tokens, new tokens)
TASKS: dict[str, tuple[int | None, int, int, int, int, int]] = {
    "screenspot": (None, 1920, 1080, 1, 60, 24),
    "screenspot_v2": (None, 1920, 1080, 1, 60, 24),
    "screenspot_pro": (None, 3840, 2160, 1, 60, 24),
    "osworld_g": (None, 1920, 1080, 1, 60, 24),
    "ui_vision": (5479, 1920, 1080, 1, 60, 24),
    "androidcontrol": (None, 1080, 2400, 1, 300, 48),
    "androidcontrol_low": (None, 1080, 2400, 1, 300, 48),
    "aitw": (4000, 1080, 2160, 5, 300, 48),
    "mind2web": (1300, 1280, 720, 1, 300, 48),
    "mind2web_website": (1000, 1280, 720, 1, 300, 48),
    "mind2web_domain": (4000, 1280, 720, 1, 300, 48),
    "gui_odyssey": (29000, 1080, 2400, 5, 300, 48),
    "agentnetbench": (1700, 1920, 1080, 3, 600, 120),
    "DocVQA_VAL": (5349, 1700, 2200, 1, 60, 16),
    "InfoVQA_VAL": (2801, 1200, 2400, 1, 60, 16),
    "ChartQA_TEST": (2500, 850, 600, 1, 60, 16),
    "OCRBench": (1000, 1000, 800, 1, 60, 32),
}
# FocusUI's models are a method of their own; the others are embedded.
NOT_MODELS = {"nano", "micro", "stub", "focusui-3b", "focusui-7b", "focusui-qwen3vl-2b"}
# The estimate's leaderboard since its first version, so that hours can be compared; ``--methods`` takes others.
METHODS = (
    "cdpruner,conncomp,dart,divprune,fastv,focusui,guikv,guipruner,guipruner-ssp,guipruner-tar,h2o,hiprune,pixelprune,"
    "pool,prumerge,pyramiddrop,pyramidkv,random,random-kv,random-layer,random-tokens,resize,snapkv,sparsevlm,"
    "streamingllm,stride,visionzip,vlcache"
)


@dataclass(frozen=True)
class Speeds:
    """Assumptions; the units are in the names.

    Attributes:
        peak_flops_s: of one GPU (dense bf16).
        mfu: share of it that batch 1 reaches in ViT and prefill.
        bytes_s: memory bandwidth.
        bandwidth_share: reached in decoding.
        launch_s: least time of one decoded token (kernel launches of an eager model).
        slots: branches that decode together.
        again: share of all decode steps that are taken alone besides, because a step was too close to call.
        image_s_per_mpixel: decode and resize of an image on one core.
        resize_s_per_mpixel: of one that is decoded, to a method's own size.
        warm_up_samples: per cell and worker.
        load_bytes_s: storage to all workers together.
        write_s: of one record in the one process that writes a Ray run.
        record_bytes: of its line on disk.
    """

    peak_flops_s: float = 989e12
    mfu: float = 0.35
    bytes_s: float = 3.35e12
    bandwidth_share: float = 0.6
    launch_s: float = 0.02
    slots: int = 32
    again: float = 0.196
    image_s_per_mpixel: float = 0.03
    resize_s_per_mpixel: float = 0.01
    warm_up_samples: int = 3
    load_bytes_s: float = 20e9
    write_s: float = 1 / 4000
    record_bytes: float = 2500.0


@dataclass(frozen=True)
class Cost:
    """Seconds of one cell's sample: reading the images, ViT, prefill, decode, its share of decoding with others.

    Attributes:
        stage: until which it is like full.
        resize_s: to make its own images of the decoded ones, 0 where it takes those of full.
        layers_s: of its prefill, the layers that are those of full: up to the first at which it looks or acts.
    """

    image_s: float
    encode_s: float
    prefill_s: float
    decode_s: float
    together_s: float
    stage: str
    resize_s: float = 0.0
    layers_s: float = 0.0

    @property
    def alone_s(self) -> float:
        """All of it."""
        return self.image_s + self.encode_s + self.prefill_s + self.decode_s

    @property
    def own_s(self) -> float:
        """What it cannot share before it decodes."""
        if self.stage == "prefill":
            return 0.0
        if self.stage == "vit":
            return self.prefill_s - self.layers_s
        return self.encode_s + self.prefill_s + self.resize_s


REFUSED = Cost(0.0, 0.0, 0.0, 0.0, 0.0, "prefill")  # a run says so before it loads anything


def meets(made: Method, budget: Budget, n_layers: int) -> bool:
    """Whether a method's layers before its first cut leave room for the budget."""
    try:
        check_budget(made, budget, n_layers)
    except UserError:
        return False
    return True


@cache
def sizes(model: str) -> tuple[ModelDims, tuple[int, int], int, float]:
    """Dimensions, pixel limits, block, and bytes of the weights in bf16."""
    dims, pixels = model_dims(model)
    return dims, pixels, model_block(model), 2.0 * MODELS[model].weights


def samples_of(task: str) -> int:
    """How many samples a task has."""
    return TASKS[task][0] or int(definition(task).expected["records"])


def cost(model: str, task: str, method: str, budget: str, s: Speeds, charge_refused: bool = False) -> Cost:
    """One sample of a cell, alone on a GPU; ``charge_refused``: what full costs where the budget cannot be met."""
    dims, pixels, block, weights = sizes(model)
    _, width, height, n_images, n_text, n_new = TASKS[task]
    grids = block_grids([(width, height)] * n_images, pixels, block)
    full = planned_counts(dims, grids, n_text, n_new)
    counts, stage, resizes, in_common = full, "prefill", False, 0.0
    if method != "full":
        made = make_method(method)
        hooks = made.hooks()
        if hooks != ("compress_kv",):
            stage = "vit" if hooks[0] in ("select_tokens", "prune_layer") else ""
            resizes = "reduce_images" in hooks
        if not charge_refused and not meets(made, Budget.parse(budget), dims.layers):
            return REFUSED
        try:
            counts = planned_counts(dims, grids, n_text, n_new, made, Budget.parse(budget))
        except InfeasibleBudget:
            if not charge_refused:
                return REFUSED
            counts = full
        except UserError:  # what full costs is more than it needs
            counts = full
        if hooks[0] == "prune_layer":
            whole = sum(n == full.prompt for n in counts.layer_tokens)
            in_common = min(layers_in_common(made, dims), whole) / dims.layers
    flops = flops_of(dims, counts)
    rate = s.peak_flops_s * s.mfu
    vit = sum(v for k, v in flops.items() if k.startswith(("patch_embed", "vit_", "merger", "deepstack")))
    prefill = flops["llm_linear"] + flops["llm_attention"] + flops["lm_head"]
    bandwidth = s.bytes_s * s.bandwidth_share
    cache = kv_bytes(dims, counts) / bandwidth
    decode = n_new * max(s.launch_s, weights / bandwidth + cache)
    # A step launches and reads the weights once for all of its branches; every branch reads its own cache. In bf16 a
    # weight has two bytes and takes part in two FLOPs.
    shared_step = max(s.launch_s / s.slots, weights / bandwidth / s.slots + cache, weights / rate)
    layers = flops_of(dims, full)
    return Cost(
        n_images * width * height / 1e6 * s.image_s_per_mpixel,
        vit / rate,
        prefill / rate,
        decode,
        n_new * shared_step + s.again * decode,
        stage,
        n_images * width * height / 1e6 * s.resize_s_per_mpixel if resizes else 0.0,
        in_common * (layers["llm_linear"] + layers["llm_attention"]) / rate,
    )


def layers_in_common(made: Method, dims: ModelDims) -> int:
    """Decoder layers up to the first at which a method looks or acts, which run once for all such methods."""
    stops = list(made.layers_of(dims.layers))
    if made.observes:
        cached = [i for i in range(dims.layers) if i not in dims.linear]
        stops += [cached[place] for place in made.observed_layers(len(cached)) if place < len(cached)]
    return min(stops) + 1


def kv_bytes(dims: ModelDims, counts: Counts) -> float:
    """Bytes of the cache that each decoded token reads (bf16)."""
    full = (e for i, e in enumerate(counts.cache_entries) if i not in dims.linear)
    return sum(full) * dims.kv_heads * dims.head_dim * 2 * 2.0


@dataclass(frozen=True)
class Sweep:
    """All cells of one model on one sample of one task: GPU-seconds with every cell alone, with shared prefixes, and
    with answers decoded together besides."""

    samples: int
    cells: int
    refused: int
    alone_s: float
    shared_s: float
    together_s: float

    def on(self, n: float, together: bool = False) -> float:
        """GPU-seconds of ``n`` samples in one run that shares: the first few are timed, each cell alone."""
        timed = min(n, TIMED_SAMPLES)
        return timed * self.alone_s + (n - timed) * (self.together_s if together else self.shared_s)


def sweep(
    model: str, task: str, methods: Sequence[str], budgets: Sequence[str], s: Speeds, charge_refused: bool = False
) -> Sweep:
    """The cells of one model and task."""
    full = cost(model, task, "full", "100", s)
    cells = [full, *(cost(model, task, m, b, s, charge_refused) for m in methods for b in budgets)]
    # Images are read once, ``full``'s own encoding and prefill are the shared ones; those who drop inside the decoder
    # walk its first layers together, apart from ``full``.
    walk = max((c.layers_s for c in cells), default=0.0)
    before = full.image_s + full.encode_s + full.prefill_s + walk + sum(c.own_s for c in cells)
    return Sweep(
        samples_of(task),
        len(cells),
        sum(c is REFUSED for c in cells),
        sum(c.alone_s for c in cells),
        before + sum(c.decode_s for c in cells),
        before + sum(c.together_s for c in cells),
    )


def rows_of(sweeps: dict[str, list[Sweep]], s: Speeds) -> list[list[str]]:
    """Lines of the second table: hours of every GPU when samples are divided over 8, 64 and 512."""
    every = [own for of_model in sweeps.values() for own in of_model]
    weights = sum(sizes(m)[3] for m in sweeps)
    warm = s.warm_up_samples * sum(own.alone_s for own in every)
    writing = s.write_s * sum(own.samples * own.cells for own in every)
    rows: list[tuple[str, list[float]]] = [
        ("answers, every cell alone", [sum(own.samples * own.alone_s for own in every) / g for g in GPUS]),
        ("answers, shared prefixes", [sum(own.on(own.samples / g) for own in every) for g in GPUS]),
        (
            "answers, shared prefixes, decoded together",
            [sum(own.on(own.samples / g, together=True) for own in every) for g in GPUS],
        ),
        (
            "- of these, without the timed samples",
            [sum(own.samples * own.together_s for own in every) / g for g in GPUS],
        ),
        ("warm-up of every cell on every worker", [warm for _ in GPUS]),
        ("loading all models on every worker, at the same time", [weights * g / s.load_bytes_s for g in GPUS]),
        ("writing all records by one Ray driver", [writing for _ in GPUS]),
    ]
    return [
        [name, *(f"{v / 3600:,.2f}" if v < 36_000 else f"{v / 3600:,.0f}" for v in values)] for name, values in rows
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page's tables; returns the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [m for m in MODELS if m not in NOT_MODELS]
    p.add_argument("--models", default=",".join(known))
    p.add_argument("--methods", default=METHODS)
    p.add_argument("--budgets", default=BUDGETS)
    for name, value in vars(Speeds()).items():
        p.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    p.add_argument("--charge-refused", action="store_true", help="budgets that cannot be met cost what full does")
    given = p.parse_args(argv)
    s = Speeds(**{name: getattr(given, name) for name in vars(Speeds())})
    for name, value in vars(s).items():
        if value <= 0 or not math.isfinite(value):
            p.error(f"--{name.replace('_', '-')}: a positive number, not {value:g}")
    for name in ("mfu", "bandwidth_share", "again"):
        if getattr(s, name) > 1:
            p.error(f"--{name.replace('_', '-')}: a share of at most 1, not {getattr(s, name):g}")
    models, methods, budgets = (getattr(given, k).split(",") for k in ("models", "methods", "budgets"))
    sweeps = {m: [sweep(m, task, methods, budgets, s, given.charge_refused) for task in TASKS] for m in models}
    records = sum(own.samples * own.cells for of_model in sweeps.values() for own in of_model)
    refused = sum(own.samples * own.refused for of_model in sweeps.values() for own in of_model)
    print(
        f"{len(models)} models x {1 + len(methods) * len(budgets)} cells ({len(methods)} methods x {len(budgets)} "
        f"budgets, and full) x {len(TASKS)} tasks ({sum(map(samples_of, TASKS)):,} samples): {records:,} records, "
        f"{refused:,} of them of budgets that cannot be met, which cost nothing.\n"
    )
    lines = []
    for model, own in sweeps.items():
        kinds = ("alone_s", "shared_s", "together_s")
        alone, shared, together = (sum(w.samples * getattr(w, k) for w in own) / 3600 for k in kinds)
        lines.append(
            [
                model,
                f"{sizes(model)[3] / 1e9:.1f}",
                f"{3600 * alone / (records / len(models)):.2f}",
                f"{alone:,.0f}",
                f"{shared:,.0f}",
                f"{together:,.0f}",
                f"{alone / together:.1f}x",
            ]
        )
    totals = [sum(own.samples * getattr(own, k) for of in sweeps.values() for own in of) / 3600 for k in kinds]
    lines.append(["all", "", "", *(f"{v:,.0f}" for v in totals), f"{totals[0] / totals[2]:.1f}x"])
    heads = ["model", "weights GB", "s per record, alone", "GPU-hours, alone", "shared", "decoded together", "saved"]
    print(_table(heads, lines))
    print()
    print(_table(["hours", *(f"{g} GPUs" for g in GPUS)], rows_of(sweeps, s)))
    print(f"\nRecords on disk: {records * s.record_bytes / 1e9:,.0f} GB.")
    print("\nAssumed: " + ", ".join(f"{k} {v:g}" for k, v in vars(s).items()) + ".")
    return 0


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
