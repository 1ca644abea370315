"""Build the embedded mini suite: ``python scripts/build_mini.py [--out tasks]``.

Draws the evaluation pages in headless Chromium and takes every box and answer from the DOM. Deterministic: one seed,
one browser version and one font give the same files. Needs the packages of ``[dev]``, a Chromium and the DejaVu fonts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from mini.eval_pages import DOCUMENTS, GROUNDING, Words, step_screen
from mini.render import Renderer
from nano.batches import nav_prompt, page_questions, target_name
from PIL import Image

SEED = 20260
PAGES = 120  # screens per single-image task, two questions each
EPISODES = {"taps": 44, "recall": 70, "scroll": 26, "lost": 18, "done": 26}


class Writer:
    """Collects samples and writes images of one task."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for old in (folder / "images").glob("*.png"):
            old.unlink()
        self.samples: list[dict[str, Any]] = []

    def image(self, name: str, pixels: np.ndarray) -> str:
        path = self.folder / "images" / f"{name}.png"
        colours = Image.fromarray(pixels).convert("RGB")
        colours.save(path, optimize=True)
        return f"images/{name}.png"

    def add(self, images: list[str], question: str, target: dict[str, Any], cluster: str, meta: dict[str, Any]) -> None:
        number = f"{self.prefix}-{len(self.samples):04d}"
        self.samples.append(
            {"id": number, "images": images, "question": question, "target": target, "cluster": cluster, "meta": meta}
        )

    def close(self) -> None:
        lines = [json.dumps(s, separators=(",", ":")) for s in self.samples]
        (self.folder / "samples.jsonl").write_text("\n".join(lines) + "\n")


def clip(box: list[float], size: tuple[int, int]) -> list[int]:
    """A DOM box cut to the image, in whole pixels."""
    return [round(max(0, box[0])), round(max(0, box[1])), round(min(size[0], box[2])), round(min(size[1], box[3]))]


def grounding(renderer: Renderer, out: Path) -> None:
    """Two targets per page, an icon among them where the page has one and it is its turn."""
    writer = Writer(out / "mini-grounding" / "data", "g")
    for number in range(PAGES):
        rng = random.Random(f"{SEED}/grounding/{number}")
        platform, template = GROUNDING[number % len(GROUNDING)]
        screen = template(rng, Words(rng))
        pixels, facts = renderer.draw([screen])[0]
        name = writer.image(f"{number:03d}-{screen.template}", pixels)
        texts = [t for t in facts["targets"] if t["kind"] == "text"]
        icons = [t for t in facts["targets"] if t["kind"] == "icon"]
        chosen = rng.sample(texts, 1) + (rng.sample(icons, 1) if icons else rng.sample(texts, 1))
        for t in chosen:
            writer.add(
                [name],
                f"click {target_name(t)}",
                {"type": "box", "box_xyxy": clip(t["box"], screen.size)},
                f"page-{number:03d}",
                {"target_kind": t["kind"], "platform": platform, "template": screen.template},
            )
    writer.close()


def documents(renderer: Renderer, out: Path) -> None:
    """Two questions per page."""
    writer = Writer(out / "mini-doc" / "data", "d")
    for number in range(PAGES):
        rng = random.Random(f"{SEED}/documents/{number}")
        kind, template = DOCUMENTS[number % len(DOCUMENTS)]
        screen = template(rng, Words(rng))
        pixels, facts = renderer.draw([screen])[0]
        name = writer.image(f"{number:03d}-{screen.template}", pixels)
        pairs = [(q, a) for q, a, check in page_questions(facts, screen.size) if check[0] == "text"]
        for question, answer in rng.sample(pairs, 2):
            writer.add(
                [name],
                question,
                {"type": "text", "answers": [answer]},
                f"page-{number:03d}",
                {"kind": kind, "template": screen.template},
            )
    writer.close()


