"""Gives a vision encoder's tokens a code of their own place, without changing what else they say.

Windows of text have no place on a page, so the reading stage teaches the encoder to drop it: after it no linear map
finds a block's place in the visual tokens (R2 0.04 on pages of 100 to 220 blocks, where the position embeddings going
in have 0.98), and the decoder has nothing to read coordinates from. The residual stream hardly uses some of its
directions. The position embeddings write the code there, every block of the encoder is kept from writing into them and
from reading them, and the least used units of the merger carry the code into directions that the tokens hardly use.
"""

from __future__ import annotations

import nano.forward as nf
import torch
import torch.nn.functional as F
from nano.forward import encode
from torch import Tensor, nn

from .forward import waves

STRENGTH = 18.0  # of the code in the residual stream, whose patches have a norm of 100 to 400
SIZE = 3.0  # of the code in the visual tokens, whose norm is 20 to 25
RIDGE = 0.01


def record(visual: nn.Module, pages: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """What the encoder computes on ``pages``, uint8 ``(height, width, 3)`` each.

    Returns:
        the residual stream after every block, ``(n_patches, width)`` in merge-block order, and the visual tokens.
    """
    after: list[list[Tensor]] = [[] for _ in visual.blocks]
    tokens, layer = [], nf._vision_layer
    for page in pages:
        seen: list[Tensor] = []

        def watched(x: Tensor, *rest, seen: list[Tensor] = seen) -> Tensor:
            seen.append(layer(x, *rest))
            return seen[-1]

        nf._vision_layer = watched
        try:
            with torch.no_grad():
                tokens.append(encode(visual, page[None])[0][0].float())
        finally:
            nf._vision_layer = layer
        for stream, x in zip(after, seen, strict=True):
            stream.append(x[0].float())
    return [torch.cat(x) for x in after], torch.cat(tokens)


def least_used(streams: list[Tensor], n: int) -> Tensor:
    """``n`` orthonormal directions ``(width, n)`` of least variance in all ``streams``, none of them the mean's: that
    one is what a layer norm takes away."""
    whole = torch.cat([x / x.std() for x in streams])
    whole = whole - whole.mean(0)
    spread = whole.T @ whole / len(whole)
    mean = torch.full((len(spread),), len(spread) ** -0.5)
    spread = spread + 10 * spread.diagonal().sum() * torch.outer(mean, mean)
    return torch.linalg.eigh(spread)[1][:, :n]


@torch.no_grad()
def give_places(visual: nn.Module, pages: list[Tensor]) -> Tensor:
    """Change the encoder's weights in place.

    Args:
        visual: a ``Qwen3VLVisionModel``.
        pages: uint8 ``(height, width, 3)``, of several sizes.

    Returns:
        ``(n_waves, dim)``: what reads the code from a visual token, the weight of :attr:`.forward.Reader.place`.
    """
    wanted = torch.cat([waves(p.shape[0] // 32, p.shape[1] // 32) for p in pages])
    n = wanted.shape[1]
    own = least_used(record(visual, pages)[0], n)
    others = torch.eye(len(own)) - own @ own.T
    table = visual.pos_embed.weight
    side = round(len(table) ** 0.5)
    table.copy_(table @ others + STRENGTH * waves(side, side, corners=True) @ own.T)
    patch = visual.patch_embed.proj
    patch.weight.copy_((others @ patch.weight.flatten(1)).view_as(patch.weight))
    patch.bias.copy_(others @ patch.bias)
    for block in visual.blocks:
        for linear in (block.attn.proj, block.mlp.linear_fc2):
            linear.weight.copy_(others @ linear.weight)
            linear.bias.copy_(others @ linear.bias)
        for linear, norm in ((block.attn.qkv, block.norm1.weight), (block.mlp.linear_fc1, block.norm2.weight)):
            linear.weight.copy_((linear.weight * norm) @ others / torch.where(norm.abs() > 1e-3, norm, 1e-3))
    return _through_the_merger(visual, pages, own, wanted)


def _through_the_merger(visual: nn.Module, pages: list[Tensor], own: Tensor, wanted: Tensor) -> Tensor:
    """GELU(x) - GELU(-x) is x: two units of the merger carry one wave."""
    streams, tokens = record(visual, pages)
    merger, n = visual.merger, wanted.shape[1]
    first, second = merger.linear_fc1, merger.linear_fc2
    normed = F.layer_norm(streams[-1], (own.shape[0],), merger.norm.weight, merger.norm.bias, 1e-6)
    normed = normed.view(len(wanted), -1)
    four = normed.shape[1] // own.shape[0]
    read = torch.linalg.qr(torch.block_diag(*[own] * four) * merger.norm.weight.repeat(four)[:, None])[0]
    first.weight.sub_((first.weight @ read) @ read.T)
    units = F.gelu(F.linear(normed, first.weight, first.bias))
    taken = (units.std(0) * second.weight.norm(dim=0)).argsort()[: 2 * n]
    at = normed @ read
    middle, average = at.mean(0), wanted.mean(0)
    square = (at - middle).T @ (at - middle) + RIDGE * len(at) * torch.eye(at.shape[1])
    found = torch.linalg.solve(square, (at - middle).T @ (wanted - average))
    out = least_used([tokens], n)
    second.weight.sub_(out @ (out.T @ second.weight))
    second.bias.sub_(out @ (out.T @ second.bias))
    sign = torch.tensor([1.0, -1.0]).repeat_interleave(n)
    first.weight[taken] = sign[:, None] * (read @ found).T.repeat(2, 1)
    first.bias[taken] = sign * (average - middle @ found).repeat(2)
    second.weight[:, taken] = SIZE * sign * out.repeat(1, 2)
    return out.T / SIZE
