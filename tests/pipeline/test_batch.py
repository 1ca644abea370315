"""Branches that decode together give the ids of decoding alone; where that is too close to call, they decode again."""

from __future__ import annotations

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import UserError
from vtprune_eval.pipeline.batch import AGAIN, ALONE, BATCHED, MARGIN, DecodePool
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method
from vtprune_eval.runner.spec import RunSpec

from .support import tiny_model

PLENTY = 1 << 40
NAMES = ("full", "snapkv", "h2o", "random-kv", "fastv", "divprune", "stride")


def cells_of(adapter, n_new=9):
    out = []
    for name in NAMES:
        for budget in ("100",) if name == "full" else ("45", "80"):
            out.append(Pipeline(adapter, make_method(name, {}), Budget.parse(budget), max_new_tokens=n_new, seed=3))
    query_heads = make_method("guikv", {"granularity": "query_head"})
    return [*out, Pipeline(adapter, query_heads, Budget.parse("30", reading="paper"), max_new_tokens=n_new, seed=3)]


def images_of(adapter, sample):
    return load_images(sample, adapter.images, StageClock(adapter.device), keep_files=True)


def answers(adapter, cells, samples, batch):
    sweep = Sweep(cells, max_branch_bytes=PLENTY, decode_batch=batch)
    found = [a for s in samples for a in sweep.run(s, images_of(adapter, s), range(len(cells)))]
    found += sweep.drain()
    return {(a.sample.id, a.cell): (a.outcome.ids, a.outcome.finish, a.outcome.text) for a in found}, found, sweep


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("batch", [2, 5, 64])
def test_ids_are_those_of_decoding_alone(make_sample, attn, batch):
    adapter = tiny_model(attn)
    samples = [make_sample(seed, n) for seed, n in ((60, 1), (61, 3), (62, 2))]
    cells = cells_of(adapter)
    alone, said, _ = answers(adapter, cells, samples, 1)
    together, found, sweep = answers(adapter, cells, samples, batch)
    assert together == alone
    assert len(found) == len(samples) * len(cells)
    assert {a.decoded for a in said} == {ALONE}
    assert BATCHED in {a.decoded for a in found}
    assert not sweep.failures


def test_counts_and_bytes_do_not_depend_on_it(adapter, make_sample):
    sample, cells = make_sample(63, 2), cells_of(adapter)
    _, one, _ = answers(adapter, cells, [sample], 1)
    _, many, _ = answers(adapter, cells, [sample], 16)
    by_cell = {a.cell: a.outcome for a in many}
    for answer in one:
        other = by_cell[answer.cell]
        for field in ("counts", "flops", "kv_bytes", "kept", "kept_last", "notes"):
            assert getattr(other, field) == getattr(answer.outcome, field), field


def test_a_near_tie_is_decoded_again_alone(adapter, make_sample, monkeypatch):
    """Two equal rows of the head tie every step in which they win: no order of rounding may decide."""
    sample, cells = make_sample(64, 1), cells_of(adapter)
    alone, _, _ = answers(adapter, cells, [sample], 1)
    winners = {i for ids, _, _ in alone.values() for i in ids[1:]}
    token = min(winners)
    twin = next(i for i in range(token + 1, adapter.lm_head.weight.shape[0]) if i not in winners | adapter.eos_ids)
    with torch.no_grad():
        kept = adapter.lm_head.weight[twin].clone()
        adapter.lm_head.weight[twin] = adapter.lm_head.weight[token]
    try:
        tied, _, _ = answers(adapter, cells, [sample], 1)
        together, found, _ = answers(adapter, cells, [sample], 16)
    finally:
        with torch.no_grad():
            adapter.lm_head.weight[twin] = kept
    assert together == tied
    met = {a.cell for a in found if token in a.outcome.ids[1:] or twin in a.outcome.ids[1:]}
    assert met
    assert {a.cell for a in found if a.decoded == AGAIN} >= met


