"""Soak: thousands of samples through the whole run loop on the stub model; memory and open files must stay flat.

    python scripts/bench/soak.py --samples 5000

Builds a ScreenSpot-like data set of that size in a temporary folder, starts a run as a process of its own, and reads
its resident memory and its open files from /proc: first when ``--settle`` records are there, then until the last one.
Exits with 1 if memory grew by more than 20 MB or a file stayed open. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MAX_GROWTH_BYTES = 20_000_000
MAX_NEW_FILES = 2  # the record file and an image are open for moments; a leak would be one per sample


@dataclass(frozen=True)
class Soak:
    """What was seen: resident bytes and open files after the settling samples, and the most of each after that."""

    records: int
    start_bytes: int
    most_bytes: int
    start_files: int
    most_files: int

    @property
    def growth_bytes(self) -> int:
        """Memory that was added after the settling samples."""
        return self.most_bytes - self.start_bytes


def write_data(folder: Path, n: int) -> None:
    """A ScreenSpot folder with ``n`` instructions on one screenshot."""
    for platform, rows in (("desktop", n), ("mobile", 1), ("web", 1)):
        Image.new("RGB", (320, 200), (200, 210, 220)).save(folder / f"{platform}.png")
        entries = [
            {
                "img_filename": f"{platform}.png",
                "bbox": [i % 300, i % 180, 16, 12],
                "data_source": "windows",
                "instruction": f"press button {i}",
                "data_type": "icon" if i % 2 else "text",
            }
            for i in range(rows)
        ]
        (folder / f"screenspot_{platform}.json").write_text(json.dumps(entries))


def soak(samples: int, settle: int, folder: Path, delay_ms: float = 0.5) -> Soak:
    """Run ``samples`` samples and watch the process.

    Args:
        samples: to answer.
        settle: records after which growth counts.
        folder: for data and run.
        delay_ms: of the stub.

    Raises:
        RuntimeError: the run failed, or was over before it was seen.
    """
    data = folder / "data"
    data.mkdir()
    write_data(data, samples)
    line = [
        sys.executable,
        "-m",
        "vtprune_eval",
        "--model",
        "stub",
        "--method",
        "full",
        "--tasks",
        "screenspot",
        "--data-path",
        str(data),
        "--limit",
        str(samples),
        "--out",
        str(folder / "run"),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "VTPRUNE_STUB_DELAY_MS": str(delay_ms)}
    process = subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    path, seen = folder / "run" / "records" / "screenspot--full@100.jsonl", []
    records = 0
    while process.poll() is None:
        records = path.read_bytes().count(b"\n") if path.exists() else 0
        if settle <= records < samples:  # the summary at the end is not a part of the loop
            try:
                seen.append((_resident(process.pid), len(os.listdir(f"/proc/{process.pid}/fd"))))
            except (OSError, ValueError):  # it has just ended
                break
        time.sleep(0.02)
    _, err = process.communicate()
    if process.returncode or len(seen) < 5:
        raise RuntimeError(f"the run ended with {process.returncode} after {len(seen)} looks:\n{err}")
    return Soak(
        path.read_bytes().count(b"\n"),
        seen[0][0],
        max(s[0] for s in seen),
        max(s[1] for s in seen[:5]),
        max(s[1] for s in seen),
    )


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS")) * 1024


def main() -> int:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--samples", type=int, default=5000)
    p.add_argument("--settle", type=int, default=500)
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        got = soak(given.samples, given.settle, Path(folder))
    print(
        f"{got.records} records; after {given.settle}: {got.start_bytes / 1e6:.1f} MB and {got.start_files} open "
        f"files; most after that: {got.most_bytes / 1e6:.1f} MB (+{got.growth_bytes / 1e6:.1f}) and {got.most_files}"
    )
    return int(got.growth_bytes > MAX_GROWTH_BYTES or got.most_files > got.start_files + MAX_NEW_FILES)


if __name__ == "__main__":
    raise SystemExit(main())
