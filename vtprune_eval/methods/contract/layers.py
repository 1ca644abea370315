"""Hook 5, ``prune_layer``: which visual tokens leave the sequence after a decoder layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ...budget import behind_cut
from ...errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ...budget import StageBudget
    from .common import TokenLayout


class Places:
    """Where the tokens of a sequence stand in the full prompt, on the host; read at most once, when first asked for."""

    def __init__(self, read: Callable[[], np.ndarray]) -> None:
        """``read``: gives them, sorted."""
        self._read = read

    @cached_property
    def all(self) -> np.ndarray:
        """Positions in the full prompt, sorted int64 ``(n,)``."""
        return self._read()

    def between(self, start: int, end: int) -> tuple[int, int]:
        """Half-open range of the rows whose positions lie in ``[start, end)``."""
        first, last = self.all.searchsorted((start, end)).tolist()
        return first, last


@dataclass(frozen=True)
class LayerView:
    """What ``prune_layer`` and the cache hook may see of decoder layer ``layer`` during prefill.

    Attributes:
        layer: index from 0.
        n_layers: their number.
        layout: the full prompt.
        index: positions in the full prompt of the tokens that reached this layer, sorted int64 ``(n,)``.
        visual: which of them are visual tokens, bool ``(n,)``.
        keys: rotated keys, ``(n_kv_heads, n, head_dim)``.
        values: ``(n_kv_heads, n, head_dim)``.
        queries: rotated queries of the last ``window`` tokens, ``(n_q_heads, window, head_dim)``.
        hidden_in: hidden states that entered the layer, ``(n, dim)``.
        hidden_out: that left it.
        hidden_normed: the layer's input after its input norm (GUI-KV's upstream reads this one), ``(n, dim)``.
        seed: seed of this sample.
        images: as in :class:`PatchView`.
        observed: what :meth:`Method.observe` returned, by layer; so far, or of all layers where ``deferred``.
        next_layer: rotated queries ``(n_q_heads, m, head_dim)`` and keys ``(n_kv_heads, m, head_dim)`` that the next
            layer would compute from ``hidden_out`` of the given rows ``(m,)``.
        final_norm: the decoder's final norm with its weights, of rows ``(m, dim)``.
        rope: cos and sin of the tokens' rotary embedding, ``(n, rotary_dim)`` each.
        rope_at: the same of text at the given positions ``(m,)``.
        attention: the layer's attention module, for code of other libraries.
        places: ``index`` on the host, shared by all layers that see the same tokens; read from it where there is none.

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
    final_norm: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows
    rope: tuple[torch.Tensor, torch.Tensor] = ()  # type: ignore[assignment]  # the pipeline always fills it
    rope_at: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = lambda positions: (positions, positions)
    attention: Any = None
    places: Places | None = None

    @cached_property
    def _spans(self) -> tuple[tuple[int, int], ...]:
        """Half-open range of rows of every image, on the host: what methods ask here makes no device wait."""
        places = self.places or Places(self.index.cpu().numpy)
        return tuple(places.between(start, end) for start, end in self.layout.spans)

    def span_of(self, image: int) -> tuple[int, int]:
        """Half-open range of the rows that show ``image`` (negative counts from the end): they are neighbours."""
        return self._spans[image]

    def rows_of(self, image: int) -> torch.Tensor:
        """Rows of this view that show ``image`` (negative counts from the end), sorted int64 ``(m,)``."""
        import torch

        return torch.arange(*self._spans[image], device=self.index.device)

    @property
    def n_visual(self) -> int:
        """Visual tokens."""
        return sum(end - start for start, end in self._spans)

    @property
    def visual_rows(self) -> torch.Tensor:
        """Rows of the visual tokens, sorted int64 ``(n_visual,)``."""
        import torch

        empty = torch.arange(0, device=self.index.device)
        return torch.cat([empty, *(self.rows_of(image) for image in range(len(self._spans)))])

    @property
    def text_rows(self) -> torch.Tensor:
        """Rows of the text, sorted int64 ``(n - n_visual,)``."""
        import torch

        starts, ends = zip(*((s, e) for s, e in self._spans if e > s), strict=True) if self.n_visual else ((), ())
        gaps = zip((0, *ends), (*starts, len(self.index)), strict=True)
        return torch.cat([torch.arange(first, last, device=self.index.device) for first, last in gaps])

    @property
    def text_after(self) -> torch.Tensor:
        """Rows behind the last visual token, sorted int64 ``(m,)``; all of them where there is none."""
        import torch

        n = len(self.index)
        return torch.arange(n - self.n_after_images, n, device=self.index.device)

    @property
    def n_after_images(self) -> int:
        """Tokens behind the last visual token; all of them when there is none."""
        return len(self.index) - max((end for start, end in self._spans if end > start), default=0)

    @property
    def value_norms(self) -> torch.Tensor:
        """Euclidean norm of every value, float32 ``(n_kv_heads, n)``; ``score * view.value_norms`` weighs by it."""
        norms: torch.Tensor = self.values.float().norm(dim=-1)
        return norms


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


