"""Build the environment of ``make test-vllm``, or keep the one that is there while its pins are the same.

The index may offer CUDA builds of torchvision, torchaudio and torchcodec beside a CPU build of torch. Their libraries
do not load then, and an import of them fails. Sound and videos are not needed: two of them go. Of torchvision vLLM and
transformers need the Python parts alone: the description of its operators is taken out where they are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "constraints.txt"
TRIES, PAUSE_SECONDS = 4, 20.0
MARK = ".vtprune-pins"
SPARE = ("torchaudio", "torchcodec")


def main() -> int:
    """Build what is missing; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the virtual environment")
    folder: Path = parser.parse_args().folder.resolve()
    python = folder / "bin" / "python"
    pins = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    known = hashlib.sha256("\n".join([sys.version, Path(__file__).read_text(), *pins]).encode()).hexdigest()
    if not (folder / MARK).exists() or (folder / MARK).read_text() != known:
        (folder / MARK).unlink(missing_ok=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install(python, *pins)
        subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *SPARE], check=True)
        mend_torchvision(python)
        (folder / MARK).write_text(known)
    # The checkout itself, whose needs are among the pins; its entry point is what is tested.
    install(python, "--no-deps", "-e", str(HERE.parents[1]))
    return 0


def install(python: Path, *what: str) -> None:
    """``pip install``, tried again: an index that is slow for a moment is no failure of a test."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    for left in reversed(range(TRIES)):
        done = subprocess.run(command)
        if not done.returncode:
            return
        if not left:
            raise SystemExit(f"could not install {' '.join(what)} in {TRIES} tries")
        time.sleep(PAUSE_SECONDS)


def mend_torchvision(python: Path) -> None:
    """Take out the description of operators that are not there."""
    test = [str(python), "-c", "import torchvision"]
    if not subprocess.run(test, capture_output=True).returncode:
        return
    where = "import importlib.util as u; print(u.find_spec('torchvision').submodule_search_locations[0])"
    found = subprocess.run([str(python), "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    (Path(found) / "_meta_registrations.py").write_text('"""Emptied: the operators are not built for this torch."""\n')
    subprocess.run(test, check=True)


if __name__ == "__main__":
    sys.exit(main())
