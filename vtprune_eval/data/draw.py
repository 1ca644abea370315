"""Records as pictures: the screen with the annotated target on it, earlier screens beside it, the words below."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from PIL import Image

from ..benchmarks.definitions import benchmark_of, definition
from ..benchmarks.tasks import Task, load_task
from ..drawing import PAPER, draw_marks, stacked, write
from ..errors import SampleError, UserError
from ..image_file import open_picture
from ..turns import readable

HEIGHT, THUMB_HEIGHT, LINE, FONT, WIDTH_CHARS = 720, 240, 18, 13, 110
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


def draw_task(name: str, n: int, data_path: str | None, history: int | None, out: Path) -> list[str]:
    """Draw ``n`` records (those that ``--limit`` would take) into one PNG.

    Returns:
        A line per record: id, size of the screen, what is annotated.

    Raises:
        UserError: as ``load_task``; ``out`` is no name of a picture, or cannot be written.
    """
    if out.suffix.lower() not in ENDINGS or out.is_dir():
        raise UserError(f"--out {out} is no name of a picture; give one that ends in {', '.join(ENDINGS)}.")
    embedded = not benchmark_of(definition(name)).prompted
    task = load_task(name, n, data_path, history=history, style="mini" if embedded else "qwen3_vl")
    panels, lines = [], []
    for sample in task.samples:
        panel, line = draw_sample(task, sample)
        panels.append(panel)
        lines.append(line)
    sheet = stacked(panels)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(out)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}); choose another with --out.") from error
    return lines


def draw_sample(task: Task, sample: Any) -> tuple[Image.Image, str]:
    """One panel and its line."""
    screens = [_opened(path) for path in sample.images]
    screen, note = screens[-1]
    marks = task.of.marks(sample.target, screen.size) if not note else []
    scale = min(1.0, HEIGHT / screen.height)
    shown = screen.resize((max(1, round(screen.width * scale)), max(1, round(screen.height * scale))))
    draw_marks(shown, marks, screen.size)
    thumbs = [s.resize((max(1, round(s.width * THUMB_HEIGHT / s.height)), THUMB_HEIGHT)) for s, _ in screens[:-1]]
    words = _words(task, sample, note)
    width = max(shown.width, 640) + (max(t.width for t in thumbs) + 12 if thumbs else 0)
    body = max(shown.height, sum(t.height + 8 for t in thumbs))
    panel = Image.new("RGB", (width + 16, body + LINE * len(words) + 32), PAPER)
    panel.paste(shown, (8, 8))
    left, top = width - (max(t.width for t in thumbs) if thumbs else 0), 8
    for thumb in thumbs:
        panel.paste(thumb, (left, top))
        top += thumb.height + 8
    for i, line in enumerate(words):
        write(panel, (8, body + 16 + LINE * i), line, FONT)
    kinds = ", ".join(sorted({kind for kind, _ in marks})) or "nothing to draw"
    return panel, f"{sample.id}: {screen.width}x{screen.height}, {len(sample.images)} screens, {note or kinds}"


def _opened(path: Path) -> tuple[Image.Image, str]:
    try:
        return open_picture(path), ""
    except SampleError as error:
        return Image.new("RGB", (640, 360), (210, 210, 210)), str(error)


def _words(task: Task, sample: Any, note: str) -> list[str]:
    truth = sample.target.get("truth") or sample.target
    short = {k: v for k, v in truth.items() if k not in ("accessibility_tree", "annot_position")}
    text = [f"{task.label}  {sample.id}  {note}", *readable(sample.question).splitlines()[-8:], f"truth: {short}"]
    out: list[str] = []
    for line in text:
        out += textwrap.wrap(line, WIDTH_CHARS)[:4] or [""]
    return out
