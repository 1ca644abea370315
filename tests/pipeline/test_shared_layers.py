"""Methods inside the decoder share the layers before their first cut, and short prompts are prefilled side by side;
what is answered, kept and counted is what a run of its own gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.models.families import CACHED
from tests.models.families import tiny as tiny_family
from vtprune_eval.pipeline import abreast as packed
from vtprune_eval.pipeline.answer import LAYERS
from vtprune_eval.pipeline.batch import AGAIN, MARGIN, DecodePool
from vtprune_eval.pipeline.sweep import Sweep

from .test_sweep import BUILTIN, PLENTY, cells_of, images_of, plain
from .test_sweep import method_class as class_of

INSIDE = [n for n in BUILTIN if class_of(n).hooks() == ("prune_layer",)]
BEFORE = ("full", "stride", "random", "divprune", "pool", "resize")


def run(adapter, cells, samples, **how):
    sweep = Sweep(cells, max_branch_bytes=PLENTY, **how)
    found = [a for s in samples for a in sweep.run(s, images_of(adapter, s), range(len(cells)))]
    return {(a.sample.id, a.cell): a for a in [*found, *sweep.drain()]}, sweep


@pytest.fixture
def passes():
    """How often each decoder layer of a model ran on more than one row."""
    counts: dict[int, int] = {}
    handles = []

    def watch(adapter):
        def hook(number):
            def count(module, args, output):
                counts[number] = counts.get(number, 0) + (args[0].shape[1] > 1)

            return count

        for number, layer in enumerate(adapter.text.layers):
            handles.append(layer.register_forward_hook(hook(number)))
        return counts

    yield watch
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", sorted(CACHED))
def test_methods_inside_the_decoder_share_its_first_layers(family, make_sample, passes):
    adapter = tiny_family(family)
    names = INSIDE if family == "qwen3_vl" else ["fastv", "dart", "pyramiddrop", "sparsevlm"]
    cells, sample = cells_of(adapter, names, ("25", "60")), make_sample(71, 2)
    alone = [plain(cell.run(sample)) for cell in cells]
    counts = passes(adapter)
    found, sweep = run(adapter, cells, [sample], decode_batch=8)
    assert counts[0] == 1 and counts[len(adapter.text.layers) - 1] == len(cells)
    assert [plain(found[sample.id, i].outcome) for i in range(len(cells))] == alone
    assert {a.shared for a in found.values()} == {LAYERS} and not sweep.failures


def test_without_room_every_method_inside_runs_alone(adapter, make_sample):
    cells, sample = cells_of(adapter, ["fastv", "dart"], ("25",)), make_sample(72, 1)
    alone = [plain(cell.run(sample)) for cell in cells]
    sweep = Sweep(cells, max_branch_bytes=1)
    found = {a.cell: a for a in sweep.run(sample, images_of(adapter, sample), range(2))}
    assert [plain(found[i].outcome) for i in range(2)] == alone
    assert LAYERS not in {a.shared for a in found.values()}


@pytest.mark.parametrize("family", sorted(CACHED))
def test_short_prompts_side_by_side_give_the_ids_of_their_own(family, make_sample, monkeypatch):
    adapter = tiny_family(family)
    cells = cells_of(adapter, BEFORE, ("30", "70"), n_new=6)
    samples = [make_sample(seed, n) for seed, n in ((73, 1), (74, 3))]
    alone = {(s.id, i): plain(c.run(s)) for s in samples for i, c in enumerate(cells)}
    sizes, real = [], packed.packed_prefill

    def watched(model, states, *more):
        sizes.append(len(states))
        return real(model, states, *more)

    monkeypatch.setattr("vtprune_eval.pipeline.sweep.packed_prefill", watched)
    found, sweep = run(adapter, cells, samples, decode_batch=16)
    assert {k: plain(a.outcome) for k, a in found.items()} == alone
    assert sum(sizes) == len(alone) and max(sizes) > 2 and not sweep.failures


def test_the_margin_covers_what_neighbours_change(adapter, make_sample):
    """The first tokens' logits beside others against those alone, in the share of the largest that the margin uses."""
    cells, sample = cells_of(adapter, BEFORE, ("20", "50", "80")), make_sample(75, 2)
    begun = []
    with torch.inference_mode():
        for cell in cells:
            clock = packed_clock(adapter)
            budgets = cell.budgets(sample, images := images_of(adapter, sample), clock)
            entered = cell.enter(sample, images, budgets, clock)
            begun.append((cell, entered, budgets, cell.begin(entered, budgets, clock)))
        together = packed.packed_prefill(adapter, [b.state for *_, b in begun], [4] * len(begun), 1e-4)
        for (cell, entered, budgets, own), beside in zip(begun, together, strict=True):
            cache = type(beside.cache)(len(adapter.text.layers), 4)
            own = replace(own, state=replace(own.state))
            result = cell.prefill(entered, own, budgets, cache, (), packed_clock(adapter))
            one, other = (adapter.lm_head(x)[0, -1] for x in (result.last, beside.result.last))
            assert (one - other).abs().max() < MARGIN[torch.float32] / 10 * one.abs().max()
            assert beside.first == int(one.argmax())
            assert beside.result.layer_tokens == result.layer_tokens
            assert torch.equal(beside.result.visual_index, result.visual_index)
            for layer in range(len(adapter.text.layers)):
                for a, b in zip(beside.cache.entries(layer), cache.entries(layer), strict=True):
                    assert torch.allclose(a, b, atol=1e-5)


