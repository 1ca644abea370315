"""``--shard``: gradients and the optimizer's states divided among the processes, as ZeRO-2 does, by torch's FSDP2.

The whole learner is one unit of FSDP2, since the loop calls the layers one by one and not through the class's forward.
Every process therefore holds all weights during a step, and a share of them, of the gradients and of AdamW's states
besides. Checkpoints and folders hold whole tensors: a training may go on with another number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError

OPTIMIZER = "optimizer.pt"


def refuse_other_sharding(accelerator: Any) -> None:
    """Refuse the settings of ``accelerate launch`` that the loop does not follow.

    Raises:
        UserError: with what is supported.
    """
    asked = [name for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM")
             if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true"]  # fmt: skip
    if asked or str(accelerator.distributed_type).rsplit(".", 1)[-1] not in {
        "NO",
        "MULTI_CPU",
        "MULTI_GPU",
        "MULTI_XPU",
    }:
        name = asked[0] if asked else accelerator.distributed_type
        raise UserError(
            f"the training is not divided by accelerate's {name}, whose settings would wrap layers that are called one "
            "by one here; start it with a configuration for several GPUs (or torchrun) and add --shard, which divides "
            "gradients and optimizer states as ZeRO-2 does."
        )


def divide(learner: Any, accelerator: Any) -> None:
    """Divide a learner's parameters among the processes.

    Raises:
        UserError: there is one process.
    """
    if accelerator.num_processes < 2:
        raise UserError("--shard divides a training among several processes; start it with torchrun, or leave it out.")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    fully_shard(learner, mesh=mesh, reshard_after_forward=False)
    learner.divided = True


def whole(tensor: Tensor) -> Tensor:
    """A tensor with what the other processes hold of it; every process has to call."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def gathered(named: Iterable[tuple[str, Tensor]], main: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU of the main process, and nothing in the others; every process has to call.

    One tensor is gathered at a time: a device never holds all of them besides its shares.

    Args:
        named: names and tensors.
        main: whether this is the main process.
    """
    out = {}
    for name, tensor in named:
        full = whole(tensor.detach())
        if main:
            out[name] = full.contiguous().cpu()
    return out


def put(parameter: nn.Parameter, value: Tensor) -> None:
    """Set a parameter, or this process's share of it, to a whole tensor."""
    mesh = getattr(parameter, "device_mesh", None)
    if mesh is not None:
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value.to(parameter.device), mesh, parameter.placements)  # type: ignore[attr-defined]
    parameter.copy_(value)


def save_optimizer(learner: nn.Module, optimizer: Any, folder: Path, main: bool) -> None:
    """Write whole optimizer states; every process has to call."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    state = get_optimizer_state_dict(
        learner, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    if main:
        torch.save(state, folder / OPTIMIZER)


def load_optimizer(learner: nn.Module, optimizer: Any, folder: Path) -> None:
    """Take up whole optimizer states; every process has to call."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    set_optimizer_state_dict(learner, optimizer, state, options=StateDictOptions(full_state_dict=True))


@contextmanager
def exchanged(learner: Any, now: bool) -> Iterator[None]:
    """Within it, a backward pass exchanges gradients between the processes only where ``now`` is True."""
    learner.set_requires_gradient_sync(now)
    yield