def test_every_step_is_doubted_by_a_margin_of_one(adapter, make_sample):
    sample, cells = make_sample(65, 1), cells_of(adapter)[:3]
    sweep = Sweep(cells, max_branch_bytes=PLENTY, decode_batch=8)
    sweep._pool = DecodePool(adapter, 8, margin=2.1)
    found = [*sweep.run(sample, images_of(adapter, sample), range(3)), *sweep.drain()]
    assert {a.decoded for a in found} == {AGAIN}
    assert sweep._pool.tokens == sum(len(a.outcome.ids) for a in found)
    # Every doubt is settled by one step alone: what was computed before it is kept.
    assert sweep._pool.steps_again == sum(len(a.outcome.ids) - 1 for a in found)


CLOSE = MARGIN[torch.float32] / 2  # a lead that is not believed


@pytest.mark.parametrize("doubted", [{0}, {0, 1, 2}, {1, 5}])
def test_a_settled_doubt_goes_on_with_the_others(adapter, make_sample, monkeypatch, doubted):
    """After the third step (and the fifth, for the first row) a branch is alone until its token is settled."""
    sample, cells = make_sample(65, 1), cells_of(adapter)[:6]
    alone, _, _ = answers(adapter, cells, [sample], 1)
    from vtprune_eval.pipeline import batch

    step, taken = batch._Lane.step, []

    def unsure(self):
        chosen, leads = step(self)
        taken.append(len(chosen))
        if len(taken) == 3:
            leads = [CLOSE if row in doubted else lead for row, lead in enumerate(leads)]
            chosen = [0 if row in doubted else token for row, token in enumerate(chosen)]
        if len(taken) == 5:
            leads[0], chosen[0] = CLOSE / 2, 0
        return chosen, leads

    monkeypatch.setattr(batch._Lane, "step", unsure)
    together, found, sweep = answers(adapter, cells, [sample], 6)
    assert together == alone
    again = [a for a in found if a.decoded == AGAIN]
    assert len(doubted) <= len(again) <= len(doubted) + 1
    # Up to three steps for the first doubt and five for the second, never all of the eight.
    assert 0 < sweep._pool.steps_again <= 3 * len(doubted) + 5 < sum(len(a.outcome.ids) - 1 for a in found)
    assert min(taken[:4]) == max(taken[:4]), "who settled a doubt takes its slot again"
    assert sweep._pool.doubts == len(doubted) + 1
    assert sweep._pool.overturned == CLOSE, "the largest lead of a token that was not the one of decoding alone"


def test_a_step_that_fails_costs_no_answer(adapter, make_sample, monkeypatch):
    sample, cells = make_sample(66, 2), cells_of(adapter)
    alone, _, _ = answers(adapter, cells, [sample], 1)
    from vtprune_eval.pipeline import batch

    def broken(self):
        raise RuntimeError("no memory for this step")

    monkeypatch.setattr(batch._Lane, "step", broken)
    together, found, sweep = answers(adapter, cells, [sample], 6)
    assert together == alone
    assert "no memory for this step" in sweep.failures[0]
    assert {a.decoded for a in found} == {ALONE}
    assert sweep._pool.steps_again == 0


def test_who_was_doubted_before_memory_failed_says_so(adapter, make_sample, monkeypatch):
    sample, cells = make_sample(65, 1), cells_of(adapter)[:6]
    alone, _, _ = answers(adapter, cells, [sample], 1)
    from vtprune_eval.pipeline import batch

    step, taken = batch._Lane.step, []

    def failing(self):
        taken.append(len(self.branches))
        if len(taken) > 1:
            raise RuntimeError("no memory for this step")
        chosen, leads = step(self)
        return chosen, [0.0, *leads[1:]]

    monkeypatch.setattr(batch._Lane, "step", failing)
    together, found, sweep = answers(adapter, cells, [sample], 6)
    assert together == alone and len(taken) == 2
    assert sorted(a.decoded for a in found) == [AGAIN, *[ALONE] * 5]
    assert sweep._pool.steps_again == 1, "what is decoded for want of memory is no doubt"


