"""What the pipeline needs to know of an architecture family. A family file never names a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .dims import ModelDims
from .identity import ModelIdentity


@dataclass(frozen=True)
class ImageRules:
    """How a family's processor turns pixels into patches.

    Attributes:
        patch_size: pixels per patch side.
        merge_size: patches per merge-block side.
        temporal: frames per patch.
        min_pixels: limits of width x height after the resize.
        max_pixels: limits of width x height after the resize.
        mean: per channel, on the [0, 1] scale.
        std: per channel, on the [0, 1] scale.
    """

    patch_size: int
    merge_size: int
    temporal: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def block(self) -> int:
        """Pixels per merge-block side; one block is one visual token."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True)
class Encoded:
    """Visual tokens of the kept patches of all images.

    Attributes:
        tokens: after the merger, ``(n_visual, dim)``.
        deepstack: one ``(n_visual, dim)`` per DeepStack level; () where the family has none.
        extras: what was asked for beside them, by the name it was asked under.
        extras_ms: time that they took.
        places: which of the kept merge blocks are left where some were merged inside the ViT, sorted int64; None for
            all.
        vit_patches: where ``places`` is given, the patches that each ViT block processed, per image.
    """

    tokens: Tensor
    deepstack: tuple[Tensor, ...]
    extras: dict[str, Tensor] = field(default_factory=dict)
    extras_ms: float = 0.0
    places: Tensor | None = None
    vit_patches: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class HalfEncoded:
    """All patches of a sample behind some blocks of the ViT, nothing dropped; never written to.

    Attributes:
        blocks: that were run.
        hidden: ``(n_patches, dim)``.
        rope: cos and sin, ``(n_patches, head_dim)`` each.
        extras: what was asked of those blocks, as in :class:`Encoded`.
        read: hidden states behind the blocks that DeepStack reads, by block.
    """

    blocks: int
    hidden: Tensor
    rope: tuple[Tensor, Tensor]
    extras: dict[str, Tensor]
    read: dict[int, Tensor]


@dataclass(frozen=True)
class Merging:
    """What is merged inside the ViT.

    Attributes:
        counts: merge blocks that vanish behind the attention of every ViT block, one tuple per image.
        match: which ones, of one image: see :meth:`MergeHook.match`.
        by_size: the logarithm of what a key stands for is added to its attention logits.
    """

    counts: tuple[tuple[int, ...], ...]
    match: Callable[[Tensor, int], Any]
    by_size: bool = False


