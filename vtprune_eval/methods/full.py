"""``full``: no method, every visual token is kept. The reference of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Method


@dataclass(frozen=True)
class Full(Method):
    """The unpruned model (no hook is used)."""

    name: ClassVar[str] = "full"
