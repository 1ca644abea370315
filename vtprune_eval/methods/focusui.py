"""``focusui``: query-guided scores, top-K, and one marker per dropped run (POSPAD).

"FocusUI: Efficient UI Grounding via Position-Preserving Visual Token Selection", arXiv 2601.03928 (CVPR 2026).
Selection and POSPAD (section 3.3) are training-free and can follow any score; the query-guided scorer (section 3.2)
is trained, so a checkpoint is needed. For nano a scorer trained with the paper's loss is embedded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ..budget import StageBudget, largest
from ..errors import InfeasibleBudget, UserError
from ..notes import Note
from .base import Method, TokenEdit, TokenLayout, TokenView, hyper
from .kernels.labels import block_weights
from .kernels.topk import best

if TYPE_CHECKING:
    from torch import Tensor

MARKER = "<|image_drop_end|>"
STAND_INS = {
    "token": "the pad token's embedding",
    "mean": "the mean of the dropped run",
    "zero": "a row of zeros",
}
# Below the model's folder, not in it: a loader that globs *.safetensors would take it for a shard of the weights.
SCORER_FILE = "focusui/focusui_scorer.safetensors"


@dataclass(frozen=True)
class FocusUI(Method):
    """Trained saliency, top-K, POSPAD."""

    name: ClassVar[str] = "focusui"
    paper: ClassVar[str] = "FocusUI, arXiv 2601.03928"
    year: ClassVar[int] = 2026
    origin: ClassVar[str] = "vectors"
    query_aware: ClassVar[bool] = True
    trained: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Exactly K tokens, ties to the lower index; the published code breaks ties by a hash of the prompt's ids.",
        "At least one token per prompt; all images of a prompt compete, as published (per_image=true separates them).",
        "DeepStack features of every level are gathered for kept tokens; the published code loses all but the first "
        "level once it selects.",
        "Markers count as visual tokens of the prompt.",
        "Without a trained marker the pad token's embedding stands in, as published (marker=mean: mean of the run, "
        'marker=zero: zeros); records say "untrained marker".',
        "scorer=ui-graph follows the released code; graph=paper the text of the paper (patches, plain distances).",
    )

    paper_reading: ClassVar[str] = "b % of the visual tokens, rounded down, of all images together; markers come on top"

    scorer: str = hyper(
        "auto",
        "scorer weights: auto (the model's own folder), a file or folder, ui-graph (no "
        "training: rare blocks first), or random (random weights: costs alone)",
    )
    pad: str = hyper(
        "run_end",
        "what a dropped run leaves: a marker at its end (POSPAD), first or middle, one at "
        "every position (full padding), or nothing (direct removal)",
        choices=("run_end", "run_first", "run_middle", "full", "none"),
    )
    marker: str = hyper(
        "token",
        "embedding of a marker: the trained token (else pad), the mean of the dropped run, or zeros",
        choices=("token", "mean", "zero"),
    )
    graph: str = hyper(
        "code",
        "nodes of scorer=ui-graph: code (merge blocks, distances over two temporal copies: a threshold of 1.41) or "
        "paper (patches, plain RGB distance below 2, mean over a block)",
        choices=("code", "paper"),
    )
    pooling: str = hyper("mean", "pooling of the scores over the words", choices=("mean", "max"))
    per_image: bool = hyper(False, "share the budget over the images instead of letting them compete")

    def tokens_kept(self, layout: TokenLayout, present: np.ndarray, budget: StageBudget) -> int | None:
        """Unknown with markers: their number follows from the scores."""
        known = super().tokens_kept(layout, present, budget)
        return known if known == int(present.sum()) or self.pad == "none" else None

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`.

        Raises:
            UserError: no scorer weights for this model, or an empty instruction.
        """
        n = len(view.features)
        n_keep = min(n, budget.limit)
        scores = self.scores(view)
        shares = budget.per_image if self.per_image and budget.per_image is not None else (n_keep,)
        groups = image_rows(view) if len(shares) > 1 else [torch.arange(n, device=view.features.device)]
        keep = torch.zeros(n, dtype=torch.bool, device=view.features.device)
        for rows, share in zip(groups, shares, strict=True):
            k = min(share, len(rows))
            if self.pad != "none" and k < len(rows) and budget.asked.reading == "equal":
                k = self._beside_markers(scores, rows, k, view)
            keep[rows[best(scores[rows][None], k)[0]]] = True
        if bool(keep.all()) or self.pad == "none":
            return TokenEdit(keep)
        run, markers = padding(keep, view.layout, view.present, self.pad)
        features = view.features.clone()
        features[markers] = self._marker(view, run, markers).to(features.dtype)
        stay = keep.clone()
        stay[markers] = True
        trained = self.marker == "token" and view.token_embedding(MARKER) is not None
        note = "" if trained else Note("untrained_marker", {"token": STAND_INS[self.marker], "method": "FocusUI"})
        return TokenEdit(stay, features=features[stay], has_visual=keep[stay], note=note)

    def _beside_markers(self, scores: Tensor, rows: Tensor, n_keep: int, view: TokenView) -> int:
        """How many of the tokens ``rows`` may stay so that they and their markers are at most ``n_keep``.

        One more token adds at most one run, or splits none: the sum never falls, so that it can be bisected.

        Raises:
            InfeasibleBudget: the markers alone are more.
        """
        elsewhere = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        elsewhere[rows] = False

        def fits(k: int) -> bool:
            keep = elsewhere.clone()
            keep[rows[best(scores[rows][None], k)[0]]] = True
            return k + len(padding(keep, view.layout, view.present, self.pad)[1]) <= n_keep

        k = largest(fits, 0, n_keep)
        if k is None:
            raise InfeasibleBudget(
                f"focusui: the markers of what is dropped (pad={self.pad}) alone are more than {n_keep} tokens; give a "
                "larger budget, --set focusui.pad=none, or --reading paper, which does not charge them."
            )
        return k

    def scores(self, view: TokenView) -> Tensor:
        """Saliency of every present token, float32 ``(n_present,)``."""
        if self.scorer == "ui-graph":
            block = view.layout.merge_size * view.layout.patch_size
            node = block if self.graph == "code" else view.layout.patch_size
            parts = [block_weights(image, block, node).reshape(-1) for image in view.images]
            full = torch.from_numpy(np.concatenate(parts)).float().to(view.features.device)
            return full[view.present]
        words = view.question_features
        # Its layers are torch classes, which naming the method does not need.
        from .kernels.scorer import load_scorer, random_scorer

        if words is None or not len(words):
            raise UserError("focusui scores tokens by the instruction, and this sample has none.")
        features = view.features
        kind = (features.shape[1], features.dtype, features.device)
        scorer = random_scorer(*kind) if self.scorer == "random" else load_scorer(self._file(view), *kind)
        scores: Tensor = scorer(features, words.to(features.dtype), self.pooling)
        return scores.float()

    def _file(self, view: TokenView) -> Path:
        if self.scorer != "auto":
            return Path(self.scorer)
        from .kernels.scorer import holds_scorer

        folder = view.model_folder
        if folder is not None and (folder / SCORER_FILE).exists():
            return folder / SCORER_FILE
        if folder is not None and holds_scorer(folder):
            return folder
        raise UserError(
            f"focusui needs a trained scorer, and {view.model or 'this model'} has none; give a FocusUI "
            "checkpoint with --set focusui.scorer=FOLDER, rank by the UI graph with --set "
            "focusui.scorer=ui-graph, or measure costs alone with --set focusui.scorer=random."
        )

    def _marker(self, view: TokenView, run: Tensor, markers: Tensor) -> Tensor:
        """Features of the markers, ``(n_markers, dim)``."""
        if self.marker == "mean":
            dropped = (run >= 0).nonzero()[:, 0]
            n_runs = int(run.max()) + 1
            sums = torch.zeros(n_runs, view.features.shape[1], device=view.features.device)
            sums.index_add_(0, run[dropped], view.features[dropped].float())
            means = sums / torch.bincount(run[dropped], minlength=n_runs)[:, None]
            return means[run[markers]]
        if self.marker == "zero":
            return torch.zeros(len(markers), view.features.shape[1], device=view.features.device)
        for name in (MARKER, "<|endoftext|>", "<pad>", "<|im_start|>"):
            vector = view.token_embedding(name)
            if vector is not None:
                return vector.expand(len(markers), -1)
        return torch.zeros(len(markers), view.features.shape[1], device=view.features.device)