class VlmAdapter(ABC):
    """One loaded model behind a uniform face.

    Attributes:
        name: short name.
        model: the unmodified transformers class.
        tokenizer: its tokenizer.
        images: the processor's rules.
        coordinates: frame of its answers (``hundredths``, ``thousandths``, ``resized_pixels`` or ``fractions``).
        eos_ids: ids that end an answer.
        identity: what made the results.
        folder: the local hub-format folder, None for random weights.
        points: True where the answer is what :meth:`point` reads from the prefill, and no text is decoded.
    """

    name: str
    model: Any
    tokenizer: Any
    images: ImageRules
    coordinates: str
    eos_ids: frozenset[int]
    identity: ModelIdentity
    text: Any
    visual: Any
    lm_head: Any
    folder: Path | None = None
    points: bool = False

    @property
    def device(self) -> torch.device:
        """Device of the first decoder layer."""
        return self.layer_devices[0]

    @cached_property
    def layer_devices(self) -> tuple[torch.device, ...]:
        """Device of every decoder layer."""
        return tuple(next(layer.parameters()).device for layer in self.text.layers)

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The devices that the model computes on, that of the first decoder layer first."""
        return tuple(dict.fromkeys(self.layer_devices))

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights."""
        weights: Tensor = self.text.embed_tokens.weight
        return weights.dtype

    @abstractmethod
    def prompt_ids(self, n_tokens: Sequence[int], question: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of the full prompt and the half-open span of each image's ``n_tokens`` placeholders."""

    @abstractmethod
    def positions(self, n_prompt: int, spans: Sequence[tuple[int, int]], grids: Sequence[tuple[int, int]]) -> Tensor:
        """Rotary position ids (t, h, w) of the full prompt, int64 ``(3, n_prompt)``."""

    @abstractmethod
    def check_needs(self, needs: Sequence[str]) -> None:
        """Refuse extra outputs that :meth:`encode` cannot give, before any sample.

        Raises:
            ValueError: a need that the family does not know.
            UserError: a block that the ViT does not have.
        """

    @abstractmethod
    def encode(
        self,
        patches: Tensor | HalfEncoded,
        grids: Sequence[tuple[int, int]],
        keep: Sequence[Tensor | None],
        needs: Sequence[str] = (),
        after: int = 0,
        merging: Merging | None = None,
    ) -> Encoded:
        """Run the ViT on the kept merge blocks only.

        Args:
            patches: normalised patch rows of the KEPT blocks (of all blocks with ``after``),
                ``(n_patches, channels * temporal * patch * patch)``; or what :meth:`encode_upto` made of all, at most
                ``after`` blocks on where something is dropped, with the extras of those blocks among the ``needs``.
            grids: merge blocks (rows, columns) of every image, full.
            keep: per image a bool mask over its blocks in raster order, or None for all.
            after: ViT blocks that still see every patch; the others are dropped behind them. 0 drops before the ViT.
            merging: what is merged inside it; only where :attr:`merges`.
            needs: extra outputs, as :attr:`Method.needs` names them: ``encoder_attention:L`` is the attention that each
                visual token receives in ViT block L, summed over the queries of its image, averaged over heads and over
                the patches of its block, float32 ``(n_visual,)``; its mean over an image is 1. Where block L attends
                inside windows, only queries of the same window count. ``encoder_keys:L`` is the mean key (not rotated)
                over the patches of the block, ``(n_visual, dim)``. L is an index, negative from the end, or
                ``early`` (the last block of the first quarter), ``mid`` (of the first half), ``penultimate``, ``last``;
                a name moves to the nearest block that attends over the whole image.

        Raises:
            ValueError, UserError: as :meth:`check_needs`.
        """

    def encode_upto(
        self,
        patches: Callable[[], Tensor] | HalfEncoded,
        grids: Sequence[tuple[int, int]],
        blocks: int,
        needs: Sequence[str] = (),
    ) -> HalfEncoded:
        """Run the first ``blocks`` of the ViT on all patches; only where :attr:`merges`.

        Args:
            patches: gives all patch rows, as for :meth:`encode`; or what came of fewer blocks.
            grids: as for :meth:`encode`.
            blocks: of the ViT.
            needs: as for :meth:`encode`; those of later blocks are left out.
        """
        raise NotImplementedError(f"the ViT of {type(self).__name__} cannot be left on the way")

    @property
    def merges(self) -> bool:
        """Whether the ViT can be left on the way, to merge inside it or to share blocks before a drop: not where it
        attends in windows."""
        return False

    @abstractmethod
    def project(self, layer: int, normed: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, of ``normed`` rows ``(n, dim)`` with their own ``rope`` rows.

        Returns:
            queries ``(n_q_heads, n, head_dim)``, keys and values ``(n_kv_heads, n, head_dim)``.
        """

    def has_cache(self, layer: int) -> bool:
        """Whether a decoder layer caches keys and values; a layer with linear attention keeps a fixed state instead."""
        return True

    def require_cache(self, layer: int) -> None:
        """Refuse to look at the queries and keys of a layer that has none.

        Raises:
            UserError: the layers that have them.
        """
        if not self.has_cache(layer):
            full = [str(i) for i in range(len(self.text.layers)) if self.has_cache(i)]
            raise UserError(
                f"{self.name}: decoder layer {layer} has linear attention, so nothing can be pruned by its "
                f"queries and keys; a method can act after layers {', '.join(full)}."
            )

    def attention_output(self, layer: int, normed: Tensor, mixed: Tensor) -> Tensor:
        """The attention's contribution to the residual stream.

        Args:
            layer: decoder layer.
            normed: its rows ``(n, dim)`` after the input norm.
            mixed: weighted sums of values, ``(1, n, n_q_heads * head_dim)``.
        """
        out: Tensor = self.text.layers[layer].self_attn.o_proj(mixed)
        return out

    def final_norm(self, rows: Tensor) -> Tensor:
        """The decoder's final norm, weights included, of hidden states ``(m, dim)`` on whatever device they are."""
        there = self.text.norm.weight.device
        normed: Tensor = self.text.norm(rows.to(there))
        return normed.to(rows.device)

    def point(
        self,
        last: Tensor,
        sources: Tensor,
        places: Tensor,
        spans: Sequence[tuple[int, int]],
        grids: Sequence[tuple[int, int]],
    ) -> str:
        """The answer of a model that ``points``.

        Args:
            last: hidden state of the prompt's last token after the final norm, ``(dim,)``.
            sources: visual tokens as they entered decoder layer 0, without markers, ``(n, dim)``.
            places: their positions in the full prompt, int64 ``(n,)``.
            spans: half-open span of every image in the full prompt.
            grids: merge blocks (rows, columns) of every image.

        Returns:
            ``click X Y``, fractions of the last image; empty where there is nothing to point at.
        """
        raise NotImplementedError(f"{type(self).__name__} answers in text")

    @property
    def attention(self) -> str:
        """Attention backend of the decoder: ``sdpa``, ``eager`` or ``flash_attention_2``."""
        return str(self.text.config._attn_implementation)

    @property
    @abstractmethod
    def dims(self) -> ModelDims:
        """Sizes of the loaded model."""
