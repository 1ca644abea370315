"""Rendered training material of micro: text pages for reading, random pages for questions, kept as sheets on disk.

Everything is drawn by Chromium once, at one of three device scales; a batch resizes what it shows, so a page is seen
at any scale. Facts stay in CSS pixels (a character cell is 8 x 16 of them) and move with the picture.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mini import design as d
from mini import training_pages
from mini.render import Renderer
from mini.vocabulary import training_word

SHEET = 2304  # device pixels per side
TEXT = (24, 16)  # size of a text page in blocks of 32 CSS px
NUMBERS = (0.35, 0.8)  # share of numbers on the first and on the second half of the text sheets


@dataclass(frozen=True)
class PageClass:
    """Size of a page in blocks of 32 CSS px, the device scale it is drawn at, and its share of the sheets.

    ``last``: what the last screen of some navigation steps shows ("field": a focused text field, "error": the phrase
    of a failed page); such a class is never a page of its own.
    """

    cols: int
    rows: int
    scale: float
    share: int
    last: str = ""

    @property
    def cell(self) -> float:
        """Height of a character cell as drawn, in device pixels."""
        return 16 * self.scale

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as drawn, in device pixels."""
        return round(self.cols * 32 * self.scale), round(self.rows * 32 * self.scale)


CLASSES = {
    "card": PageClass(4, 2, 2.0, 1),
    "strip": PageClass(6, 3, 2.0, 1),
    "half": PageClass(7, 4, 2.0, 2),
    "pane": PageClass(8, 5, 2.0, 4),
    "square": PageClass(6, 6, 2.0, 4),
    "phone": PageClass(5, 8, 2.0, 3),
    "medium": PageClass(12, 8, 1.5, 8),
    "wide": PageClass(12, 8, 2.0, 8),
    "tall": PageClass(9, 13, 1.5, 7),
    "desk": PageClass(16, 10, 1.5, 10),
    "broad": PageClass(18, 12, 1.5, 6),
    "full": PageClass(20, 14, 1.5, 8),
    "entry": PageClass(8, 5, 2.0, 2, last="field"),
    "dial": PageClass(5, 8, 2.0, 2, last="field"),
    "lost": PageClass(8, 5, 2.0, 1, last="error"),
    "gone": PageClass(5, 8, 2.0, 1, last="error"),
}
# At a device scale of 1 letters are drawn otherwise than large ones made small: an eighth of the sheets, and half of
# the navigation steps.
SHARES_AT_ONE = {"pane": 3, "phone": 2, "square": 1, "entry": 1, "dial": 1, "lost": 1, "gone": 1}
CLASSES |= {f"{name}1": replace(CLASSES[name], scale=1.0, share=n) for name, n in SHARES_AT_ONE.items()}
# Classes of an episode's screens, and of its last one where that shows a text field or an error.
STEPS = {
    f"{name}{scale}": {last: f"{other}{scale}" for last, other in lasts.items()}
    for name, lasts in (
        ("pane", {"field": "entry", "error": "lost"}),
        ("phone", {"field": "dial", "error": "gone"}),
    )
    for scale in ("", "1")
}
KINDS = ("ui", "ui", "form", "form", "tiles", "bars", "bars")


def text_page(rng: random.Random, numbers: float) -> d.Screen:
    """A page full of words and a share of ``numbers``, light or dark, bold or not, on buttons or bare."""
    cols, rows = TEXT
    cells = []
    for row in range(rows):
        lines = (False, True) if rng.random() < 0.5 else (rng.random() < 0.5,)
        for low in lines:
            col = rng.randint(0, 2)
            while col < cols - 2:
                number = str(rng.randint(0, 10 ** rng.randint(1, 5) - 1))
                word = training_word(rng) if rng.random() >= numbers else number
                width = d.width_blocks(word)
                if col + width > cols:
                    break
                if rng.random() < 0.12:
                    cells.append(d.button(col, row, word, low=low, primary=rng.random() < 0.5))
                else:
                    cells.append(d.label(col, row, word, low=low, bold=rng.random() < 0.35))
                col += width + rng.choice((0, 0, 0, 1, 2))
    return d.Screen(cols, rows, rng.choice(list(d.THEMES)), tuple(cells), "text")


def plan(n_sheets: int, seed: int) -> list[str]:
    """Class of every sheet: one of each first and always, so that training can start at once, then by share."""
    order, once = random.Random(seed), [name for name, c in CLASSES.items() for _ in range(c.share)]
    names = list(CLASSES)
    while len(names) < n_sheets:
        order.shuffle(once)
        names += once
    return names[: max(n_sheets, len(CLASSES))]


def fill(folder: Path, n_text: int, n_sheets: int, seed: int) -> None:
    """Render what is missing of ``n_text`` text sheets and ``n_sheets`` page sheets; safe to stop and start again."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [("text", i, (1.0, 1.5, 2.0)[i % 3]) for i in range(n_text)]
    jobs += [(name, i, CLASSES[name].scale) for i, name in enumerate(plan(n_sheets, seed))]
    for name, number, scale in jobs:
        path = folder / f"{name}-{number:04d}"
        if path.with_suffix(".json").exists():
            continue
        rng = random.Random(f"{seed}/{name}/{number}")
        with Renderer((int(SHEET / scale), int(SHEET / scale)), scale) as renderer:
            cols, rows = TEXT if name == "text" else (CLASSES[name].cols, CLASSES[name].rows)
            n = renderer.capacity((cols * 32, rows * 32))
            if name == "text":
                numbers = NUMBERS[number >= n_text // 2]
                drawn = renderer.draw([text_page(rng, numbers) for _ in range(n)])
            else:
                kind = CLASSES[name].last or rng.choice(KINDS[:-3] if rows < 5 else KINDS)
                drawn = renderer.draw([training_pages.page(rng, (cols, rows), kind) for _ in range(n)])
        np.save(path.with_suffix(".npy"), np.stack([image for image, _ in drawn]))
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"scale": scale, "facts": [facts for _, facts in drawn]}))
        os.replace(temporary, path.with_suffix(".json"))


def read(folder: Path, name: str) -> Iterator[tuple[np.ndarray, list[dict[str, Any]], float]]:
    """Sheets of ``name`` that are complete: images (memory-mapped), facts per page, device scale."""
    for path in sorted(folder.glob(f"{name}-*.json")):
        data = json.loads(path.read_text())
        yield np.load(path.with_suffix(".npy"), mmap_mode="r"), data["facts"], data["scale"]


def main(folder: str, n_text: str, n_sheets: str, seed: str) -> None:
    """Entry of the worker process."""
    os.nice(15)
    fill(Path(folder), int(n_text), int(n_sheets), int(seed))
