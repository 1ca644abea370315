"""The documentation site builds from ``docs/`` without a warning: no dead link, no page outside of the navigation."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import ROOT


def test_the_site_builds_without_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Method" in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
