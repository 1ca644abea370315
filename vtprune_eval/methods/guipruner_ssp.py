"""``guipruner-ssp``: stratified structure-aware pruning, the current-screenshot half of GUIPruner.

Xu et al., "Spatio-Temporal Token Pruning for Efficient High-Resolution GUI Agents", arXiv 2602.23235, algorithm 2.
After decoder layer 2 the tokens of the last screenshot are cut to K: the best of the foreground (blocks that element
outlines touch), the best of the background, and a uniform grid of what is left. History and text stay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..budget import StageBudget
from ..errors import UserError
from .base import LayerView, Method, TokenLayout, first_layers, hyper
from .guipruner_tar import EPSILON
from .kernels.attention import received_attention
from .kernels.topk import best

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GuiPrunerSSP(Method):
    """Foreground, background, uniform grid; after decoder layer 2."""

    name: ClassVar[str] = "guipruner-ssp"
    paper: ClassVar[str] = "Xu et al., GUIPruner, arXiv 2602.23235"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "paper"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "No official code exists; scoring queries, edge detection and the three-level split follow a public "
        "reproduction that quotes the paper's appendix.",
        "At least one token of the current screenshot stays.",
        "mu is the paper's kappa.",
        "The paper's mu = 0.75 is auto; a number is an extension of this project.",
    )
    adaptive: ClassVar[bool] = True
    paper_reading: ClassVar[str] = (
        "mu = b % of the current screenshot's tokens stay behind the cut, rounded down; the history is whole"
    )

    mu: float = hyper(
        0.0,
        "share of the current screenshot's tokens that stay; 0 takes the budget, or 0.75 with auto",
        low=0.0,
        high=1.0,
    )
    rho: float = hyper(0.3, "background share relative to the foreground's", low=0.0, high=1.0)
    after_layer: int = hyper(2, "prune after this many decoder layers (1 is the first)", low=1)
    score_queries: str = hyper(
        "all", "queries whose attention is averaged", choices=("all", "text_after_image", "last")
    )
    grid: str = hyper(
        "1d",
        "uniform sampling over the remaining tokens in raster order, or over a 2-D stride grid",
        choices=("1d", "2d"),
    )
    contours: str = hyper(
        "external", "outlines that mark foreground: outermost only, or all", choices=("external", "all")
    )

    @property
    def trim_cache(self) -> bool:
        """All layers hold the same positions."""
        return True

    @property
    def window(self) -> int:
        """Queries needed: all, unless only the last one scores."""
        return 1 if self.score_queries == "last" else -1

    def observation(self, layout: TokenLayout) -> int:
        """See :meth:`Method.observation`."""
        if self.score_queries == "text_after_image" and layout.spans:
            return max(1, layout.n_prompt - layout.spans[-1][1])
        return self.window

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """After layer 2, or the first of a decoder of two layers.

        Raises:
            UserError: no layer of the decoder would be left behind it.
        """
        # The paper's layer 2 stands for "shallow"; another number was asked for and is not replaced.
        after = 1 if (self.after_layer, n_layers) == (2, 2) else self.after_layer
        if after >= n_layers:
            raise UserError(first_layers(self.name, "after_layer", self.after_layer, n_layers))
        return (after - 1,)

    def earliest(self, n_layers: int) -> Method:
        """See :meth:`Method.earliest`."""
        return dataclasses.replace(self, after_layer=1)

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """See :meth:`Method.stage_counts`: the last image alone is cut; the history keeps its tokens."""
        if not kept:
            return ()
        n_keep = budget.n_keep
        if n_keep is None or self.mu or budget.asked.reading == "paper":
            share = self.mu or (0.75 if n_keep is None else float(budget.share))
            return (sum(kept[:-1]) + max(min(1, kept[-1]), int(share * kept[-1] + EPSILON)),)
        return super().stage_counts(kept, n_layers, budget)

    def least_left(self, kept: tuple[int, ...]) -> int:
        """See :meth:`Method.least_left`: the history, and a token of the current screenshot."""
        return sum(kept[:-1]) + 1

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        keep = torch.ones(len(view.index), dtype=torch.bool, device=view.index.device)
        rows = view.rows_of(-1) if view.layout.spans else view.index[:0]
        if not len(rows):
            return keep
        history = view.n_visual - len(rows)
        left = budget.n_keep if budget.n_keep is not None else self.stage_counts((history, len(rows)), 0, budget)[0]
        n_keep = max(1, left - history)
        if n_keep >= len(rows):
            return keep
        # mu also weighs foreground and background against the grid.
        share = self.mu or {"auto": 0.75}.get(budget.asked.kind, n_keep / len(rows))
        start, _ = view.layout.spans[-1]
        block = view.layout.merge_size * view.layout.patch_size
        cells = foreground(view.images[-1], block, self.contours)
        grid = cells.shape
        at = (view.index[rows] - start).cpu()
        scores = received_attention(view.queries, view.keys).mean(0)[rows].cpu()
        chosen = stratified(
            scores,
            torch.from_numpy(cells.reshape(-1))[at],
            n_keep,
            share,
            self.rho,
            at if self.grid == "2d" else None,
            grid,
        )
        keep[rows] = False
        keep[rows[chosen.to(rows.device)]] = True
        return keep


def stratified(
    scores: Tensor, inside: Tensor, n_keep: int, share: float, rho: float, at: Tensor | None, grid: tuple[int, int]
) -> Tensor:
    """Three-level selection (algorithm 2).

    Args:
        scores: ``(n,)``.
        inside: foreground, bool ``(n,)``.
        n_keep: tokens to keep.
        share: mu and rho.
        rho: mu and rho.
        at: places of the tokens in the screenshot's grid (rows, columns) for 2-D sampling, None for 1-D.

    Returns:
        sorted int64 ``(n_keep,)``.
    """
    n = len(scores)
    front, back = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
    n_front = min(int(share * len(front) + EPSILON), n_keep)
    n_back = min(int(share * rho * len(back) + EPSILON), n_keep - n_front)
    taken = torch.zeros(n, dtype=torch.bool)
    taken[front[best(scores[front][None], n_front)[0]]] = True
    taken[back[best(scores[back][None], n_back)[0]]] = True
    if at is not None:
        taken |= _stride_cells(at, grid, n_keep - int(taken.sum()), taken)
    rest = (~taken).nonzero()[:, 0]
    taken[rest[spread(len(rest), n_keep - int(taken.sum()))]] = True
    return taken.nonzero()[:, 0]


def spread(n: int, k: int) -> Tensor:
    """``k`` evenly spaced places among ``n``: round(i (n - 1) / (k - 1)), half to even; the first for ``k`` = 1."""
    if k >= n:
        return torch.arange(n)
    if k <= 1:
        return torch.arange(k)
    return torch.tensor([round(i * (n - 1) / (k - 1)) for i in range(k)])


def _stride_cells(at: Tensor, grid: tuple[int, int], room: int, taken: Tensor) -> Tensor:
    """Tokens on the densest square stride grid with at most ``room`` cells, without those taken already."""
    rows, cols = grid
    if room < 1:
        return torch.zeros_like(taken)
    stride = next(
        s for s in range(1, max(rows, cols) + 1) if -(-rows // s) * -(-cols // s) <= room or s == max(rows, cols)
    )
    on_grid = (at // cols % stride == 0) & (at % cols % stride == 0) & ~taken
    places = on_grid.nonzero()[:, 0]
    out = torch.zeros_like(taken)
    out[places[:room]] = True
    return out


def foreground(image: np.ndarray, block: int, contours: str = "external") -> np.ndarray:
    """Blocks that the outline of an element touches (appendix A.4.3 as quoted by the reproduction).

    Grey, 5x5 Gaussian blur, CLAHE (clip 40, 8x8 tiles), union of two Canny maps, 3x3 closing, contours of at least
    4 px^2 and an aspect within 50, drawn 1 px wide, then any pixel per block.

    Args:
        image: RGB uint8 ``(rows * block, columns * block, 3)``.
        block: pixels per side.
        contours: ``external`` (outermost only) or ``all``.

    Returns:
        bool ``(rows, columns)``.
    """
    import cv2

    grey = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), (5, 5), 0)
    grey = cv2.createCLAHE(clipLimit=40.0, tileGridSize=(8, 8)).apply(grey)
    edges = cv2.bitwise_or(cv2.Canny(grey, 50, 150), cv2.Canny(grey, 100, 200))
    edges = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3)))
    mode = cv2.RETR_EXTERNAL if contours == "external" else cv2.RETR_LIST
    found, _ = cv2.findContours(edges, mode, cv2.CHAIN_APPROX_SIMPLE)
    kept = []
    for contour in found:
        _, _, width, height = cv2.boundingRect(contour)
        if cv2.contourArea(contour) >= 4 and 1 / 50 <= width / height <= 50:
            kept.append(contour)
    mask = np.zeros(grey.shape, np.uint8)
    cv2.drawContours(mask, kept, -1, 1, 1)
    rows, cols = image.shape[0] // block, image.shape[1] // block
    return np.asarray(mask.reshape(rows, block, cols, block).any((1, 3)))
