"""Pretended devices: tensors that compute on the CPU and say that they lie elsewhere.

Inside :class:`PretendDevices` a tensor moved to ``cpu:N`` keeps its numbers on the CPU, carries that device's name, and
refuses to meet a tensor of another device, as two GPUs do. Torch itself lets a zero-dimensional CPU tensor through.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Elsewhere(torch.Tensor):
    """A CPU tensor under the name of another device."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
        )
        made.inner = inner
        return made

    def tolist(self) -> Any:
        """Torch has this for plain tensors only."""
        return self.inner.tolist()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.inner!r} on {self.device}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def mapped(change: Any, x: Any) -> Any:
    """``x`` with ``change`` of every tensor in it; an operator's arguments nest lists, tuples and dictionaries only.
    (torch's own tree functions take three quarters of a whole test's time.)"""
    if isinstance(x, torch.Tensor):
        return change(x)
    if type(x) in (list, tuple):
        return type(x)([mapped(change, y) for y in x])
    return {key: mapped(change, y) for key, y in x.items()} if type(x) is dict else x


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation on the CPU, after looking where its inputs lie."""
    found: list[torch.Tensor] = []

    def inner(x: torch.Tensor) -> torch.Tensor:
        found.append(x)
        return x.inner if isinstance(x, Elsewhere) else x

    plain_args, plain = mapped(inner, (args, kwargs))
    named = {x.device for x in found if isinstance(x, Elsewhere)}
    wanted = kwargs.get("device")
    target = torch.device(wanted) if wanted is not None else next(iter(named), None)
    if func is not torch.ops.aten._to_copy.default and func is not torch.ops.aten.copy_.default:
        others = [x for x in found if not isinstance(x, Elsewhere) and x.ndim]
        if len(named) > 1 or (named and others):
            raise RuntimeError(f"{func}: tensors on {sorted({str(x.device) for x in found})}")
    if wanted is not None:
        plain = {**plain, "device": torch.device("cpu")}
    if func is torch.ops.aten.copy_.default:
        func(*plain_args, **plain)
        return args[0]
    out = func(*plain_args, **plain)
    if target is None or target.index is None:
        return out
    same = {id(x.inner): x for x in found if isinstance(x, Elsewhere)}

    def named_again(x: torch.Tensor) -> torch.Tensor:
        return same[id(x)] if id(x) in same else Elsewhere(x, target)

    return mapped(named_again, out)


class _Made(TorchFunctionMode):
    """Functions that make a tensor from Python numbers reach no dispatcher with their device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and pretended(kwargs.get("device")):
            device = torch.device(kwargs.pop("device"))
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


def pretended(device: Any) -> bool:
    """Whether a device is one of ours."""
    return device is not None and torch.device(device).type == "cpu" and torch.device(device).index is not None


class PretendDevices(TorchDispatchMode):
    """Factories on pretended devices, too."""

    def __enter__(self) -> PretendDevices:
        self._made = _Made()
        self._made.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._made.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def placed(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """The model with all of its weights and buffers on one device; a tied weight stays one."""
    if not pretended(device):
        return model.to(device)
    moved: dict[int, torch.nn.Parameter] = {}
    with torch.inference_mode():  # as the pipeline runs: a view of a weight is of the same kind
        for module in model.modules():
            for key, weight in list(module.named_parameters(recurse=False)):
                there = torch.nn.Parameter(Elsewhere(weight.data.clone(), torch.device(device)), requires_grad=False)
                setattr(module, key, moved.setdefault(id(weight), there))
            for key, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, key, Elsewhere(buffer.clone(), torch.device(device)))
    return model
