"""Shared fixtures: a tiny random model of the true class, images, and the command line as a process.

Every test is the same at each run: what is drawn is drawn from a fixed seed (see :mod:`tests.draws`), and nothing is
compared with a clock that other programs slow down (see :mod:`tests.sure`).
"""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import traceback
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import draws  # noqa: F401 (before any test module: it sets how hypothesis draws)
from tests.lent import changed, shared
from tests.sure import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


# Files that take long for their number of tests start first, so that no worker is left with one when the other is done.
LONG = (
    "models/test_one_device.py",
    "integrations/test_lm_eval.py",
    "integrations/test_vlmeval_reuse.py",
    "integrations/test_vlmeval_host.py",
    "runner/workers/test_ray.py",
    "training/test_shard.py",
    "models/test_family_flops.py",
    "methods/test_third_party.py",
    "runner/test_cells.py",
    "training/test_loop.py",
    "test_mini_suite.py",
    "report/test_check_costs.py",
    "reliability/test_kill.py",
    "test_wheel.py",
)


def pytest_collection_modifyitems(items):
    first = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def needs_shared(path: str):
    """Skip, saying so, where the reference material is not beside the checkout."""
    return pytest.mark.skipif(not (SHARED / path).exists(), reason=f"reference material shared/{path} is not here")


@pytest.fixture(autouse=True)
def _seeded():
    """Draws without a generator of their own are the same in every run and in any order of the tests."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _as_it_was():
    """What was done to the whole process is undone: methods made known by name, and gradients that a host turned off
    when it was imported."""
    from vtprune_eval import registry

    registered = dict(registry._REGISTERED)
    if "torch" in sys.modules:
        sys.modules["torch"].set_grad_enabled(True)
    yield
    for name in set(registry._REGISTERED) - set(registered):
        del registry._REGISTERED[name]
        registry.method_names().pop(name, None)


@pytest.fixture(autouse=True, scope="module")
def _models_as_they_were():
    """Models that other modules use, too, are as they found them."""
    yield
    assert not changed()


def skips(reporter) -> Counter[str]:
    """Reasons of all skips of the session, with their numbers."""
    found = (report.longrepr for report in reporter.stats.get("skipped", []))
    return Counter((r[2] if isinstance(r, tuple) else str(r)).removeprefix("Skipped: ") for r in found)


def forbidden(found: Counter[str]) -> list[str]:
    """Reasons that continuous integration does not accept: what the tests need is installed there."""
    allowed = ("reference material", "environment of its own")  # the latter have a command of their own
    return [reason for reason in found if not any(part in reason for part in allowed)]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and forbidden(skips(reporter)):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """The last line says what was skipped and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    found = skips(reporter)
    if os.environ.get("CI") == "true" and forbidden(found):
        reporter.write_line("FAILED: in continuous integration only missing reference material may be skipped.")
    said = "; ".join(f"{n} because {reason}" for reason, n in found.most_common())
    reporter.write_line(f"skipped: {said or 'nothing'}")


@pytest.fixture(scope="session")
def tiny():
    """Adapter of a small random Qwen3-VL (float32): 3 ViT blocks, 2 DeepStack levels, 4 grouped-query layers."""
    import torch
    from nano.folder import build_config, build_tokenizer
    from transformers import Qwen3VLForConditionalGeneration

    from vtprune_eval.models.base import ImageRules
    from vtprune_eval.models.qwen3_vl import Qwen3VL

    torch.manual_seed(0)
    config = build_config(vision_depth=3, vision_dim=64, dim=64, layers=4)
    model = Qwen3VLForConditionalGeneration(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:  # wide enough that two tokens are never nearly tied
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5 * 1.5)
        weight.requires_grad_(False)
    tokenizer = build_tokenizer()
    model.generation_config.eos_token_id = [tokenizer.eos_token_id]
    rules = ImageRules(16, 2, 2, 1024, 1 << 20, (0.5,) * 3, (0.5,) * 3)
    return shared(Qwen3VL("tiny", model, tokenizer, rules, {"trained": True}))


@pytest.fixture
def picture(tmp_path):
    """Write an image of random flat rectangles (so that neighbours often agree) and return its path."""

    def make(name: str, width: int, height: int, seed: int = 0) -> Path:
        path = tmp_path / f"{name}.png"
        Image.fromarray(screen(width, height, seed)).save(path)
        return path

    return make


def screen(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A synthetic screen: flat background, rectangles on a 16-px grid, some noise areas."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 255, 3), np.uint8)
    for _ in range(max(3, width * height // 8000)):
        x, y = (int(rng.integers(0, max(1, n // 16))) * 16 for n in (width, height))
        w, h = (int(rng.integers(1, 8)) * 16 for _ in range(2))
        area = image[y : y + h, x : x + w]
        noise = rng.random() < 0.2
        area[:] = rng.integers(0, 255, area.shape if noise else 3)
    return image


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run the command line in a folder of its own; returns what a finished process would be.

    It runs in this process, where everything is imported already; ``process=True`` starts one, as do arguments of
    :func:`subprocess.run`.
    """

    def run(*args: str, env: dict[str, str] | None = None, process: bool = False, timeout: float = PATIENCE, **kwargs):
        of_python = any(name.startswith("PYTHON") for name in env or {})  # read when an interpreter starts
        if process or kwargs or of_python or timeout != PATIENCE:
            return subprocess.run(
                command(*args),
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=tmp_path,
                env=environment(env),
                **kwargs,
            )
        from vtprune_eval.cli import main

        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as here, redirect_stdout(out), redirect_stderr(err):
            here.chdir(tmp_path)
            for name, value in {"HF_HUB_OFFLINE": "1", **(env or {})}.items():
                here.setenv(name, value)
            try:
                code = main([str(a) for a in args])
            except SystemExit as left:  # argparse, after its help
                code = left.code if isinstance(left.code, int) else int(left.code is not None)
            except Exception:
                traceback.print_exc(file=err)
                code = 1
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

    return run


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "vtprune_eval", *map(str, args)]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(extra or {})}
