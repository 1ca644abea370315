"""One sample, answered: the record of what came out, be it an exception."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from ..benchmarks.tasks import Task
from ..console import crash_sentence, tell_crash
from ..errors import SampleError, UserError
from ..outcome import Outcome
from ..profiling.gpu import Gpu
from ..results.record import failed_record, make_record
from ..results.types import Record
from ..sample import UNSCORABLE, Frame, Sample, Score

# Untimed calls before the first timed one of a cell: three, or as many as fit into two seconds.
WARMUP_SAMPLES, WARMUP_SECONDS = 3, 2.0


class Runs(Protocol):
    """A pipeline or its stand-in."""

    def run(self, sample: Sample) -> Outcome:
        """Answer one sample."""
        ...


def warm_up(runner: Runs, pending: Sequence[Sample]) -> None:
    """A few untimed answers before the first timed one of a cell."""
    start = time.monotonic()
    for sample in pending[:WARMUP_SAMPLES]:
        try:
            runner.run(sample)
        except Exception:  # the same sample fails again below, where it is recorded
            continue
        if time.monotonic() - start > WARMUP_SECONDS:
            return


def answer(key: str, task: Task, sample: Sample, runner: Runs, coordinates: str) -> Record:
    """One record, whatever happens: an exception is a failed sample and never scores an earlier answer.

    Raises:
        UserError: a mistake that a user can mend; it ends the run.
    """
    return record_of(key, task, sample, outcome_of(runner, sample), coordinates)


def metered(meter: Gpu, key: str, task: Task, sample: Sample, runner: Runs, coordinates: str) -> Record:
    """:func:`answer` with what the GPU spent meanwhile."""
    meter.start()
    record = answer(key, task, sample, runner, coordinates)
    record["energy_j"], record["gpu_process_bytes"] = meter.stop(), meter.process_bytes()
    return record


def outcome_of(runner: Runs, sample: Sample) -> Outcome | Exception:
    """What comes out for one sample, be it an exception.

    Raises:
        UserError: a mistake that a user can mend; it ends the run.
    """
    try:
        return runner.run(sample)
    except UserError:
        raise
    except Exception as error:
        return error


def record_of(key: str, task: Task, sample: Sample, outcome: Outcome | Exception, coordinates: str) -> Record:
    """The record of what came out for one sample, be it an exception."""
    if isinstance(outcome, SampleError):
        return failed_record(key, sample, outcome.reason, str(outcome), task.scored, task.protocol)
    if isinstance(outcome, Exception):
        tell_crash(outcome)
        return failed_record(key, sample, "crash", crash_sentence(outcome), task.scored, task.protocol)
    frame: Frame = {
        "coordinates": coordinates,
        "model_sizes": [list(s) for s in outcome.model_sizes],
        "file_sizes": [list(s) for s in outcome.file_sizes],
    }
    try:
        score = task.score(sample, outcome.text, frame)
    except UserError:
        raise
    except Exception as error:  # rules read whatever a model says; what they cannot read is the annotation
        tell_crash(error)
        score = Score(None, None, UNSCORABLE, {"why": crash_sentence(error)})
    return make_record(key, sample, outcome, score, frame, task.protocol)


def untimed(record: Record, shared: str, decoded: str) -> Record:
    """A record whose answer comes from shared work: it has no costs of its own, and says what it was branched from."""
    record |= {"times": None, "peak_bytes": None, "energy_j": None, "gpu_process_bytes": None}
    record |= {"shared": shared, "decoded": decoded}
    return record
