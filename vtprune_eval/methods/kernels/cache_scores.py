"""Scores of cache entries that need no observation window; each ``(n_kv_heads, n)`` float32.

Rules of NVIDIA's kvpress (commit in the golden vectors), where the name of a paper stands at the method.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from .attention import per_kv_head, received_attention, window_attention

if TYPE_CHECKING:  # naming a class of torch executes torch, and a list of methods must not
    from torch import Tensor


SINKS = 4


def knorm(keys: Tensor) -> Tensor:
    """Minus the norm of a key: small keys draw attention."""
    norms: Tensor = keys.float().norm(dim=-1)
    return -norms


def keydiff(keys: Tensor) -> Tensor:
    """Minus the cosine of a key with the mean direction of all keys."""
    unit = torch.nn.functional.normalize(keys.float(), dim=-1)
    return -torch.nn.functional.cosine_similarity(keys.float(), unit.mean(1, keepdim=True), dim=-1)


def tova(last_queries: Tensor, keys: Tensor) -> Tensor:
    """Attention of the last prompt position, averaged over ALL query heads, ``(1, n)``; itself first."""
    score = window_attention(last_queries[:, -1:], keys).mean(0, keepdim=True)
    score[:, -1] = score.max() + 1
    return score


def observed(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention received from all queries, divided by the number of rows that see the entry; mean of the group."""
    n = keys.shape[1]
    received = per_kv_head(received_attention(queries, keys), keys.shape[0])
    return received / torch.arange(n, 0, -1, device=keys.device)


def lagkv(keys: Tensor, values: Tensor, lag: int, sinks: int = SINKS) -> Tensor:
    """Spread of an entry over its channels, relative to the block behind it; its rank inside its block, / ``lag``.

    Sinks, the last whole block and what is left get 1. A prompt shorter than two blocks keeps its sinks and its end.
    """
    n_kv, n, _ = keys.shape
    score = torch.ones(n_kv, n, device=keys.device)
    if n < sinks + 2 * lag:
        score[:, sinks:] = torch.arange(max(0, n - sinks), device=keys.device) / max(1, n - sinks)
        return score
    blocks = (n - sinks) // lag
    total = torch.zeros(n_kv, blocks - 1, lag, device=keys.device)
    for x in (keys, values):
        part = x[:, sinks : sinks + blocks * lag].float().view(n_kv, blocks, lag, -1)
        low, high = part[:, 1:].amin(2, keepdim=True), part[:, 1:].amax(2, keepdim=True)
        # A channel that does not vary in the block behind (layer 0 under a blank part of a screenshot) says nothing.
        scaled = torch.where(high > low, (part[:, :-1] - low) / (high - low), 0.0)
        total += scaled.std(-1).softmax(-1) / 2
    rank = total.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    score[:, sinks : sinks + (blocks - 1) * lag] = (rank / lag).flatten(1)
    return score


def cur(keys: Tensor, values: Tensor, window: int = 16, sinks: int = SINKS) -> Tensor:
    """Leverage of an entry: squared norms of key and value, each relative to its window, multiplied; sinks 1."""
    score = torch.ones(keys.shape[:2], device=keys.device)
    for x in (keys, values):
        square = x.float().square().sum(-1)
        sums = torch.cat([part.sum(-1, keepdim=True).expand_as(part) for part in square.split(window, -1)], -1)
        score = score * square / sums
    score = score / score.sum(-1, keepdim=True)
    score[:, :sinks] = 1.0
    return score


def mean_rotation(cos: Tensor, sin: Tensor, size: int | None = None) -> Tensor:
    """The rotary matrix averaged over positions, from their cos and sin ``(m, d)`` (halves layout).

    Returns:
        ``(size, size)``, ``(d, d)`` by default; channels behind the d rotated ones stay as they are.
    """
    d = cos.shape[-1]
    c, s = cos.float().mean(0), sin.float().mean(0)
    half, eye = d // 2, torch.eye(d, device=cos.device)
    turned = torch.cat([-eye[half:], eye[:half]])  # rotate_half as a matrix: x -> (-x2, x1)
    out = torch.eye(size or d, device=cos.device)
    out[:d, :d] = torch.diag(c) + s[:, None] * turned
    return out


