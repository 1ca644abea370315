"""Memory of a summary by the number of records: 225 cells of one task, from record files to ``summary.json``'s text.

Run: ``python scripts/bench/summary_memory.py [--records N ...] [--cells N]``. Every size is measured in a process of
its own; the number is the peak resident memory of that process, interpreter and imports included, in MB. The cells
read a few different generated files in turn, so that five million records need no disk of ten gigabytes; every cell is
read, parsed and compared all the same. The promise is 300 MB for every size; the exit code is 1 above it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LIMIT_MB = 300
FILES, BUDGETS, STEPS = 7, 8, 10


def record(number: int, rng: random.Random, layers: int = 28) -> dict[str, Any]:
    """One record as a run of a model of 28 layers writes it; ten samples are the steps of an episode."""
    visual = rng.randint(300, 2000)
    timed = number % 1000 == 0
    times = {k: rng.uniform(10, 90) for k in ("image_decode_ms", "preprocess_ms", "select_ms", "vit_ms", "prefill_ms")}
    times |= {k: rng.uniform(100, 900) for k in ("ttft_ms", "tpot_ms", "decode_ms", "e2e_ms")}
    return {
        "schema": 1,
        "key": "bench",
        "id": f"episode-{number // STEPS:07d}-step-{number % STEPS}",
        "status": "ok",
        "reason": "correct",
        "message": "",
        "answer": "Action: click(start_box='(512,384)')",
        "ids": [rng.randint(0, 150_000) for _ in range(24)],
        "finish": "eos",
        "score": float(rng.random() < 0.6),
        "parsed": {"action": "click", "x": rng.random(), "y": rng.random()},
        "cluster": f"episode-{number // STEPS:07d}",
        "meta": {"n_history": number % STEPS, "app": f"app {number % 37}"},
        "parts": {"type_match": 1.0, "grounding": rng.random()},
        "protocol": "official",
        "counts": {
            "patches_full": [8000],
            "patches": [4 * visual],
            "visual_full": [2000],
            "visual": [visual],
            "layer_tokens": [visual + 80] * layers,
            "layer_visual": [visual] * layers,
            "cache_entries": [visual + 80] * layers,
        },
        "flops": {"total": 1e13 * visual / 2000, "vit": 1e12, "prefill": 1e12},
        "kv_bytes": 1000 * visual,
        "kept": [f"{rng.getrandbits(2000):x}"],
        "frame": {"coordinates": "pixels", "model_sizes": [[1920, 1088]], "file_sizes": [[1920, 1080]]},
        "spent": {"asked": "20", "reading": "equal", "achieved_pct": 20.0},
        "notes": [],
        "target_recall": None,
        "peak_bytes": 10**9 if timed else None,
        "times": times if timed else None,
    }


def measure(folder: Path, n_cells: int) -> None:
    """In a process of its own: summarise the files of ``folder``, print MB and seconds."""
    from vtprune_eval.results.record import light
    from vtprune_eval.results.store import read_records
    from vtprune_eval.results.summary import Streamed, merge_draws, summarise
    from vtprune_eval.results.table import table

    files = sorted(folder.glob("*.jsonl"))
    cells = [("full", "100"), *((f"m{i // BUDGETS}", str(5 * (1 + i % BUDGETS))) for i in range(n_cells - 1))]
    numbers = {cell: number for number, cell in enumerate(cells)}

    def read(key: tuple[str, str, str]) -> list[dict[str, Any]]:
        return list(read_records(files[numbers[key[1:]] % len(files)], "bench", shape=light)[0].values())

    start = time.perf_counter()
    merged, rows = merge_draws(cells, Streamed((("task", *cell) for cell in cells), read))
    summary = summarise("bench", merged, [("task", True)], rows, True)
    table(summary, "json")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1000)
    print(json.dumps({"mb": peak / (1e6 if sys.platform == "darwin" else 1), "s": time.perf_counter() - start}))


def main() -> int:
    """Generate, measure every size, print, compare with the promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[250_000, 1_000_000, 2_000_000])
    parser.add_argument("--cells", type=int, default=225)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(Path(given.measure), given.cells)
        return 0
    if given.cells < 1 or min(given.records) < given.cells:
        parser.error("--cells: at least 1; --records: at least one per cell")
    missed = False
    for total in given.records:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(min(FILES, given.cells)):
                rng = random.Random(number)
                with (Path(folder) / f"{number}.jsonl").open("w") as out:
                    for sample in range(total // given.cells):
                        out.write(json.dumps(record(sample, rng)) + "\n")
            command = [sys.executable, __file__, "--measure", folder, "--cells", str(given.cells)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{total:>9,} records in {given.cells} cells: {found['mb']:.0f} MB at most, {found['s']:.0f} s "
            f"(promised: {LIMIT_MB} MB)",
            flush=True,
        )
        missed |= found["mb"] > LIMIT_MB
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
