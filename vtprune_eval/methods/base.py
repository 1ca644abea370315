"""The contract of a method: a frozen dataclass that overrides one or more of five hooks.

A hook receives read-only views and a :class:`~vtprune_eval.budget.StageBudget`; it returns a keep mask or a score.
The pipeline alone turns scores into masks, cuts, gathers positions and DeepStack rows, and counts.

Order of the hooks along the data flow (DESIGN: six stages, five hooks)::

    images -1-> patches -2-> ViT -> visual tokens -3-> prompt -> decoder layers -4-> KV cache -5-> decode
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..budget import StageBudget
from ..errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

HOOKS = ("reduce_images", "select_patches", "select_tokens", "prune_layer", "compress_kv")


def hyper(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] | None = None,
    unit: str = "",
) -> Any:
    """A hyper-parameter field: default, one sentence of meaning, and its range (inclusive) or its choices."""
    return dataclasses.field(
        default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices, "unit": unit}
    )


@dataclass(frozen=True)
class TokenLayout:
    """Where the images of one prompt sit, on the FULL prompt (never renumbered).

    Attributes:
        grids: merge blocks per image, (rows, columns); one block is one visual token.
        spans: half-open positions of each image's visual tokens in the full prompt.
        n_prompt: tokens of the full prompt.
        merge_size: patches per block side.
        patch_size: pixels per patch side.
        positions: rotary position ids of the full prompt, ``(3, n_prompt)`` int64 (t, h, w).
        image_sizes: (width, height) in pixels that the model sees, per image.
    """

    grids: tuple[tuple[int, int], ...]
    spans: tuple[tuple[int, int], ...]
    n_prompt: int
    merge_size: int
    patch_size: int
    positions: torch.Tensor
    image_sizes: tuple[tuple[int, int], ...]

    @property
    def n_tokens(self) -> tuple[int, ...]:
        """Visual tokens per image."""
        return tuple(h * w for h, w in self.grids)

    @property
    def n_visual(self) -> int:
        """Visual tokens of the whole prompt."""
        return sum(self.n_tokens)


@dataclass(frozen=True)
class ImageView:
    """What ``reduce_images`` may know of one image: its sizes.

    Attributes:
        size: (width, height) of the file in pixels.
        full_size: (width, height) that the processor would resize it to.
        factor: pixels per merge-block side; model sizes are multiples of it.
    """

    size: tuple[int, int]
    full_size: tuple[int, int]
    factor: int


@dataclass(frozen=True)
class PatchView:
    """What ``select_patches`` may see: the images' pixels after the processor's resize, before normalisation.

    Attributes:
        images: RGB uint8 ``(rows * block, columns * block, 3)`` per image, read-only.
        grids: (rows, columns) of merge blocks per image.
        block: pixels per merge-block side (32 for Qwen3-VL).
        seed: seed of this sample, for methods that draw at random (from RunSpec seed and the sample's id).
    """

    images: tuple[np.ndarray, ...]
    grids: tuple[tuple[int, int], ...]
    block: int
    seed: int


@dataclass(frozen=True)
class TokenView:
    """What ``select_tokens`` may see, after the ViT and before the prompt is cut.

    Attributes:
        layout: the full prompt.
        features: visual tokens after the merger, ``(n_visual, dim)``.
        text_features: embeddings of the text tokens of the question (template tokens included), ``(n_text, dim)``.
        images: as in :class:`PatchView`.
        present: which visual tokens still exist (an earlier hook may have dropped some), bool ``(n_visual,)``;
            ``features`` has one row per present token.
        seed: seed of this sample.
        extras: what :attr:`Method.needs` asked for, by that name, one row per present token.
        question_features: embeddings of the instruction alone, ``(n_words, dim)``; of the whole question where the task
            names none.
        token_embedding: embedding ``(dim,)`` of a special token by its text, None where the tokenizer lacks it.
        target_boxes: (x1, y1, x2, y2) in pixels of ``images[-1]``; filled only for a method with ``sees_target``.
        model: short name of the model; model_folder: its local folder, None for random weights.
    """

    layout: TokenLayout
    features: torch.Tensor
    text_features: torch.Tensor
    images: tuple[np.ndarray, ...]
    present: torch.Tensor
    seed: int
    extras: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    question_features: torch.Tensor | None = None
    token_embedding: Callable[[str], torch.Tensor | None] = lambda name: None
    target_boxes: tuple[tuple[float, float, float, float], ...] = ()
    model: str = ""
    model_folder: Path | None = None


@dataclass(frozen=True)
class LayerView:
    """What ``prune_layer`` and ``compress_kv`` may see of decoder layer ``layer`` during prefill.

    Attributes:
        layer: index from 0; n_layers: their number.
        layout: the full prompt.
        index: positions in the full prompt of the tokens that reached this layer, sorted int64 ``(n,)``.
        visual: which of them are visual tokens, bool ``(n,)``.
        keys: rotated keys, ``(n_kv_heads, n, head_dim)``.
        values: ``(n_kv_heads, n, head_dim)``.
        queries: rotated queries of the last ``window`` tokens, ``(n_q_heads, window, head_dim)``.
        hidden_in: hidden states that entered the layer, ``(n, dim)``; hidden_out: that left it.
        hidden_normed: the layer's input after its input norm (GUI-KV's upstream reads this one), ``(n, dim)``.
        seed: seed of this sample.
        images: as in :class:`PatchView`.
        observed: what :meth:`Method.observe` returned, by layer; so far, or of all layers where ``deferred``.
        next_layer: rotated queries ``(n_q_heads, m, head_dim)`` and keys ``(n_kv_heads, m, head_dim)`` that the next
            layer would compute from ``hidden_out`` of the given rows ``(m,)``.

    The tensors are the model's own, not copies: a hook must not write into them.
    """

    layer: int
    n_layers: int
    layout: TokenLayout
    index: torch.Tensor
    visual: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    queries: torch.Tensor
    hidden_in: torch.Tensor
    hidden_out: torch.Tensor
    hidden_normed: torch.Tensor
    seed: int
    images: tuple[np.ndarray, ...] = ()
    observed: tuple[Any, ...] = ()
    next_layer: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None

    def rows_of(self, image: int) -> torch.Tensor:
        """Rows of this view that show ``image`` (negative counts from the end), sorted int64 ``(m,)``."""
        start, end = self.layout.spans[image]
        return ((self.index >= start) & (self.index < end)).nonzero()[:, 0]

    @property
    def n_after_images(self) -> int:
        """Tokens behind the last visual token; all of them when there is none."""
        places = self.visual.nonzero()
        return len(self.index) - (int(places[-1]) + 1 if len(places) else 0)


@dataclass(frozen=True)
class Method:
    """Base of every method; a subclass sets ``name`` and overrides the hooks it uses.

    Class attributes:
        name: command-line name, equal to the file name with ``-`` for ``_``.
        paper: citation in one line ("" for a trivial baseline).
        deviations: what differs from the published code, one sentence each.
        adaptive: True when ``--budget auto`` means something for it.
        default_like: for a method without a count of its own, whose count ``auto`` copies (``pixelprune``), else None.
        sees_target: True for an upper bound that reads the ground truth; such a method is never ranked.
        window: number of last queries that ``LayerView.queries`` must hold.
        layers: decoder layers after which ``prune_layer`` is called (negative counts from the end); () for none.
        positions: ``kept`` (a token keeps its position) or ``renumbered`` (ablation only).
        kv_granularity: ``kv_head`` or ``query_head``: the heads for which ``compress_kv`` returns separate sets.
        vit_depth: ViT blocks that still see the patches that ``select_patches`` drops (0: dropped before the ViT).
        trim_cache: True if tokens dropped by ``prune_layer`` leave the caches of the layers before it, too.
        deferred: True if ``compress_kv`` runs after the last layer, when ``observed`` is known for all layers.
        resample: filter of ``reduce_images``: ``bicubic`` or ``bilinear``.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()
    adaptive: ClassVar[bool] = False
    default_like: ClassVar[str | None] = None
    sees_target: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, meta = getattr(self, field.name), field.metadata
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{self.name}: {field.name}={value!r} is not a finite number.")
            unit = f" {meta['unit']}" if meta.get("unit") else ""
            if meta.get("choices") is not None and value not in meta["choices"]:
                raise UserError(
                    f"{self.name}: {field.name}={value!r} is not one of {', '.join(map(str, meta['choices']))}."
                )
            low, high = meta.get("low"), meta.get("high")
            if (low is not None or high is not None) and not _in_range(value, low, high):
                bounds = f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"
                raise UserError(f"{self.name}: {field.name}={value!r} is outside {bounds}{unit}.")

    @property
    def window(self) -> int:
        """Last queries needed in ``LayerView.queries`` (1 unless the method observes more)."""
        return 1

    @property
    def layers(self) -> tuple[int, ...]:
        """Decoder layers (from 0) after which ``prune_layer`` runs."""
        return ()

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """The same for a decoder of ``n_layers``, none negative; ``layers`` unless they depend on its depth.

        Raises:
            UserError: a layer that the decoder does not have.
        """
        for k in self.layers:
            if not -n_layers <= k < n_layers:
                raise UserError(
                    f"{self.name} prunes after decoder layer {k}, and this decoder has {n_layers} layers: "
                    f"choose one from {-n_layers} to {n_layers - 1}."
                )
        return tuple(k % n_layers for k in self.layers)

    def observed_layers(self, n_layers: int) -> tuple[int, ...]:
        """Layers after which ``observe`` runs, where it is overridden; all of them by default."""
        return tuple(range(n_layers))

    @property
    def positions(self) -> str:
        """``kept`` or ``renumbered``."""
        return "kept"

    @property
    def kv_granularity(self) -> str:
        """``kv_head`` or ``query_head``."""
        return "kv_head"

    @property
    def vit_depth(self) -> int:
        """ViT blocks that run before the patches of ``select_patches`` are dropped."""
        return 0

    @property
    def trim_cache(self) -> bool:
        """Whether a token that ``prune_layer`` drops also leaves the caches of the earlier layers."""
        return False

    @property
    def deferred(self) -> bool:
        """Whether ``compress_kv`` waits until every layer was observed."""
        return False

    @property
    def resample(self) -> str:
        """Resize filter of ``reduce_images``."""
        return "bicubic"

    def observation(self, layout: TokenLayout) -> int:
        """Last queries needed in ``LayerView.queries`` for this prompt; ``window`` unless it depends on the prompt."""
        return self.window

    def observe(self, view: LayerView) -> Any:
        """A small statistic of each layer, kept for the later calls of the same prompt (``LayerView.observed``)."""
        return None

    @property
    def needs(self) -> tuple[str, ...]:
        """Extra inputs for ``select_tokens``, by ViT block: ``encoder_attention:penultimate``, ``encoder_keys:-1``.

        A block is an index (negative counts from the end), taken as it is, or ``mid``, ``penultimate`` or ``last``; a
        name moves to the nearest block with full attention where the ViT has windows.
        """
        return ()

    @classmethod
    def hooks(cls) -> tuple[str, ...]:
        """Names of the hooks this class overrides, in the order of the data flow."""
        return tuple(h for h in HOOKS if getattr(cls, h) is not getattr(Method, h))

    # The five hooks. Each returns what the pipeline should do; a method overrides what it uses.

    def reduce_images(self, images: tuple[ImageView, ...], budget: StageBudget) -> tuple[tuple[int, int], ...]:
        """New (width, height) per image, multiples of ``factor``; the pipeline resizes (bicubic, antialiased)."""
        raise AssertionError("not overridden")

    def select_patches(self, view: PatchView, budget: StageBudget) -> tuple[np.ndarray, ...]:
        """Keep mask per image, bool ``(rows, columns)`` of merge blocks; at least one block per prompt."""
        raise AssertionError("not overridden")

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Any:
        """Score ``(n_present,)`` (float) or keep mask ``(n_present,)`` (bool), or a :class:`TokenEdit`."""
        raise AssertionError("not overridden")

    def prune_layer(self, view: LayerView, budget: StageBudget) -> torch.Tensor | LayerEdit:
        """Score (float) or keep mask (bool) over the ``n`` tokens of the view; text entries are ignored (kept).

        A :class:`LayerEdit` where hidden states change, too.
        """
        raise AssertionError("not overridden")

    def compress_kv(self, view: LayerView, budget: StageBudget) -> torch.Tensor:
        """Sorted indices into the view's ``n`` entries to keep, int64 ``(n_heads, n_kept)``; equal counts per head.

        ``n_heads`` is the number of kv heads, or of query heads when ``kv_granularity`` is ``query_head``.
        """
        raise AssertionError("not overridden")