def navigation(renderer: Renderer, out: Path) -> None:
    """Episodes of up to five screens; every step sees at most four screens of history."""
    writer = Writer(out / "mini-nav" / "data", "n")
    number = 0
    for kind, count in EPISODES.items():
        for _ in range(count):
            rng = random.Random(f"{SEED}/navigation/{number}")
            _episode(writer, renderer, rng, kind, number)
            number += 1
    writer.close()


def _episode(writer: Writer, renderer: Renderer, rng: random.Random, kind: str, number: int) -> None:
    shape, w = rng.choice(("phone", "pane")), Words(rng)
    n = rng.randint(2, 5)
    plain = [rng.choice(("menu", "tiles")) for _ in range(n)]
    kinds = {
        "taps": plain,
        "recall": ["codes", *plain[: n - 2], "entry"],
        "scroll": plain,
        "done": plain,
        "lost": [*plain[: n - 1], "lost"],
    }[kind]
    drawn = renderer.draw([step_screen(rng, w, shape, k) for k in kinds])
    names = [writer.image(f"{number:03d}-{i}-{k}", drawn[i][0]) for i, k in enumerate(kinds)]
    size = (drawn[0][0].shape[1], drawn[0][0].shape[0])
    targets = [rng.choice([t for t in facts["targets"] if t["name"]]) for _, facts in drawn]
    taps = [f"tap {target_name(t)}" for t in targets]
    last = len(kinds) - 1

    def add(i: int, goal: str, action: dict[str, Any], needs_history: bool = False) -> None:
        first = max(0, i - 4)
        writer.add(
            names[first : i + 1],
            nav_prompt(goal, taps[:i]),
            {"type": "action", "action": action},
            f"episode-{number:03d}",
            {
                "step": kind,
                "needs_history": needs_history,
                "n_history": i - first,
                "platform": "mobile" if shape == "phone" else "desktop",
            },
        )

    if kind == "taps":
        for i, t in enumerate(targets):
            box = clip(t["box"], size)
            at = [(box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]]
            start = max(0, i - 2)
            add(i, ", ".join(taps[start : i + 2]), {"type": "tap", "point": at, "box_xyxy": box})
    elif kind == "recall":
        fact = rng.choice(drawn[0][1]["facts"])
        add(last, f"type code of {fact['key']}", {"type": "type", "text": fact["value"]}, needs_history=True)
    elif kind == "scroll":
        add(last, f"tap {w()}", {"type": "scroll", "direction": "down"})
    elif kind == "lost":
        add(last, f"tap {w()}", {"type": "back"})
    else:
        add(last, ", ".join(taps[max(0, last - 2) : last]), {"type": "finish"})


def duplicate_share(folder: Path, block: int = 32) -> float:
    """Share of merge blocks that repeat an earlier block of the same image, over all images of a task."""
    repeated = total = 0
    for path in sorted((folder / "images").glob("*.png")):
        pixels = np.array(Image.open(path).convert("RGB"))
        rows, cols = pixels.shape[0] // block, pixels.shape[1] // block
        blocks = pixels.reshape(rows, block, cols, block, 3).transpose(0, 2, 1, 3, 4).reshape(rows * cols, -1)
        repeated += len(blocks) - len({row.tobytes() for row in blocks})
        total += len(blocks)
    return repeated / total


def main() -> int:
    """Build all three tasks and print their counts, sizes and shares of duplicate blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "tasks")
    out = parser.parse_args().out
    with Renderer((512, 512)) as renderer:
        grounding(renderer, out)
        documents(renderer, out)
        navigation(renderer, out)
    for name in ("mini-grounding", "mini-doc", "mini-nav"):
        folder = out / name / "data"
        n = len((folder / "samples.jsonl").read_text().splitlines())
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        print(f"{name}: {n} samples, {size / 1e6:.2f} MB, {100 * duplicate_share(folder):.1f} % duplicate blocks")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
