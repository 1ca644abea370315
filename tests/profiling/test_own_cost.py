"""The profiler states what it costs: a bound per sample that no method exceeds, and a sentence in every report."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest
import torch

from tests.pipeline.doubles import Cache, Layers, Tokens
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.guikv import GuiKV
from vtprune_eval.methods.guipruner import GuiPruner
from vtprune_eval.methods.pixelprune import PixelPrune
from vtprune_eval.methods.vlcache import VLCache
from vtprune_eval.pipeline import generate
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.profiling.gpu import NoGpu
from vtprune_eval.profiling.own_cost import STAGES, OwnCost, fastest_us, measure_own_cost, sentence
from vtprune_eval.sample import Sample


@pytest.mark.parametrize(
    "method",
    [
        Full(),
        PixelPrune(),
        Tokens(),
        Layers(at=(0, 1, 2)),
        Cache(),
        GuiKV(),
        VLCache(),
        GuiPruner(),
        (PixelPrune(), GuiKV()),
    ],
    ids=str,
)
def test_no_method_enters_more_stages_than_the_bound_counts(tiny, picture, method, monkeypatch):
    readings = [0]

    class Counting(StageClock):
        def now(self) -> int:
            readings[0] += 1
            return super().now()

    monkeypatch.setattr(generate, "StageClock", Counting)
    sample = Sample("x", (picture("a", 200, 100), picture("b", 200, 100, 1)), "click ok", {"type": "none"})
    Pipeline(tiny, method, Budget("percent", Fraction(90)), max_new_tokens=2).run(sample)
    assert 0 < readings[0] <= 2 * (STAGES + len(tiny.text.layers))


def test_readings_are_timed():
    class SlowGpu(NoGpu):
        def stop(self):
            time.sleep(0.002)

    own = measure_own_cost([torch.device("cpu")], SlowGpu("slow"))
    assert own.gpu_us > 2000 and own.stage_us > 0 and own.memory_us > 0 and own.flops_us > 0
    assert fastest_us(lambda: time.sleep(0.001), 2) > 1000


def test_the_bound_adds_up():
    own = OwnCost(stage_us=10, memory_us=100, flops_us=28, gpu_us=1000)
    assert own.sample_ms(28) == pytest.approx((10 * (STAGES + 28) + 100 + 28 + 1000) / 1000)
    assert own.sample_ms(56) - own.sample_ms(28) == pytest.approx((280 + 28) / 1000)


def test_the_sentence_names_the_fastest_cell():
    def record(ms: float | None) -> dict:
        return {"times": None if ms is None else {"e2e_ms": ms}, "counts": {"layer_tokens": [1] * 28}}

    cost = {"stage_us": 10.0, "memory_us": 100.0, "flops_us": 28.0, "gpu_us": 1000.0}
    own = OwnCost(**cost).sample_ms(28)
    said = sentence(cost, [[record(100.0), record(None)], [record(50.0)], []])
    assert f"{own:.2f} ms per sample, {100 * own / 50:.2f} %" in said
    assert sentence(cost, [[record(None)]]) == sentence(None, [[record(1.0)]]) == sentence(cost, []) == ""


def test_a_report_states_it(cli, tmp_path):
    done = cli("--method", "full", "--tasks", "mini-doc", "--limit", "2", "--out", "run")
    assert done.returncode == 0, done.stderr
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert set(environment["profiler"]) == {"stage_us", "memory_us", "flops_us", "gpu_us"}
    assert "The profiler's own cost is at most" in (tmp_path / "run" / "report.md").read_text()
