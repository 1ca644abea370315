"""Run by torchrun in ``test_shard.py``: a divided training, and the same again from its first checkpoint on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch.distributed as dist

from vtprune_eval.training.loop import train
from vtprune_eval.training.spec import TrainSpec

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    spec = TrainSpec(**given)
    train(spec)
    own = Path(spec.out) / "training"
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.copy(own / "steps.jsonl", own / "first.jsonl")
        shutil.rmtree(own / "checkpoint-2")
    dist.barrier()
    train(spec)
    dist.destroy_process_group()
