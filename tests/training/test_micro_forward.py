"""Micro's training forward equals the unmodified class, and the loop's rules: competence, losses, resuming."""

from __future__ import annotations

import argparse
import dataclasses
import json

import micro.forward as micro_forward
import nano.forward as nano_forward
import numpy as np
import pytest
import torch
import train_micro
from micro.batches import Maker
from micro.folder import MARKER, build_config, build_tokenizer, is_micro, start, write_folder
from micro.forward import decode
from micro.losses import Numbers, answerable, losses
from micro.shown import show
from nano.forward import encode
from train_micro import NANO
from train_nano import Layout
from transformers import Qwen3VLForConditionalGeneration


def small(seed: int = 0):
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(build_config(layers=3, dim=64)).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return model


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Two pages of 12 blocks with three questions each; half of the blocks of the second are missing."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(2):
        image = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        targets = [{"kind": "text", "name": f"go{c}", "box": [32 * i, 0, 32 * i + 32, 32]} for i, c in enumerate("abc")]
        words = [[f"go{c}", 32 * i, 8] for i, c in enumerate("abc")]
        shown = show(image, {"words": words, "targets": targets, "facts": [], "cells": []}, 1.0, (128, 96))
        boxes = [t["box"] for t in shown.targets]
        pairs = [
            (f"click go{c}", f"click {12 + 25 * i:02d} 17", ("box", boxes[i], (128, 96), ([f"go{c}"], [], None, True)))
            for i, c in enumerate("abc")
        ]
        rows.append(([shown], pairs))
    made = Maker(tmp_path_factory.mktemp("sheets"), build_tokenizer(), 1).pack(rows, missing=False)
    made.present[1, ::2] = False
    made.markers[1, 4] = True
    return made


@pytest.mark.parametrize("row", [0, 1])
def test_equals_the_class(model, batch, row):
    """Hidden states of every question, alone, through the class: missing blocks removed at true positions."""
    tokenizer = build_tokenizer()
    layout = Layout(tokenizer, 1, 3, 4, 1, 1)
    n_page, (start, end) = len(layout.prefix), layout.spans[0]
    body, table = model.model, model.model.language_model.embed_tokens.weight
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        tokens, taps = encode(body.visual, batch.images)
    tokens, taps = tokens[row].float(), [t[row].float() for t in taps]
    marker = table[tokenizer.convert_tokens_to_ids(MARKER)]
    kept, marks = batch.present[row], batch.markers[row]
    visual = torch.where(kept[:, None], tokens, marker)
    length = max(len(s) for s in batch.segments[row])
    positions = Layout(tokenizer, 1, 3, 4, 1, length).positions
    stay = torch.ones(n_page + length, dtype=torch.bool)
    stay[start:end] = kept | marks
    own = torch.full((1, len(batch.segments[row]), length), tokenizer.pad_token_id)
    for s, segment in enumerate(batch.segments[row]):
        own[0, s, : len(segment)] = torch.tensor(segment)
    page = torch.nn.functional.embedding(torch.tensor(layout.prefix), table).clone()
    page[start:end] = visual
    present = stay[None, :n_page]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = decode(
            body.language_model, page[None], table[own], (positions[:, :n_page], positions[:, n_page:]), present,
            torch.arange(start, end), [(t * kept[:, None])[None] for t in taps],
        )  # fmt: skip
    for s, segment in enumerate(batch.segments[row]):
        embeds = torch.cat([page, table[own[0, s]]])[stay][None]
        is_visual = torch.zeros(n_page + length, dtype=torch.bool)
        is_visual[start:end] = kept
        with torch.no_grad():
            true = body.language_model(
                inputs_embeds=embeds, position_ids=positions[:, None, stay], visual_pos_masks=is_visual[stay][None],
                deepstack_visual_embeds=[t[kept] for t in taps],
            ).last_hidden_state[0, -length:]  # fmt: skip
        n = len(segment)
        likeness = torch.nn.functional.cosine_similarity(true[:n], out.hidden[0, s, :n].float())
        assert likeness.min() > 0.998  # bfloat16 against float32


