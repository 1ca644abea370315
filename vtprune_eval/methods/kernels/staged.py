"""Methods that drop tokens after several layers, which the hyper-parameter ``at`` may name."""

from __future__ import annotations

import dataclasses

from ...errors import UserError
from ..base import Method


def cut_after(text: str, method: str, n_layers: int) -> tuple[int, ...]:
    """The layers (from 0) that the hyper-parameter ``at``, such as ``2/8``, names; counted from 1 in the text.

    Raises:
        UserError: no such list, or a layer that the decoder does not have.
    """
    parts = text.split("/")
    ends = [int(p) for p in parts if p.isascii() and p.isdigit()]
    if len(ends) != len(parts) or ends != sorted(set(ends)) or not 1 <= ends[0] <= ends[-1] < n_layers:
        raise UserError(
            f"{method}: at={text!r} is no rising list of layers from 1 to {n_layers - 1} such as 2/8; mend --set "
            f"{method}.at=."
        )
    return tuple(end - 1 for end in ends)


class Staged(Method):
    """What such methods share; a dataclass with a field ``at``."""

    def earliest(self, n_layers: int) -> Method:
        """See :meth:`Method.earliest`: the same number of stages, the first after one layer."""
        ends = [1, *(k + 1 for k in self.layers_of(n_layers)[1:])]
        return dataclasses.replace(self, at="/".join(map(str, ends)))  # type: ignore[call-arg]