def test_without_memory_for_two_branches_each_decodes_alone(adapter, make_sample):
    sample, cells = make_sample(67, 1), cells_of(adapter)[:4]
    sweep = Sweep(cells, max_branch_bytes=1, decode_batch=16)
    found = [*sweep.run(sample, images_of(adapter, sample), range(4)), *sweep.drain()]
    assert {a.decoded for a in found} == {ALONE}


def test_an_answer_of_one_token_needs_no_slot(adapter, make_sample):
    sample = make_sample(68, 1)
    pipe = Pipeline(adapter, make_method("full", {}), Budget.parse("100"), max_new_tokens=1)
    together, _, sweep = answers(adapter, [pipe, pipe], [sample], 4)
    assert {ids for ids, _, _ in together.values()} == {pipe.run(sample).ids}
    assert sweep._pool is not None and sweep._pool.waiting == 0


def test_margins_are_known_for_the_types_that_run():
    assert set(MARGIN) == {torch.float32, torch.bfloat16, torch.float16}


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_heads_of_different_lengths_decode_together(make_sample, batch):
    """AdaKV pads the heads that hold less in front; the others' entries must not be taken for theirs."""
    adapter = tiny_model("sdpa")
    made = (
        *(
            Pipeline(adapter, make_method("adakv", {"window_size": 4}), Budget.parse(b), max_new_tokens=n, seed=3)
            for b, n in (("20", 6), ("50", 3), ("80", 9))
        ),
        Pipeline(adapter, make_method("snapkv", {}), Budget.parse("50"), max_new_tokens=6, seed=3),
    )
    samples = [make_sample(seed, n) for seed, n in ((61, 3), (62, 1), (63, 2))]
    alone, _, _ = answers(adapter, made, samples, 1)
    together, found, sweep = answers(adapter, made, samples, batch)
    assert together == alone and not sweep.failures
    for cell in range(3):
        assert BATCHED in {a.decoded for a in found if a.cell == cell}


@torch.inference_mode()
def test_padding_of_ragged_heads_is_not_attended_to(make_sample):
    """What stands in a padded place changes no logit."""
    adapter = tiny_model("sdpa")
    cell = Pipeline(adapter, make_method("adakv", {"window_size": 4}), Budget.parse("30"), max_new_tokens=6, seed=3)
    sweep = Sweep([cell], max_branch_bytes=PLENTY, decode_batch=4)
    sample = make_sample(61, 3)
    assert not list(sweep.run(sample, images_of(adapter, sample), [0]))  # it waits in its slot
    (lane,) = sweep._pool._lanes.values()
    (branch,) = lane.branches
    hidden = [branch.cache.mask(layer) for layer in range(len(lane._keys))]
    assert any(mask is not None and bool((~mask).any()) for mask in hidden)
    position, lengths = list(lane._positions), [list(n) for n in lane._lengths]
    before = lane.logits().clone()
    lane._positions, lane._lengths = position, lengths
    for layer, mask in enumerate(hidden):
        if mask is not None:
            for store in (lane._keys[layer], lane._values[layer]):
                store[0, :, : mask.shape[1]][~mask] = 1e4
    assert torch.equal(lane.logits(), before)


@pytest.mark.parametrize("other", [{"share": "off"}, {"logprobs": True}, {"engine": "vllm"}])
def test_decoding_together_is_not_asked_for_where_every_answer_decodes_alone(other):
    common = {"model": "nano", "methods": ("full",), "tasks": ("mini-doc",), **other}
    with pytest.raises(UserError, match=r"^--decode-batch 8 .*; leave (one of them|it) out"):
        RunSpec(**common, decode_batch="8")
    for idle in ("auto", "1"):
        assert RunSpec(**common, decode_batch=idle).decode_batch == idle
