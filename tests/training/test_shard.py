"""``--shard``: two processes that divide gradients and optimizer states train what one process trains."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.conftest import ROOT
from vtprune_eval.errors import UserError
from vtprune_eval.models import load_model
from vtprune_eval.training.loop import train
from vtprune_eval.training.shard import divide, refuse_other_sharding
from vtprune_eval.training.spec import TrainSpec

GIVEN = {"model": "nano", "data": "mini-grounding", "limit": 8, "method": "pixelprune", "device": "cpu", "lr": 1e-4,
         "warmup": 1, "save_every": 1, "steps": 2, "weights": "hub"}  # fmt: skip


def losses(file) -> list[float]:
    return [json.loads(line)["loss"] for line in file.read_text().splitlines()]


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch without gloo")
def test_two_processes_train_what_one_trains(tmp_path):
    """Losses, weights and the written folder are those of one process with both batches, also when resumed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {**GIVEN, "batch": 2, "shard": True, "out": str(tmp_path / "two")}
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
         "-m", "tests.training.divided", json.dumps(given)],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    train(TrainSpec(**GIVEN, batch=4, out=str(tmp_path / "one")))
    own, one = (tmp_path / name / "training" for name in ("two", "one"))
    assert losses(own / "first.jsonl") == pytest.approx(losses(one / "steps.jsonl"), rel=1e-4)
    assert losses(own / "steps.jsonl") == pytest.approx(losses(own / "first.jsonl"), rel=1e-6)
    ours, theirs = (load_file(folder / "checkpoint-2" / "trained.safetensors") for folder in (own, one))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)
    states = torch.load(own / "checkpoint-2" / "optimizer.pt", weights_only=True)["state"]
    assert all(s["exp_avg"].shape == ours[name].shape for name, s in states.items())
    written, plain = (load_model("nano", path=str(tmp_path / name)).model.state_dict() for name in ("two", "one"))
    assert all(torch.allclose(written[name], plain[name], atol=1e-3) for name in plain)


def test_one_process_has_nothing_to_divide():
    with pytest.raises(UserError, match="start it with torchrun, or leave it out"):
        divide(torch.nn.Linear(2, 2), SimpleNamespace(num_processes=1))


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_sharding_by_accelerate_is_refused(monkeypatch, name):
    """A configuration of ``accelerate launch`` that would be followed half, or not at all on a CPU."""
    plain = SimpleNamespace(distributed_type="DistributedType.MULTI_CPU")
    refuse_other_sharding(plain)
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UserError, match=f"accelerate's {name}, .* add --shard"):
        refuse_other_sharding(plain)


def test_what_cannot_be_divided_is_refused(tmp_path):
    with pytest.raises(UserError, match="LoRA's matrices need no division"):
        TrainSpec(**GIVEN, shard=True, lora=4, out=str(tmp_path))