def packed_clock(adapter):
    from vtprune_eval.clock import StageClock

    return StageClock(adapter.device)


def test_a_first_token_too_close_to_call_is_prefilled_alone(adapter, make_sample, monkeypatch):
    cells, sample = cells_of(adapter, BEFORE, ("40",), n_new=5), make_sample(76, 1)
    alone = {(sample.id, i): plain(c.run(sample)) for i, c in enumerate(cells)}
    real = packed.packed_prefill

    def misled(*args):
        return [replace(p, first=p.first + 1, sure=False) for p in real(*args)]

    monkeypatch.setattr("vtprune_eval.pipeline.sweep.packed_prefill", misled)
    found, _ = run(adapter, cells, [sample], decode_batch=8)
    assert {k: plain(a.outcome) for k, a in found.items()} == alone


def test_what_is_decoded_again_is_prefilled_again(adapter, make_sample, monkeypatch):
    """A later step that is too close to call goes back to a prefill of its own: the packed one is spoiled here."""
    cells, sample = cells_of(adapter, BEFORE, ("40",), n_new=5), make_sample(77, 1)
    alone = {(sample.id, i): c.run(sample).ids for i, c in enumerate(cells)}
    real = packed.packed_prefill

    def spoiled(*args):
        out = real(*args)
        for p in out:
            for layer in range(len(adapter.text.layers)):
                p.cache.entries(layer)[1].add_(9.0)
        return [replace(p, sure=True) for p in out]

    monkeypatch.setattr("vtprune_eval.pipeline.sweep.packed_prefill", spoiled)
    sweep = Sweep(cells, max_branch_bytes=PLENTY, decode_batch=8)
    sweep._pool = DecodePool(adapter, 8, margin=2.1)
    found = [*sweep.run(sample, images_of(adapter, sample), range(len(cells))), *sweep.drain()]
    assert {(a.sample.id, a.cell): a.outcome.ids for a in found} == alone
    assert AGAIN in {a.decoded for a in found}


def test_a_pass_that_fails_costs_no_answer(adapter, make_sample, monkeypatch):
    cells, sample = cells_of(adapter, BEFORE, ("40",)), make_sample(78, 1)
    alone = {(sample.id, i): plain(c.run(sample)) for i, c in enumerate(cells)}

    def broken(*args):
        raise RuntimeError("no memory for this pass")

    monkeypatch.setattr("vtprune_eval.pipeline.sweep.packed_prefill", broken)
    found, sweep = run(adapter, cells, [sample], decode_batch=8)
    assert {k: plain(a.outcome) for k, a in found.items()} == alone
    assert "no memory for this pass" in sweep.failures[0]


def test_other_types_and_backends_prefill_alone(adapter):
    assert packed.packs(adapter)
    assert torch.bfloat16 not in packed.PACKED_TYPES  # not measured
