"""Hook 4, ``select_tokens``: which visual tokens enter the prompt, behind the ViT and its merger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ...budget import StageBudget
    from ...notes import Note
    from .common import TokenLayout


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
        model: short name of the model, for messages.
        model_folder: its local folder, None for random weights.
        n_layers: decoder layers, for a method that drops tokens there, too.
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
    n_layers: int = 0


@dataclass(frozen=True)
class TokenEdit:
    """A richer answer of ``select_tokens``, for methods that do more than drop.

    Attributes:
        keep: bool ``(n_present,)``.
        features: replacement features of the kept rows, ``(n_kept, dim)``, or None to keep the model's own.
        deepstack: ``keep`` gathers DeepStack rows of kept tokens; set False to give kept rows none.
        has_visual: bool ``(n_kept,)``: False marks a row that is a learned or fixed marker (POSPAD), which receives
            no DeepStack features; None means all are visual.
        note: what a reader of the record must know: a sentence, a :class:`~vtprune_eval.notes.Note`, or "".
    """

    keep: torch.Tensor
    features: torch.Tensor | None = None
    has_visual: torch.Tensor | None = None
    deepstack: bool = True
    note: str | Note = ""


class TokenHook:
    """A method that drops or merges visual tokens behind the ViT."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Extra inputs for ``select_tokens``, by ViT block: ``encoder_attention:penultimate``, ``encoder_keys:-1``.

        A block is an index (negative counts from the end), taken as it is, or ``mid``, ``penultimate`` or ``last``; a
        name moves to the nearest block with full attention where the ViT has windows.
        """
        return ()

    def tokens_kept(self, layout: TokenLayout, present: np.ndarray, budget: StageBudget) -> int | None:
        """Visual tokens that ``select_tokens`` will leave, where that follows before the encoder has run; else None.

        An engine that lays out its prompts before it encodes their images needs the number.

        Args:
            layout: the full prompt.
            present: bool ``(n_visual,)``, which tokens still exist.
            budget: as for the hook.
        """
        return None if budget.n_keep is None else min(int(present.sum()), budget.n_keep)

    def entering(self, budget: StageBudget, n_layers: int) -> int:
        """Visual tokens that ``select_tokens`` leaves at most; more than ``budget.n_keep``, which is the mean over the
        decoder's ``n_layers``, only for a method that goes on dropping there."""
        return budget.limit

    def select_tokens(self, view: TokenView, budget: StageBudget) -> Any:
        """Score ``(n_present,)`` (float) or keep mask ``(n_present,)`` (bool), or a :class:`TokenEdit`.

        Of a score the pipeline keeps the best, as many as the budget allows.
        """
        raise AssertionError("not overridden")
