"""Decoding with static shapes gives the ids of eager decoding; where it cannot be sure, or cannot work, it says so.

Captured graphs need CUDA; here the same step runs eagerly."""

from __future__ import annotations

import pytest
import torch

from tests.models.families import CACHED
from tests.models.families import tiny as tiny_family
from vtprune_eval.errors import UserError
from vtprune_eval.pipeline import static
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.spec import RunSpec

from .test_sweep import budget, method

# Caches per kv head, per query head, of other lengths per layer, of other lengths per head, and prompts cut on the way.
METHODS = ("full", "snapkv", "guikv", "pyramidkv", "adakv", "divprune", "fastv")


def cell(adapter, name, graphs, n_new=8, text="40"):
    made = method(name)
    return Pipeline(
        adapter,
        made,
        budget(name, "100" if name == "full" else text),
        max_new_tokens=n_new,
        seed=3,
        decode_graphs=graphs,
    )


def codes(outcome):
    return [note.code for note in outcome.notes]


@pytest.mark.parametrize("family", sorted(CACHED))
def test_ids_are_those_of_eager_decoding(family, make_sample, monkeypatch):
    adapter, sample = tiny_family(family), make_sample(61, 2)
    steps = []
    real = static.StaticDecode._forward
    monkeypatch.setattr(static.StaticDecode, "_forward", lambda self: steps.append(real(self)))
    sure = 0
    for name in METHODS:
        eager, ours = cell(adapter, name, False).run(sample), cell(adapter, name, True).run(sample)
        assert ours.ids == eager.ids and ours.finish == eager.finish and ours.counts == eager.counts, name
        assert "decoded_eagerly" not in codes(eager)
        sure += "decoded_eagerly" not in codes(ours)
    assert sure >= len(METHODS) - 1 and len(steps) >= sure


def test_per_query_head_storage(adapter, make_sample):
    from vtprune_eval.budget import Budget
    from vtprune_eval.registry import make_method

    sample, made = make_sample(62, 2), make_method("guikv", {"granularity": "query_head"})
    eager, ours = (
        Pipeline(adapter, made, Budget.parse("30", "paper"), max_new_tokens=6, decode_graphs=graphs).run(sample)
        for graphs in (False, True)
    )
    assert ours.ids == eager.ids and "decoded_eagerly" not in codes(ours)
    assert set(ours.counts.cache_heads) == {adapter.dims.q_heads}


def test_one_step_per_cell_until_a_prompt_is_longer(adapter, make_sample):
    """Buffers of the first prompt serve shorter ones; what they held before is not seen."""
    pipeline = cell(adapter, "snapkv", True)
    captures = []
    for seed, n in ((63, 2), (64, 1), (63, 2), (65, 4)):
        sample = make_sample(seed, n)
        assert pipeline.run(sample).ids == cell(adapter, "snapkv", False).run(sample).ids
        captures.append(pipeline._static.captures)
    assert captures == [1, 1, 1, 2]


def test_shapes_never_change(adapter, make_sample, monkeypatch):
    """Every tensor of a step has the size it had in the step before, in all steps of two prompts."""
    seen = []
    real = static.StaticDecode._attend

    def watched(self, own, q, k, v):
        out = real(self, own, q, k, v)
        seen.append((id(own.keys), own.keys.shape, q.shape, k.shape, out.shape))
        return out

    monkeypatch.setattr(static.StaticDecode, "_attend", watched)
    pipeline, n_layers = cell(adapter, "full", True), len(adapter.text.layers)
    for seed, n in ((63, 2), (64, 1)):
        pipeline.run(make_sample(seed, n))
    assert len(seen) > 2 * n_layers and len(set(seen)) == n_layers


def test_a_step_too_close_to_call_is_decoded_eagerly(adapter, make_sample):
    sample, pipeline = make_sample(66, 1), cell(adapter, "snapkv", True)
    pipeline._static._margin = 2.1  # nothing leads by that much
    ours, eager = pipeline.run(sample), cell(adapter, "snapkv", False).run(sample)
    assert ours.ids == eager.ids and codes(ours) == [*codes(eager), "decoded_eagerly"]
    assert "too close to call" in str(ours.notes[-1])


def test_models_without_a_static_step_are_refused(adapter, monkeypatch):
    with pytest.raises(UserError, match="linear attention, whose state"):
        cell(tiny_family("qwen3_5"), "full", True)
    monkeypatch.setattr(adapter, "points", True)
    with pytest.raises(UserError, match="decodes nothing; leave it out"):
        cell(adapter, "full", True)


def test_it_is_a_setting_of_the_run():
    common = {"model": "nano", "methods": ("full",), "tasks": ("mini-doc",)}
    off, on = RunSpec(**common), RunSpec(**common, decode_graphs=True)
    assert "decode_graphs" not in off.canonical() and on.canonical()["decode_graphs"] is True
    assert off.identity != on.identity and on.changed == {"decode_graphs": True}
    with pytest.raises(UserError, match="--logprobs"):
        RunSpec(**common, decode_graphs=True, logprobs=True)
    with pytest.raises(UserError, match="--engine"):
        RunSpec(**{**common, "model": "stub"}, decode_graphs=True)
    with pytest.raises(UserError, match="--timings 0 times none; leave one of them out"):
        RunSpec(**common, decode_graphs=True, timings=0)
    assert RunSpec(**common, decode_graphs=True, timings=1).decode_graphs


def test_nothing_is_captured_without_cuda(adapter, make_sample):
    assert not torch.cuda.is_available() or adapter.device.type == "cpu"
    pipeline = cell(adapter, "full", True)
    pipeline.run(make_sample(67, 1))
    assert pipeline._static._replay == pipeline._static._forward
