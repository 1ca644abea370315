"""``guikv``: spatio-temporal KV-cache compression for GUI agents.

Huang et al., "GUI-KV: Efficient GUI Agents via KV Cache with Spatio-Temporal Awareness", arXiv 2510.00536. To the
window attention of SnapKV it adds a bonus for salient tokens of the current screenshot, and it sets to zero what
earlier screenshots repeat. The published code repeats the redundancy computation for every query head and image; keys
are shared by the query heads of a group and the residuals of all images are one product, so here both are batched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from .base import LayerView, Room, hyper
from .kernels.topk import best
from .kernels.window import WindowScored

if TYPE_CHECKING:
    from torch import Tensor


# alpha, temperature (the inverse of the quoted tau) and the norm's source, as quoted of the paper.
PAPER = (0.5, 10.0, "residual")


@dataclass(frozen=True)
class GuiKV(WindowScored):
    """Spatial saliency, temporal redundancy, uniform layer budget."""

    name: ClassVar[str] = "guikv"
    paper: ClassVar[str] = "Huang et al., GUI-KV, arXiv 2510.00536"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "The bonus is added to candidates only; the published code raises when the last screenshot reaches into the "
        "window.",
        "Capacity 2 or less works (window 1); the published code raises.",
        "Scores stay float32, ties go to the later position; entries are stored by position.",
        "The body of the paper could not be had; every default is the released code's. Window 8, width 5, average "
        "pooling, alpha 2, temperature 3.5: arguments of its evaluation scripts (a later paper that measures GUI-KV "
        "again uses the same). Rank 32, no centring, earlier screenshots pooled: names of its result folders. Norm of "
        "the layer input after its norm: its attention module.",
        "spatial=paper follows what is quoted of the paper: norms of the residual stream (abstract of the revised "
        "version), alpha = 0.5 and tau = 0.1 (two public reviews). tau MULTIPLIES in the quoted equation, and divides "
        "here and in the code: tau = 0.1 is temperature = 10, not temperature = 0.1.",
        "Where the rank reaches the head width the basis spans everything and no residual is left: the temporal part "
        "is off then; the published code ranks rounding noise.",
    )

    alpha: float = hyper(2.0, "weight of the spatial bonus, its total mass per head", low=0.0)
    temperature: float = hyper(3.5, "temperature of the saliency softmax", low=1e-6)
    rank: int = hyper(
        32,
        "directions of the current screenshot's key subspace, below the head width; 0 switches the temporal part off",
        low=0,
    )
    spatial: str = hyper(
        "released",
        "spatial bonus: released (alpha, temperature and norm_source as set here) or paper (0.5, 10 and residual, "
        "whatever they are set to)",
        choices=("released", "paper"),
    )
    norm_source: str = hyper(
        "attn_input",
        "hidden states whose norm is the saliency: after the layer's input norm (as published) or the residual stream",
        choices=("attn_input", "residual"),
    )

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`."""
        scores = super().score_kv(view, room)
        n_images = len(view.layout.spans)
        first, last = view.span_of(-1) if n_images else (0, 0)
        if first == last:
            return scores
        past = scores.shape[1]
        alpha, temperature, norm_source = self.alpha, self.temperature, self.norm_source
        if self.spatial == "paper":
            alpha, temperature, norm_source = PAPER
        if alpha:
            source = view.hidden_normed if norm_source == "attn_input" else view.hidden_in
            bonus = alpha * saliency(source[first:last], temperature)
            scores[:, first : min(last, past)] += bonus[: max(0, past - first)]
        earlier = torch.cat([view.rows_of(i) for i in range(-n_images, -1)] or [view.index[:0]])
        n_zero = int((1 - max(2, room.capacity) / len(view.index)) * len(earlier))
        if 0 < self.rank < view.keys.shape[2] and n_zero > 0:
            # Earlier screenshots lie before the current one; what follows it need not be looked at.
            end = first + min(self.rank, last - first)
            residual = residuals(view.keys[:, :end], view.rows_of(-1), earlier, self.rank)
            repeated = earlier[best(-residual, n_zero)]  # (n_kv, n_zero)
            group = scores.shape[0] // view.keys.shape[0]
            scores.scatter_(1, repeated.repeat_interleave(group, 0), 0.0)
        return scores


def saliency(hidden: Tensor, temperature: float) -> Tensor:
    """Softmax of the standardised norms of the current screenshot's hidden states ``(m, dim)``; sums to 1.

    The standard deviation divides by m - 1; a single token gets everything.
    """
    norms = hidden.float().norm(dim=-1)
    spread = norms.std() if len(norms) > 1 else norms.new_zeros(())
    return torch.softmax((norms - norms.mean()) / (spread + 1e-8) / temperature, 0)


def residuals(keys: Tensor, current: Tensor, earlier: Tensor, rank: int) -> Tensor:
    """Distance of earlier screenshots' keys from the span of the current screenshot's first keys.

    Args:
        keys: rotated keys ``(n_kv, n, head_dim)``.
        current: rows of the last and of the other screenshots.
        earlier: rows of the last and of the other screenshots.
        rank: number of first keys that span the subspace (an unpivoted QR takes them in raster order).

    Returns:
        float32 ``(n_kv, n_earlier)``.
    """
    first = keys[:, current[: min(rank, keys.shape[2])]].float()
    basis = torch.linalg.qr(first.transpose(1, 2)).Q  # (n_kv, head_dim, r)
    k = keys.float()  # all rows: a product over them costs less than gathering some
    # Pythagoras: the projection is orthogonal. The product lies along the entries, so that its squares add up in rows.
    along = (basis.transpose(1, 2) @ k.transpose(1, 2)).square_().sum(1)
    square = torch.linalg.vector_norm(k, dim=-1).square() - along
    residual: Tensor = square.index_select(1, earlier).clamp(min=0).sqrt()
    return residual
