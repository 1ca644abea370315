"""Costs of a row, once: name, unit, how many of the row's units make one of it, digits, and whether machines differ.

The summary's table, figures, LaTeX tables and the pages of a leaderboard take them from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One cost.

    Attributes:
        key: in the costs of a row (:func:`.costs.costs_of`).
        name: in words.
        unit: in which it is shown.
        head: over a column of a plain table.
        per: units of the row in one of ``unit``.
        digits: behind the point in tables.
        machine: whether it depends on the machine.
    """

    key: str
    name: str
    unit: str
    head: str
    per: int = 1
    digits: int = 1
    machine: bool = False

    @property
    def factor(self) -> float:
        """From the row's unit to ``unit``."""
        return 1 if self.per == 1 else 1 / self.per

    @property
    def label(self) -> str:
        """Of an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def text(self, value: float | None) -> str:
        """A row's value as plain tables show it."""
        return "-" if value is None or math.isnan(value) else f"{value / self.per:.{self.digits}f}"


QUANTITIES = {
    q.key: q
    for q in (
        Quantity("achieved_pct", "budget spent", "%", "achieved %"),
        Quantity("visual_tokens", "visual tokens into the decoder", "", "visual tokens"),
        Quantity("visual_kept_pct", "visual tokens into the decoder", "%", "visual kept %"),
        Quantity("layer_visual_pct", "visual tokens per decoder layer", "%", "mean over layers %"),
        Quantity("flops_prefill", "FLOPs to the first token", "GFLOP", "GFLOPs", 10**9, 2),
        Quantity("flops", "FLOPs, whole answer", "GFLOP", "GFLOPs", 10**9, 2),
        Quantity("kv_bytes", "KV cache after prefill", "kB", "KV kB", 10**3),
        Quantity("ttft_ms", "time to first token", "ms", "TTFT ms", machine=True),
        Quantity("e2e_ms", "whole answer", "ms", "e2e ms", machine=True),
        Quantity("peak_bytes", "peak memory", "MB", "peak MB", 10**6, 0, True),
        Quantity("energy_j", "energy per answer", "J", "J", 1, 2, True),
    )
}
