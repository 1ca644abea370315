"""Where task definitions live: beside the package in a checkout, inside it once installed."""

from __future__ import annotations

from pathlib import Path


def tasks_dir() -> Path:
    """Folder of the task folders (one per benchmark)."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "tasks"
    return checkout if checkout.is_dir() else package / "_tasks"
