"""``snapkv``: keep the cache entries that the end of the prompt attends to.

Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation", arXiv 2404.14469. The default setting is that
of GUI-KV's comparison (window 8, average pooling over 5); ``--set snapkv.preset=longbench`` is the authors' own on
LongBench (window 32, max pooling over 7), and other published ones have names, too.
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
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "The default preset is that of GUI-KV's comparison, not the authors' (preset=longbench, class-default).",
        "Sets are per kv head (mean of the group's attention before pooling); the authors' code keeps one per query "
        "head (the reading paper, or granularity=query_head).",
        "Scores stay float32; the published code casts them to bf16 before pooling, which creates ties.",
        "Kept entries are stored by position, not by score; attention does not depend on the order.",
    )
