"""What methods before the ViT keep of the images of a task, and how redundant these are: no model is loaded.

Budgets, masks and counts come from the pipeline itself (:meth:`.Pipeline.look`), behind a stand-in that knows only how
a model cuts images into blocks.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..budget import Budget
from ..clock import StageClock
from ..errors import InfeasibleBudget, SampleError, UserError
from ..methods.kernels.blocks import to_blocks
from ..methods.pixelprune import PixelPrune
from ..models.base import ImageRules
from ..pipeline.generate import Pipeline
from ..pipeline.images import Images, load_images
from ..pipeline.recall import blocks_of, share_kept
from ..registry import make_method
from ..sample import Sample

# Hooks that run before the ViT.
BEFORE_VIT = ("reduce_images", "select_patches")
# PixelPrune's three scans at tau = 0: the retain ratios of its tables.
SCANS = ("pred_2d", "raster", "serpentine")


class NoModel:
    """The face of an adapter that :meth:`.Pipeline.look` needs, without a network.

    Args:
        name: short name of the model.
        rules: of its processor.
    """

    points, folder = False, None

    def __init__(self, name: str, rules: ImageRules) -> None:
        self.name, self.images = name, rules
        self.text = SimpleNamespace(config=SimpleNamespace(), layers=())
        self.device = torch.device("cpu")
        self.devices = (self.device,)

    def prompt_ids(self, n_tokens: Sequence[int], question: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Placeholders alone: nothing before the ViT reads a word."""
        ends = np.cumsum([0, *n_tokens]).tolist()
        return [0] * ends[-1], list(itertools.pairwise(ends))

    def positions(self, n_prompt: int, spans: Any, grids: Any) -> torch.Tensor:
        """None that anything would look at."""
        return torch.zeros(3, n_prompt, dtype=torch.long)

    def check_needs(self, needs: Sequence[str]) -> None:
        """Nothing is asked of a ViT that does not run."""


@dataclass(frozen=True)
class Cell:
    """A method (or composition) at a budget.

    Attributes:
        method: as asked for.
        budget: as asked for.
        pipeline: which keeps what a run would keep.
    """

    method: str
    budget: str
    pipeline: Pipeline


