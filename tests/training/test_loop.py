"""Trainings of a few steps on nano: resuming, what is trained, what is written, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.sure import PATIENCE
from vtprune_eval.cli import main
from vtprune_eval.errors import UserError
from vtprune_eval.models import NANO, load_model
from vtprune_eval.training import learner, loop
from vtprune_eval.training.loop import train
from vtprune_eval.training.spec import TrainSpec

SMALL = {"model": "nano", "data": "mini-grounding", "limit": 6, "batch": 2, "device": "cpu", "lr": 1e-4, "warmup": 2}


def spec(out, **more) -> TrainSpec:
    return TrainSpec(out=str(out), **{**SMALL, "method": "pixelprune", **more})


def losses(out) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "training" / "steps.jsonl").read_text().splitlines()]


def options(out, **more) -> list[str]:
    given = {**SMALL, "method": "pixelprune", "out": out, **more}
    return [part for k, v in given.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def test_a_killed_training_goes_on_with_the_same_losses(tmp_path):
    train(spec(tmp_path / "whole", steps=6, save_every=2))
    out = tmp_path / "killed"
    child = subprocess.Popen(
        [sys.executable, "-m", "vtprune_eval", "train", *options(out, steps=6, save_every=2)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log, end = out / "training" / "steps.jsonl", time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < end and not (log.exists() and log.read_text().count("\n") >= 3):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 3 <= len(losses(out)) <= 6
    log.write_text(log.read_text() + '{"step": 9, "lo')  # a torn last line, too
    train(spec(out, steps=6, save_every=2))
    assert losses(out) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    ours, whole = (load_file(folder / "model.safetensors") for folder in (out, tmp_path / "whole"))
    assert all(torch.allclose(ours[k].float(), whole[k].float(), atol=1e-3) for k in whole)


def test_accumulation_and_packing_make_the_same_step(tmp_path):
    train(spec(tmp_path / "a", steps=2, batch=4))
    train(spec(tmp_path / "b", steps=2, batch=2, accumulate=2, pack_tokens=1, checkpointing=True))
    assert losses(tmp_path / "b") == pytest.approx(losses(tmp_path / "a"), rel=1e-3)


def test_the_folder_is_a_model_and_says_what_was_done(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", *options(out, steps=2, compare_full=1)]) == 0
    said = capsys.readouterr()
    assert f"--model-path {out}" in said.err
    found = json.loads((out / "training" / "summary.json").read_text())
    assert found["compared"]["steps"] == 1
    assert found["compared"]["flops_bound"]["ratio"] > 1
    assert found["compared"]["tokens"]["ratio"] > 1
    last = json.loads((out / "training" / "steps.jsonl").read_text().splitlines()[1])
    full, own = (sum(x[n] for n in ("prepare_s", "forward_s", "backward_s")) for x in (last["full"], last))
    whole = (full + last["optimizer_s"]) / (own + last["optimizer_s"])  # both have the same update of the weights
    assert found["compared"]["step"]["ratio"] == pytest.approx(whole)
    line = json.loads((out / "training" / "steps.jsonl").read_text().splitlines()[0])
    assert line["flops_backward"] == pytest.approx(2 * line["flops_forward"], rel=0.06)
    assert line["full"]["patches"] > line["patches"]
    trained, shipped = load_model("nano", path=str(out)), load_model("nano")
    assert "holds no nano" in trained.identity["note"]
    assert not torch.equal(trained.text.layers[0].mlp.up_proj.weight, shipped.text.layers[0].mlp.up_proj.weight)
    assert trained.attention == "sdpa"
    # A training of a version that had fewer settings goes on; the same folder with other settings is another training.
    held = json.loads((out / "training" / "spec.json").read_text())
    (out / "training" / "spec.json").write_text(json.dumps({k: v for k, v in held.items() if k != "marker_start"}))
    assert train(spec(out, steps=2))["steps"] == 2
    with pytest.raises(UserError, match=r"other settings \(lr\)"):
        train(spec(out, steps=2, lr=3e-4))


def test_lora_trains_the_decoder_alone(tmp_path):
    out = tmp_path / "lora"
    train(spec(out, steps=2, lora=4, lr=1e-2))
    trained, shipped = load_file(out / "model.safetensors"), load_file(NANO / "model.safetensors")
    assert trained.keys() == shipped.keys()
    changed = {k for k in shipped if not torch.equal(trained[k], shipped[k])}
    assert changed
    assert all(".language_model.layers." in k and k.endswith("proj.weight") for k in changed)
    assert load_model("nano", path=str(out)).attention == "sdpa"
    saved = load_file(out / "training" / "checkpoint-2" / "trained.safetensors")
    assert all("lora_" in k for k in saved)


def test_a_teacher_who_sees_the_same_tokens_teaches_nothing(tmp_path):
    train(spec(tmp_path / "same", steps=1, method="full", teacher="full"))
    train(spec(tmp_path / "less", steps=1, teacher="full"))
    assert abs(losses(tmp_path / "same")[0]) < 1e-5
    assert losses(tmp_path / "less")[0] > 1e-3


def test_bfloat16_stays_near(tmp_path):
    train(spec(tmp_path / "a", steps=1))
    train(spec(tmp_path / "b", steps=1, dtype="bfloat16"))
    assert losses(tmp_path / "b")[0] == pytest.approx(losses(tmp_path / "a")[0], rel=0.2, abs=0.05)
    kept = load_file(tmp_path / "b" / "training" / "checkpoint-1" / "trained.safetensors")
    assert {t.dtype for t in kept.values()} == {torch.float32}


def test_a_host_that_turned_gradients_off_does_not_end_a_training(tmp_path):
    with torch.no_grad():  # as a process has it that imported VLMEvalKit's models
        train(spec(tmp_path, steps=1))
    assert len(losses(tmp_path)) == 1


def test_a_loss_that_is_no_number_stops_and_names_the_sample(tmp_path, monkeypatch):
    calls = []
    real = learner.answer_loss

    def broken(logits, labels):
        calls.append(1)
        out = real(logits, labels)
        return out if len(calls) < 2 else out.index_fill(0, torch.tensor([len(out) - 1]), float("nan"))

    monkeypatch.setattr(learner, "answer_loss", broken)
    with pytest.raises(UserError, match=r"step 2: the loss of sample g-\d{4} is not a finite number; the checkpoint of "
                                        r"step 1 in .* is good. Lower --lr"):  # fmt: skip
        train(spec(tmp_path, steps=4, save_every=1))
    monkeypatch.setattr(learner, "answer_loss", real)
    assert train(spec(tmp_path, steps=4, save_every=1))["steps"] == 4


def test_out_of_memory_says_what_to_lower(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "one_step", full)
    with pytest.raises(UserError, match=r"not enough memory; lower --pack-tokens \(now 8192\), lower --batch"):
        train(spec(tmp_path, steps=2))


def test_a_bad_image_is_left_out_and_counted(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    lines = [{"images": [f"{n}.png"], "question": "what is a", "answer": "12"} for n in ("good", "bad")]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = train(spec(tmp_path / "out", data=str(tmp_path / "data.jsonl"), limit=None, steps=2))
    assert found["skipped"] == 2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"method": "fastv", "budget": "50"}, "fastv cannot be trained with: it drops tokens inside the decoder"),
        ({"method": "snapkv", "budget": "50"}, "snapkv cannot be trained with: it drops tokens the KV cache"),
        ({"method": "oracle", "budget": "50"}, "oracle reads the answer"),
        ({"budget": "uniform:50:10"}, "write uniform:LOW:HIGH"),
        ({"train": "scorer"}, "add --method focusui"),
        ({"dtype": "float16"}, "use bfloat16 or float32"),
        ({"batch": 0}, "--batch=0: a whole number of at least 1"),
        ({"model": "stub"}, "stub has no network to train"),
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl cannot be read"),
        ({"action": 1.0}, "nano has none; leave it out"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path, capsys, more, sentence):
    assert main(["train", *options(tmp_path / "out", **more)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"images": ["a.png"], "question": "what"}', "line 1 has no answer to train on"),
        ('{"images": ["a.png"], "question": "what", "answer": "  "}', "line 1 has no answer to train on"),
        ('{"images": ["a.png"], "answer": "12"}', "line 1 has no question"),
        ('{"images": "a.png", "question": "what", "answer": "1"}', '"images" must be a list'),
        ('{"images": ["a.png"], "question": "what", "answer": "1", "box_xyxy": [1]}', "must be four numbers"),
        ("{", "line 1 is not valid JSON"),
        ("[1]", "line 1 is no JSON object"),
        ("", "holds no record"),
    ],
)
def test_bad_data_is_one_sentence(tmp_path, capsys, line, sentence):
    (tmp_path / "data.jsonl").write_text(line)
    assert main(["train", *options(tmp_path / "out", data=tmp_path / "data.jsonl")]) == 2
    assert sentence in capsys.readouterr().err


def test_dry_run_loads_no_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop, "load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    assert main(["train", *options(tmp_path / "out", batch=4), "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["flops_bound"] > 1
    assert found["hours"] > 0
    assert not (tmp_path / "out").exists()
