"""``snapkv``: keep the cache entries that the end of the prompt attends to.

Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469. Parameters are those of
GUI-KV's comparison (window 8, average pooling over 5, separate sets per query head); the paper's own are larger
windows, reached by ``--set window_size=32``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .kernels.window import WindowScored


@dataclass(frozen=True)
class SnapKV(WindowScored):
    """Top entries by pooled window attention, plus the window."""

    name: ClassVar[str] = "snapkv"
    paper: ClassVar[str] = "Li et al., SnapKV, arXiv 2404.14469"
    year: ClassVar[int] = 2024
    deviations: ClassVar[tuple[str, ...]] = (
        "Scores stay float32; the published code casts them to bf16 before pooling, which creates ties.",
        "Kept entries are stored by position, not by score; attention does not depend on the order.",
    )
