"""The runs that the experiments are made from, their records, and paired comparisons of them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtprune_eval.api import LoadedModel, run
from vtprune_eval.benchmarks.tasks import Task, load_task
from vtprune_eval.methods.base import Method
from vtprune_eval.registry import method_class
from vtprune_eval.results.compare import compare
from vtprune_eval.results.stats import mean_interval
from vtprune_eval.runner.spec import Cell

from .controls import PLACES, Placed, Shallow

Record = dict[str, Any]
SEEDS = 5
BUDGETS = ("20", "50")
# Some decoder layers process every token before the first cut: a mean over all layers cannot be lower.
DECODER = ("50", "70")
SMALL = "10"  # a resize to so few tokens leaves no word readable
PLACED_AT = "40"
# Before the ViT, and behind it, where the ViT's own share of a small model's FLOPs is more than half.
FLOPS = ("flops:50", "flops:85")
# Per stage its random control, and methods with a design.
STAGES = {
    "before the ViT": ("random", ("pixelprune", "conncomp", "stride")),
    "behind the ViT": ("random-tokens", ("divprune", "visionzip", "hiprune", "focusui")),
    "decoder layers": ("random-layer", ("fastv", "sparsevlm", "dart", "pyramiddrop")),
    "KV cache": ("random-kv", ("snapkv", "guikv", "h2o", "streamingllm")),
}
HORIZON = (1, 2, 3)  # layers from which on tokens are missing
HORIZON_AT = "25"
TWICE = ("random-tokens", "divprune", "focusui", "fastv", "random-kv", "snapkv", "guikv", "streamingllm")
TWICE_AT = {"prune_layer": "70", "select_tokens": "40", "compress_kv": "20"}


@dataclass(frozen=True)
class Run:
    """One run of the table's cells.

    Attributes:
        methods: names, or one method with settings; budgets.
        tasks: "all" of the model or "boxes", those with boxes.
        seeds: of random controls.
        reading: of the budgets.
        params: hyper-parameters.
    """

    methods: tuple[str | Method, ...]
    budgets: tuple[str, ...]
    tasks: str = "all"
    seeds: int = 1
    reading: str = "equal"
    params: dict[str, Any] = field(default_factory=dict)


def designs(stage: str, model: str) -> tuple[str, ...]:
    """Methods of a stage that ``model`` can run: only nano has a scorer of FocusUI's."""
    return tuple(m for m in STAGES[stage][1] if model == "nano" or m != "focusui")


def runs_of(model: str) -> dict[str, Run]:
    """Every run by name, in the order in which sections become possible."""
    outside = [m for s in ("before the ViT", "behind the ViT", "KV cache") for m in (STAGES[s][0], *designs(s, model))]
    layers = (STAGES["decoder layers"][0], *designs("decoder layers", model))
    early, late = ([STAGES[s][0], *designs(s, model)] for s in ("before the ViT", "behind the ViT"))
    out = {
        "blind": Run(("full", "no-image"), ("auto",)),
        "small": Run(("resize",), (SMALL,)),
        "outside": Run(("resize", *outside), BUDGETS, seeds=SEEDS),
        "layers": Run(layers, DECODER, seeds=SEEDS),
        "layers-resize": Run(("resize",), DECODER[1:]),
        "oracle": Run(("oracle",), BUDGETS, tasks="boxes"),
        "flops": Run(("resize", *early), (FLOPS[0],)),
        "flops-behind": Run(("resize", *late), (FLOPS[1],)),
        **{f"placed-{p}": Run((Placed(p),), (PLACED_AT,), seeds=SEEDS, reading="paper") for p in PLACES},
        **{f"shallow-{m}": Run((Shallow(m),), BUDGETS, seeds=SEEDS) for m in ("random-tokens", "divprune")},
        **{
            f"horizon-{k}": Run(
                ("random-layer", "fastv"),
                (HORIZON_AT,),
                seeds=SEEDS,
                reading="paper",
                params={"random-layer.layer": k, "fastv.layer": k},
            )
            for k in HORIZON
        },
    }
    return out