@pytest.mark.parametrize("fused", [False, True])
def test_blocks_dropped_before_the_encoder_are_as_if_they_were_never_there(model, batch, fused, monkeypatch):
    """The class's own layers over the patches that stay, at their true positions, give the same tokens and taps."""
    if fused:
        monkeypatch.setattr(nano_forward, "_vision_layer", micro_forward._fused_vision_layer)
    visual, here = model.model.visual, batch.present[1]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        tokens, taps = encode(visual, batch.images, batch.present)
        plain, _ = encode(visual, batch.images)
    assert torch.equal(tokens[0], plain[0])  # nothing is missing on the first page
    assert not torch.allclose(tokens[1, here], plain[1, here])
    stay = here.repeat_interleave(4)
    layer = nano_forward._vision_layer

    def on_the_rest(x, cos, sin, *more):
        assert more[-1] is None
        return (
            layer(x[:, stay], cos[stay], sin[stay], *more)
            if x.shape[1] > stay.sum()
            else layer(x, cos[stay], sin[stay], *more)
        )

    monkeypatch.setattr(nano_forward, "_vision_layer", on_the_rest)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        alone, alone_taps = encode(visual, batch.images[1:])
    for got, true in zip([tokens, *taps], [alone, *alone_taps], strict=True):
        likeness = torch.nn.functional.cosine_similarity(got[1, here].float(), true[0].float())
        assert likeness.min() > 0.999


def test_the_prompt_is_the_class_own(model, batch):
    """Ids and positions of the training layout are those that the class computes from a prompt."""
    tokenizer = build_tokenizer()
    segment = batch.segments[0][0]
    layout = Layout(tokenizer, 1, 3, 4, 1, len(segment))
    ids = torch.tensor([layout.prefix + segment])
    positions, _ = model.model.get_rope_index(
        ids, (ids == model.config.image_token_id).int(), image_grid_thw=torch.tensor([[1, 6, 8]])
    )
    assert torch.equal(positions[:, 0], layout.positions)


def test_a_question_without_evidence_is_not_counted(model, batch, monkeypatch):
    tokenizer = build_tokenizer()
    reader, pointers = train_micro.Reader(64, 16), train_micro.Pointers(64)
    monkeypatch.setattr(pointers, "AT", (1, 2))  # the small model has three decoder layers
    monkeypatch.setattr("micro.losses.WATCH", (0, 1, 1, 2))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = losses(model, reader, pointers, tokenizer, Numbers(tokenizer), batch)
    # Second page: the first and the third label stand on blocks 0 and 2, which are missing.
    assert len(out.right) == 3 + 1
    assert all(np.isfinite(v) for v in out.parts.values())


def test_a_batch_that_lost_blocks_before_the_encoder_has_a_loss_and_gradients(batch, monkeypatch):
    """Nothing is asked of what lies beside a block, and that is a loss of 0; the rest trains."""
    model, tokenizer = small(), build_tokenizer()
    reader, pointers = train_micro.Reader(64, 16), train_micro.Pointers(64)
    monkeypatch.setattr(pointers, "AT", (1, 2))  # the small model has three decoder layers
    monkeypatch.setattr("micro.losses.WATCH", (0, 1, 1, 2))
    asked = {name: torch.full_like(getattr(batch, name), -100) for name in ("outer", "points", "names", "digits")}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = losses(
            model, reader, pointers, tokenizer, Numbers(tokenizer), dataclasses.replace(batch, before=True, **asked)
        )
    assert out.parts["beside"] == out.parts["names"] == out.parts["digits"] == 0
    total = out.answer + out.reader + out.look
    assert torch.isfinite(total)
    total.backward()
    grads = [p.grad for p in model.model.visual.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads) and any(g.abs().max() > 0 for g in grads)


def test_what_a_screen_with_missing_blocks_still_says():
    yes, half, no = (torch.tensor(v) for v in ([True, True], [True, False], [False, False]))
    assert answerable(yes, "text") and not answerable(half, "text")  # a part of a number is no answer
    assert answerable(half, "box") and not answerable(no, "box")
    assert answerable(no[:0], "text")  # nothing on the screen is needed


def test_a_near_coordinate_costs_less_than_a_far_one():
    tokenizer = build_tokenizer()
    numbers = Numbers(tokenizer)
    size = len(tokenizer)
    wanted = numbers.ids[[50]]
    cost = {}
    for said in (50, 51, 60):
        logits = torch.zeros(1, size)
        logits[0, numbers.ids[said]] = 6.0
        cost[said] = numbers.loss(logits, wanted, torch.tensor([True])).item()
    assert cost[50] < cost[51] < cost[60]
    logits = torch.zeros(1, size)
    logits[0, numbers.ids] = numbers.bell[50].clamp(min=1e-9).log() + 20
    assert numbers.loss(logits, wanted, torch.tensor([True])).item() == pytest.approx(0.0, abs=1e-4)
    plain = numbers.loss(logits, wanted, torch.tensor([False])).item()
    assert plain == pytest.approx(-numbers.bell[50, 50].log().item(), abs=1e-4)


def test_the_range_of_text_sizes_follows_competence():
    state = train_micro.new_state()
    cells = np.array([16.0, 16.0])
    for _ in range(100):
        train_micro.widen(state, np.array([0, 0]), np.array([9, 9]), cells)
    assert train_micro.text_range(state)[1] < 16.1
    for _ in range(100):
        train_micro.widen(state, np.array([9, 9]), np.array([9, 9]), cells)
    low, high = train_micro.text_range(state)
    assert low < 16 < 17 < high


