"""The cache, the selection by score, the clock and the peak on their own."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import SampleError
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.kernels.topk import kept_by_score
from vtprune_eval.models import vit_walk
from vtprune_eval.pipeline import images, prompt
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.profiling.memory import PeakMemory, release_freed
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample


def test_cache_appends_in_place():
    cache = KVCache(n_layers=2, room=3)
    k, v = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 6)
    assert cache.update(k, v, 0)[0] is k
    storage = cache.entries(0)[0].data_ptr()
    parts = [k]
    for step in range(1, 4):
        new = torch.randn(1, 2, 1, 4)
        parts.append(new)
        keys, values = cache.update(new, torch.randn(1, 2, 1, 6), 0)
        assert torch.equal(keys, torch.cat(parts, 2)) and values.shape == (1, 2, 5 + step, 6)
        assert keys.data_ptr() == storage  # nothing was copied to grow
    assert cache.lengths() == (8, 0) and cache.heads() == (2, 0)
    assert cache.held_bytes() == 8 * 2 * (4 + 6) * 4


@pytest.mark.parametrize("group", [1, 3])
def test_cache_keeps_entries_per_head(group):
    cache = KVCache(n_layers=1, room=2)
    k, v = torch.randn(1, 2, 7, 4), torch.randn(1, 2, 7, 4)
    cache.update(k, v, 0)
    kept = torch.stack([torch.randperm(7)[:3].sort().values for _ in range(2 * group)])
    cache.keep(0, kept)
    keys, values = cache.entries(0)
    for head, index in enumerate(kept):
        assert torch.equal(keys[head], k[0, head // group, index])
        assert torch.equal(values[head], v[0, head // group, index])
    assert cache.heads() == (2 * group,) and cache.held_bytes() == 3 * 2 * group * 8 * 4
    grown, _ = cache.update(torch.zeros(1, 2 * group, 2, 4), torch.zeros(1, 2 * group, 2, 4), 0)
    assert grown.shape[2] == 5


def test_ties_go_to_the_earlier_entry_and_nan_is_last():
    assert kept_by_score(torch.tensor([1.0, 2.0, 2.0, 2.0]), 2).tolist() == [False, True, True, False]
    assert kept_by_score(torch.tensor([float("nan"), -9.0, float("-inf")]), 1).tolist() == [False, True, False]
    assert kept_by_score(torch.zeros(3), 0).sum() == 1 and kept_by_score(torch.zeros(3), 9).all()


def test_clock_adds_up_and_skips_what_failed():
    clock = StageClock(torch.device("cpu"))
    for _ in range(2):
        with clock.stage("a"):
            time.sleep(0.01)
    with pytest.raises(ValueError, match="x"), clock.stage("b"):
        raise ValueError("x")
    assert clock.ms["a"] >= 20 and "b" not in clock.ms


def test_peak_sees_memory_that_was_freed_again():
    memory = PeakMemory(torch.device("cpu"))
    release_freed()
    memory.reset()
    before = memory.read()
    block = torch.ones(100 << 18)  # 100 MiB
    del block
    assert memory.read() - before > 80 << 20


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_no_memory_is_a_failed_sample(error, adapter, make_sample, monkeypatch):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(adapter, "encode", fail)
    with pytest.raises(SampleError) as caught:
        Pipeline(adapter, Full(), Budget.parse("100")).run(make_sample(0))
    assert caught.value.reason == "out_of_memory"


def test_what_a_selector_asks_of_the_encoder_is_its_own_time(adapter, make_sample, monkeypatch):
    """By a clock that goes on by a millisecond at every look, and by a second while the extras are computed."""
    real, now = vit_walk.block_extras, [0]

    def look():
        now[0] += 10**6
        return now[0]

    def slow(*args):
        now[0] += 10**9
        return real(*args)

    monkeypatch.setattr("vtprune_eval.clock.time", SimpleNamespace(perf_counter_ns=look))

    monkeypatch.setattr(vit_walk, "block_extras", slow)
    times = Pipeline(adapter, make_method("visionzip"), Budget.parse("50"), max_new_tokens=2).run(make_sample(0)).times
    assert times.select_ms >= 1000 > times.vit_ms > 0
    assert times.ttft_ms == pytest.approx(times.preprocess_ms + times.select_ms + times.vit_ms + times.prefill_ms)


def test_extras_of_one_block_share_its_projection(adapter, make_sample, reference):
    ref = reference(make_sample(3, 2))
    calls = []
    qkv = adapter.visual.blocks[1].attn.qkv
    handle = qkv.register_forward_hook(lambda *_: calls.append(1))
    try:
        both = adapter.encode(ref.patches, ref.layout.grids, [None, None], ("encoder_attention:1", "encoder_keys:1"))
        assert len(calls) == 2  # one for the extras, one of the block itself
        for need, extra in both.extras.items():
            alone = adapter.encode(ref.patches, ref.layout.grids, [None, None], (need,))
            assert torch.equal(alone.extras[need], extra)
        assert len(calls) == 6 and both.extras_ms > 0
        assert adapter.encode(ref.patches, ref.layout.grids, [None, None]).extras_ms == 0
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("name", "budget", "n_full"),
    [("resize", "40", 0), ("guipruner-tar", "60", 1), ("resize", "like:pixelprune", 3), ("full", "100", 3)],
)
def test_images_are_resized_to_what_is_used(adapter, picture, monkeypatch, name, budget, n_full):
    """A method that shrinks images does not pay for the full size; a copied count, or an image left alone, needs it."""
    files = tuple(picture(str(i), 128 + 64 * i, 128, i) for i in range(3))
    sample, sizes = Sample("s", files, "what", {}), []
    pipeline = Pipeline(adapter, make_method(name), Budget.parse(budget), max_new_tokens=4)
    prepared = load_images(sample, adapter.images, StageClock(adapter.device), keep_files=True)
    expected = pipeline.run(sample, prepared)

    def spy(pixels, size, *filter_):
        sizes.append(size)
        return prompt.resize(pixels, size, *filter_)

    monkeypatch.setattr(images, "resize", spy)
    found = pipeline.run(sample)
    assert (found.ids, found.kept, found.counts) == (expected.ids, expected.kept, expected.counts)
    assert sum(size in prepared.full for size in sizes) == n_full
    assert len(sizes) == (6 if budget.startswith("like") else 3)


def test_stages_add_up(adapter, make_sample):
    times = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=4).run(make_sample(0)).times
    assert times.ttft_ms == pytest.approx(times.preprocess_ms + times.vit_ms + times.prefill_ms)
    assert times.e2e_ms == pytest.approx(times.image_decode_ms + times.ttft_ms + times.decode_ms)
    assert times.select_ms == 0 and min(times.vit_ms, times.prefill_ms, times.decode_ms) > 0
    assert times.tpot_ms == pytest.approx(times.decode_ms / 3)
