"""``vlcache``: layer budgets from attention sparsity, token scores from the queries after the last image.

Tu et al., "VL-Cache: Sparsity and Modality-Aware KV Cache Compression for Vision-Language Model Inference
Acceleration", arXiv 2410.23317, section 4. No code of the authors was found; ``form=port`` is the reading of a public
benchmark (EffiVLM-Bench).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..budget import StageBudget, spread_over_layers
from .base import LayerView, Method, TokenLayout, hyper
from .kernels.attention import per_kv_head, pooled, small_share, window_attention
from .kernels.schedules import sparsity_shares
from .kernels.topk import best_and_text, best_and_window, everything
from .kernels.window import GRANULARITY

if TYPE_CHECKING:
    from torch import Tensor


def layer_sizes(gammas: Sequence[float], lengths: Sequence[int], mean: int, low: float = 0.01) -> tuple[int, ...]:
    """Entries per layer, in proportion to how dense its attention is.

    Args:
        gammas: sparsity of each layer, in [0, 1].
        lengths: entries that each layer has.
        mean: entries that a layer keeps on average.
        low: smallest share of its entries that a layer keeps.

    Returns:
        ``c (1 - gamma)`` per layer, clamped to [``low``, 1] of its length and rounded down, with the ``c`` for which
        the layers add up to ``mean`` each; all of them where nothing smaller does.
    """
    # Equal where no layer has any dense attention; a fully sparse layer grows only when all others are whole.
    dense = [max(1e-9, 1 - g) for g in gammas]

    def sizes(c: float) -> list[float]:
        return [min(n, max(low * n, c * d)) for n, d in zip(lengths, dense, strict=True)]

    few, many = 0.0, max(lengths) / min(dense)
    for _ in range(100):
        middle = (few + many) / 2
        few, many = (middle, many) if sum(sizes(middle)) < mean * len(dense) else (few, middle)
    return tuple(int(size + 1e-9) for size in sizes(many))


def layer_shares(gammas: tuple[float, ...], low: float) -> tuple[float, ...]:
    """Share of the total budget per layer in GUI-KV's comparison: normalised density, clamped to [``low``, 1].

    A layer of fully sparse attention everywhere (all ``1 - gamma`` zero) gives equal shares.
    """
    dense = [1 - g for g in gammas]
    total = sum(dense)
    if total <= 0:
        return (1 / len(gammas),) * len(gammas)
    return tuple(min(1.0, max(low, d / total)) for d in dense)


@dataclass(frozen=True)
class VLCache(Method):
    """Sparsity-aware layer budgets; scores from post-vision attention."""

    name: ClassVar[str] = "vlcache"
    paper: ClassVar[str] = "Tu et al., VL-Cache, arXiv 2410.23317"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "upstream_compat=true (with kernel=5) follows GUI-KV's comparison instead: weights up to 0.01 count as small, "
        "layer shares are clamped to [0.001, 1] before they are multiplied by the budget and nothing is balanced, the "
        "window is everything after the last image; its sparsity pass feeds one layer's input to all layers, which "
        "is not reproduced.",
        "Sets are separate per kv head; the port's default is one set for all heads (granularity=shared, and the "
        "reading paper).",
        "What clamping a layer to [0.01, 1] of its entries takes away or adds is balanced by the other layers, so that "
        "the mean over the layers is the budget; form=port clips 90 % of the budget to [0.009, 1], leaves it, and adds "
        "a window of 10 % of the budget.",
        "Layer budgets need all layers: the caches are cut after prefill, so peak memory is that of the full cache.",
    )

    paper_of: ClassVar[str] = "prompt"
    paper_defaults: ClassVar[dict[str, Any]] = {"form": "port", "granularity": "shared"}
    paper_reading: ClassVar[str] = (
        "layer shares that average to b % of the prompt before they are clipped, one set for all heads (a public port)"
    )

    threshold: float = hyper(0.01, "a weight below this share of its row's maximum is small", low=0.0, high=1.0)
    recent: float = hyper(0.1, "share of a layer's budget for the most recent entries", low=0.0, high=1.0)
    kernel: int = hyper(1, "pooling width of the scores along the prompt", choices=(1, 3, 5, 7, 9, 11), unit="tokens")
    pooling: str = hyper("avg", "pooling of the scores", choices=("avg", "max"))
    granularity: str = hyper(
        "kv_head",
        f"{GRANULARITY}; or one set shared by all heads",
        choices=("query_head", "kv_head", "first", "shared"),
    )
    form: str = hyper(
        "balanced", "layer budgets: balanced, or clipped as a public port does", choices=("balanced", "port")
    )
    upstream_compat: bool = hyper(False, "layer budgets and windows as in GUI-KV's released comparison")

    @property
    def deferred(self) -> bool:
        """Layer budgets depend on every layer's sparsity."""
        return True

    @property
    def kv_granularity(self) -> str:
        """Heads that hold separate sets."""
        return "query_head" if self.granularity == "query_head" else "kv_head"

    def observation(self, layout: TokenLayout) -> int:
        """All queries after the last image; 8 where there is none."""
        return max(1, layout.n_prompt - layout.spans[-1][1]) if layout.spans else min(8, layout.n_prompt)

    def observe(self, view: LayerView) -> tuple[Tensor, int]:
        """Sparsity of the layer (share of small attention weights of the post-vision queries), and its entries; the
        pipeline reads the former of all layers at once, before the first is compressed."""
        sparsity = small_share(view.queries, view.keys, threshold=self.threshold, relative=not self.upstream_compat)
        return sparsity, len(view.index)

    def compress_kv(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.compress_kv`; ``view.observed`` holds every layer's sparsity and entries."""
        gammas, lengths = zip(*view.observed, strict=True)
        if budget.n_text:
            most = [n - budget.n_text for n in lengths]
            sizes = spread_over_layers(budget.limit - budget.n_text, [max(1e-9, 1 - g) for g in gammas], most)
            return self.layer_entries(view, budget.n_text + sizes[view.layer], all_text=True)
        if self.upstream_compat:
            share = layer_shares(gammas, 0.001)[view.layer]
            return self.layer_entries(view, int(budget.limit * view.n_layers * share + 1e-9))
        if self.form == "port":
            n, alpha = len(view.index), budget.limit / max(1, view.layout.n_prompt)
            window = max(1, int(n * alpha * 0.1))
            size = max(1, int(sparsity_shares(gammas, alpha)[view.layer] * n)) + window
            return self.layer_entries(view, size, window=window)
        return self.layer_entries(view, layer_sizes(gammas, lengths, budget.limit)[view.layer])

    def layer_entries(self, view: LayerView, size: int, *, all_text: bool = False, window: int = 0) -> Tensor:
        """Entries of one layer whose budget is ``size`` per head.

        Args:
            view: of the layer.
            size: entries.
            all_text: with all of the text among them.
            window: recent ones among them; 0 takes the hyper-parameter's share.
        """
        n, n_kv, after = len(view.index), view.keys.shape[0], view.queries.shape[1]
        heads = view.queries.shape[0] if self.granularity == "query_head" else n_kv
        size = max(2, size)
        if size >= n:
            return everything(n, heads, view.index.device)
        if self.upstream_compat:
            window = after if size > after else size - 1
            observers = window
        else:
            window, observers = window or max(1, int(size * self.recent + 1e-9)), after
        received = window_attention(view.queries[:, -observers:], view.keys)[:, : n - window]
        if self.granularity == "shared":
            received = received.sum(0, keepdim=True)
        elif self.granularity != "query_head":
            received = per_kv_head(received, n_kv, {"kv_head": "mean"}.get(self.granularity, "first"))
        scores = pooled(received, self.kernel, self.pooling).expand(heads, -1)
        if all_text:
            return best_and_text(scores, size, view.visual, window)
        return best_and_window(scores, size, n, window)