def test_training_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train_micro, "start", lambda folder, seed: small(seed))
    args = argparse.Namespace(cache=tmp_path, start=NANO, threads=1, seed=1, lr=1e-3, muon=1e-3)
    first = train_micro.Training(args)
    assert not first.load()
    weight = first.model.model.language_model.layers[0].mlp.up_proj.weight
    weight.grad = torch.ones_like(weight)
    for optimizer in first.optimizers:
        optimizer.step()
    first.state.update(step=7, cap=90.0)
    first.save()
    args.seed = 2
    second = train_micro.Training(args)
    assert second.load()
    assert second.state == first.state
    for name, module in first.parts().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, second.parts()[name].state_dict()[key]), key
    own = second.model.model.language_model.layers[0].mlp.up_proj.weight
    assert torch.equal(
        first.optimizers[0].state[weight]["momentum_buffer"], second.optimizers[0].state[own]["momentum_buffer"]
    )
    assert second.model.lm_head.weight is second.model.model.language_model.embed_tokens.weight


def test_it_starts_from_nano_and_goes_on_from_a_micro_folder(tmp_path):
    """nano's vision encoder is taken over as it is, its heads within wider ones; a micro folder comes back whole."""
    nano = Qwen3VLForConditionalGeneration.from_pretrained(NANO, dtype=torch.float32)
    first = start(NANO, 3)
    for name, value in nano.model.visual.state_dict().items():
        assert torch.equal(first.model.visual.state_dict()[name], value)
    old, new = nano.model.language_model, first.model.language_model
    assert len(new.layers) == len(old.layers) + 1 and new.config.head_dim == 128
    assert torch.equal(new.layers[1].mlp.up_proj.weight, old.layers[0].mlp.up_proj.weight)
    # A rotary pair keeps its axis, so the two halves of a head keep their distance.
    wide, narrow = new.layers[1].self_attn.v_proj.weight.view(2, 128, -1), old.layers[0].self_attn.v_proj.weight
    assert torch.equal(wide[0, 0], narrow[0]) and torch.equal(wide[0, 64], narrow[32])
    write_folder(first, tmp_path)
    assert is_micro(tmp_path) and not is_micro(NANO)
    again = start(tmp_path, 4)
    for name, value in again.state_dict().items():
        assert torch.equal(value, first.state_dict()[name].float()), name


def test_from_a_micro_folder_the_fresh_heads_learn_first(tmp_path, monkeypatch):
    """A folder holds no heads: until they have learnt, their gradients would undo what the encoder knows."""
    monkeypatch.setattr(train_micro, "start", lambda folder, seed: small(seed))
    monkeypatch.setattr(train_micro, "is_micro", lambda folder: True)
    args = argparse.Namespace(cache=tmp_path, start=tmp_path, threads=1, seed=1, lr=1e-3, muon=1e-3, cool=1.0, span=1.5)
    args.reading_minutes = 30
    training = train_micro.Training(args)
    assert train_micro.text_range(training.state) == pytest.approx(train_micro.LIMITS, abs=0.1)
    assert training.state["cap"] == train_micro.LARGEST and training.state["placed"] and not training.reading()
    words = [["1234", 16, 8], ["cave", 16, 40]]
    np.save(tmp_path / "text-0000.npy", np.zeros((1, 128, 128, 3), np.uint8))
    (tmp_path / "text-0000.json").write_text(json.dumps({"scale": 2.0, "facts": [{"words": words}]}))
    training.windows = train_micro.Windows(tmp_path, 1)

    def changed(asked: int) -> set[str]:
        before = {name: {k: v.clone() for k, v in m.state_dict().items()} for name, m in training.parts().items()}
        training.state.update(step=0, asked=asked)  # a reading step
        training.step(0.1)
        after = {name: m.state_dict() for name, m in training.parts().items()}
        return {n for n, m in after.items() if any(not torch.equal(v, before[n][k]) for k, v in m.items())}

    assert changed(0) == changed(training.first - 1) == {"reader"}
    assert changed(training.first) >= {"model", "reader"}


def test_a_checkpoint_of_another_start_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(train_micro, "start", lambda folder, seed: small(seed))
    args = argparse.Namespace(cache=tmp_path, start=NANO, threads=1, seed=1, lr=1e-3, muon=1e-3)
    train_micro.Training(args).save()
    monkeypatch.setattr(train_micro, "is_micro", lambda folder: True)
    with pytest.raises(SystemExit, match=r"was started from nano; name it again with --start"):
        train_micro.Training(args).load()
