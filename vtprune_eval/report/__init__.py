"""Validated result files and the pages made from them."""

from __future__ import annotations

from pathlib import Path

from ..paths import checkout


def leaderboards_dir() -> Path:
    """``leaderboards/`` of the checkout; in the current folder where the package is installed without one."""
    found = checkout()
    return found / "leaderboards" if found else Path("leaderboards")
