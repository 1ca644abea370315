"""How often the hooks of a method make the device work, and how often they make the host wait for it.

Counted on the CPU, where nothing waits: what counts is the call. A launch is an operation that computes something
(views are free); a read is a call whose result the host needs before it can go on (``item``, ``tolist``, ``nonzero``,
indexing by a mask or by a single number that lies on the device, a copy to the host). On a GPU every read empties the
queue of launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_READS = {
    "item", "tolist", "nonzero", "masked_select", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__",
    "equal", "allclose", "unique", "argwhere", "is_nonzero",
}  # fmt: skip
_VIEWS = {
    "view", "expand", "slice", "select", "transpose", "permute", "unsqueeze", "squeeze", "t", "detach", "alias",
    "as_strided", "split", "unbind", "_unsafe_view", "_reshape_alias", "split_with_sizes", "lift_fresh", "unfold",
}  # fmt: skip


@dataclass
class Launches:
    """Counts of one stage.

    Attributes:
        launches: operations that compute.
        reads: calls for which the host waits.
        where: reads by the name of the call.
        layers: what of them ran behind each decoder layer, where somebody told layers apart.
    """

    launches: int = 0
    reads: int = 0
    where: dict[str, int] | None = None
    layers: dict[int, Launches] = field(default_factory=dict)


@contextmanager
def counted(found: Launches | None = None) -> Iterator[Launches]:
    """Count launches and reads of everything that runs inside.

    Args:
        found: counts to which these are added; None for new ones.
    """
    found = Launches(where={}) if found is None else found
    with _Reads(found), _Ops(found):
        yield found


class _Ops(TorchDispatchMode):
    def __init__(self, found: Launches) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket.__name__ not in _VIEWS:
            self._found.launches += 1
        return func(*args, **(kwargs or {}))


class _Reads(TorchFunctionMode):
    def __init__(self, found: Launches) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        masked = name in ("__getitem__", "__setitem__") and _needs_values(args[1])
        if name in _READS or masked:
            self._found.reads += 1
            where = self._found.where
            if where is not None:
                label = f"{name} by values" if masked else name
                where[label] = where.get(label, 0) + 1
        return func(*args, **(kwargs or {}))


def _needs_values(index: Any) -> bool:
    """Whether the host needs the values of an index: of a mask, how many it selects; of a single number, itself."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(p, torch.Tensor) and (p.dtype == torch.bool or p.ndim == 0) for p in parts)
