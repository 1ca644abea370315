"""A second question about a page that was compressed for the first one.

An assistant keeps a screen and is asked again. A method that lets the question decide what stays has then kept what the
first question needed. Here a method answers the first question as always; what it kept of the image (tokens, what each
decoder layer processed, which entries each head of the cache holds) is then kept for the second one, whose own text
stays whole. What is computed from the image is computed anew behind the same prompt, so that nothing of the first
question or its answer is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..budget import Budget, StageBudget
from ..clock import StageClock
from ..errors import UserError
from ..methods.base import LayerView, Method, TokenEdit, TokenView
from ..outcome import Outcome
from ..profiling.memory import PeakMemory
from ..sample import Sample
from .cache import KVCache
from .generate import Pipeline
from .images import load_images
from .prefill import PrefillResult

# Hooks behind the ViT: only they can know the question.
BEHIND_VIT = {"select_tokens", "prune_layer", "compress_kv"}


@dataclass(frozen=True)
class SameTokens(Method):
    """Repeats an edit of the visual tokens."""

    name: ClassVar[str] = "same-tokens"
    adaptive: ClassVar[bool] = True

    edit: TokenEdit | None = None

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        everything = torch.ones(len(view.features), dtype=torch.bool, device=view.features.device)
        return TokenEdit(everything) if self.edit is None else self.edit


@dataclass(frozen=True)
class SameLayers(Method):
    """Leaves behind each cut the visual tokens that were left there: ``left``, places in the full prompt."""

    name: ClassVar[str] = "same-layers"
    adaptive: ClassVar[bool] = True

    at: tuple[int, ...] = ()
    left: tuple[Tensor, ...] = ()
    trims: bool = False

    @property
    def layers(self) -> tuple[int, ...]:
        """The cuts."""
        return self.at

    @property
    def trim_cache(self) -> bool:
        """As the method that chose."""
        return self.trims

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        return torch.isin(view.index, self.left[self.at.index(view.layer)].to(view.index.device))


@dataclass(frozen=True)
class SameEntries(Method):
    """Keeps all text and, per layer and head, the visual entries ``held``: places in the full prompt, -1 for none."""

    name: ClassVar[str] = "same-entries"
    adaptive: ClassVar[bool] = True

    held: tuple[Tensor | None, ...] = ()

    @property
    def ragged(self) -> bool:
        """Heads may hold different numbers."""
        return True

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`."""
        held, n = self.held[view.layer], len(view.index)
        heads = view.keys.shape[0]
        if held is None:
            return torch.arange(n, device=view.index.device).expand(heads, -1)
        there = torch.stack([torch.isin(view.index, row.to(view.index.device)) for row in held])
        there |= ~view.visual
        longest = int(there.sum(1).max())
        order = torch.where(there, torch.arange(n, device=there.device), -1).sort(1).values
        return order[:, n - longest :]


@dataclass(frozen=True)
class _First:
    """What a first question left behind: the edit, what each layer processed, the cache."""

    edit: TokenEdit | None
    result: PrefillResult
    cache: KVCache


class SecondQuestion:
    """Answers a question about a page whose tokens were chosen for another one."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take the pipeline that answers the first question.

        Raises:
            UserError: a method whose stages lie on both sides of the ViT, or that stores entries per query head.
        """
        self._pipeline = pipeline
        for method in pipeline.methods:
            inside = BEHIND_VIT & set(method.hooks())
            if inside and set(method.hooks()) - BEHIND_VIT:
                raise UserError(
                    f"{method.name} acts before and behind the ViT; name its parts as methods of their own."
                )
            if method.kv_granularity != "kv_head":
                raise UserError(f"{method.name} stores entries per query head; leave that setting out.")

    @torch.inference_mode()
    def run(self, first: Sample, second: Sample) -> Outcome:
        """Answer ``second`` with what was kept for ``first``.

        Args:
            first: of the same images.
            second: of the same images.

        Raises:
            UserError: other images.
            SampleError: as :meth:`.generate.Pipeline.run`.
        """
        if first.images != second.images:
            raise UserError(f"{first.id} and {second.id} are about different images; pair questions of one page.")
        pipeline = self._pipeline
        asked = replace(second, id=first.id)  # draws belong to the page: the same ones again
        if not any(pipeline.method_of(hook) for hook in BEHIND_VIT):
            return pipeline.run(asked)
        kept = self._first(first)
        again = Pipeline(
            pipeline.adapter,
            [*(m for m in pipeline.methods if not BEHIND_VIT & set(m.hooks())), *self._same(kept)],
            Budget.parse("auto"),
            max_new_tokens=pipeline.max_new_tokens,
            seed=pipeline.seed,
            logprobs=pipeline.logprobs,
        )
        return again.run(asked)

    def _first(self, sample: Sample) -> _First:
        """The first question up to its compressed cache."""
        pipeline = self._pipeline
        adapter = pipeline.adapter
        clock, memory = StageClock(*adapter.devices), PeakMemory(*adapter.devices)
        memory.reset()
        images = load_images(sample, adapter.images, clock, keep_files=pipeline.method_of("reduce_images") is not None)
        budgets = pipeline.budgets(sample, images, clock)
        entered = pipeline.enter(sample, images, budgets, clock)
        begun = pipeline.begin(entered, budgets, clock)
        cache = KVCache(len(adapter.text.layers), pipeline.max_new_tokens)
        compressor = pipeline.method_of("compress_kv")
        keep = partial(cache.keep, ragged=compressor is not None and compressor.ragged)
        compressions = pipeline.compression(entered, begun, budgets, keep)
        result = pipeline.prefill(entered, begun, budgets, cache, compressions, clock)
        return _First(begun.edit, result, cache)

    def _same(self, kept: _First) -> Sequence[Method]:
        """Methods that repeat what was kept."""
        pipeline, n_layers = self._pipeline, len(self._pipeline.adapter.text.layers)
        out: list[Method] = []
        if pipeline.method_of("select_tokens") is not None:
            out.append(SameTokens(kept.edit))
        pruner = pipeline.method_of("prune_layer")
        if pruner is not None:
            at = pruner.layers_of(n_layers)
            places = (*kept.result.layer_index, kept.result.visual_index)
            out.append(SameLayers(at, tuple(places[k + 1] for k in at), pruner.trim_cache))
        if pipeline.method_of("compress_kv") is not None:
            held: list[Tensor | None] = []
            for layer, index in enumerate(kept.result.layer_index):
                entries = kept.cache.kept(layer) if pipeline.adapter.has_cache(layer) else None
                held.append(None if entries is None else _places(entries, index))
            out.append(SameEntries(tuple(held)))
        return out


def _places(entries: Tensor, index: Tensor) -> Tensor:
    """Entries of a layer as places in the full prompt, -1 for none."""
    index = index.to(entries.device)
    return index[entries.clamp(min=0)].masked_fill(entries < 0, -1)
