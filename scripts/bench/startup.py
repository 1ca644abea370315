"""How long a command line takes to be refused or explained, and what is imported for it.

Run: ``python scripts/bench/startup.py [--repeats 5]``. Each line is a process of its own, from the start of the
interpreter to its end; the median is printed beside the promise (``--help`` 0.5 s, everything that is refused before a
model is loaded 1.5 s), and which heavy packages were loaded. ``python -c pass`` is the floor. Exit code 1 where a
promise is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
HELP_S, ERROR_S = 0.5, 1.5
HEAVY = ("torch", "torchvision", "transformers", "cv2", "PIL", "numpy", "matplotlib", "ray", "vlmeval", "lm_eval")
LINES: tuple[tuple[str, float, int], ...] = (  # arguments, promised seconds, exit code
    ("--help", HELP_S, 0),
    ("list methods", ERROR_S, 0),
    ("explain --method guikv", ERROR_S, 0),
    ("--method pixelprun", ERROR_S, 2),
    ("--model qwen3", ERROR_S, 2),
    ("--tasks screenspot", ERROR_S, 2),
    ("--budget abc", ERROR_S, 2),
    ("--method fastv --budget auto", ERROR_S, 2),
    ("--method snapkv,guikv,focusui --budget 10 --set guikv.rank=-1", ERROR_S, 2),
    ("--tasks screenspot_pro --data-path /nonexistent", ERROR_S, 2),
)
# Modules that wait for their first use stand in sys.modules with a class of their own; they were not loaded.
LOADED = """
import sys
from types import ModuleType
from vtprune_eval.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*[n for n in {heavy!r} if type(sys.modules.get(n)) is ModuleType], file=sys.stderr)
"""


def seconds(command: list[str], repeats: int) -> tuple[list[float], int]:
    """Wall times of a process, and its exit code."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
        times.append(time.perf_counter() - start)
    return times, done.returncode


def heavy(arguments: list[str]) -> str:
    """Heavy packages that a command line loads."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(heavy=HEAVY), *arguments], cwd=ROOT, capture_output=True, text=True
    )
    return done.stderr.rsplit("\n", 2)[-2].strip() or "nothing"


def main() -> int:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    if repeats < 1:
        parser.error("--repeats is at least 1")
    missed = 0
    print(
        f"| command line | median s | range | promised | loaded |\n|---|---|---|---|---|\n"
        f"| (python -c pass) | {median(seconds([sys.executable, '-c', 'pass'], repeats)[0]):.2f} | | | |"
    )
    for line, promise, code in LINES:
        times, found = seconds([sys.executable, "-m", "vtprune_eval", *line.split()], repeats)
        middle = median(times)
        wrong = "" if found == code else f" EXIT CODE {found}, expected {code}"
        missed += middle > promise or found != code
        print(
            f"| `{line}` | {middle:.2f} | {min(times):.2f} to {max(times):.2f} | {promise} | {heavy(line.split())} |"
            f"{wrong}",
            flush=True,
        )
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