def unrotated(queries: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Queries before rotary, ``(heads, n, head_dim)`` float32, from rotated ones and their cos and sin ``(n, d)``."""
    cos, sin = (part.float() for part in rope)
    d = cos.shape[-1]
    x = queries[..., :d].float()
    half = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1)
    # A scaled rotary embedding multiplies by its scale twice on the way back.
    back = (x * cos - half * sin) / (cos.square() + sin.square())
    return torch.cat([back, queries[..., d:].float()], -1)


def expected_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    rotation: Tensor,
    *,
    cov: bool = True,
    vnorm: bool = True,
    sinks: int = SINKS,
) -> Tensor:
    """Attention that future queries are expected to pay, if queries are normal with the prompt's moments.

    Args:
        queries: of all positions BEFORE rotary, ``(n_q_heads, n, head_dim)``.
        keys: rotated.
        values: as cached.
        rotation: mean rotary matrix of the future positions, ``(head_dim, head_dim)``.
        cov: use the covariance, too.
        vnorm: times the norm of the value.
        sinks: first positions that are left out and always stay.
    """
    n_kv, n, d = keys.shape
    if n <= sinks:
        return torch.ones(n_kv, n, device=keys.device)
    q = queries[:, sinks:].float()
    mean = q.mean(1)
    k = keys[:, sinks:].float()
    spread = k.repeat_interleave(len(q) // n_kv, 0)
    moved = mean @ rotation.T
    logits = (spread @ moved[..., None])[..., 0] / d**0.5
    if cov:
        centred = q - mean[:, None]
        covariance = centred.transpose(1, 2) @ centred / q.shape[1]
        covariance = rotation @ covariance @ rotation.T
        logits = logits + ((spread @ covariance) * spread).sum(-1) / (2 * d)
    score = per_kv_head(logits.softmax(-1), n_kv)
    if vnorm:
        score = score * values[:, sinks:].float().norm(dim=-1)
    first = (score.max() + 1).expand(n_kv, sinks)
    return torch.cat([first, score], 1)


def reconstruction(queries: Tensor, keys: Tensor, n_context: int, start: int, end: int, sinks: int = SINKS) -> Tensor:
    """Largest attention that context positions ``start`` to ``end`` receive while the context is repeated (KVzip).

    Args:
        queries: of the ``m`` repeat positions, ``(n_q_heads, m, head_dim)``.
        keys: of context and repeat pass, ``(n_kv_heads, n_context + m, head_dim)``.
        n_context: context positions.
        start: the chunk that is repeated.
        end: the chunk that is repeated.
        sinks: first positions, seen beside it (twice in the first chunk, as in the released code).

    Returns:
        ``(n_kv_heads, end - start)``: the maximum over queries and the group's heads. The softmax runs over sinks,
        chunk and the repeat positions so far.
    """
    n_q, m, d = queries.shape
    n_kv = keys.shape[0]
    first = torch.arange(min(sinks, n_context), device=keys.device)
    columns = torch.cat([first, torch.arange(start, end, device=keys.device)])
    seen = torch.cat([keys[:, columns], keys[:, n_context:]], 1).float()
    out = torch.zeros(n_kv, end - start, device=keys.device)
    step = max(1, 1024 // (n_q // n_kv))
    for at in range(0, m, step):
        part = queries[:, at : at + step].float().view(n_kv, n_q // n_kv, -1, d)
        scores = part @ seen[:, None].transpose(-1, -2) / d**0.5
        rows = torch.arange(at, at + part.shape[2], device=keys.device)
        future = torch.arange(m, device=keys.device) > rows[:, None]
        scores[..., len(columns) :].masked_fill_(future, float("-inf"))
        out = torch.maximum(out, scores.softmax(-1)[..., len(first) : len(columns)].amax((1, 2)))
    return out


def above_threshold(scores: Tensor, share: float | Fraction) -> Tensor:
    """KVzip's own rule over all heads together, bool ``(n_kv_heads, n)``: strictly above entry ``int(count share) - 1``
    of the falling scores, so one fewer than ``int(count share)``."""
    return scores > threshold(scores, share)


def threshold(scores: Tensor, share: float | Fraction) -> Tensor:
    """Entry ``int(count share) - 1`` of the falling scores (at least the first), a scalar."""
    n = scores.numel()
    return scores.reshape(-1).kthvalue(n - max(int(n * share) - 1, 0)).values
