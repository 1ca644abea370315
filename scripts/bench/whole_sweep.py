"""A whole sweep as one command against the same cells without sharing, answers, start and summary included.

Run: ``python scripts/bench/whole_sweep.py CASE [--samples N] [--out DIR]`` (nano, one thread, ``--timings 0``). Cases:

- ``cache``: guikv, snapkv, pyramidkv, vlcache x 8 budgets on mini-nav against 33 commands, one per cell and one for
  ``full``;
- ``cache-off``: the same against one command with ``--share off``, which starts once;
- ``all``: every method x 8 budgets (reading ``paper``) on the three tasks of mini against ``--share off``.

Every command's time is written to ``DIR/CASE-N.json`` when it has ended: what was interrupted goes on where it stopped.
At the end answers and kept blocks of both sides are compared, record by record, before the ratio is printed. Minutes on
two quiet cores: ``cache`` 5 at 16 samples and 10 at 100, ``cache-off`` 2 and 7, ``all`` 2 per sample and task.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = ("1", "3", "5", "10", "15", "20", "40", "80")
CACHE_METHODS = ("guikv", "snapkv", "pyramidkv", "vlcache")
TARGETS = {("cache", 16): 6.0, ("cache", 100): 9.0, ("all", 0): 5.0}
Command = tuple[str, Sequence[str]]


def methods_of(case: str) -> list[str]:
    """Names of the methods of a case."""
    if case != "all":
        return list(CACHE_METHODS)
    sys.path.insert(0, str(ROOT))
    from vtprune_eval.registry import method_class, method_names

    # Whose budget is a number, and who need nothing beside nano: an oracle reads the answer, one shows no image.
    skipped = {"full", "no-image", "oracle"}
    names = [n for n, source in method_names().items() if source == "builtin" and n not in skipped]
    return sorted(n for n in names if not method_class(n).blind)


def commands(case: str, samples: int, out: Path) -> tuple[Command, list[Command]]:
    """The shared command and those it is compared with, each with the name under which its time is kept."""
    tasks = "mini-nav,mini-doc,mini-grounding" if case == "all" else "mini-nav"
    # As the papers count, small budgets can be met inside the decoder of nano, too, which has five layers.
    reading = ["--reading", "paper"] if case == "all" else []
    common = [*reading, "--model", "nano", "--tasks", tasks, "--limit", str(samples), "--timings", "0", "--quiet"]

    def one(name: str, methods: Sequence[str], budgets: Sequence[str], *more: str) -> Command:
        return name, [
            *common,
            "--method",
            ",".join(methods),
            "--budget",
            ",".join(budgets),
            *more,
            "--out",
            f"{out / name}",
        ]

    methods = methods_of(case)
    shared = one("shared", methods, BUDGETS)
    if case == "cache":
        # The one command answers `full` once, and so do these together.
        alone = [one(f"{m}@{b}", [m], [b], "--share", "off", "--no-full") for m in methods for b in BUDGETS]
        return shared, [one("full", ["full"], ["100"], "--share", "off"), *alone]
    return shared, [one("off", methods, BUDGETS, "--share", "off")]


def timed(command: Command, out: Path, times: dict[str, float]) -> None:
    """Run a command whose time is not known yet, from an empty folder."""
    name, arguments = command
    if name in times:
        return
    shutil.rmtree(out / name, ignore_errors=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "vtprune_eval", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
    times[name] = time.perf_counter() - start


def records(folder: Path) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """(cell file, sample) and record of everything that a run answered."""
    for file in sorted(folder.glob("records/**/*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            yield (file.name, record["id"]), record


def compare(shared: Path, others: Sequence[Path]) -> int:
    """Records compared; the same ids, kept blocks and counts on both sides, each answered once.

    Raises:
        SystemExit: a record that differs, or that one side has more often than the other.
    """
    ours = dict(records(shared))
    left = set(ours)
    for folder in others:
        for key, theirs in records(folder):
            if key not in left:
                raise SystemExit(f"{key}: in {folder.name} {'again' if key in ours else 'alone'}")
            left.remove(key)
            for field in ("status", "ids", "kept", "kept_last", "counts"):
                if ours[key].get(field) != theirs.get(field):
                    raise SystemExit(f"{key}: {field} differs from {folder.name}")
    if left:
        raise SystemExit(f"{len(left)} records are in the one command alone, {min(left)} among them")
    return len(ours)


def main() -> int:
    """Run what was not run yet, compare, print the ratio; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=("cache", "cache-off", "all"))
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    given = parser.parse_args()
    out = given.out.resolve() / f"{given.case}-{given.samples}"
    out.mkdir(parents=True, exist_ok=True)
    kept = out.with_suffix(".json")
    times: dict[str, float] = json.loads(kept.read_text()) if kept.is_file() else {}
    shared, others = commands(given.case, given.samples, out)
    for command in (shared, *others):
        timed(command, out, times)
        kept.write_text(json.dumps(times))
    n = compare(out / shared[0], [out / name for name, _ in others])
    separate = sum(times[name] for name, _ in others)
    ratio, target = separate / times["shared"], TARGETS.get((given.case, 0 if given.case == "all" else given.samples))
    print(
        f"{given.case}, {given.samples} samples a task, one thread, load {os.getloadavg()[1]:.1f}: {n} records equal; "
        f"shared {times['shared']:.1f} s, {len(others)} separate {separate:.1f} s: {ratio:.1f}x"
        + (f" (target {target:g}x)" if target else "")
    )
    return int(target is not None and ratio < target)


if __name__ == "__main__":
    raise SystemExit(main())
