"""The headless browser of the tests: the system's Chromium, or the one that playwright downloaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable(playwright: Any) -> str | None:
    """Path of the browser, None where there is none."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    own = playwright.chromium.executable_path
    return found or (own if Path(own).exists() else None)


def open_browser(playwright: Any) -> Any:
    """A running browser; without one the test is skipped, which continuous integration takes for a failure."""
    path = executable(playwright)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or playwright install chromium")
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
