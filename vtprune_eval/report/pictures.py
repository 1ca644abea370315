"""One picture per sample: a column per method, a row per frame, dropped merge blocks dimmed.

Blocks that did not reach decoder layer 0 are grey; those that a method dropped inside the decoder are half grey.
Entries that are dropped from the KV cache differ by layer and head: they are counted in the caption and not drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..benchmarks.benchmark import Benchmark, box_marks
from ..errors import SampleError, UserError
from ..image_file import open_picture
from ..sample import Sample

COLUMN = 420  # pixels of a column at most; screenshots are wider than what a page can show side by side
MARGIN, CAPTION_LINE = 10, 17
DIM, HALF_DIM = 0.82, 0.5  # share of grey in a block that was dropped before, and inside the decoder
TARGET, POINT = (0, 158, 115), (213, 94, 0)  # Okabe and Ito's green and vermilion
FILLING = (150, 150, 150)
RING = 10  # radius in pixels around a target that is a point


class Undrawable(UserError):
    """One sample of which no picture can be made; others of the run may do."""


@dataclass(frozen=True)
class Panel:
    """One method's view of a sample: its name at its budget, and its record."""

    label: str
    record: dict[str, Any]

    @property
    def right(self) -> bool | None:
        """True or False for a graded answer (full credit or less), None without a score."""
        score = self.record["score"]
        return None if score is None else score == 1.0


