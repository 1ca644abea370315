"""``environment.json``: what a run was made with, machine, versions, commit and state of the GPU."""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path

from ..extras import host_version
from ..models.identity import ModelIdentity
from ..profiling.gpu import GpuState, marked
from ..results.run_files import Environment
from ..results.store import RunFolder, write_atomic
from .header import processor


def write_environment(folder: RunFolder, environment: Environment, state: GpuState | None, reason: str) -> None:
    """Write ``environment.json``; ``state`` is that of the GPU, None without one, for which ``reason`` says why."""
    path = folder.path / "environment.json"
    try:
        earlier = json.loads(path.read_text()).get("gpu", {})
    except (OSError, ValueError, AttributeError):
        earlier = {}
    data = {**environment, "gpu": marked(state, reason, earlier)}
    write_atomic(path, json.dumps(data, indent=2) + "\n")


def environment_of(identity: ModelIdentity) -> Environment:
    """What ran here: interpreter, machine, commit, package versions, model."""
    versions: dict[str, str | None] = {}
    for name in ("torch", "transformers", "numpy", "pillow", "torchvision"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    if "vlmeval" in sys.modules:  # a task of the kit: its code is the metric
        versions["vlmeval"] = host_version("vlmeval")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "commit": _commit(),
        "packages": versions,
        "model": identity,
    }


def _commit() -> str | None:
    """Commit of the checkout that the package runs from, if it is one."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
