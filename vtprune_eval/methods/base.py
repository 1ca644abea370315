"""A method: a frozen dataclass that overrides one or more of six hooks.

A hook receives read-only views and a :class:`~vtprune_eval.budget.StageBudget`; it returns a keep mask or a score.
The pipeline alone turns scores into masks, cuts, gathers positions and DeepStack rows, and counts. What a hook is told
and may answer stands in one module of ``contract/`` each.

Order of the hooks along the data flow ::

    images -1-> patches -2-> ViT (3) -> visual tokens -4-> prompt -> decoder layers -5-> KV cache -6-> decode
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from ..budget import Budget, Rounding, StageBudget, split_proportionally
from ..errors import UserError
from .contract.cache import CacheHook, Repeated, Room
from .contract.common import HOOKS, TokenLayout, check_fields, hyper
from .contract.images import ImageHook, ImageView
from .contract.layers import LayerEdit, LayerHook, LayerView, Places, first_layers
from .contract.merging import MergeHook
from .contract.patches import PatchHook, PatchView
from .contract.tokens import TokenEdit, TokenHook, TokenView

__all__ = [
    "HOOKS",
    "ImageView",
    "LayerEdit",
    "LayerView",
    "Method",
    "PatchView",
    "Places",
    "Repeated",
    "Room",
    "ShallowPruner",
    "TokenEdit",
    "TokenLayout",
    "TokenView",
    "first_layers",
    "hyper",
]


# What a number b means at each stage, for "equal" and, where a method says nothing else, for "paper".
_LAYER_0 = "at most ceil(b % of the full model's visual tokens) enter decoder layer 0"
READINGS_OF_A_STAGE = {
    "reduce_images": (f"{_LAYER_0}, all images together", "b % of the visual tokens, rounded down"),
    "select_patches": (f"{_LAYER_0}, all images together", "b % of the visual tokens, rounded down"),
    "merge_patches": (f"{_LAYER_0}, all images together", "b % of the visual tokens, rounded down"),
    "select_tokens": (f"{_LAYER_0}, merged tokens and markers included", "b % of the visual tokens, rounded down"),
    "prune_layer": (
        "visual tokens per decoder layer, averaged over all layers, are at most ceil(b % of the full model's); the "
        "layers before the first cut process every token, so that fewer are left behind it",
        "b % of the visual tokens are left behind the cut, rounded down; the layers before it process every token",
    ),
    "compress_kv": (
        "visual entries per layer and kv head, averaged, are at most ceil(b % of the visual tokens); all text entries "
        "stay and are not counted",
        "int(b % of the whole prompt) entries per head, text included",
    ),
}


@dataclass(frozen=True)
class Method(ImageHook, PatchHook, MergeHook, TokenHook, LayerHook, CacheHook):
    """Base of every method; a subclass sets ``name`` and overrides the hooks it uses.

    Class attributes:
        name: command-line name, equal to the file name with ``-`` for ``_``.
        paper: citation in one line ("" for a trivial baseline).
        year: of the paper's first version, 0 for a trivial baseline.
        origin: how the implementation was checked: ``vectors`` (equal to the outputs of the authors' code), ``port``
            (written from the authors' or a named library's code), ``paper`` (from the text alone), ``own``.
        query_aware: True if the question decides, too, what stays.
        trained: True if the method needs weights that were trained for it.
        deviations: what differs from the published code, one sentence each.
        adaptive: True when ``--budget auto`` means something for it.
        default_like: for a method without a count of its own, whose count ``auto`` copies (``pixelprune``), else None.
        follows: hyper-parameters that are those of ``default_like`` where a run sets them there and not here.
        sees_target: True for an upper bound that reads the ground truth; such a method is never ranked.
        blind: True for the control that keeps no visual token, whatever the budget.
        draws: True for a control that draws at random, which ``--seeds`` repeats.
        paper_of: what a percentage counts in the paper's reading: ``visual`` tokens or the whole ``prompt``.
        paper_rounding: how the paper (or its code) rounds a percentage to a count: ``down``, ``nearest`` or ``up``.
        paper_defaults: hyper-parameters that differ in the paper's reading, where they were not set.
        paper_reading: what the paper or its code calls a number, one sentence; "" for that of the method's stage.
        positions: ``kept`` (a token keeps its position); ``renumbered`` or ``compacted`` (ablations only; see
            :data:`~vtprune_eval.pipeline.positions.PLACINGS`).
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    origin: ClassVar[str] = "own"
    query_aware: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = ()
    adaptive: ClassVar[bool] = False
    default_like: ClassVar[str | None] = None
    follows: ClassVar[tuple[str, ...]] = ()
    sees_target: ClassVar[bool] = False
    blind: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    paper_of: ClassVar[str] = "visual"
    paper_rounding: ClassVar[Rounding] = "down"
    paper_defaults: ClassVar[dict[str, Any]] = {}
    paper_reading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def positions(self) -> str:
        """Where tokens stand once others are dropped; an ablation overrides it."""
        return "kept"

    @classmethod
    def hooks(cls) -> tuple[str, ...]:
        """Names of the hooks this class uses, in the order of the data flow."""

        def overrides(name: str) -> bool:
            return getattr(cls, name) is not getattr(Method, name)

        return tuple(h for h in HOOKS if overrides(h) or (h == "compress_kv" and overrides("score_kv")))

    @classmethod
    def readings(cls) -> dict[str, str]:
        """What a number means for this method, one sentence per reading."""
        hooks = cls.hooks()
        if not hooks:
            return {}
        stage = "prune_layer" if "prune_layer" in hooks else hooks[-1]
        equal, paper = READINGS_OF_A_STAGE[stage]
        return {"equal": equal, "paper": cls.paper_reading or paper}

    def told(self, budget: Budget, sizes: tuple[int, ...]) -> StageBudget:
        """What a hook is told of a percentage or a token count, for images of ``sizes`` visual tokens."""
        n_full = sum(sizes)
        paper = budget.reading == "paper" and self.paper_of == "visual"
        n_keep = self.paper_count(n_full, budget) if paper else budget.count(n_full)
        return StageBudget(n_keep, split_proportionally(n_keep, sizes), n_full, budget)

    def paper_count(self, n_full: int, budget: Budget) -> int:
        """Tokens (entries, where ``paper_of`` is ``prompt``) out of ``n_full`` in the paper's reading of ``budget``."""
        return budget.count(n_full, self.paper_rounding)

    @property
    def observes(self) -> bool:
        """Whether ``observe`` is called after decoder layers."""
        return type(self).observe is not Method.observe


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

    def earliest(self, n_layers: int) -> Method:
        """See :meth:`Method.earliest`."""
        return dataclasses.replace(self, layer=1)
