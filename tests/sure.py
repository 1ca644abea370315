"""What keeps a test's verdict free of the machine's speed.

Waiting ends when something has happened, not after a time; work is measured in CPU time of the own thread, which other
programs do not add to, against bounds that only another order of growth can reach; and a process that has to stop at a
certain record stops itself (``python -m tests.sure``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

# Seconds after which a test that waits is taken for hung.
PATIENCE = 600


def until(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until ``condition`` holds; fails if ``process`` ends before, or after ``PATIENCE`` seconds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None or condition(), f"the process ended: {process.returncode}"
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def cpu_seconds(call: Callable[[], Any], enough: float, attempts: int = 5) -> float:
    """CPU seconds of the fastest of up to ``attempts`` calls; no further call once one took less than ``enough``."""
    best = float("inf")
    for _ in range(attempts):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
        if best < enough:
            break
    return best


def signalling(name: str, after: int, *args: object, times: int = 1) -> list[str]:
    """Command line of a run that sends itself a signal right after its ``after``-th record.

    Args:
        name: such as ``KILL``; args: of the run; times: how often it is sent, at once.
    """
    return [sys.executable, "-m", "tests.sure", name, str(after), str(times), *map(str, args)]


def main() -> int:
    """The run; see :func:`signalling`."""
    from vtprune_eval.cli import main as run
    from vtprune_eval.results.store import RecordWriter

    number, after, times = getattr(signal, f"SIG{sys.argv[1]}"), int(sys.argv[2]), int(sys.argv[3])
    real, written = RecordWriter.append, [0]

    def append(self: RecordWriter, record: dict[str, Any]) -> None:
        real(self, record)
        written[0] += 1
        if written[0] == after:
            for _ in range(times):
                os.kill(os.getpid(), number)

    RecordWriter.append = append  # type: ignore[method-assign]
    return run(sys.argv[4:])


if __name__ == "__main__":
    sys.exit(main())
