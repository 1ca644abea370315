"""Validated result files and the pages made from them."""

from __future__ import annotations

from pathlib import Path


def leaderboards_dir() -> Path:
    """``leaderboards/`` of the checkout; in the current folder where the package is installed without one."""
    checkout = Path(__file__).resolve().parents[2] / "leaderboards"
    return checkout if checkout.is_dir() else Path("leaderboards")