class Study:
    """A model, its tasks, and a folder in which every run has one of its own and goes on where it stopped."""

    def __init__(self, model: LoadedModel, tasks: Sequence[str], folder: Path, limit: int | None) -> None:
        self.model, self.tasks, self.folder, self.limit = model, tuple(tasks), folder, limit
        self.loaded: dict[str, Task] = {name: load_task(name, limit) for name in self.tasks}
        self.runs = runs_of(model.name)

    @property
    def boxes(self) -> tuple[str, ...]:
        """Tasks whose targets are places."""
        return tuple(name for name in self.tasks if "grounding" in name)

    def answer(self, name: str) -> None:
        """Run what is missing of a run."""
        asked = self.runs[name]
        print(f"== {self.model.name}: {name}", file=sys.stderr, flush=True)
        run(
            self.model,
            list(asked.methods),
            asked.budgets,
            list(self.boxes if asked.tasks == "boxes" else self.tasks),
            no_full=True,
            out=str(self.folder / name),
            limit=self.limit,
            seeds=asked.seeds,
            reading=asked.reading,
            params=asked.params,
            timings=0,
            logprobs=True,
        )

    def done(self, name: str) -> bool:
        """Whether a run has been finished."""
        return (self.folder / name / "summary.json").exists()

    def answered(self, task: str) -> int:
        """Samples of a task that the finished runs have answered, whatever the limit of this call is."""
        files = (
            path for name in self.runs if self.done(name) for path in self.folder.glob(f"{name}/records/{task}--*")
        )
        return max((len(path.read_text(encoding="utf-8").splitlines()) for path in files), default=0)

    def draws(self, name: str, task: str, method: str, budget: str) -> list[list[Record]]:
        """Records of a cell, one list per draw of a random control; none where the run has not been finished."""
        folder = self.folder / name / "records"
        given = [m for m in self.runs[name].methods if isinstance(m, Method) and m.name == method]
        n = self.runs[name].seeds if (given[0] if given else method_class(method)).draws else 1
        paths = [folder / f"{task}--{Cell(method, f'{budget}#{k}' if k else budget).slug}.jsonl" for k in range(n)]
        if not self.done(name) or not all(p.exists() for p in paths):
            return []
        return [[json.loads(line) for line in p.read_text().splitlines()] for p in paths]

    def cell(
        self, name: str, method: str, budget: str, tasks: Sequence[str] | None = None, n_draws: int = SEEDS
    ) -> list[Record]:
        """Records over ``tasks`` (all), each with the mean score of the first ``n_draws``; ids and clusters name the
        task."""
        out = []
        for task in self.tasks if tasks is None else tasks:
            drawn = self.draws(name, task, method, budget)[:n_draws]
            for rows in zip(*drawn, strict=True):
                scores = [r["score"] for r in rows if r["score"] is not None]
                out.append(
                    {
                        **rows[0],
                        "task": task,
                        "id": f"{task}/{rows[0]['id']}",
                        "cluster": f"{task}/{rows[0]['cluster'] or rows[0]['id']}",
                        "score": sum(scores) / len(scores) if scores else None,
                    }
                )
        return out


def accuracy(records: Sequence[Record]) -> str:
    """``mean [low, high]`` in per cent, the interval over pages."""
    if not records:
        return "-"
    mean, low, high = mean_interval([r["score"] or 0.0 for r in records], [r["cluster"] for r in records])
    return f"{100 * mean:.1f}" if math.isnan(low) else f"{100 * mean:.1f} [{100 * low:.0f}, {100 * high:.0f}]"


def spent(records: Sequence[Record]) -> str:
    """What was achieved of the budget, per cent."""
    done = [r["spent"]["achieved_pct"] for r in records if r["spent"] and r["spent"]["achieved_pct"] is not None]
    return f"{sum(done) / len(done):.1f}" if done else "-"


def paired(own: Sequence[Record], other: Sequence[Record]) -> dict[str, Any] | None:
    """Paired comparison; None where a side is missing."""
    return compare(own, other) if own and other else None


def difference(found: dict[str, Any]) -> str:
    """``+12.0 [+3, +21]`` in points."""
    interval = found["ci95"]
    text = f"{100 * found['difference']:+.1f}"
    return text if interval is None else f"{text} [{100 * interval[0]:+.0f}, {100 * interval[1]:+.0f}]"
