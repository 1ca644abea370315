"""Can every method meet its budget on every sample? Asked of the image files' headers, before a model is loaded.

The layers before a method's first cut process every token, a history cannot shrink below one block per image, and the
current screenshot of GUIPruner's history half stays whole: what a number asks for may be impossible on some samples.
Such a run is refused, with the smallest number that all of its samples can meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..budget import Budget
from ..errors import InfeasibleBudget, SampleError, UserError
from ..image_file import image_size
from ..methods.base import ImageView, Method
from ..pipeline.budgets import budget_of, check_feasible, sees_every_token
from ..profiling.plan import block_grids, model_block, model_dims
from .spec import Cell, RunSpec

if TYPE_CHECKING:
    from ..benchmarks.tasks import Task

Grids = tuple[tuple[int, int], ...]
TENTHS = 1000  # a budget is searched for in tenths of a percent


def check_samples(spec: RunSpec, tasks: Sequence[Task]) -> None:
    """Refuse a run in which a method cannot meet its budget on some sample.

    Only percentages and token counts of the reading ``equal`` are held against samples, and only for methods that cut
    inside the decoder or shrink images; markers depend on scores and fail their samples one by one.

    Raises:
        UserError: names the method, how many samples, and the smallest feasible budget.
    """
    asked = [(cell, method, budget) for cell in spec.cells() for method, budget in _limited(spec, cell)]
    if not asked or spec.model == "stub" or spec.model_path:
        return
    dims, pixels = model_dims(spec.model)
    block = model_block(spec.model)
    for task in tasks:
        grids = list(dict.fromkeys(_grids(task, pixels, block)))
        for cell, method, budget in asked:
            short = [g for g in grids if not _meets(method, budget, g, dims.layers)]
            if short:
                least = max(_least(method, budget, g, dims.layers) for g in short)
                what = (
                    f"The smallest budget is {least:g}" if least < 100 else "No budget below 100 drops anything there"
                )
                raise UserError(
                    f"{cell.method} at {cell.budget} cannot be met on {task.name}: {method.name} needs more on "
                    f"{len(short)} of {len(grids)} sizes of prompts. {what}; a longer --history makes one that can "
                    "shrink, auto is the method's own setting, and --reading paper counts as its paper does."
                )


def _limited(spec: RunSpec, cell: Cell) -> Iterator[tuple[Method, Budget]]:
    """Methods of a cell whose budget may be impossible on a sample, with what they are told."""
    parts = spec.make(cell.method)
    for part in parts:
        budget = budget_of(part, parts, spec.budget(cell))
        alone = sum(bool(p.hooks()) for p in parts) == 1
        if budget.reading != "equal" or not budget.is_number or budget.is_full:
            continue
        if sees_every_token(part, parts) or (alone and "reduce_images" in part.hooks()):
            yield part, budget


def _grids(task: Task, pixels: tuple[int, int], block: int) -> Iterator[Grids]:
    """Merge blocks (rows, columns) per image of every sample; what cannot be read fails its own sample later."""
    known: dict[Any, tuple[int, int]] = {}
    for sample in task.samples:
        try:
            for path in sample.images:
                if path not in known:
                    known[path] = image_size(path)
            if sample.images:
                yield block_grids([known[path] for path in sample.images], pixels, block)
        except (SampleError, UserError, OSError):
            continue


def _meets(method: Method, budget: Budget, grids: Grids, n_layers: int) -> bool:
    sizes = tuple(h * w for h, w in grids)
    told = method.told(budget, sizes)
    try:
        if "reduce_images" in method.hooks():
            views = tuple(ImageView((w, h), (w, h), 1) for h, w in grids)
            sizes = tuple(w * h for w, h in method.reduce_images(views, told))
        if "prune_layer" in method.hooks():
            check_feasible(method, sizes, method.stage_counts(sizes, n_layers, told), n_layers, told)
    except InfeasibleBudget:
        return False
    return True


def _least(method: Method, budget: Budget, grids: Grids, n_layers: int) -> float:
    """The smallest percentage (in tenths) that a prompt of ``grids`` can meet; 100 where nothing smaller can."""
    low, high = 1, TENTHS
    while low < high:
        middle = (low + high) // 2
        fits = _meets(method, Budget("percent", Fraction(middle, 10), reading=budget.reading), grids, n_layers)
        low, high = (low, middle) if fits else (middle + 1, high)
    drops = Budget("percent", Fraction(high, 10)).count(sum(h * w for h, w in grids)) < sum(h * w for h, w in grids)
    return high / 10 if drops else 100.0
