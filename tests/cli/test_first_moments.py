"""Ctrl-C at any moment: one sentence, 130, no traceback."""

import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, environment

# The signal comes from inside, at a stated point: a stopwatch would test the machine.
EARLY = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["vtprune_eval", "list", "methods"]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {when!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_module("vtprune_eval", run_name="__main__")
"""


@pytest.mark.parametrize("when", ["vtprune_eval.cli", "vtprune_eval.errors", "vtprune_eval.commands.listing"])
def test_before_anything_was_done(when):
    done = subprocess.run(
        [sys.executable, "-c", EARLY.format(when=when)], capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("vtprune_eval: stopped") and len(done.stderr.splitlines()) == 1
    assert "what was written is kept" not in done.stderr, "nothing was"


def test_twice_during_a_run(tmp_path):
    args = ["--method", "full,pixelprune,random", "--budget", "20", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "vtprune_eval", "--model", "nano", *args],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/records/*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(3):  # the third comes while the program ends
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said[-2000:]
    assert (
        "Traceback" not in said and "vtprune_eval: stopped; what was written is kept" in said
    ) or "interrupted" in said
