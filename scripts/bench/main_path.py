"""Where the time of a run goes: nano on the mini suite through the command line, stage by stage.

Run: ``python scripts/bench/main_path.py [--limit 40] [--method full]``. The pipeline and the loading of the model are
wrapped to take their time from outside; the stages are those of the records. "Harness" is everything that is neither
imports, loading, warm-up nor the pipeline: reading the tasks, scoring, records, files, the report. The promise is that
it takes at most 2 % of the time inside the pipeline; the exit code is 1 above it.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROMISE_PCT = 2.0
STAGES = ("image_decode_ms", "preprocess_ms", "select_ms", "vit_ms", "prefill_ms", "decode_ms")


class Stopwatch:
    """Adds up wall and processor time inside functions; a call inside another is not counted again."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._inside = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, with its time added under ``name``."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, start, cpu = True, time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
                self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu

        return timed


def main(argv: Sequence[str] | None = None) -> int:
    """Run, take apart, print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--limit", type=int, default=40, help="samples per task (default 40)")
    p.add_argument("--method", default="full", help="methods (default full)")
    p.add_argument("--budget", default="25", help="budgets (default 25)")
    given = p.parse_args(argv)
    import tabulate  # noqa: F401 - loaded before the clock of the run starts, as the others
    import tqdm  # noqa: F401
    import transformers  # noqa: F401

    from vtprune_eval import cli, models
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.profiling import own_cost  # noqa: F401
    from vtprune_eval.runner import cells
    from vtprune_eval.runner import execute as runs

    imports = time.perf_counter() - STARTED
    watch = Stopwatch()
    old = models.load_model, cells.warm_up, Pipeline.run, runs.report
    models.load_model = watch.around("load", models.load_model)
    cells.warm_up = watch.around("warm-up", cells.warm_up)
    Pipeline.run = watch.around("pipeline", Pipeline.run)  # type: ignore[method-assign]
    runs.report = watch.around("report", runs.report)
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = cli.main(
                    [
                        "--model",
                        "nano",
                        "--method",
                        given.method,
                        "--budget",
                        given.budget,
                        "--limit",
                        str(given.limit),
                        "--share",
                        "off",
                        "--out",
                        f"{folder}/run",
                    ]
                )
        finally:
            models.load_model, cells.warm_up, Pipeline.run, runs.report = old  # type: ignore[method-assign]
        total, cpu = time.perf_counter() - start, time.process_time() - cpu
        if code:
            print(said.getvalue(), file=sys.stderr)
            return code
        records = [
            json.loads(line)
            for path in sorted(Path(folder, "run", "records").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
    shown(records, watch, total, cpu, imports)
    inside = watch.seconds["pipeline"]
    return int(100 * (total - sum(watch.seconds.values()) + watch.seconds["report"]) / inside > PROMISE_PCT)


def shown(records: list[dict[str, Any]], watch: Stopwatch, total: float, cpu: float, imports: float) -> None:
    """Print the table."""
    n, inside = len(records), watch.seconds["pipeline"]
    stages = {name: sum(r["times"][name] for r in records if r["times"]) / 1000 for name in STAGES}
    loop = total - sum(watch.seconds.values())
    loop_cpu = cpu - sum(watch.cpu.values())
    rows = [
        *((f"pipeline: {name.removesuffix('_ms').replace('_', ' ')}", s, True) for name, s in stages.items()),
        ("pipeline: outside of all stages", inside - sum(stages.values()), True),
        ("harness: tasks, scoring, records, files", loop, True),
        ("harness: report", watch.seconds["report"], True),
        ("warm-up", watch.seconds["warm-up"], False),
        ("loading the model", watch.seconds["load"], False),
        ("imports", imports, False),
    ]
    print(f"nano, {n} records\n\n| | s | ms per record | of the pipeline's time |\n|---|---|---|---|")
    for name, seconds, per_record in rows:
        each = f"{1000 * seconds / n:.2f} | {100 * seconds / inside:.1f} %" if per_record else " | "
        print(f"| {name} | {seconds:.2f} | {each} |")
    harness = loop + watch.seconds["report"]
    harness_cpu = loop_cpu + watch.cpu["report"]
    print(
        f"\nharness beside the pipeline: {100 * harness / inside:.2f} % of the pipeline's time (promised "
        f"{PROMISE_PCT:g} %); of processor time {100 * harness_cpu / watch.cpu['pipeline']:.2f} %"
    )


if __name__ == "__main__":
    raise SystemExit(main())
