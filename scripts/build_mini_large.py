"""Build the larger mini suite: ``python scripts/build_mini_large.py [--out tasks]``.

The evaluation templates of the mini suite as panes of screens of 160 to 640 visual tokens with text 24
px high, drawn in headless Chromium; every box and answer is taken from the DOM. Deterministic like ``build_mini.py``.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from build_mini import Writer, clip, duplicate_share
from mini.panes import LAYOUTS, SCALE, screen
from mini.render import Renderer
from nano.batches import page_questions
from PIL import Image

SEED = 31480
PAGES = 10  # of every layout and task, two questions each


class PaletteWriter(Writer):
    """Stores a picture with a palette where that loses nothing: a third of the bytes."""

    def image(self, name: str, pixels: np.ndarray) -> str:
        picture = Image.fromarray(pixels).convert("RGB")
        colours = picture.getcolors(256)
        if colours is not None:
            small = picture.quantize(len(colours), dither=Image.Dither.NONE)
            if (np.asarray(small.convert("RGB")) == pixels).all():
                picture = small
        path = self.folder / "images" / f"{name}.png"
        picture.save(path, optimize=True)
        return f"images/{name}.png"


def scaled(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of a page with its boxes in device pixels."""
    return {**facts, "targets": [{**t, "box": [v * SCALE for v in t["box"]]} for t in facts["targets"]]}


def asked(facts: dict[str, Any], size: tuple[int, int]) -> list[tuple[str, str, tuple]]:
    """Questions that occur once on the page and whose answer is a box or a number."""
    pairs = [p for p in page_questions(facts, size) if p[2][0] == "box" or p[1].isdigit()]
    often = Counter(q for q, _, _ in pairs)
    return [p for p in pairs if often[p[0]] == 1]


def build(writer: Writer, kind: str, renderer: Renderer) -> None:
    """All pages of one task: ``ui`` asks for a label and an icon, ``document`` for two numbers."""
    for name, layout in LAYOUTS.items():
        for number in range(PAGES):
            rng = random.Random(f"{SEED}/{kind}/{name}/{number}")
            drawn, facts = renderer.draw([screen(rng, name, kind)])[0]
            size = (drawn.shape[1], drawn.shape[0])
            pairs = asked(scaled(facts), size)
            if kind == "ui":
                icons = [p for p in pairs if p[0].endswith(" icon")]
                texts = [p for p in pairs if p[2][0] == "box" and not p[0].endswith(" icon")]
                chosen = rng.sample(texts, 1) + (rng.sample(icons, 1) if icons else rng.sample(texts, 1))
            else:
                chosen = rng.sample([p for p in pairs if p[2][0] == "text"], 2)
            file = writer.image(f"{name}-{number:02d}", drawn)
            for question, answer, check in chosen:
                target: dict[str, Any] = {"type": "text", "answers": [answer]}
                meta = {"layout": name, "tokens": layout.tokens}
                if kind == "ui":
                    target = {"type": "box", "box_xyxy": clip(check[1], size)}
                    meta["target_kind"] = "icon" if question.endswith(" icon") else "text"
                writer.add([file], question, target, f"page-{name}-{number:02d}", meta)
    writer.close()


def main() -> int:
    """Build both tasks and print their counts, sizes and shares of duplicate blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "tasks")
    out = parser.parse_args().out
    tasks = {"mini-large-grounding": ("ui", "lg"), "mini-large-doc": ("document", "ld")}
    largest = (max(m.cols for m in LAYOUTS.values()) * 32, max(m.rows for m in LAYOUTS.values()) * 32)
    with Renderer(largest, SCALE) as renderer:
        for name, (kind, prefix) in tasks.items():
            build(PaletteWriter(out / name / "data", prefix), kind, renderer)
    for name in tasks:
        folder = out / name / "data"
        n = len((folder / "samples.jsonl").read_text().splitlines())
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        print(f"{name}: {n} samples, {size / 1e6:.2f} MB, {100 * duplicate_share(folder):.1f} % duplicate blocks")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
