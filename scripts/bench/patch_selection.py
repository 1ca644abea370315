"""PixelPrune's selection against the literal algorithm: ``python scripts/bench/patch_selection.py [IMAGE ...]``.

One thread, 2560x1440, interleaved, 3 warm-ups, median of 20 (5 where a call takes over 0.5 s). Identical output is
asserted before anything is timed. Prints the ratios with their 95 % bootstrap intervals and, beside them, the time of
one copy of the image. Ours starts from the uint8 image every time; so does the literal algorithm.
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
from vtprune_eval.methods.kernels.scans import pred_2d_exact  # noqa: E402
from vtprune_eval.methods.pixelprune import PixelPrune  # noqa: E402


def timed(*calls, repeats: int = 20) -> list[np.ndarray]:
    """Milliseconds of each call, interleaved, ``(repeats,)`` each."""
    for _ in range(3):
        start = time.perf_counter()
        for call in calls:
            call()
        if time.perf_counter() - start > 0.5 * len(calls):
            repeats = 5
    spans = np.empty((len(calls), repeats))
    for k in range(repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            spans[i, k] = (time.perf_counter() - start) * 1e3
    return list(spans)


def ratio(theirs: np.ndarray, ours: np.ndarray) -> str:
    """Ratio of the medians with its 95 % interval (rounds resampled together, because they are interleaved)."""
    draws = np.random.default_rng(0).integers(0, len(ours), (2000, len(ours)))
    low, high = np.percentile(np.median(theirs[draws], 1) / np.median(ours[draws], 1), [2.5, 97.5])
    return f"{np.median(theirs) / np.median(ours):5.1f}x [{low:.1f}, {high:.1f}]"


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
        f"  pred_2d tau 0: ours {np.median(ours):.2f} ms, literal float32 {np.median(theirs):.1f} ms, "
        f"{ratio(theirs, ours)}; one copy of the image {np.median(copy):.2f} ms"
    )
    for predictor, metric, tau in (
        ("pred_2d", "max", 4 / 255),
        ("pred_2d", "mae", 2 / 255),
        ("raster", "max", 0.0),
        ("raster", "max", 4 / 255),
    ):
        method = PixelPrune(predictor=predictor, metric=metric, tau=tau)
        slow = tau + 1e-6  # the literal forms compare rounded float32 values

        def plain(predictor=predictor, metric=metric, slow=slow):
            return literal.scan(literal.float_blocks(image), slow, metric, predictor)

        def published(metric=metric, slow=slow):
            return literal.pred_2d_torch(torch.from_numpy(literal.float_blocks(image)), slow, metric)

        keep = method.keep(image, 32)
        assert (keep == plain()).all(), (predictor, metric, tau)
        calls = [lambda m=method: m.keep(image, 32), plain]
        if predictor == "pred_2d":
            assert (keep == published()).all(), (predictor, metric, tau)
            calls.append(published)
        ours, *others = timed(*calls)
        forms = ", ".join(
            f"{form} {np.median(t):.1f} ms {ratio(t, ours)}"
            for form, t in zip(("plain numpy", "published torch form"), others, strict=False)
        )
        print(
            f"  {predictor} tau {tau * 255:.0f}/255 {metric} ({100 * keep.mean():.1f} % kept): "
            f"ours {np.median(ours):.2f} ms; literal loop: {forms}"
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
