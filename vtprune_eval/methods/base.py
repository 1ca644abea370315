"""A method: a frozen dataclass that overrides one or more of five hooks.

A hook receives read-only views and a :class:`~vtprune_eval.budget.StageBudget`; it returns a keep mask or a score.
The pipeline alone turns scores into masks, cuts, gathers positions and DeepStack rows, and counts. What a hook is told
and may answer stands in one module of ``contract/`` each.

Order of the hooks along the data flow (DESIGN: six stages, five hooks)::

    images -1-> patches -2-> ViT -> visual tokens -3-> prompt -> decoder layers -4-> KV cache -5-> decode
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import UserError
from .contract.cache import CacheHook, Room
from .contract.common import HOOKS, TokenLayout, check_fields, hyper
from .contract.images import ImageHook, ImageView
from .contract.layers import LayerEdit, LayerHook, LayerView, first_layers
from .contract.patches import PatchHook, PatchView
from .contract.tokens import TokenEdit, TokenHook, TokenView

__all__ = [
    "HOOKS",
    "ImageView",
    "LayerEdit",
    "LayerView",
    "Method",
    "PatchView",
    "Room",
    "ShallowPruner",
    "TokenEdit",
    "TokenLayout",
    "TokenView",
    "first_layers",
    "hyper",
]


@dataclass(frozen=True)
class Method(ImageHook, PatchHook, TokenHook, LayerHook, CacheHook):
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
        sees_target: True for an upper bound that reads the ground truth; such a method is never ranked.
        positions: ``kept`` (a token keeps its position) or ``renumbered`` (ablation only).
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
    sees_target: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def positions(self) -> str:
        """``kept`` or ``renumbered``."""
        return "kept"

    @classmethod
    def hooks(cls) -> tuple[str, ...]:
        """Names of the hooks this class uses, in the order of the data flow."""

        def overrides(name: str) -> bool:
            return getattr(cls, name) is not getattr(Method, name)

        return tuple(h for h in HOOKS if overrides(h) or (h == "compress_kv" and overrides("score_kv")))

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
