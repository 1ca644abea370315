"""``serve-bench``: what pruning does to a server under load, ``full`` beside each method.

A closed loop holds so many requests in flight; every finished one is replaced at once. All answers have one length,
whatever they say, so that only the prompt differs between methods. Requests per second, time to the first token (from
before the image is opened) and time per output token are shown at their 50th, 95th and 99th percentile. Prefix caching
is off, and no two requests share an encoder's output. Written: ``bench.csv``, ``bench.json``, ``bench.png``.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Parser
from ..errors import SampleError, UserError
from ..results.store import write_atomic

if TYPE_CHECKING:
    from ..runner.engines import Engine
    from ..runner.spec import Cell
    from ..sample import Sample

LEVELS = "1,2,4,8,16,32"
# Per level: so many requests for each one in flight, and at least so many.
TURNS, LEAST = 4, 32
ANSWER_TOKENS = 32
PERCENTILES = (50, 95, 99)
REHEARSAL = (
    "This is a rehearsal on a CPU: it shows that the measurement works, and no number of it says anything about a GPU."
)
TERMS = (
    "prefix caching off; every request is new to the encoder's cache; greedy; all answers of one length; requests are "
    "prepared in the process that sends them"
)


@dataclass
class Level:
    """What was measured of one cell at one number of requests in flight.

    Attributes:
        cell: method and budget.
        in_flight: requests.
        seconds: from the first request to the last answer.
        first: seconds to the first token, per token after it, and to the last, of every request.
        each: seconds to the first token, per token after it, and to the last, of every request.
        whole: seconds to the first token, per token after it, and to the last, of every request.
        prompt: tokens of every prompt.
        failed: requests that could not be asked.
    """

    cell: Cell
    in_flight: int
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    failed: int = 0

    def row(self, n_tokens: int) -> dict[str, Any]:
        """Plain values; times in milliseconds, None where nothing was measured."""
        import numpy as np

        def at(values: list[float], p: int) -> float | None:
            return round(1e3 * float(np.percentile(values, p)), 3) if values else None

        per_second = len(self.whole) / self.seconds if self.seconds else 0.0
        return {
            "method": self.cell.method,
            "budget": "-" if self.cell.method == "full" else self.cell.budget,
            "in_flight": self.in_flight,
            "requests": len(self.whole),
            "failed": self.failed,
            "requests_per_s": round(per_second, 4),
            "output_tokens_per_s": round(per_second * n_tokens, 3),
            "prompt_tokens": round(float(np.mean(self.prompt)), 2) if self.prompt else None,
            **{f"ttft_p{p}_ms": at(self.first, p) for p in PERCENTILES},
            **{f"tpot_p{p}_ms": at(self.each, p) for p in PERCENTILES},
            **{f"e2e_p{p}_ms": at(self.whole, p) for p in PERCENTILES},
        }


def parser() -> Parser:
    """Options of ``serve-bench``; all others (model, method, budget, tasks, ...) are those of a run."""
    p = Parser("serve-bench", description=__doc__)
    p.add_argument("--concurrency", default=LEVELS, help=f"requests in flight, a list (default {LEVELS})")
    p.add_argument("--requests", type=int, help=f"per level (default {TURNS} for each in flight, at least {LEAST})")
    p.add_argument(
        "--answer-tokens", type=int, default=ANSWER_TOKENS, help=f"of every answer (default {ANSWER_TOKENS})"
    )
    p.add_argument("--out", metavar="DIR", help="folder for the results (default runs/serve-MODEL)")
    return p


def main(argv: Sequence[str]) -> int:
    """Measure, write and print; returns the exit code.

    Raises:
        UserError: options that mean nothing, or what the engine refuses.
    """
    from ..cli import spec_of_arguments
    from ..runner.defaults import resolved
    from ..runner.execute import load_tasks
    from ..runner.workers.vllm import bench_engine

    given, rest = parser().parse_known_args(list(argv))
    levels = _levels(given.concurrency)
    for name, value in (("--requests", given.requests), ("--answer-tokens", given.answer_tokens)):
        if value is not None and value < (2 if name == "--answer-tokens" else 1):
            raise UserError(f"{name} {value}: too few; a time per token needs two tokens, a level one request.")
    spec = resolved(spec_of_arguments([*rest, "--engine", "vllm"]))
    if "full" not in spec.methods:
        spec = replace(spec, methods=("full", *spec.methods))
    samples = [s for task in load_tasks(spec) for s in task.samples]
    engine = bench_engine(spec, max(levels))
    rows = []
    for in_flight in levels:  # methods take turns at every level, so that a drift of the machine meets all
        n = given.requests or max(TURNS * in_flight, LEAST)
        for cell in spec.cells():
            measure(engine, cell, samples, in_flight, min(in_flight, n), given.answer_tokens)  # warm-up
            level = measure(engine, cell, samples, in_flight, n, given.answer_tokens)
            rows.append(level.row(given.answer_tokens))
    folder = Path(given.out or f"runs/serve-{spec.model}")
    about = {
        "model": spec.model,
        "tasks": list(spec.tasks),
        "params": spec.params,
        "answer_tokens": given.answer_tokens,
        "terms": TERMS,
        "identity": engine.identity,
        "rehearsal": engine.identity["device"] == "cpu",
    }
    write(folder, rows, about)
    print(shown(rows))
    made = ", ".join(str(engine.identity[k]) for k in ("engine", "model", "dtype", "device"))
    print(f"\n{made}; {TERMS}.")
    if about["rehearsal"]:
        print(REHEARSAL)
    print(f"results: {folder}")
    return 0


def _levels(text: str) -> tuple[int, ...]:
    parts = [p.strip() for p in text.split(",") if p.strip()]
    if not parts or not all(p.isascii() and p.isdigit() and int(p) >= 1 for p in parts):
        raise UserError(f"--concurrency {text!r}: a list of whole numbers of at least 1 is needed, for example 1,8,32.")
    return tuple(sorted({int(p) for p in parts}))


def measure(
    engine: Engine, cell: Cell, samples: Sequence[Sample], in_flight: int, n_requests: int, n_tokens: int
) -> Level:
    """Answer ``n_requests`` with ``in_flight`` of them at once.

    Args:
        engine: the loaded one.
        cell: method and budget.
        samples: taken in turn, again and again.
        n_tokens: of every answer.
    """
    level = Level(cell, in_flight)
    todo = itertools.islice(_fresh(samples), n_requests)
    started, first = dict[str, float](), dict[str, float]()
    begin, more = time.perf_counter(), True
    while more or started:
        while more and len(started) < in_flight:
            sample = next(todo, None)
            if sample is None:
                more = False
                break
            now = time.perf_counter()
            try:
                number, _ = engine.ask(cell, sample, n_tokens, exactly=True)
            except SampleError:
                level.failed += 1
                continue
            started[number] = now
        for output in engine.step() if started else ():
            now = time.perf_counter()
            number = output.request_id
            if output.outputs[0].token_ids:
                first.setdefault(number, now)
            if output.finished:
                start, token = started.pop(number), first.pop(number)
                level.first.append(token - start)
                level.each.append((now - token) / max(1, len(output.outputs[0].token_ids) - 1))
                level.whole.append(now - start)
                level.prompt.append(len(output.prompt_token_ids))
    level.seconds = time.perf_counter() - begin
    return level


_turns = itertools.count()


def _fresh(samples: Sequence[Sample]) -> Iterator[Sample]:
    """The samples again and again, each time under another name: a cache of the engine must not know it."""
    for sample in itertools.cycle(samples):
        yield replace(sample, id=f"{sample.id}#{next(_turns)}")


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    from tabulate import tabulate

    names = {
        "in_flight": "in flight",
        "requests_per_s": "requests/s",
        "prompt_tokens": "prompt",
        "ttft_p50_ms": "TTFT p50",
        "ttft_p95_ms": "p95",
        "ttft_p99_ms": "p99",
        "tpot_p50_ms": "TPOT p50",
        "tpot_p95_ms": "p95 ",
        "tpot_p99_ms": "p99 ",
    }
    keys = ["method", "budget", *names]
    return tabulate([[row[k] for k in keys] for row in rows], headers=[names.get(k, k) for k in keys])


def write(folder: Path, rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """``bench.json``, ``bench.csv``, and ``bench.png`` where matplotlib is installed.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out.") from None
    write_atomic(folder / "bench.json", json.dumps({**about, "rows": list(rows)}, indent=2) + "\n")
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomic(folder / "bench.csv", out.getvalue())
    figure = draw(rows, about)
    if figure is not None:
        write_atomic(folder / "bench.png", figure)


def draw(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> bytes | None:
    """Requests per second and time to the first token against requests in flight; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, budget in dict.fromkeys((r["method"], r["budget"]) for r in rows):
        own = [r for r in rows if (r["method"], r["budget"]) == (method, budget)]
        name, x = method if budget == "-" else f"{method} at {budget}", [r["in_flight"] for r in own]
        left.plot(x, [r["requests_per_s"] for r in own], marker="o", label=name)
        right.plot(x, [r["ttft_p50_ms"] for r in own], marker="o", label=name)
    for axes, title in ((left, "requests per second"), (right, "time to first token, ms (median)")):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("requests in flight")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    where = " (rehearsal on a CPU)" if about["rehearsal"] else ""
    figure.suptitle(f"{about['model']}, {about['identity']['engine']}, prefix caching off{where}", fontsize=10)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150)
    return out.getvalue()
