"""How the cost of decoding a FocusUI attention map grows with the image: labels against a search in a list of cells.

    python -m scripts.bench.region_decode

Two maps per size: one peak on low noise, as a trained head gives, and plain noise, where 70 % of the cells are above
the threshold. The search is a literal rendering of the published rule; it is left out where it would take minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from vtprune_eval.models.regions import Region, regions

# Cells above the threshold beyond which the search is left out.
SEARCH_LIMIT = 6000


def by_search(values: np.ndarray, threshold: float = 0.3) -> list[Region]:
    """The regions by a breadth-first search that looks for each neighbour in the list of all cells above the threshold.

    Args:
        values: ``(rows, columns)``.
        threshold: share of the largest value that a cell must exceed.
    """
    rows, cols = values.shape
    limit = threshold * values.max()
    cells = [(y, x) for y in range(rows) for x in range(cols) if values[y, x] > limit]
    seen: set[tuple[int, int]] = set()
    found = []
    for start in cells:
        if start in seen:
            continue
        seen.add(start)
        region, queue = [start], [start]
        while queue:
            y, x = queue.pop(0)
            for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                wanted = (y + step[0], x + step[1])
                for cell in cells:
                    if cell == wanted and cell not in seen:
                        seen.add(cell)
                        region.append(cell)
                        queue.append(cell)
        weights = [float(values[cell]) for cell in region]
        total = sum(weights)
        point = (
            sum(w * (x + 0.5) for w, (_, x) in zip(weights, region, strict=True)) / total / cols,
            sum(w * (y + 0.5) for w, (y, _) in zip(weights, region, strict=True)) / total / rows,
        )
        found.append(Region(point, total / len(region), len(region)))
    return sorted(found, key=lambda r: -r.mean)


def attention(rows: int, cols: int, peaked: bool) -> np.ndarray:
    """A map ``(rows, cols)`` that sums to 1."""
    rng = np.random.default_rng(0)
    values = rng.random((rows, cols))
    if peaked:
        y, x = np.mgrid[:rows, :cols]
        values = 0.05 * values + np.exp(-((y - rows * 0.4) ** 2 + (x - cols * 0.6) ** 2) / (rows / 12) ** 2)
    return values / values.sum()


def measure(decode: Callable[[np.ndarray], list[Region]], values: np.ndarray, times: int) -> float:
    """Median milliseconds of ``times`` calls."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        decode(values)
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def main() -> None:
    """Print a table."""
    from tabulate import tabulate

    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = []
    for name, size in (
        ("1280x720", (26, 46)),
        ("1920x1080", (39, 69)),
        ("2560x1440", (51, 91)),
        ("3840x2160", (77, 137)),
        ("7680x4320", (154, 274)),
        ("15360x8640", (309, 549)),
    ):
        for peaked in (True, False):
            values = attention(*size, peaked)
            above = int((values > 0.3 * values.max()).sum())
            labels = measure(regions, values, 20)
            search = measure(by_search, values, 1) if above <= SEARCH_LIMIT else None
            lines.append(
                [
                    name,
                    "peak" if peaked else "noise",
                    values.size,
                    above,
                    f"{labels:.3f}",
                    f"{labels / values.size * 1e6:.1f}",
                    "-" if search is None else f"{search:.1f}",
                ]
            )
    print(
        tabulate(
            lines,
            headers=["image", "map", "cells", "above", "labels, ms", "per cell, ns", "search, ms"],
            disable_numparse=True,
            colalign=("left", "left", *["right"] * 5),
        )
    )


if __name__ == "__main__":
    main()
