"""Scripts of ``scripts/bench``, imported under their own names."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bench(request):
    """The script that the test module names as SCRIPT."""
    sys.path.insert(0, str(ROOT / "scripts" / "bench"))
    try:
        yield importlib.import_module(request.module.SCRIPT)
    finally:
        sys.path.remove(str(ROOT / "scripts" / "bench"))
