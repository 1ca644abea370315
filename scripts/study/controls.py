"""Methods that only the experiments need: one mask with five kinds of positions, and kept tokens without DeepStack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vtprune_eval.budget import StageBudget
from vtprune_eval.methods.base import Method, TokenEdit, TokenView, hyper
from vtprune_eval.methods.focusui import MARKER, STAND_INS, padding
from vtprune_eval.methods.kernels.topk import kept_by_score
from vtprune_eval.notes import Note
from vtprune_eval.registry import make_method

PLACES = ("kept", "renumbered", "compacted", "pospad", "padded")


@dataclass(frozen=True)
class Placed(Method):
    """A random mask whose dropped tokens leave nothing (three kinds of positions), a marker per run, or one each."""

    name: ClassVar[str] = "placed"
    draws: ClassVar[bool] = True

    place: str = hyper("kept", "what dropped tokens leave, and where the others stand", choices=PLACES)

    @property
    def positions(self) -> str:
        """See :class:`Method`."""
        return self.place if self.place in {"renumbered", "compacted"} else "kept"

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`; markers come on top of the budget."""
        generator = torch.Generator().manual_seed(view.seed)
        scores = torch.rand(len(view.features), generator=generator).to(view.features.device)
        keep = kept_by_score(scores, min(len(scores), budget.limit))
        if self.place not in {"pospad", "padded"} or bool(keep.all()):
            return TokenEdit(keep)
        _, markers = padding(keep, view.layout, view.present, "run_end" if self.place == "pospad" else "full")
        features, stay = view.features.clone(), keep.clone()
        trained = view.token_embedding(MARKER)
        marker = view.token_embedding("<|endoftext|>") if trained is None else trained
        features[markers] = 0 if marker is None else marker.to(features.dtype)
        stay[markers] = True
        note = (
            "" if trained is not None else Note("untrained_marker", {"token": STAND_INS["token"], "method": "POSPAD"})
        )
        return TokenEdit(stay, features=features[stay], has_visual=keep[stay], note=note)


@dataclass(frozen=True)
class Shallow(Method):
    """Another method's tokens, without the features that DeepStack adds to them in the first decoder layers."""

    name: ClassVar[str] = "shallow"
    draws: ClassVar[bool] = True

    of: str = hyper("random-tokens", "the method that chooses")

    @property
    def needs(self) -> tuple[str, ...]:
        """As the method that chooses."""
        return make_method(self.of).needs

    def select_tokens(self, view: TokenView, budget: StageBudget) -> TokenEdit:
        """See :meth:`Method.select_tokens`."""
        answer = make_method(self.of).select_tokens(view, budget)
        if isinstance(answer, TokenEdit):
            return replace(answer, deepstack=False)
        keep: Tensor = answer if answer.dtype == torch.bool else kept_by_score(answer, min(len(answer), budget.limit))
        return TokenEdit(keep, deepstack=False)