def block_size(panels: list[Panel]) -> int:
    """Pixels per merge-block side, from a record whose images have the full model's size.

    Raises:
        Undrawable: no record of the sample has sizes that fit its counts.
    """
    for panel in panels:
        r = panel.record
        if r["status"] != "ok":
            continue
        (width, height), n = r["frame"]["model_sizes"][0], r["counts"]["visual_full"][0]
        block = math.isqrt(width * height // n)
        if block and block * block * n == width * height and width % block == height % block == 0:
            return block
    raise Undrawable(
        "no method of this run answered the sample at full image size, so its merge blocks are not known; "
        "show a run that holds the method full."
    )


def kept_blocks(bitmap: str, size: tuple[int, int], block: int) -> list[list[bool]]:
    """Which merge blocks reached the decoder, rows of columns.

    Args:
        bitmap: hex number of the record, bit i for block i in raster order.
        size: (width, height) in pixels that the model saw; block: pixels per block side.

    Raises:
        UserError: the bitmap names blocks outside the image.
    """
    columns, rows = size[0] // block, size[1] // block
    bits = int(bitmap, 16)
    if bits >> (columns * rows):
        raise UserError(f"a record keeps merge blocks outside its image of {rows} x {columns} blocks; run it again.")
    return [[bool(bits >> (r * columns + c) & 1) for c in range(columns)] for r in range(rows)]


def draw(sample: Sample, panels: list[Panel], benchmark: Benchmark | None = None) -> Image.Image:
    """The whole picture of a sample; ``benchmark`` (of its task) says how the target is written down.

    Raises:
        Undrawable: an image that cannot be opened, or no record with its size.
        UserError: records that do not fit the image.
    """
    frames = [open_image(path) for path in sample.images]
    block = block_size(panels)
    captions = [_caption(p) for p in panels]
    top = MARGIN + CAPTION_LINE * max(map(len, captions))
    shapes = [_fit(f.size) for f in frames]
    width = MARGIN + len(panels) * (COLUMN + MARGIN)
    height = top + sum(h + CAPTION_LINE + MARGIN for _, h in shapes)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, (panel, lines) in enumerate(zip(panels, captions, strict=True)):
        x = MARGIN + column * (COLUMN + MARGIN)
        for i, line in enumerate(lines):
            pen.text((x, MARGIN + i * CAPTION_LINE), _cut(pen, line, font), fill="black", font=font)
        y = top
        for i, (frame, shape) in enumerate(zip(frames, shapes, strict=True)):
            last = i == len(frames) - 1
            name = "current frame" if last else f"history frame {i + 1} of {len(frames) - 1}"
            pen.text((x, y), name, fill=(90, 90, 90), font=font)
            view = _view(panel, frame, shape, i, block)
            if last:
                _mark(view, sample, panel, frame.size, benchmark)
            sheet.paste(view, (x, y + CAPTION_LINE))
            y += CAPTION_LINE + shape[1] + MARGIN
    return sheet


def open_image(path: Any) -> Image.Image:
    try:
        return open_picture(path)
    except SampleError as error:
        raise Undrawable(
            f"the image {path} cannot be opened ({str(error).rstrip('.')}); restore it or give its folder with "
            "--data-path."
        ) from None


def _fit(size: tuple[int, int]) -> tuple[int, int]:
    scale = COLUMN / size[0]
    return COLUMN, max(1, round(size[1] * scale))


def _view(panel: Panel, frame: Image.Image, shape: tuple[int, int], index: int, block: int) -> Image.Image:
    """One frame as the model saw it: at its size (so that a downsized image looks coarse), dropped blocks dimmed."""
    record = panel.record
    if record["status"] != "ok":
        return Image.blend(frame.resize(shape), Image.new("RGB", shape, FILLING), DIM)
    seen = tuple(record["frame"]["model_sizes"][index])
    grid = kept_blocks(record["kept"][index], seen, block)
    last = kept_blocks(record["kept_last"][index], seen, block) if "kept_last" in record else grid
    grey = Image.new("L", (len(grid[0]), len(grid)))
    grey.putdata(
        [
            0 if stays else round(255 * (HALF_DIM if kept else DIM))
            for row, below in zip(grid, last, strict=True)
            for kept, stays in zip(row, below, strict=True)
        ]
    )
    as_seen = frame.resize(seen, Image.Resampling.BICUBIC).resize(shape, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", shape, FILLING), as_seen, grey.resize(shape, Image.Resampling.NEAREST))


def _mark(view: Image.Image, sample: Sample, panel: Panel, size: tuple[int, int], benchmark: Benchmark | None) -> None:
    pen = ImageDraw.Draw(view)
    for kind, numbers in benchmark.marks(sample.target, size) if benchmark else box_marks(sample.target):
        p = [v * view.size[i % 2] / size[i % 2] for i, v in enumerate(numbers)]
        if kind == "box":
            pen.rectangle(
                [min(p[::2]) - 1, min(p[1::2]) - 1, max(p[::2]) + 1, max(p[1::2]) + 1], outline=TARGET, width=3
            )
        elif kind == "polygon":
            pen.line([*p, *p[:2]], fill=TARGET, width=3)
        elif kind == "point":
            pen.ellipse([p[0] - RING, p[1] - RING, p[0] + RING, p[1] + RING], outline=TARGET, width=3)
        elif kind == "arrow":  # its head is a dot
            pen.line(p, fill=TARGET, width=3)
            pen.ellipse([p[2] - RING / 2, p[3] - RING / 2, p[2] + RING / 2, p[3] + RING / 2], fill=TARGET)
    point = predicted_point(panel.record)
    if point:
        x, y = point[0] * view.size[0], point[1] * view.size[1]
        for width, colour in ((6, (255, 255, 255)), (3, POINT)):
            pen.line([x - 8, y - 8, x + 8, y + 8], fill=colour, width=width)
            pen.line([x - 8, y + 8, x + 8, y - 8], fill=colour, width=width)


def predicted_point(record: dict[str, Any]) -> tuple[float, float] | None:
    """The answered point (fractions of the image), None where the answer is no point inside the image."""
    parsed = record.get("parsed")
    point = parsed.get("point") if isinstance(parsed, dict) else None
    if not isinstance(point, list) or len(point) != 2:
        return None
    return (point[0], point[1]) if all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in point) else None


def _caption(panel: Panel) -> list[str]:
    r = panel.record
    if r["status"] != "ok":
        return [panel.label, f"failed: {r['reason']}"]
    wrong = "wrong" if r["reason"] == "wrong" else f"wrong ({r['reason']})"
    verdict = {True: "right", False: wrong, None: "not scored"}[panel.right]
    c = r["counts"]
    return [
        panel.label,
        f"{verdict}: {printable(r['answer'])}",
        f"patches into the ViT {sum(c['patches'])} of {sum(c['patches_full'])}",
        f"visual tokens at layer 0: {sum(c['visual'])} of {sum(c['visual_full'])}; "
        f"at the last: {c['layer_visual'][-1]}",
        f"cache entries per layer and head: {sum(c['cache_entries']) / len(c['cache_entries']):.0f}",
    ]


def printable(text: str, length: int = 90) -> str:
    """A model's text on one line without control characters, cut to ``length``."""
    flat = "".join(ch if ch.isprintable() else " " for ch in text[: 4 * length])
    flat = " ".join(flat.split())
    return flat if len(flat) <= length else flat[: length - 3] + "..."


def _cut(pen: ImageDraw.ImageDraw, text: str, font: Any) -> str:
    while text and pen.textlength(text, font=font) > COLUMN:
        text = text[:-4] + "..." if len(text) > 4 else ""
    return text
