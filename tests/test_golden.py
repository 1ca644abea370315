"""Golden vectors: a small copy here, all of them where the reference material lies beside the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, SHARED, needs_shared
from tests.golden.checkers import check_folder

OURS = ROOT / "tests" / "golden"


def run(folder):
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "check_golden.py", folder], capture_output=True, text=True
    )


def test_embedded_vectors_agree():
    reports = list(check_folder(OURS))
    assert len(reports) >= 5
    for report in reports:
        assert not report.failures, (report.path, report.failures[:2])
        assert report.n_cases > 5


@needs_shared("golden/methods/pixelprune")
@pytest.mark.parametrize("kind", ["pixelprune", "flops", "guikv", "focusui"])
def test_all_vectors_agree(kind):
    for report in check_folder(SHARED / "golden" / "methods" / kind):
        assert not report.failures, (report.path, report.failures[:2])
        assert report.n_cases > 1


@needs_shared("golden/baselines")
def test_all_vectors_of_the_baselines_agree():
    reports = list(check_folder(SHARED / "golden" / "baselines"))
    assert len(reports) >= 25
    for report in reports:
        assert not report.failures, (report.path, report.failures[:2])


def test_a_wrong_vector_fails_the_command(tmp_path):
    shutil.copytree(OURS / "pixelprune", tmp_path / "pixelprune")
    path = tmp_path / "pixelprune" / "p_single_row.json"
    data = json.loads(path.read_text())
    data["results"][0]["kept"][0].pop()
    path.write_text(json.dumps(data))
    done = run(tmp_path)
    assert done.returncode == 1
    assert "FAIL pixelprune/p_single_row.json" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("passed, 1 failed")


def test_an_unknown_schema_is_a_failure_and_an_empty_folder_an_error(tmp_path):
    assert run(tmp_path).returncode == 2
    (tmp_path / "x.json").write_text('{"schema_version": 1, "task": "unheard of"}')
    done = run(tmp_path)
    assert done.returncode == 1
    assert "no checker" in done.stdout


def test_a_checker_that_raises_fails_its_file_only(tmp_path):
    shutil.copytree(OURS / "pixelprune", tmp_path / "pixelprune")
    (tmp_path / "pixelprune" / "images" / "p_noise.png").unlink()
    (tmp_path / "pixelprune" / "broken.json").write_text("{")
    (tmp_path / "pixelprune" / "empty.json").write_text(
        '{"images": [], "results": [], "sliding": [], "count_only": [], "components": []}'
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("FAIL")] == [
        f"FAIL pixelprune/{name}.json" for name in ("broken", "empty", "p_noise")
    ]
    assert lines[-1] == f"{len(lines) - 4} passed, 3 failed"
