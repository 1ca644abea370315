"""``showui``: thin out the connected components of the UI graph inside the decoder.

Lin et al., "ShowUI: One Vision-Language-Action Model for GUI Visual Agent", arXiv 2411.17465 (CVPR 2025), section 3.1.
Neighbouring blocks of nearly equal pixels are one component; of its n members max(1, n - round(n skip)) evenly spaced
ones stay, single members and text always. The dropped ones skip the layers; nothing is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..budget import StageBudget
from .base import LayerView, ShallowPruner, hyper
from .kernels.labels import graph_components
from .kernels.pivots import component_quota, evenly_in_components, evenly_spaced

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 1000  # in which the skip ratio is searched for


@dataclass(frozen=True)
class ShowUI(ShallowPruner):
    """Even subsets of UI-graph components."""

    name: ClassVar[str] = "showui"
    paper: ClassVar[str] = "Lin et al., ShowUI, arXiv 2411.17465"
    year: ClassVar[int] = 2024
    origin: ClassVar[str] = "vectors"
    adaptive: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "ShowUI is a model trained with this selection; on other models it is a training-free stand-in.",
        "Dropped tokens skip every layer from `layer` on; the released code returns them behind the last chosen layer, "
        "which is the decoder's last one in its settings, so that nothing reads them any more.",
        "auto is the released ratio of 0.5 (its commands switch the selection off in evaluation). A number takes the "
        "smallest skip ratio that fits, then adds evenly spaced tokens; where one token of each component is already "
        "too much, evenly spaced ones of these stay.",
        "The graph compares pixels in [0, 1] over two temporal copies; the released code compares them after the "
        "processor's normalisation with threshold 1, about 0.27 on this scale.",
    )

    layer: int = hyper(1, "first layer (from 0) that sees fewer tokens", low=1)
    skip: float = hyper(0.5, "share of a component that is dropped at auto", low=0.0, high=1.0)
    threshold: float = hyper(0.27, "largest L2 distance of two blocks of one component", low=0.0)

    def labels(self, view: LayerView) -> Tensor:
        """Component of every visual token of the view, int64."""
        block = view.layout.merge_size * view.layout.patch_size
        parts, n = [], 0
        for image in view.images:
            part = graph_components(image, block, self.threshold).reshape(-1)
            parts.append(part + n)
            n += int(part.max()) + 1
        full = torch.full((view.layout.n_prompt,), -1, dtype=torch.long)
        for (start, end), part in zip(view.layout.spans, parts, strict=True):
            full[start:end] = torch.from_numpy(np.ascontiguousarray(part))
        return full[view.index[view.visual].cpu()]

    def prune_layer(self, view: LayerView, budget: StageBudget) -> Tensor:
        """See :meth:`Method.prune_layer`."""
        labels = self.labels(view)
        chosen = evenly_in_components(labels, self.skip) if budget.n_keep is None else within(labels, budget.limit)
        keep = ~view.visual
        keep[view.visual] = chosen.to(keep.device)
        return keep


def within(labels: Tensor, n_keep: int) -> Tensor:
    """Mask of exactly ``n_keep`` tokens (all, where there are no more) by the rule above, bool ``(n,)``."""
    n_keep, low, high = min(len(labels), max(1, n_keep)), 0, STEPS
    sizes = torch.bincount(labels).tolist()
    while low < high:  # the count falls with the skip ratio
        middle = (low + high) // 2
        fits = sum(component_quota(size, middle / STEPS) for size in sizes) <= n_keep
        low, high = (low, middle) if fits else (middle + 1, high)
    keep = evenly_in_components(labels, low / STEPS)
    n_kept = int(keep.sum())
    if n_kept > n_keep:
        places = keep.nonzero()[:, 0]
        keep = torch.zeros_like(keep)
        keep[places[evenly_spaced(len(places), n_keep)]] = True
    elif n_kept < n_keep:
        rest = (~keep).nonzero()[:, 0]
        keep[rest[evenly_spaced(len(rest), n_keep - n_kept)]] = True
    return keep
