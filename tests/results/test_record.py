"""Records: the kept blocks as a number, and the counts as they were."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from vtprune_eval.budget import Budget
from vtprune_eval.models.stub import StubPipeline
from vtprune_eval.results.record import make_record
from vtprune_eval.sample import Sample, Score

SAMPLE = Sample("s", ("a.png",), "q", {"type": "text", "answers": ["x"]})


def outcome(kept: tuple[int, ...]):
    done = StubPipeline("random", Budget.parse("10")).run(SAMPLE)
    return dataclasses.replace(done, kept=(kept,))


@pytest.mark.parametrize(
    "kept", [(), (0,), (7, 8), tuple(range(300)), tuple(sorted(random.Random(0).sample(range(5000), 1300)))]
)
def test_kept_blocks_are_the_bits_of_a_hexadecimal_number(kept):
    (written,) = make_record("k", SAMPLE, outcome(kept), Score(1.0, None, "ok"), {})["kept"]
    assert written == f"{sum(1 << i for i in kept):x}"


def test_counts_and_times_are_written_field_by_field():
    done = outcome((1, 2))
    record = json.loads(json.dumps(make_record("k", SAMPLE, done, Score(1.0, None, "ok"), {})))
    assert record["counts"] == json.loads(json.dumps(dataclasses.asdict(done.counts)))
    assert record["times"] == {k: round(v, 4) for k, v in dataclasses.asdict(done.times).items()}
