"""PixelPrune's selection against the literal algorithm: ``python scripts/bench/patch_selection.py [IMAGE ...]``.

One thread, 2560x1440, interleaved, 3 warm-ups, median of 20 (5 where a call takes over 0.5 s). Identical output is
asserted before anything is timed. Prints both ratios and the time of one copy of the image beside them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from tests.conftest import screen  # noqa: E402
from tests.methods import literal  # noqa: E402
from vtprune_eval.methods.kernels.blocks import pred_2d, pred_2d_exact, to_blocks  # noqa: E402


def timed(*calls, repeats: int = 20) -> list[float]:
    """Median milliseconds of each call, interleaved."""
    for _ in range(3):
        start = time.perf_counter()
        for call in calls:
            call()
        if time.perf_counter() - start > 0.5 * len(calls):
            repeats = 5
    spans = [[] for _ in calls]
    for _ in range(repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            spans[i].append((time.perf_counter() - start) * 1e3)
    return [float(np.median(s)) for s in spans]


def bench(name: str, image: np.ndarray) -> None:
    """Assert equality, then print the times and ratios for one image."""
    blocks = image.shape[0] // 32 * (image.shape[1] // 32)
    keep = pred_2d_exact(image, 32)
    assert (keep == literal.pred_2d_tau0(image)).all()
    ours, theirs, copy = timed(
        lambda: pred_2d_exact(image, 32), lambda: literal.pred_2d_tau0(image), lambda: image.copy()
    )
    print(f"{name} ({image.shape[1]}x{image.shape[0]}, {blocks} blocks, {100 * keep.mean():.1f} % kept at tau 0)")
    print(
        f"  tau 0          ours {ours:8.2f} ms   literal float32 {theirs:9.2f} ms   {theirs / ours:6.1f}x   "
        f"(one copy of the image: {copy:.2f} ms)"
    )
    for metric, tau in (("max", 4 / 255), ("mae", 2 / 255)):
        x = literal.float_blocks(image)
        fast = pred_2d(to_blocks(image, 32), tau, metric)[0]
        t = torch.from_numpy(x)
        slow = tau + 1e-6  # the literal forms compare rounded float32 values
        assert (fast == literal.scan(x, slow, metric, "pred_2d")).all(), metric
        assert (fast == literal.pred_2d_torch(t, slow, metric)).all(), metric
        ours, plain, published = timed(
            lambda m=metric, v=tau: pred_2d(to_blocks(image, 32), v, m),
            lambda m=metric, v=slow: literal.scan(literal.float_blocks(image), v, m, "pred_2d"),
            lambda m=metric, v=slow: literal.pred_2d_torch(torch.from_numpy(literal.float_blocks(image)), v, m),
        )
        print(
            f"  tau {tau:.4f} {metric} ours {ours:8.2f} ms   literal loop: torch {published:8.2f} ms "
            f"{published / ours:5.1f}x, numpy {plain:8.2f} ms {plain / ours:5.1f}x"
        )


def main() -> int:
    """Print the measurements for a synthetic screen and for the images named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        processor = names[0] if names else processor
    torch.set_num_threads(1)
    print(f"{processor}, one thread, numpy {np.__version__}, torch {torch.__version__}")
    bench("synthetic screen", screen(2560, 1440, 1))
    for path in parser.parse_args().images:
        pixels = np.array(Image.open(path).convert("RGB"))
        bench(path.name, np.ascontiguousarray(pixels[: pixels.shape[0] // 32 * 32, : pixels.shape[1] // 32 * 32]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
