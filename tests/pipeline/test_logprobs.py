"""Probabilities of answers: those that the class gives to the same ids, alone and shared, and in records."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import UserError
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.prompt import build_prompt
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method
from vtprune_eval.runner.spec import RunSpec

NAMES = ("full", "snapkv", "random-kv", "fastv", "no-image")


def pipeline(adapter, name: str, logprobs: bool = True) -> Pipeline:
    reading = "paper" if name == "fastv" else "equal"
    budget = Budget.parse("100" if name == "full" else "50", reading)
    return Pipeline(adapter, make_method(name), budget, max_new_tokens=4, logprobs=logprobs)


def test_they_are_those_of_the_class(tiny, make_sample):
    sample = make_sample(5)
    out = pipeline(tiny, "full").run(sample)
    images = load_images(sample, tiny.images, StageClock(tiny.device))
    prompt = build_prompt(tiny, list(images.pixels), sample.question)
    assert len(out.logprobs) == len(out.ids)
    entered = pipeline(tiny, "full").enter(sample, images, {}, StageClock(tiny.device))
    with torch.inference_mode():
        for i, said in enumerate(out.logprobs):
            ids = torch.cat([prompt.ids, torch.tensor(out.ids[:i], dtype=torch.long)])
            logits = next_logits(tiny, entered, ids)
            assert said == pytest.approx(float(logits.log_softmax(-1)[out.ids[i]]), abs=1e-4)


def next_logits(adapter, entered, ids):
    """Logits behind ``ids``, whose new tokens follow the prompt at the next positions, in one pass without a cache."""
    layout = entered.prompt.layout
    n_new = len(ids) - layout.n_prompt
    hidden = adapter.text.embed_tokens(ids)
    visual = torch.cat([torch.arange(a, b) for a, b in layout.spans])
    hidden[visual] = entered.encoded.tokens.to(hidden.dtype)
    more = int(layout.positions.max()) + 1 + torch.arange(n_new)
    positions = torch.cat([layout.positions, more.expand(3, -1)], 1)
    rope = adapter.text.rotary_emb(hidden[None], positions[:, None])
    x = hidden[None]
    for i, layer in enumerate(adapter.text.layers):
        x = layer(x, position_embeddings=rope, attention_mask=None)
        if i < len(entered.encoded.deepstack):
            x = x.index_add(1, visual, entered.encoded.deepstack[i][None].to(x.dtype))
    return adapter.lm_head(adapter.text.norm(x))[0, -1].float()


def test_cells_that_share_a_prefill_say_what_they_say_alone(tiny, make_sample):
    sample = make_sample(6)
    cells = [pipeline(tiny, name) for name in NAMES]
    alone = [cell.run(sample) for cell in cells]
    images = load_images(sample, tiny.images, StageClock(tiny.device), keep_files=True)
    sweep = Sweep(cells, max_branch_bytes=1 << 40, decode_batch=8)
    found = {a.cell: a for a in sweep.run(sample, images, range(len(cells)))}
    assert {a.decoded for a in found.values()} == {"alone"}, "a batched step has other last bits"
    for i, own in enumerate(alone):
        assert found[i].outcome.logprobs == own.logprobs
        assert len(own.logprobs) == len(own.ids) > 0
        assert all(p <= 0 for p in own.logprobs)


def test_answers_do_not_depend_on_being_asked(tiny, make_sample):
    sample = make_sample(7)
    for name in NAMES:
        asked, plain = pipeline(tiny, name).run(sample), pipeline(tiny, name, logprobs=False).run(sample)
        assert plain.logprobs == ()
        assert dataclasses.replace(asked, times=None, peak_bytes=0, logprobs=()) == dataclasses.replace(
            plain, times=None, peak_bytes=0
        )


def test_a_run_without_them_keeps_its_identity_and_vllm_refuses_them():
    assert "logprobs" not in RunSpec().canonical()
    assert RunSpec(logprobs=True).identity != RunSpec().identity
    with pytest.raises(UserError, match="--logprobs belongs to --engine local or ray"):
        RunSpec(logprobs=True, model="qwen3vl-2b", engine="vllm")
    with pytest.raises(UserError, match="logprobs='yes': true or false"):
        RunSpec(logprobs="yes")
