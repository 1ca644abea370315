"""One picture per sample: a column per method, a row per frame, dropped merge blocks dimmed; at most four columns.

Blocks that did not reach decoder layer 0 are grey; those that were dropped inside the decoder or from its cache are the
greyer the fewer layers and heads hold them, and a map under the frame says how many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..benchmarks.benchmark import Benchmark, box_marks
from ..drawing import draw_answer, draw_marks, stacked, wrapped, write
from ..errors import SampleError, UserError
from ..image_file import open_picture
from ..results.types import Record
from ..sample import Sample
from .maps import Kept, colours, looked, recall_sentence

PER_ROW = 4  # cells side by side: more make captions unreadable at page width
COLUMN, TALLEST = 440, 520  # pixels of a frame at most: width, height
MARGIN, FONT, CAPTION_LINE = 12, 17, 22
DIM, HALF_DIM, LEAST_DIM = 0.82, 0.5, 0.2  # share of grey: never entered; dropped inside, unknown where; dropped last
FILLING, FAINT = (150, 150, 150), (90, 90, 90)
ANSWER_LINES = 3


class Undrawable(UserError):
    """One sample of which no picture can be made; others of the run may do."""


@dataclass(frozen=True)
class Panel:
    """One method's view of a sample: its name at its budget, and its record."""

    label: str
    record: Record

    @property
    def right(self) -> bool | None:
        """True or False for a graded answer (full credit or less), None without a score."""
        score = self.record["score"]
        return None if score is None else score == 1.0


@dataclass(frozen=True)
class _Frame:
    """An image, no larger than its picture needs, and the (width, height) of its file in pixels."""

    image: Image.Image
    size: tuple[int, int]

    @classmethod
    def of(cls, path: Any) -> _Frame:
        image = open_image(path)
        size = image.size
        image.thumbnail((4 * COLUMN, 4 * TALLEST))
        return cls(image, size)


def block_size(panels: list[Panel]) -> int:
    """Pixels per merge-block side, from a record whose images have the full model's size.

    Raises:
        Undrawable: no record of the sample has sizes that fit its counts.
    """
    for panel in panels:
        r = panel.record
        if r["status"] != "ok" or not r["frame"]["model_sizes"]:
            continue
        (width, height), n = r["frame"]["model_sizes"][0], r["counts"]["visual_full"][0]
        block = math.isqrt(width * height // n) if n else 0
        if block and block * block * n == width * height and width % block == height % block == 0:
            return block
    raise Undrawable(
        "no method of this run answered the sample at full image size, so its merge blocks are not known; "
        "show a run that holds the method full."
    )


def draw(
    sample: Sample, panels: list[Panel], benchmark: Benchmark | None = None, *, every: list[Panel] | None = None
) -> Image.Image:
    """The whole picture of a sample.

    Args:
        sample: with its images.
        panels: its cells, :data:`PER_ROW` side by side.
        benchmark: of its task; says how the target is written down.
        every: all cells of the run, which know the size of a merge block where ``panels`` do not.

    Raises:
        Undrawable: no image, one that cannot be opened, or records without what a picture needs.
        UserError: records that do not fit the image.
    """
    if not sample.images:
        raise Undrawable(f"sample {sample.id!r} has no image; choose others with --sample or --task.")
    frames = [_Frame.of(path) for path in sample.images]
    try:
        block = block_size(every or panels)
        strips = [
            _strip(sample, panels[at : at + PER_ROW], frames, block, benchmark) for at in range(0, len(panels), PER_ROW)
        ]
    except (KeyError, IndexError) as error:
        raise Undrawable(
            f"the records of {sample.id!r} lack what a picture needs ({error}): they are of an earlier version; run it "
            "again in a new folder."
        ) from None
    return stacked(strips)


def _strip(
    sample: Sample, panels: list[Panel], frames: list[_Frame], block: int, benchmark: Benchmark | None
) -> Image.Image:
    """Up to :data:`PER_ROW` cells side by side."""
    kept = [Kept(p.record, block) if p.record["status"] == "ok" else None for p in panels]
    captions = [
        [line for text in _caption(sample, p, k) for line in wrapped(text, COLUMN, FONT, ANSWER_LINES)]
        for p, k in zip(panels, kept, strict=True)
    ]
    top = MARGIN + CAPTION_LINE * max(map(len, captions)) + MARGIN // 2
    shapes = [fitted(f.size) for f in frames]
    mapped = any(k is not None and k.share(0) is not None for k in kept)
    height = top + sum((h + CAPTION_LINE) * (2 if mapped else 1) + MARGIN for _, h in shapes)
    sheet = Image.new("RGB", (MARGIN + len(panels) * (COLUMN + MARGIN), height), "white")
    for column, (panel, own, lines) in enumerate(zip(panels, kept, captions, strict=True)):
        x = MARGIN + column * (COLUMN + MARGIN)
        for i, line in enumerate(lines):
            write(sheet, (x, MARGIN + i * CAPTION_LINE), line, FONT, "black", bold=i == 0)
        y = top
        for i, (frame, shape) in enumerate(zip(frames, shapes, strict=True)):
            last = i == len(frames) - 1
            name = "current frame" if last else f"history frame {i + 1} of {len(frames) - 1}"
            write(sheet, (x, y), name, FONT, FAINT)
            view = _view(own, frame.image, shape, i)
            if last:
                _mark(view, sample, panel, frame.size, benchmark)
            sheet.paste(view, (x, y + CAPTION_LINE))
            y += CAPTION_LINE + shape[1]
            if mapped:
                if own is not None and own.share(i) is not None:
                    write(sheet, (x, y), own.title, FONT, FAINT)
                    _scale(sheet, (x + COLUMN - 60, y + 5))
                    chart = _map(own, shape, i)
                    if last:
                        _mark(chart, sample, panel, frame.size, benchmark, point=False)
                    sheet.paste(chart, (x, y + CAPTION_LINE))
                y += CAPTION_LINE + shape[1]
            y += MARGIN
    return sheet


def open_image(path: Any) -> Image.Image:
    try:
        return open_picture(path)
    except SampleError as error:
        raise Undrawable(
            f"the image {path} cannot be opened ({str(error).rstrip('.')}); restore it or give its folder with "
            "--data-path."
        ) from None


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) at which a frame is drawn, in pixels."""
    scale = min(COLUMN / size[0], TALLEST / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _view(kept: Kept | None, frame: Image.Image, shape: tuple[int, int], index: int) -> Image.Image:
    """One frame as the model saw it: at its size (so that a downsized image looks coarse), dropped blocks dimmed."""
    if kept is None:
        return Image.blend(frame.resize(shape), Image.new("RGB", shape, FILLING), DIM)
    entered, stayed, share = kept.entered(index), kept.stayed(index), kept.share(index)
    grey = np.where(entered, np.where(stayed, 0.0, HALF_DIM), DIM)
    if share is not None:
        grey = np.where(entered & (share < 1), LEAST_DIM + (DIM - LEAST_DIM) * (1 - share), grey)
    mask = Image.fromarray((255 * grey).round().astype("u1")).resize(shape, Image.Resampling.NEAREST)
    seen: tuple[int, int] = tuple(kept.record["frame"]["model_sizes"][index])
    if seen[0] < 2 * shape[0]:
        frame = frame.resize(seen, Image.Resampling.BICUBIC)
    as_seen = frame.resize(shape, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", shape, FILLING), as_seen, mask)


def _map(kept: Kept, shape: tuple[int, int], index: int) -> Image.Image:
    """The shares of a frame's blocks in colour; blocks that never entered are white."""
    share = kept.share(index)
    assert share is not None
    cells = np.where(kept.entered(index)[..., None], colours(share), np.array(255, "u1")).astype("u1")
    return Image.fromarray(cells).resize(shape, Image.Resampling.NEAREST)


