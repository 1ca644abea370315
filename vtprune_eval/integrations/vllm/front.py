"""Where a request is prepared: from pictures and a plan to fields of the request. The model is not needed for it.

The number of visual tokens must be known here, before the encoder runs: vLLM lays out the prompt by it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...budget import Budget, StageBudget
from ...clock import StageClock
from ...errors import UserError
from ...models.qwen_vl import QwenVL
from ...pipeline.generate import Pipeline
from ...pipeline.images import Images
from ...pipeline.prompt import Prompt, full_size, patch_rows
from ...sample import Sample
from .plan import Plan

# Pipelines that are kept, per side: a sweep's cells come one after the other.
MAX_PIPELINES = 64


@dataclass(frozen=True)
class Fields:
    """What travels from here to a worker, beside the placeholders.

    Attributes:
        rows: placeholders of the item: visual tokens, and text tokens between images; 0 where only a worker can say.
        about: JSON, for :func:`read_about`.
        keep: bool ``(n_blocks,)``, what goes through the encoder.
        patches: its input, float32 ``(n_patches, width)``.
        pixels: uint8 of all images for methods that see them after the encoder, else empty.
    """

    rows: int
    about: Tensor
    keep: Tensor
    patches: Tensor
    pixels: Tensor


@dataclass(frozen=True)
class About:
    """What a worker is told of an item.

    Attributes:
        plan: its text.
        key: its short name.
        sizes: (width, height) of every image as the model sees it.
        file_sizes: of its files.
        full: as the full model would see it.
        budgets: what every hook is told.
        rows: placeholders.
        advance: by how much the images move the next position on.
        dropped: whether ``select_patches`` dropped something.
    """

    plan: str
    key: str
    sizes: tuple[tuple[int, int], ...]
    file_sizes: tuple[tuple[int, int], ...]
    full: tuple[tuple[int, int], ...]
    budgets: dict[str, StageBudget]
    rows: int
    advance: int
    dropped: bool


class Pipelines:
    """The pipelines of one side, by the plan's cell."""

    def __init__(self, adapter: QwenVL) -> None:
        self.adapter = adapter
        self._made: OrderedDict[tuple[str, str, str], Pipeline] = OrderedDict()

    def of(self, plan: Plan) -> Pipeline:
        """The pipeline of a plan.

        Raises:
            UserError: a plan that no run would take, or that vLLM cannot follow.
        """
        key = (plan.method, plan.budget, json.dumps(dict(plan.settings), sort_keys=True))
        if key not in self._made:
            spec, cell = plan.cell
            self._made[key] = Pipeline(
                self.adapter, spec.make(cell.method), spec.budget(cell), seed=spec.seed, copied=spec.copied
            )
            while len(self._made) > MAX_PIPELINES:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        return self._made[key]


class Front:
    """Makes fields out of pictures and plans."""

    def __init__(self, adapter: QwenVL) -> None:
        self._pipelines = Pipelines(adapter)
        self._rules = adapter.images

    def fields(self, picture: np.ndarray, plan: Plan) -> Fields:
        """The fields of one item.

        Args:
            picture: RGB uint8 ``(height, width, 3)``, several files one below the other where the plan has ``sizes``.

        Raises:
            UserError: a plan that cannot be followed.
            SampleError: an image that the processor refuses, a prompt that is too long.
        """
        pipeline = self._pipelines.of(plan)
        files = split_picture(picture, plan.sizes)
        file_sizes = tuple((f.shape[1], f.shape[0]) for f in files)
        full = tuple(full_size(size, self._rules, "the image") for size in file_sizes)
        images = Images(tuple(Path() for _ in files), file_sizes, full, held=files)
        sample, clock = sample_of(plan), StageClock(torch.device("cpu"))
        budgets = pipeline.budgets(sample, images, clock)
        prompt, masks = pipeline.look(sample, images, budgets, clock)
        dropped = any(m is not None for m in masks)
        patcher, chooser = pipeline.method_of("select_patches"), pipeline.method_of("select_tokens")
        inside = dropped and patcher is not None and patcher.vit_depth > 0
        patches = [patch_rows(p, self._rules, None if inside else m) for p, m in zip(prompt.pixels, masks, strict=True)]
        keep = np.concatenate(
            [
                np.ones(h * w, bool) if m is None else m.reshape(-1)
                for (h, w), m in zip(prompt.layout.grids, masks, strict=True)
            ]
        )
        spans = prompt.layout.spans
        between = spans[-1][1] - spans[0][0] - prompt.layout.n_visual
        known = tokens_kept(pipeline, prompt, keep, budgets)
        rows = plan.rows or (0 if known is None else between + known)
        about = About(
            plan.text,
            plan.key,
            prompt.layout.image_sizes,
            file_sizes,
            full,
            budgets,
            rows,
            _advance(prompt),
            dropped,
        )
        seen = [p.reshape(-1) for p in prompt.pixels] if chooser is not None else [np.zeros(0, np.uint8)]
        return Fields(
            rows, _packed(about), torch.from_numpy(keep), torch.cat(patches), torch.from_numpy(np.concatenate(seen))
        )