@dataclass(frozen=True)
class ShallowPruner(Method):
    """A method that prunes once, before the decoder layer that its hyper-parameter ``layer`` names."""

    layer: int = hyper(2, "first layer (from 0) that sees fewer tokens", low=1)

    @property
    def layers(self) -> tuple[int, ...]:
        """After the layer before."""
        return (self.layer - 1,)

    def layers_of(self, n_layers: int) -> tuple[int, ...]:
        """See :meth:`Method.layers_of`.

        Raises:
            UserError: no layer of the decoder would see fewer tokens.
        """
        if self.layer >= n_layers:
            raise UserError(first_layers(self.name, "layer", self.layer, n_layers))
        return self.layers


def first_layers(method: str, field: str, value: int, n_layers: int) -> str:
    """The sentence for a hyper-parameter that must leave at least one of ``n_layers`` decoder layers behind it."""
    remedy = (
        f"choose 1 to {n_layers - 1} with --set {method}.{field}="
        if n_layers > 1
        else "choose a method of another stage"
    )
    return f"{method}: {field}={value} leaves no layer with fewer tokens in a decoder of {n_layers}; {remedy}."


@dataclass(frozen=True)
class TokenEdit:
    """A richer answer of ``select_tokens``, for methods that do more than drop.

    Attributes:
        keep: bool ``(n_present,)``.
        features: replacement features of the kept rows, ``(n_kept, dim)``, or None to keep the model's own.
        deepstack: ``keep`` gathers DeepStack rows of kept tokens; set False to give kept rows none.
        has_visual: bool ``(n_kept,)``: False marks a row that is a learned or fixed marker (POSPAD), which receives
            no DeepStack features; None means all are visual.
    """

    keep: torch.Tensor
    features: torch.Tensor | None = None
    has_visual: torch.Tensor | None = None
    deepstack: bool = True


@dataclass(frozen=True)
class LayerEdit:
    """A richer answer of ``prune_layer``, for methods that merge what they drop.

    Attributes:
        keep: bool ``(n,)`` over the tokens of the view; text entries are kept whatever it says.
        rows: int64 ``(m,)``, rows of the view whose hidden state is replaced; they must be kept.
        hidden: their new hidden states, ``(m, dim)``.
    """

    keep: torch.Tensor
    rows: torch.Tensor
    hidden: torch.Tensor


def _in_range(value: Any, low: float | None, high: float | None) -> bool:
    try:
        return (low is None or value >= low) and (high is None or value <= high)  # NaN fails both
    except TypeError:
        return False
