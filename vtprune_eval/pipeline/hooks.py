"""What the methods inside the decoder see of a layer, and what their answers become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..methods.base import LayerEdit, LayerView, Method, TokenLayout
from ..methods.kernels.topk import kept_by_score
from ..models.base import VlmAdapter
from .cache import KVCache
from .state import State


@dataclass(frozen=True)
class Compression:
    """One branch of the prompt's cache.

    Attributes:
        method: of ``compress_kv``.
        budget: what it is told.
        apply: takes a decoder layer and the entries that the method keeps there, int64 ``(heads, n_kept)``.
    """

    method: Method
    budget: StageBudget
    apply: Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Hooks:
    """The methods that act inside the decoder, and what they are told.

    Attributes:
        pruner: the method of ``prune_layer``, None where there is none.
        prune_budget: its budget.
        left: visual tokens that may be left behind each of its layers, () where it decides itself.
        compressions: branches of the cache; several only where the prefill is shared. Beside a pruner all branches are
            of one method, so that every view is the one that a separate run would give.
        seed: seed of the sample.
        images: pixels that the model sees, for the views.
    """

    pruner: Method | None = None
    prune_budget: StageBudget | None = None
    left: tuple[int, ...] = ()
    compressions: tuple[Compression, ...] = ()
    seed: int = 0
    images: tuple[np.ndarray, ...] = ()

    @property
    def compressors(self) -> tuple[Method, ...]:
        """The different methods among the branches, by identity."""
        return tuple({id(c.method): c.method for c in self.compressions}.values())

    @property
    def observers(self) -> tuple[Method, ...]:
        """Methods whose ``observe`` is called after every layer."""
        methods = (*self.compressors, *([self.pruner] if self.pruner else []))
        return tuple(m for m in methods if m.observes)


@dataclass
class Seen:
    """What methods saw of the layers so far.

    Attributes:
        statistics: what each observed, by its identity.
        waiting: decoder layers and views that wait for the end.
        checks: what was found of the entries that methods keep, on the device: reading it at every layer would make
            the device wait.
    """

    statistics: dict[int, list[Any]] = field(default_factory=dict)
    waiting: dict[int, list[tuple[int, LayerView]]] = field(default_factory=dict)
    checks: list[tuple[str, Tensor]] = field(default_factory=list)

    def of(self, method: Method, device: torch.device) -> tuple[Any, ...]:
        """What a method observed, tensors on ``device``."""
        return tuple(s.to(device) if isinstance(s, Tensor) else s for s in self.statistics.get(id(method), ()))

    def read_checks(self) -> None:
        """Refuse what a method should not have kept; one read from the device for all layers.

        Raises:
            RuntimeError: the first fault, with the method's name.
        """
        if not self.checks:
            return
        device = self.checks[0][1].device
        for (name, _), fault in zip(
            self.checks, torch.stack([c.to(device) for _, c in self.checks]).tolist(), strict=True
        ):
            if fault == 1:
                raise RuntimeError(f"{name}.compress_kv must return sorted, distinct entries of the view")
            if fault == 2:
                raise RuntimeError(
                    f"{name}.compress_kv dropped text; in the reading equal all of it stays: write score_kv, or use "
                    "kernels.topk.best_and_text"
                )


@dataclass
class Sight:
    """A decoder layer as methods may see it.

    Attributes:
        adapter: the model.
        number: of the layer.
        layout: the full prompt.
        state: behind the layer.
        entered: hidden states that went into it, ``(1, n, dim)``.
        cache: holds its keys and values.
        hooks: the methods of the run.
        seen: what they observed.
        beside: methods that act together at this layer; None where every method is a run of its own. The last bits of
            a projection depend on its number of rows, so windows of different runs are projected separately.
    """

    adapter: VlmAdapter
    number: int
    layout: TokenLayout
    state: State
    entered: Tensor
    cache: KVCache
    hooks: Hooks
    seen: Seen
    beside: Sequence[Method] | None

    def __post_init__(self) -> None:
        self.adapter.require_cache(self.number)
        self._normed = self.adapter.text.layers[self.number].input_layernorm(self.entered[0])
        self._keys, self._values = self.cache.entries(self.number)  # before any method cuts them
        self._projected: dict[int, Tensor] = {}

    def view(self, method: Method) -> LayerView:
        """What ``method`` may see; queries are projected once, for the longest window that any method of a run asks."""
        state = self.state
        return LayerView(
            layer=self.number,
            n_layers=len(self.adapter.text.layers),
            layout=self.layout,
            index=state.index,
            visual=state.visual,
            keys=self._keys,
            values=self._values,
            queries=self._queries_of(method),
            hidden_in=self.entered[0],
            hidden_out=state.hidden[0],
            hidden_normed=self._normed,
            seed=self.hooks.seed,
            images=self.hooks.images,
            observed=self.seen.of(method, self._keys.device),
            next_layer=self._next_layer,
            final_norm=self.adapter.final_norm,
            rope=(state.rope[0][0], state.rope[1][0]),
            rope_at=self._rope_at,
            attention=self.adapter.text.layers[self.number].self_attn,
            places=state.on_host(),
        )

    def _queries_of(self, method: Method) -> Tensor:
        n, projected = self.entered.shape[1], self._projected
        asked = [m.observation(self.layout) for m in self.beside or [method]]
        window = n if min(asked) < 0 else min(max(*asked, 1), n)
        if window not in projected:
            rows = slice(n - window, n)
            projected[window] = self.adapter.project(self.number, self._normed[rows], self._rope_rows(rows))[0]
        own = method.observation(self.layout)
        return projected[window] if own < 0 else projected[window][:, window - min(max(own, 1), n) :]

    def _next_layer(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        adapter, after = self.adapter, self.number + 1
        if after >= len(adapter.text.layers):
            raise RuntimeError("the last layer has no next layer")
        here, there = self.state.hidden.device, adapter.layer_devices[after]
        normed = adapter.text.layers[after].input_layernorm(self.state.hidden[0, rows].to(there))
        cos, sin = self._rope_rows(rows)
        q, k, _ = adapter.project(after, normed, (cos.to(there), sin.to(there)))
        return q.to(here), k.to(here)

    def _rope_at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.adapter.text.rotary_emb(self.state.hidden[:, :1], places.expand(3, 1, -1))
        return cos[0], sin[0]

    def _rope_rows(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.state.rope[0][:, rows], self.state.rope[1][:, rows]


def compress(method: Method, view: LayerView, compressions: tuple[Compression, ...], layer: int, seen: Seen) -> None:
    """Tell every branch of ``method`` what it keeps of ``layer``."""
    for branch in compressions:
        if branch.method is method:
            kept = method.compress_kv(view, branch.budget)
            seen.checks.append((method.name, _checked(kept, view, method, branch.budget)))
            # An index outside would stop a GPU for good before the check is read; the answer is refused all the same.
            branch.apply(layer, kept.clamp(-1, view.keys.shape[1] - 1))


def pruned(method: Method, view: LayerView, budget: StageBudget, state: State, n_visual: int) -> tuple[Tensor, int]:
    """Turn what ``prune_layer`` returned into a mask that keeps all text and at most the budget of visual tokens.

    Args:
        method: that prunes.
        view: of the layer.
        budget: what it is told.
        state: whose hidden states it may change.
        n_visual: visual tokens of the layer.

    Returns:
        bool ``(n,)``, and the visual tokens among them; after a score that number is known without the device.
    """
    answer = method.prune_layer(view, budget)
    if isinstance(answer, LayerEdit):
        keep = answer.keep | ~view.visual
        there, n_left = torch.stack([keep[answer.rows].all().long(), (keep & view.visual).sum()]).tolist()
        if not there:
            raise RuntimeError(f"{method.name}.prune_layer changes tokens that it drops")
        state.hidden = state.hidden.index_copy(1, answer.rows, answer.hidden[None].to(state.hidden.dtype))
        return keep, n_left
    if answer.dtype == torch.bool:
        keep = answer | ~view.visual
        return keep, int((keep & view.visual).sum())
    n_keep = n_visual if budget.n_keep is None else min(n_visual, max(1, budget.n_keep))
    lowest = torch.finfo(torch.float32).min
    ranked = torch.nan_to_num(answer.float(), nan=lowest).clamp(min=lowest)
    chosen = kept_by_score(torch.where(view.visual, ranked, float("-inf")), n_keep) if n_keep else view.visual
    return chosen | ~view.visual, n_keep


def _checked(kept: Tensor, view: LayerView, method: Method, budget: StageBudget) -> Tensor:
    """What is wrong with the entries that a method keeps: 0 nothing, 1 not sorted, distinct and inside, 2 text is
    missing; on the device, read once for all layers.

    Raises:
        RuntimeError: the shape is wrong, which is known without the device.
    """
    n_q, n_kv = view.queries.shape[0], view.keys.shape[0]
    heads = n_q if method.kv_granularity == "query_head" else n_kv
    if kept.dtype.is_floating_point:
        raise RuntimeError(f"{method.name}.compress_kv returned a score; return it from score_kv, or return entries")
    if kept.ndim != 2 or kept.shape[0] != heads or kept.shape[1] < 1:
        raise RuntimeError(f"{method.name}.compress_kv returned shape {tuple(kept.shape)}; ({heads}, n) is needed")
    n = view.keys.shape[1]
    backwards = kept[:, 1:] <= kept[:, :-1]
    if method.ragged:  # padding in front of heads that keep fewer than others
        backwards = backwards & ~((kept[:, :-1] == -1) & (kept[:, 1:] == -1))
    lowest = -1 if method.ragged else 0
    wrong = backwards.any() | (kept[:, -1].min() < 0) | (kept.min() < lowest) | (kept.max() >= n)
    if not budget.n_text:
        return wrong.long()
    text = ~view.visual
    missing = ((text[kept.clamp(0, n - 1)] & (kept >= 0)).sum(1) < text.sum()).any()
    return torch.where(wrong, 1, missing.long() * 2)


def numbers(statistics: list[Any]) -> list[Any]:
    """Statistics with single numbers of the device as numbers, with one read for all layers; others as they are."""

    def single(x: Any) -> bool:
        return isinstance(x, Tensor) and x.ndim == 0

    found = [x for s in statistics if isinstance(s, tuple) for x in s if single(x)]
    if not found:
        return statistics
    read = iter(torch.stack([x.to(found[0].device) for x in found]).tolist())
    return [tuple(next(read) if single(x) else x for x in s) if isinstance(s, tuple) else s for s in statistics]
