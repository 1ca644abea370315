"""Small methods for the pipeline's tests, one per hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vtprune_eval.methods.base import Method, TokenEdit
from vtprune_eval.methods.kernels.topk import best_and_text


@dataclass(frozen=True)
class Patches(Method):
    """Keeps a random share of each image's blocks, at least one."""

    name: ClassVar[str] = "t-patches"
    share: float = 0.5

    def select_patches(self, view, budget):
        rng = np.random.default_rng(view.seed)
        masks = [rng.random(grid) < self.share for grid in view.grids]
        for mask in masks:
            mask.flat[0] = True
        return tuple(masks)


@dataclass(frozen=True)
class Tokens(Method):
    """Scores visual tokens by the norm of their features."""

    name: ClassVar[str] = "t-tokens"

    def select_tokens(self, view, budget):
        return view.features.norm(dim=1)


@dataclass(frozen=True)
class Edit(Method):
    """Keeps every other token and turns the first kept row into a marker of zeros without DeepStack."""

    name: ClassVar[str] = "t-edit"
    deepstack: bool = True

    def select_tokens(self, view, budget):
        keep = torch.arange(len(view.features)) % 2 == 0
        features = view.features[keep].clone()
        features[0] = 0
        has_visual = torch.ones(len(features), dtype=torch.bool)
        has_visual[0] = False
        return TokenEdit(keep, features, has_visual, self.deepstack)


@dataclass(frozen=True)
class Layers(Method):
    """Drops after the layers ``at`` by key norm."""

    name: ClassVar[str] = "t-layers"
    at: tuple[int, ...] = (1,)

    @property
    def layers(self):
        return self.at

    def prune_layer(self, view, budget):
        return view.keys.norm(dim=(0, 2))


@dataclass(frozen=True)
class Cache(Method):
    """Keeps per head the entries that the last queries attend to most; the last ``window`` always."""

    name: ClassVar[str] = "t-cache"
    heads: str = "kv_head"
    extent: int = 4

    @property
    def window(self):
        return self.extent

    @property
    def kv_granularity(self):
        return self.heads

    def compress_kv(self, view, budget):
        group = view.queries.shape[0] // view.keys.shape[0]
        scores = (view.queries @ view.keys.repeat_interleave(group, 0).transpose(1, 2)).mean(1)
        if self.heads == "kv_head":
            scores = scores.view(-1, group, scores.shape[1]).mean(1)
        if budget.n_text:
            return best_and_text(scores, budget.n_keep, view.visual, min(self.extent, scores.shape[1]))
        scores[:, -self.extent :] = float("inf")
        n = scores.shape[1]
        return scores.topk(min(n, max(budget.n_keep, self.extent)), dim=1).indices.sort(dim=1).values


@dataclass(frozen=True)
class Shrink(Method):
    """Halves both sides of every image, to whole blocks."""

    name: ClassVar[str] = "t-shrink"

    def reduce_images(self, images, budget):
        return tuple(tuple(max(i.factor, s // 2 // i.factor * i.factor) for s in i.full_size) for i in images)


EVERY = (Patches(), Tokens(), Edit(), Layers(), Cache(), Cache(heads="query_head"), Shrink())