def image_rows(view: TokenView) -> list[Tensor]:
    """Rows of the present tokens of every image."""
    counts = [int(part.sum()) for part in view.present.split(list(view.layout.n_tokens))]
    return list(torch.arange(len(view.features), device=view.features.device).split(counts))


def padding(keep: Tensor, layout: TokenLayout, present: Tensor, place: str = "run_end") -> tuple[Tensor, Tensor]:
    """Dropped runs of a prompt, and where their markers stand (section 3.3).

    A run is a maximal set of dropped tokens that are neighbours in the prompt: rows of an image are joined, images are
    separated by text. Tokens that an earlier stage removed do not interrupt a run.

    Args:
        keep: bool ``(n_present,)``.
        layout: the full prompt.
        present: bool ``(n_visual,)``.
        place: see ``pad``.

    Returns:
        run of every dropped token, -1 for kept ones, int64 ``(n_present,)``; rows of the markers, sorted int64.
    """
    image = torch.repeat_interleave(torch.arange(len(layout.grids)), torch.tensor(layout.n_tokens))
    image = image.to(keep.device)[present]
    dropped = ~keep
    starts = dropped.clone()
    starts[1:] &= keep[:-1] | (image[1:] != image[:-1])
    run = torch.where(dropped, starts.cumsum(0) - 1, -1)
    rows = dropped.nonzero()[:, 0]
    if place == "full" or not len(rows):
        return run, rows
    length = torch.bincount(run[rows])
    first = starts.nonzero()[:, 0]
    shift = {"run_first": torch.zeros_like(length), "run_middle": (length - 1) // 2, "run_end": length - 1}[place]
    return run, first + shift