def sample_of(plan: Plan) -> Sample:
    """The sample of a plan, whose images are elsewhere."""
    return Sample(plan.sample, (), plan.question, {"type": "none"}, instruction=plan.instruction)


def split_picture(picture: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """The files in a picture: itself, or those that :func:`stack` put one below the other."""
    if not sizes:
        return [picture]
    tops = np.cumsum([0, *(h for _, h in sizes)])
    if picture.shape[0] != tops[-1] or picture.shape[1] != max(w for w, _ in sizes):
        raise UserError(
            f"the picture has {picture.shape[1]}x{picture.shape[0]} pixels, which its sizes {sizes} do not "
            "fill; stack the images one below the other, on the left."
        )
    return [np.ascontiguousarray(picture[top : top + h, :w]) for top, (w, h) in zip(tops[:-1], sizes, strict=True)]


def stack(files: list[np.ndarray]) -> np.ndarray:
    """Several files as one picture, one below the other: one item of vLLM, so that all are looked at together."""
    out = np.zeros((sum(f.shape[0] for f in files), max(f.shape[1] for f in files), 3), np.uint8)
    top = 0
    for file in files:
        out[top : top + file.shape[0], : file.shape[1]] = file
        top += file.shape[0]
    return out


def tokens_kept(pipeline: Pipeline, prompt: Prompt, keep: np.ndarray, budgets: dict[str, StageBudget]) -> int | None:
    """Visual tokens that will enter the prompt; None where only the encoder's output can tell.

    Args:
        pipeline: of the sample.
        prompt: of the sample.
        budgets: of the sample.
        keep: bool ``(n_visual,)``, what goes through the encoder.
    """
    method = pipeline.method_of("select_tokens")
    if method is None:
        return int(keep.sum())
    return method.tokens_kept(prompt.layout, keep, budgets["select_tokens"])


def _advance(prompt: Prompt) -> int:
    spans, positions = prompt.layout.spans, prompt.layout.positions
    return int(positions[0, spans[-1][1]] - positions[0, spans[0][0]])


def _packed(about: About) -> Tensor:
    values = {**asdict(about), "budgets": {h: _plain(b) for h, b in about.budgets.items()}}
    return torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)


def _plain(budget: StageBudget) -> dict[str, Any]:
    return {
        "n_keep": budget.n_keep,
        "per_image": budget.per_image,
        "n_full": budget.n_full,
        "asked": str(budget.asked),
        "reading": budget.asked.reading,
    }


def _budget(values: dict[str, Any]) -> StageBudget:
    per_image = None if values["per_image"] is None else tuple(values["per_image"])
    asked = Budget.parse(values["asked"], values["reading"])
    return StageBudget(values["n_keep"], per_image, values["n_full"], asked)


def read_about(packed: Tensor) -> About:
    """What :class:`Front` packed."""
    values = json.loads(bytes(packed.cpu().numpy()))
    pairs = {k: tuple((w, h) for w, h in values[k]) for k in ("sizes", "file_sizes", "full")}
    budgets = {h: _budget(b) for h, b in values["budgets"].items()}
    return About(**{**values, **pairs, "budgets": budgets})
