"""``selftest`` on a CPU against a CPU, and with faults planted: each is found."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.models.pretend import PretendDevices, placed
from vtprune_eval import clock
from vtprune_eval.cli import main
from vtprune_eval.commands import selftest
from vtprune_eval.methods.divprune import DivPrune
from vtprune_eval.methods.kernels.topk import best
from vtprune_eval.methods.stride import Stride
from vtprune_eval.registry import method_names
from vtprune_eval.selftest import checks, small
from vtprune_eval.selftest.compare import Sides, compare
from vtprune_eval.selftest.samples import make_sample

THERE = "cpu:1"
FEW = ("--families", "qwen3_vl,focusui_qwen3_vl", "--methods", "full,divprune,fastv,guikv")


@pytest.fixture
def sample(tmp_path):
    return make_sample(tmp_path)


def test_a_cpu_passes(capsys, monkeypatch):
    # How much time lies between two stages depends on what else the machine does; a planted gap is found below.
    monkeypatch.setattr(checks, "GAP", 1.0)
    assert main(["selftest", "--device", "cpu", *FEW, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["clock"] == "" and found["dtype"] == "float32"
    assert set(found["families"]) == {"qwen3_vl", "focusui_qwen3_vl"}
    for family, own in found["families"].items():
        assert list(own) == list(selftest.CHECKS)
        assert own["generate"] == (None if family.startswith("focusui") else "")
        assert own["rounding"] is None and not any(own.values())
        assert found["numbers"][family]["methods"] == {"equal": 7, "explained": [], "refused": 0}
    table = selftest.as_table(found)
    assert "qwen3_vl" in table and "FAILED" not in table and "all is well" in table


def test_what_failed_stands_below_the_table(monkeypatch, capsys):
    monkeypatch.setattr(checks, "check_generate", lambda adapter, sample: "full gives [1], the class [2]")
    assert main(["selftest", "--device", "cpu", "--families", "qwen3_vl", "--methods", "full"]) == 1
    said = capsys.readouterr().out
    assert "FAILED qwen3_vl, generate: full gives [1], the class [2]" in said and "something is wrong" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--families", "llava"), "unknown family"),
        (("--methods", "pixelprun"), "did you mean 'pixelprune'"),
        (("--device", "tpu"), "is not a device"),
        (("--format", "xml"), "selftest --help"),
    ],
)
def test_names_that_do_not_exist(args, says, capsys):
    assert main(["selftest", *args]) == 2
    assert says in capsys.readouterr().err


def test_every_family_equals_its_class(sample):
    for family in small.FAMILIES:
        adapter = small.small_adapter(family)
        assert adapter.points or checks.check_generate(adapter, sample) == ""


def test_in_bfloat16_differences_are_within_rounding(sample):
    found = compare(Sides("qwen3_vl", "cpu", "bfloat16", "sdpa"), sample, ["full", "guikv", "h2o", "fastv"])
    assert found.wrong == [] and found.equal + len(found.explained) == 7 and found.explained


def test_a_fault_is_not_taken_for_rounding(sample, monkeypatch):
    """Stride looks at no number, so no rounding can move its choice."""
    real, calls = Stride.select_patches, [0]

    def select(self, view, budget):
        calls[0] += 1
        keep = real(self, view, budget)
        return _flipped(keep) if calls[0] == 1 else keep  # the device is asked first

    monkeypatch.setattr(Stride, "select_patches", select)
    found = compare(Sides("qwen3_vl", "cpu", "bfloat16", "sdpa"), sample, ["stride"], ["25"])
    assert len(found.wrong) == 1 and "kept tokens" in found.wrong[0] and not found.explained


def _flipped(keep):
    return [k[::-1].copy() for k in keep] if isinstance(keep, (list, tuple)) else keep[::-1].copy()


@pytest.fixture
def there(monkeypatch):
    """A pretended device that holds all weights; see :mod:`tests.models.pretend`."""
    monkeypatch.setattr(small, "placed", placed)
    with PretendDevices():
        yield Sides("qwen3_vl", THERE, "float32", "eager")


def test_a_hook_that_leaves_a_tensor_on_the_wrong_device_is_found(there, sample, monkeypatch):
    real = DivPrune.select_tokens
    monkeypatch.setattr(
        DivPrune,
        "select_tokens",
        lambda self, view, budget: real(self, view, budget) & torch.ones(len(view.features), dtype=torch.bool),
    )
    found = compare(there, sample, ["full", "divprune"], ["25"])
    assert found.equal == 1 and len(found.wrong) == 1
    assert found.wrong[0].startswith("divprune@25: RuntimeError") and "tensors on" in found.wrong[0]


def test_a_tie_that_the_device_decides_is_found(there, sample, monkeypatch):
    """Of equal scores the CPU keeps the first, the device the last."""

    def select(self, view, budget):
        scores = torch.zeros(1, len(view.features), device=view.features.device)
        ties = "early" if scores.device == torch.device("cpu") else "late"
        keep = torch.zeros(len(view.features), dtype=torch.bool, device=scores.device)
        keep[best(scores, budget.n_keep, ties=ties)[0]] = True
        return keep

    monkeypatch.setattr(DivPrune, "select_tokens", select)
    found = compare(there, sample, ["divprune"], ["25"])
    assert found.equal == 0 and len(found.wrong) == 1 and "kept tokens" in found.wrong[0]


@pytest.fixture
def delayed(monkeypatch):
    """A device that works while the host goes on, as a GPU does: work is handed to a thread."""
    pool, running = ThreadPoolExecutor(1), []

    def wait(device):
        for future in running:
            future.result()
        running.clear()

    monkeypatch.setattr(clock, "wait_for", wait)
    yield lambda: running.append(pool.submit(time.sleep, 0.02))
    pool.shutdown()


def test_a_clock_that_does_not_wait_for_the_device_is_found(delayed, monkeypatch):
    device = torch.device("cpu")
    assert checks.check_clock(device, delayed) == ""
    monkeypatch.setattr(clock.StageClock, "now", lambda self: time.perf_counter_ns())
    assert "is measured as" in checks.check_clock(device, delayed)


def test_time_outside_of_all_stages_is_found(sample, monkeypatch):
    from vtprune_eval.pipeline.generate import Pipeline

    adapter, real = small.small_adapter("qwen3_vl"), Pipeline.run
    assert checks.check_stage_sum(adapter, sample)[0] == ""

    def run(self, sample):
        start = time.perf_counter()
        outcome = real(self, sample)
        time.sleep((time.perf_counter() - start) / 4)
        return outcome

    monkeypatch.setattr(checks, "TRIES", 2)
    monkeypatch.setattr(Pipeline, "run", run)
    assert "lies outside of all stages" in checks.check_stage_sum(adapter, sample)[0]


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_every_method_waits_as_often_as_stated_or_is_refused(family, sample):
    """Windows refuse merging inside them, which is no wait too many."""
    told, numbers = checks.check_waits(small.small_adapter(family), sample, list(method_names()))
    assert told == ""
    assert method_names().keys() - numbers.keys() == ({"tome"} if family == "qwen2_5_vl" else set())


def test_too_many_waits_are_found(sample, monkeypatch):
    adapter, real = small.small_adapter("qwen3_vl"), DivPrune.select_tokens
    assert checks.check_waits(adapter, sample, ["full", "divprune", "guikv"])[0] == ""

    def chatty(self, view, budget):
        for _ in range(300):
            view.features.sum().item()
        return real(self, view, budget)

    monkeypatch.setattr(DivPrune, "select_tokens", chatty)
    told, numbers = checks.check_waits(adapter, sample, ["full", "divprune"])
    assert "divprune waits" in told and numbers["divprune"] > 300 > numbers["full"]


def test_a_peak_below_the_weights_is_found(sample, monkeypatch):
    adapter = small.small_adapter("qwen3_vl")
    assert checks.check_memory(adapter, sample) == ""
    monkeypatch.setattr("vtprune_eval.profiling.memory.PeakMemory.read", lambda self: 1000)
    assert "the weights alone hold" in checks.check_memory(adapter, sample)


def test_backends_that_differ_are_found(sample, monkeypatch):
    assert checks.check_backends("qwen3_vl", "cpu", "float32", sample) == ("", "eager = sdpa")
    real = small.small_adapter
    monkeypatch.setattr(
        small,
        "small_adapter",
        lambda family, attn, *rest: real(family, attn, *rest, noise=0 if attn == "eager" else None, strength=1e6),
    )
    assert "eager and sdpa differ" in checks.check_backends("qwen3_vl", "cpu", "float32", sample)[0]