def _scale(sheet: Image.Image, at: tuple[int, int]) -> None:
    """The colours from 0 to 100 %, left to right."""
    bar = np.broadcast_to(colours(np.linspace(0, 1, 60))[None], (12, 60, 3))
    sheet.paste(Image.fromarray(np.ascontiguousarray(bar)), at)


def _mark(
    view: Image.Image,
    sample: Sample,
    panel: Panel,
    size: tuple[int, int],
    benchmark: Benchmark | None,
    *,
    point: bool = True,
) -> None:
    marks = benchmark.marks(sample.target, size) if benchmark else box_marks(sample.target)
    draw_marks(view, marks, size, faint=False)
    answered = predicted_point(panel.record) if point else None
    if answered:
        draw_answer(view, answered)


def predicted_point(record: Record) -> tuple[float, float] | None:
    """The answered point (fractions of the image), None where the answer is no point inside the image."""
    parsed = record.get("parsed")
    point = parsed.get("point") if isinstance(parsed, dict) else None
    if not isinstance(point, list) or len(point) != 2:
        return None
    return (point[0], point[1]) if all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in point) else None


def verdict_of(panel: Panel) -> str:
    """Right, wrong with the reason, failed, or not scored."""
    reason = str(panel.record["reason"])
    if panel.record["status"] != "ok":
        return f"failed: {reason}"
    return {True: "right", False: "wrong" if reason == "wrong" else f"wrong ({reason})", None: "not scored"}[
        panel.right
    ]


def _caption(sample: Sample, panel: Panel, kept: Kept | None) -> list[str]:
    r = panel.record
    if kept is None or r["status"] == "failed":
        return [panel.label, verdict_of(panel)]
    c = r["counts"]
    entries = [
        n for n, heads in zip(c["cache_entries"], c.get("cache_heads") or c["cache_entries"], strict=True) if heads
    ]
    out = [
        panel.label,
        f"{verdict_of(panel)}: {printable(r['answer'])}",
        f"visual tokens: {sum(c['visual'])} of {sum(c['visual_full'])} at layer 0, {c['layer_visual'][-1]} at the last",
    ]
    if sum(c["patches"]) != sum(c["patches_full"]):
        out.append(f"patches into the ViT: {sum(c['patches'])} of {sum(c['patches_full'])}")
    if kept.cut_cache:
        out.append(f"cache entries per layer and head: {sum(entries) / len(entries):.0f} of {c['prompt_full']}")
    return [*out, *filter(None, [recall_sentence(r), *looked(sample, kept), kept.lacks])]


def sentences(sample: Sample, panels: list[Panel], every: list[Panel]) -> list[str]:
    """What stands over each column of a drawn sample, behind the verdict and the answer, as one text.

    Args:
        sample: that was drawn.
        panels: its cells.
        every: all cells of the run.
    """
    block = block_size(every)
    answered = [Kept(p.record, block) if p.record["status"] == "ok" else None for p in panels]
    return ["; ".join(_caption(sample, p, kept)[2:]) for p, kept in zip(panels, answered, strict=True)]


def printable(text: str, length: int = 90) -> str:
    """A model's text on one line without control characters, cut to ``length``."""
    flat = "".join(ch if ch.isprintable() else " " for ch in text[: 4 * length])
    flat = " ".join(flat.split())
    return flat if len(flat) <= length else flat[: length - 3] + "..."