class Observer:
    """What a method inside the decoder asks to see; shared by ``prune_layer`` and the cache hook."""

    @property
    def window(self) -> int:
        """Last queries needed in ``LayerView.queries`` (1 unless the method observes more; -1 for all)."""
        return 1

    def observation(self, layout: TokenLayout) -> int:
        """The same for this prompt; ``window`` unless it depends on the prompt."""
        return self.window

    def observed_layers(self, n_layers: int) -> tuple[int, ...]:
        """Layers after which ``observe`` runs, where it is overridden; all of them by default."""
        return tuple(range(n_layers))

    def observe(self, view: LayerView) -> Any:
        """A small statistic of each layer, kept for the later calls of the same prompt (``LayerView.observed``)."""
        return None


class LayerHook(Observer):
    """A method that shortens the sequence between decoder layers."""

    name: ClassVar[str]

    @property
    def layers(self) -> tuple[int, ...]:
        """Decoder layers (from 0, negative counts from the end) after which ``prune_layer`` runs."""
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

    @property
    def trim_cache(self) -> bool:
        """Whether a dropped token also leaves the caches of the earlier layers."""
        return False

    def stage_counts(self, kept: tuple[int, ...], n_layers: int, budget: StageBudget) -> tuple[int, ...]:
        """Visual tokens of the prompt that may be left behind each of :meth:`layers_of`, () where the method decides.

        The one place where these are computed: for a run, for a plan without a model, and to check a record.

        Args:
            kept: visual tokens per image that enter the decoder.
            n_layers: of the decoder.
            budget: in the reading ``equal`` the mean over the layers, in the paper's what is left behind the last cut.

        Returns:
            by default the same behind every cut. A number below 1 says that the budget is infeasible for this sample.
        """
        if budget.n_keep is None:
            return ()
        at, entering = self.layers_of(n_layers), sum(kept)
        if budget.asked.reading == "paper":
            return (min(entering, budget.n_keep),) * len(at)
        return (behind_cut(budget.n_keep, entering, at[0] + 1, n_layers),) * len(at)

    def least_left(self, kept: tuple[int, ...]) -> int:
        """The fewest visual tokens that may be left behind a cut, of those per image that enter the decoder."""
        return 1

    def least_share(self, n_layers: int) -> Fraction:
        """Mean share of the visual tokens per layer that every budget of the reading ``equal`` must exceed.

        The layers before the first cut process every token.
        """
        at = self.layers_of(n_layers)
        return Fraction(at[0] + 1, n_layers) if at else Fraction(0)

    def earliest(self, n_layers: int) -> Any:
        """The same method with its cuts where they allow the smallest budget; itself where nothing can be set."""
        return self

    def prune_layer(self, view: LayerView, budget: StageBudget) -> torch.Tensor | LayerEdit:
        """Score (float) or keep mask (bool) over the ``n`` tokens of the view; text entries are ignored (kept).

        A :class:`LayerEdit` where hidden states change, too.
        """
        raise AssertionError("not overridden")


def first_layers(method: str, field: str, value: int, n_layers: int) -> str:
    """The sentence for a hyper-parameter that must leave at least one of ``n_layers`` decoder layers behind it."""
    remedy = (
        f"choose 1 to {n_layers - 1} with --set {method}.{field}="
        if n_layers > 1
        else "choose a method of another stage"
    )
    return f"{method}: {field}={value} leaves no layer with fewer tokens in a decoder of {n_layers}; {remedy}."
