"""What SparseVLM and SparseVLM+ share: text raters, their scores, the released lists."""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from ...budget import largest, rounded
from .attention import rows_attention

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


# Tokens kept after the three stages, of 576, by the name of the setting (version 1 and version 2 of the release).
LISTS = {
    1: {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)},
    2: {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)},
}
STAGES = (2, 6, 15)  # layers (from 0, of 32) after which tokens are dropped
PLUS_HEADS = 14
STEPS = 100_000  # in which the place between the lists is solved for
LEAST = 0.01


def text_raters(picture: Tensor, words: Tensor) -> Tensor:
    """Text tokens that are about the image, indices into ``words``, sorted int64.

    Softmax over the words of (visual . text), unscaled, mean over the visual tokens; raters lie strictly above the
    mean. None does where there is one word, or where all words are alike: then all are raters.
    """
    relevance = torch.softmax(picture.float() @ words.float().T, -1).mean(0)
    above = (relevance > relevance.mean()).nonzero()[:, 0]
    return above if len(above) else torch.arange(len(words), device=words.device)


def rater_scores(queries: Tensor, rows: Tensor, keys: Tensor) -> Tensor:
    """Mean attention of the raters' ``rows`` over heads and raters to every entry, float32 ``(n,)``."""
    return rows_attention(queries, rows, keys).mean(0) / len(rows)


def n_recycled(dropped: int, share: float = 0.3) -> int:
    """Dropped tokens that are recycled."""
    return int(share * dropped) + 1


def n_clusters(recycled: int) -> int:
    """Clusters that recycled tokens are merged into."""
    return int(recycled / 10) + 1


def after_stage(present: int, listed: int, version: int, share: float = 0.3) -> tuple[int, int]:
    """Tokens kept by score and merged tokens put on top (version 1) when a stage meets ``present`` tokens.

    Args:
        present: tokens.
        listed: what the list keeps.
        version: 1 recycles, 2 does not.
        share: of the dropped.
    """
    kept = min(listed, present - 1)
    return kept, n_clusters(n_recycled(present - kept, share)) if version == 1 else 0


def corrected_scores(
    queries: Tensor,
    rows: Tensor,
    keys: Tensor,
    rope: tuple[Tensor, Tensor],
    visual: Tensor,
    n_heads: int = PLUS_HEADS,
) -> tuple[Tensor, Tensor]:
    """SparseVLM+ : attention without the pull of the rotary distance, from the heads that look at the image most.

    Args:
        queries: of the raters, ``(n_q_heads, m, head_dim)``.
        rows: their places among the ``n`` keys.
        rope: cos and sin of every entry, ``(n, d)``: ``cos_m . cos_n + sin_m . sin_n`` is twice the sum of the cosines
            of the angles between two positions.
        visual: rows of the visual tokens.
        n_heads: best heads by attention to the image.

    Returns:
        score of every visual token, and the heads, sorted.
    """
    n_q, m, d = queries.shape
    cos, sin = (part if part.dtype == torch.float64 else part.float() for part in rope)
    group = n_q // keys.shape[0]
    pull = (cos[rows] @ cos.T + sin[rows] @ sin.T) / d**0.5  # (m, n)
    future = torch.arange(keys.shape[1], device=keys.device) > rows[:, None]
    per_head = []
    for head in range(n_q):
        logits = (queries[head].float() @ keys[head // group].float().T) / d**0.5
        weights = logits.masked_fill(future, float("-inf")).softmax(-1) / pull
        per_head.append(weights[:, visual].sum(0))
    scores = torch.stack(per_head)  # (n_q, n_visual), summed over raters
    heads = torch.sort(scores.sum(-1), descending=True, stable=True).indices[: min(n_heads, n_q)].sort().values
    return scores[heads].mean(0) / m, heads


@lru_cache(maxsize=256)
def listed_shares(at: Fraction, version: int = 1) -> tuple[Fraction, Fraction, Fraction]:
    """Share of all visual tokens kept after each stage, interpolated between the released lists.

    Linear between the knots 0, 64, 96, 128, 192 and 576 of 576; the lists are not monotone in the first stage.
    """
    knots = [(0, (0, 0, 0)), *sorted(LISTS[version].items()), (576, (576, 576, 576))]
    for (x0, low), (x1, high) in itertools.pairwise(knots):
        if at * 576 <= x1:
            part = (at * 576 - x0) / (x1 - x0)
            a, b, c = ((u + part * (v - u)) / 576 for u, v in zip(low, high, strict=True))
            return a, b, c
    return Fraction(1), Fraction(1), Fraction(1)


@lru_cache(maxsize=64)
def stage_sizes(n: int, allowed: int, lengths: tuple[int, ...], version: int = 1) -> tuple[int, ...]:
    """Tokens after every cut, the recycled ones included, at the last place of the lists that is within ``allowed``.

    Args:
        n: tokens that enter.
        allowed: tokens that all layers together may process.
        lengths: layers of the stages, the first (which sees every token) included; a decoder so shallow that stages
            fall together has fewer than four, and the first of the released shares are left out.
        version: of the released lists.

    Returns:
        zeros where the lists at 1 % process more.
    """

    def sizes(step: int) -> list[int]:
        shares = listed_shares(Fraction(step, STEPS), version)[4 - len(lengths) :]
        return [max(1, rounded(n * share, "down")) for share in shares]

    def fits(step: int) -> bool:
        return n * lengths[0] + sum(a * b for a, b in zip(sizes(step), lengths[1:], strict=True)) <= allowed

    step = largest(fits, int(LEAST * STEPS), STEPS)
    return (0,) * (len(lengths) - 1) if step is None else tuple(sizes(step))


def recycled(n_dropped: int, share: float) -> tuple[int, int]:
    """Of ``n_dropped`` tokens, those that are recycled, and the cluster tokens that they become."""
    n = n_recycled(n_dropped, share)
    return n, n_clusters(n)
