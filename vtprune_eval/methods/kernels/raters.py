"""What SparseVLM and SparseVLM+ share: text raters, their scores, the released lists."""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import rows_attention

# Tokens kept after the three stages, of 576, by the name of the setting (version 1 and version 2 of the release).
LISTS = {
    1: {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)},
    2: {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)},
}
STAGES = (2, 6, 15)  # layers (from 0, of 32) after which tokens are dropped
PLUS_HEADS = 14


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


def after_stage(present: int, listed: int, version: int) -> tuple[int, int]:
    """Tokens kept by score and merged tokens put on top (version 1) when a stage meets ``present`` tokens."""
    kept = min(listed, present - 1)
    return kept, n_clusters(n_recycled(present - kept)) if version == 1 else 0


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
        queries: of the raters, ``(n_q_heads, m, head_dim)``; rows: their places among the ``n`` keys.
        rope: cos and sin of every entry, ``(n, d)``: ``cos_m . cos_n + sin_m . sin_n`` is twice the sum of the cosines
            of the angles between two positions.
        visual: rows of the visual tokens; n_heads: best heads by attention to the image.

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
