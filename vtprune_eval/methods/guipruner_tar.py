"""``guipruner-tar``: temporal-adaptive resolution, the history half of GUIPruner.

Xu et al., "Spatio-Temporal Token Pruning for Efficient High-Resolution GUI Agents", arXiv 2602.23235, equations 1 to 3.
Older history screenshots get fewer tokens, by resizing them before the vision encoder; the current (last) screenshot
stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..budget import StageBudget, largest
from ..errors import InfeasibleBudget
from .base import ImageView, Method, hyper

# A float product just below a whole number counts as that number (0.1 * 10 * 40 must give 40 tokens).
EPSILON = 1e-9
LAMBDAS = 10_000  # steps in which lambda is solved for


def quotas(n_frames: int, n_full: int, share: float, gamma: float) -> tuple[float, ...]:
    """Tokens per history frame, newest first (equations 1 to 3).

    Args:
        n_frames: history frames T.
        n_full: tokens of one full frame.
        share: kept share lambda.
        gamma: weight of the oldest frame against 1 for the newest.

    Returns:
        ``floor(T n_full lambda) w_k / sum w``, ``w_k = gamma + (1 - gamma) (T - k) / (T - 1)``; one frame gets all.
    """
    weights = [gamma + (1 - gamma) * (n_frames - k) / max(1, n_frames - 1) for k in range(1, n_frames + 1)]
    return weighed(n_full, share, weights if n_frames > 1 else [1.0])


def weighed(n_full: int, share: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Tokens per frame: the share of all frames' ``n_full`` tokens, rounded down, in proportion to ``weights``."""
    budget = math.floor(len(weights) * n_full * share + EPSILON)
    return tuple(budget * w / sum(weights) for w in weights)


@dataclass(frozen=True)
class GuiPrunerTAR(Method):
    """Linear decay of resolution over the history."""

    name: ClassVar[str] = "guipruner-tar"
    paper: ClassVar[str] = "Xu et al., GUIPruner, arXiv 2602.23235"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "paper"
    deviations: ClassVar[tuple[str, ...]] = (
        "No official code exists. The rule from quota to pixels follows a public reproduction (floor to whole blocks).",
        "A frame is never enlarged: a quota above its own tokens is clamped, and the surplus goes to no one.",
        "The paper runs up to 4 earlier screenshots; where a task's default protocol shows none, nothing is shrunk "
        "without --history 4.",
        "lambda is the paper's tau; its floors of both sides spend 93 to 97 % of the history's quota.",
        "The paper's lambda = 0.4 is auto; a number is an extension of this project. A single image is left alone.",
    )
    adaptive: ClassVar[bool] = True
    paper_reading: ClassVar[str] = "lambda = b % of the history's tokens stay; the current screenshot is whole"

    lam: float = hyper(
        0.0,
        "lambda, share of the history's tokens (paper: 0.4, 0.2, 0.1); 0 takes the budget, or 0.4 with auto",
        low=0.0,
        high=1.0,
    )
    gamma: float = hyper(0.2, "weight of the oldest frame; 1 is the uniform ablation", low=0.0, high=1.0)

    @property
    def resample(self) -> str:
        """The reproduction's filter."""
        return "bilinear"

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """See :meth:`Method.reduce_images`; the last image is the current screenshot."""
        history = images[:-1]
        if not history:
            return self._alone(images, budget)
        if budget.n_keep is None or self.lam or budget.asked.reading == "paper":
            share = self.lam or (0.4 if budget.n_keep is None else float(budget.share))
            return (*self.shrunk(history, share), images[-1].full_size)
        return (*self._within(history, budget.n_keep - blocks_of(images[-1])), images[-1].full_size)

    def _alone(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """A single image is left alone.

        Raises:
            InfeasibleBudget: a budget asks for less.
        """
        if (
            budget.n_keep is not None
            and budget.asked.reading == "equal"
            and sum(map(blocks_of, images)) > budget.n_keep
        ):
            raise InfeasibleBudget(
                f"{self.name} shrinks earlier screenshots, and this sample has none: no budget below 100 can be met; "
                "choose a task with history (--history 4), auto, or --reading paper."
            )
        return tuple(i.full_size for i in images)

    def _within(self, history: tuple[ImageView, ...], room: int) -> list[tuple[int, int]]:
        """Sizes of the history at the largest lambda for which it has at most ``room`` tokens.

        Raises:
            InfeasibleBudget: the smallest lambda still has more.
        """

        def at(step: int) -> list[tuple[int, int]]:
            return self.shrunk(history, step / LAMBDAS)

        def n_tokens(step: int) -> int:
            return sum(w * h // i.factor**2 for (w, h), i in zip(at(step), history, strict=True))

        step = largest(lambda step: n_tokens(step) <= room, 1, LAMBDAS)
        if step is None:
            raise InfeasibleBudget(
                f"{self.name} shrinks the history alone: {n_tokens(1)} tokens of it and the whole current screenshot "
                "are more than the budget; give a larger one, auto, or --reading paper."
            )
        return at(step)

    def shrunk(self, history: tuple[ImageView, ...], share: float) -> list[tuple[int, int]]:
        """Sizes (width, height) of the history, oldest first, at lambda = ``share``."""
        if share >= 1:  # the decay over age would still shrink the older frames
            return [i.full_size for i in history]
        newest_first = self.frame_quotas(history, share)
        return [_shrunk(image, quota) for image, quota in zip(history, reversed(newest_first), strict=True)]

    def frame_quotas(self, history: tuple[ImageView, ...], share: float) -> tuple[float, ...]:
        """Tokens per frame of the history, newest first."""
        return quotas(len(history), blocks_of(history[-1]), share, self.gamma)


def blocks_of(image: ImageView) -> int:
    """Visual tokens of an image at its size in the full model."""
    width, height = image.full_size
    return (width // image.factor) * (height // image.factor)


def _shrunk(image: ImageView, quota: float) -> tuple[int, int]:
    """Size with at most ``quota`` tokens (at least one), both sides scaled alike and floored to whole blocks."""
    cols, rows = (side // image.factor for side in image.full_size)
    scale = math.sqrt(quota / (cols * rows))
    if scale >= 1 - EPSILON:
        return image.full_size
    return tuple(max(1, math.floor(n * scale + EPSILON)) * image.factor for n in (cols, rows))  # type: ignore[return-value]
