"""A growing pool of rendered training pages: one sheet image and one JSON of facts per file pair."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import numpy as np
from mini.render import Renderer
from mini.training_pages import SIZES, page

# What the pool holds, as (size, kind, share of the sheets). The cards serve the first stages only.
MIX = [
    ("card", "ui", 2),
    ("card", "form", 1),
    ("half", "ui", 5),
    ("half", "form", 5),
    *(
        (size, kind, share)
        for size in ("pane", "square", "phone")
        for kind, share in (("ui", 6), ("form", 4), ("table", 5), ("bars", 4), ("field", 2))
    ),
]


def fill(folder: Path, n_sheets: int, seed: int) -> None:
    """Render sheets until the folder holds ``n_sheets``; safe to stop and start again."""
    folder.mkdir(parents=True, exist_ok=True)
    plan: list[tuple[str, str]] = []
    order = random.Random(seed)
    once = [(s, k) for s, k, share in MIX for _ in range(share)]
    plan += [(s, k) for s, k, _ in MIX]  # one of each first, so that training can start at once
    while len(plan) < n_sheets:
        order.shuffle(once)
        plan += once
    with Renderer() as renderer:
        for number, (size, kind) in enumerate(plan[:n_sheets]):
            name = folder / f"{number:04d}-{size}-{kind}"
            if name.with_suffix(".json").exists():
                continue
            rng = random.Random(f"{seed}/{number}")
            n = renderer.capacity((SIZES[size][0] * 32, SIZES[size][1] * 32))
            drawn = renderer.draw([page(rng, size, kind) for _ in range(n)])
            np.save(name.with_suffix(".npy"), np.stack([image for image, _ in drawn]))
            temporary = name.with_suffix(".tmp")
            temporary.write_text(json.dumps([facts for _, facts in drawn]))
            os.replace(temporary, name.with_suffix(".json"))


class Pool:
    """Reads what is there; looks for new sheets when asked. Images stay memory-mapped on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sheets: dict[tuple[str, str], list[tuple[np.ndarray, list[dict]]]] = {}
        self._seen: set[str] = set()

    def refresh(self) -> int:
        """Open new sheets; returns how many there are now."""
        for path in sorted(self.folder.glob("*.json")):
            if path.stem in self._seen:
                continue
            self._seen.add(path.stem)
            _, size, kind = path.stem.split("-")
            images = np.load(path.with_suffix(".npy"), mmap_mode="r")
            self.sheets.setdefault((size, kind), []).append((images, json.loads(path.read_text())))
        return len(self._seen)

    def draw(self, rng: random.Random, size: str, kind: str) -> tuple[np.ndarray, dict]:
        """One page: image uint8 ``(height, width, 3)`` and its facts."""
        images, facts = rng.choice(self.sheets[size, kind])
        i = rng.randrange(len(facts))
        return images[i], facts[i]


def main(folder: str, n_sheets: str, seed: str) -> None:
    """Entry of the worker process."""
    os.nice(10)
    fill(Path(folder), int(n_sheets), int(seed))
