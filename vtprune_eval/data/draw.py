"""Records as pictures: the screen with the annotated target on it, earlier screens beside it, the words below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..benchmarks.benchmark import Mark
from ..benchmarks.tasks import Task, benchmark_of, definition, load_task
from ..errors import SampleError, UserError
from ..image_file import open_picture
from ..turns import readable

HEIGHT, THUMB_HEIGHT, LINE, WIDTH_CHARS = 720, 240, 18, 110
TARGET, POINT, FAINT, PAPER, INK = (220, 0, 60), (0, 90, 230), (240, 150, 30), (255, 255, 255), (20, 20, 20)
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
    sheet = Image.new("RGB", (max(p.width for p in panels), sum(p.height for p in panels)), PAPER)
    top = 0
    for panel in panels:
        sheet.paste(panel, (0, top))
        top += panel.height
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
    _draw(ImageDraw.Draw(shown), marks, shown.width / screen.width, shown.height / screen.height)
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
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(13)
    for i, line in enumerate(words):
        pen.text((8, body + 16 + LINE * i), line, fill=INK, font=font)
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


def _draw(pen: ImageDraw.ImageDraw, marks: Sequence[Mark], sx: float, sy: float) -> None:
    for kind, numbers in marks:
        p = [v * (sy if i % 2 else sx) for i, v in enumerate(numbers)]
        if kind in ("box", "faint"):
            corners = (min(p[0], p[2]), min(p[1], p[3]), max(p[0], p[2]), max(p[1], p[3]))
            pen.rectangle(corners, outline=TARGET if kind == "box" else FAINT, width=3 if kind == "box" else 1)
        elif kind == "polygon":
            pen.polygon([(p[i], p[i + 1]) for i in range(0, len(p) - 1, 2)], outline=TARGET, width=3)
        elif kind == "point":
            for radius, colour in ((9, PAPER), (7, POINT)):  # a light rim: the colour alone may be the element's
                pen.ellipse((p[0] - radius, p[1] - radius, p[0] + radius, p[1] + radius), outline=colour, width=3)
        else:
            pen.line(tuple(p), fill=POINT, width=4)
            pen.ellipse((p[2] - 6, p[3] - 6, p[2] + 6, p[3] + 6), fill=POINT)