@dataclass(frozen=True)
class ImageFacts:
    """One image as a model cuts it.

    Attributes:
        name: of the file.
        size: (width, height) that the model sees, pixels.
        blocks: merge blocks.
        unique: different contents among them.
        duplicated: blocks whose content occurs more than once.
        retained: blocks that PixelPrune keeps at tau = 0, by scan (:data:`SCANS`).
    """

    name: str
    size: tuple[int, int]
    blocks: int
    unique: int
    duplicated: int
    retained: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What one cell keeps of one sample.

    Attributes:
        method: the cell.
        budget: the cell.
        sample: its id.
        tokens: visual tokens over all images.
        tokens_full: visual tokens over all images.
        recall: share of the target's blocks, None for a sample without a box.
    """

    method: str
    budget: str
    sample: str
    tokens: int
    tokens_full: int
    recall: float | None


def make_cells(
    model: str,
    rules: ImageRules,
    methods: Sequence[tuple[str, tuple[Any, ...]]],
    budgets: Sequence[str],
    seed: int = 0,
    copied: Callable[[str], Any] = make_method,
) -> list[Cell]:
    """Cells of methods before the ViT.

    Args:
        model: short name.
        rules: of its processor.
        methods: (name, its method objects).
        budgets: as on the command line; a method that is told nothing by a budget (``full``) has one cell.
        copied: makes the method whose count ``auto`` and ``like:`` copy.

    Raises:
        UserError: a method that needs a model, or a budget that means nothing for it.
    """
    cells = []
    for name, parts in methods:
        late = [h for part in parts for h in part.hooks() if h not in BEFORE_VIT]
        deep = [part for part in parts if "select_patches" in part.hooks() and part.vit_depth]
        if late or deep:
            where = "inside the ViT" if deep else "inside or behind the ViT"
            raise UserError(
                f"{name} acts {where}, so what it keeps needs a model; its target recall is in the records of a run. "
                "Here: methods of the stages image and patches "
                "(pixelprune, random, stride, conncomp, resize, guipruner-tar, random-history)."
            )
        for text in budgets if any(part.hooks() for part in parts) else ("100",):
            budget = Budget.parse(text)
            pipeline = Pipeline(NoModel(model, rules), parts, budget, seed=seed, copied=copied)  # type: ignore[arg-type]
            cells.append(Cell(name, str(budget), pipeline))
    return cells


def image_facts(name: str, pixels: np.ndarray, block: int, scans: bool = True) -> ImageFacts:
    """Duplicates and retain ratios of one image at the size that the model sees.

    ``duplicated`` counts blocks whose pixels occur more than once anywhere in the image: PixelPrune's Table 9.
    """
    blocks = to_blocks(pixels, block)
    flat = blocks.reshape(-1, blocks.shape[-1])
    _, counts = np.unique(flat.view(np.dtype((np.void, flat.shape[1]))), return_counts=True)
    kept = {scan: int(PixelPrune(predictor=scan).keep(pixels, block).sum()) for scan in SCANS if scans}
    size = (pixels.shape[1], pixels.shape[0])
    return ImageFacts(name, size, len(flat), len(counts), int(counts[counts > 1].sum()), kept)


def survey(
    samples: Iterable[Sample],
    rules: ImageRules,
    cells: Sequence[Cell] = (),
    *,
    scans: bool = True,
    failed: list[str] | None = None,
    unmet: Counter[tuple[str, str]] | None = None,
) -> Iterator[tuple[list[ImageFacts], list[Kept]]]:
    """Look at the images of a task, one group of samples with the same images at a time.

    Every cell decides once per group, with the seed of the group's first sample: a method without chance keeps what a
    run keeps for each of them, one that draws at random draws once per page.

    Args:
        samples: in the order of the task.
        rules: of the model's processor.
        cells: from :func:`make_cells`.
        scans: also count what PixelPrune's scans retain.
        failed: gets a sentence per group that cannot be looked at.
        unmet: gets the number of samples on which a cell's budget cannot be met, by (method, budget).

    Yields:
        the facts of images that no earlier group had, and what the cells keep of each sample; nothing of a cell whose
        budget cannot be met on it.
    """
    seen: set[Path] = set()
    for _, same in itertools.groupby(samples, key=lambda sample: sample.images):
        group = list(same)
        try:
            yield _look(group, rules, cells, seen, scans, Counter() if unmet is None else unmet)
        except SampleError as error:
            if failed is not None:
                failed.append(f"{group[0].id}: {error}")


def _look(
    group: Sequence[Sample],
    rules: ImageRules,
    cells: Sequence[Cell],
    seen: set[Path],
    scans: bool,
    unmet: Counter[tuple[str, str]],
) -> tuple[list[ImageFacts], list[Kept]]:
    first, clock = group[0], StageClock(torch.device("cpu"))
    images = load_images(first, rules, clock, keep_files=True)
    facts = []
    for path, pixels in zip(images.paths, images.pixels, strict=True):
        if path not in seen:
            seen.add(path)
            facts.append(image_facts(path.name, pixels, rules.block, scans))
    kept: list[Kept] = []
    for cell in cells:
        try:
            kept += _kept(cell, group, images, clock)
        except InfeasibleBudget:  # this cell has no answer here; the others have
            unmet[cell.method, cell.budget] += len(group)
    return facts, kept


def _kept(cell: Cell, group: Sequence[Sample], images: Images, clock: StageClock) -> Iterator[Kept]:
    pipeline = cell.pipeline
    budgets = pipeline.budgets(group[0], images, clock)
    prompt, masks = pipeline.look(group[0], images, budgets, clock)
    grids, block = prompt.layout.grids, pipeline.adapter.images.block
    tokens = sum(h * w if mask is None else int(mask.sum()) for (h, w), mask in zip(grids, masks, strict=True))
    whole = sum((w // block) * (h // block) for w, h in images.full)
    for sample in group:
        recall = None
        if grids:
            size = images.file_sizes[-1]
            places = blocks_of(sample.boxes(size), size, grids[-1])
            if len(places):
                recall = 1.0 if masks[-1] is None else share_kept(places, masks[-1])
        yield Kept(cell.method, cell.budget, sample.id, tokens, whole, recall)
