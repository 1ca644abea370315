"""Stage 3: which visual tokens enter the prompt, and the sequence that they make with its text."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..clock import StageClock
from ..methods.base import Method, Places, TokenEdit, TokenView
from ..methods.kernels.topk import kept_by_score
from ..models.base import Encoded
from ..sample import Sample, target_box
from .looking import Looking
from .positions import placed
from .prompt import Prompt
from .stages import Begun, Entered, frozen
from .state import State


class Sequencing(Looking):
    """A composition up to the first decoder layer."""

    def tokens(
        self, entered: Entered, present: Tensor, budgets: dict[str, StageBudget], ids: Tensor, clock: StageClock
    ) -> TokenEdit | None:
        """Stage 3: which visual tokens enter the prompt, and with which features; None where no method asks.

        Args:
            entered: from :meth:`enter`.
            present: its :attr:`Entered.present`, on the model's device.
            budgets: from :meth:`budgets`.
            ids: of the full prompt, on the model's device.
            clock: takes the times.
        """
        method = self._by_hook.get("select_tokens")
        if method is None or not len(entered.encoded.tokens):
            return None
        with clock.stage("select"):
            budget = budgets["select_tokens"]
            view = self.token_view(method, entered, present, ids)
            with torch.no_grad():  # which tokens stay has no gradient
                answer = method.select_tokens(view, budget)
            if isinstance(answer, TokenEdit):
                if answer.features is None or not torch.is_grad_enabled():
                    return answer
                merged: TokenEdit = method.select_tokens(view, budget)  # merged features and markers have one
                return merged
            if answer.dtype != torch.bool:
                answer = kept_by_score(answer, len(answer) if budget.n_keep is None else budget.n_keep)
            return TokenEdit(answer)

    def token_view(self, method: Method, entered: Entered, present: Tensor, ids: Tensor) -> TokenView:
        """What ``method`` may see in stage 3; arguments as for :meth:`tokens`."""
        adapter, prompt, sample = self.adapter, entered.prompt, entered.sample
        ends = [0, *(end for _, end in prompt.layout.spans)]
        starts = [*(start for start, _ in prompt.layout.spans), len(ids)]
        text = torch.cat([ids[end:start] for end, start in zip(ends, starts, strict=True)])
        words = adapter.text.embed_tokens(text)
        asked = sample.question if sample.instruction is None else sample.instruction
        question = adapter.tokenizer(asked, add_special_tokens=False)["input_ids"]
        return TokenView(
            prompt.layout,
            entered.encoded.tokens,
            words,
            frozen(prompt.pixels),
            present,
            entered.seed,
            {name: entered.encoded.extras[name] for name in method.needs},
            question_features=adapter.text.embed_tokens(torch.tensor(question, dtype=torch.long).to(ids.device)),
            token_embedding=self._token_embedding,
            target_boxes=_target_boxes(sample, entered.file_sizes[-1], prompt) if method.sees_target else (),
            model=adapter.name,
            model_folder=adapter.folder,
            n_layers=len(adapter.text.layers),
        )

    def _token_embedding(self, name: str) -> Tensor | None:
        """Embedding of a special token by its text; None where the tokenizer has no such token."""
        tokenizer = self.adapter.tokenizer
        number = tokenizer.convert_tokens_to_ids(name)
        if number is None or number == getattr(tokenizer, "unk_token_id", None):
            return None
        row: Tensor = self.adapter.text.embed_tokens.weight[number]
        return row

    def begin(self, entered: Entered, budgets: dict[str, StageBudget], clock: StageClock) -> Begun:
        """Stage 3: the sequence that enters the decoder."""
        device = self.adapter.device
        present, ids = entered.present.to(device), entered.prompt.ids.to(device)
        edit = self.tokens(entered, present, budgets, ids, clock)
        with clock.stage("prefill"):
            state, next_position, kept = self._assemble(entered.prompt, entered.encoded, present, edit, ids)
        return Begun(state, next_position, kept, edit, state.hidden.shape[1], int((~state.visual).sum()))

    def _assemble(
        self, prompt: Prompt, encoded: Encoded, present: Tensor, edit: TokenEdit | None, ids: Tensor
    ) -> tuple[State, int, tuple[tuple[int, ...], ...]]:
        """Cut ids, positions and DeepStack rows with one mask; put the visual features in place."""
        adapter, layout = self.adapter, prompt.layout
        kept, features, levels = chosen(encoded, present, edit)
        has_visual = None if edit is None else edit.has_visual
        visual = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for start, end in layout.spans:
            visual[start:end] = True
        mask = ~visual
        mask[visual] = kept
        index = mask.nonzero()[:, 0]
        visual = visual[index]
        hidden = adapter.text.embed_tokens(ids[index])
        rows = visual.nonzero()[:, 0]
        hidden[rows] = features.to(hidden.dtype)
        positions, next_position = placed(layout, index, self.placing)
        if has_visual is not None:
            rows, levels = rows[has_visual], tuple(level[has_visual] for level in levels)
        rope = adapter.text.rotary_emb(hidden[None], positions[:, None])
        per_image = tuple(tuple(k.nonzero()[:, 0].tolist()) for k in kept.split(list(layout.n_tokens)))
        places = Places(partial(_on_host, layout.n_prompt, layout.spans, per_image))
        state = State(hidden[None], index, visual, rope, levels, rows, places)
        return state, next_position, per_image


def _on_host(n_prompt: int, spans: tuple[tuple[int, int], ...], kept: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """Positions of all text and of the kept visual tokens, sorted int64."""
    there = np.ones(n_prompt, dtype=bool)
    for (start, end), of_image in zip(spans, kept, strict=True):
        there[start:end] = False
        there[start + np.array(of_image, dtype=np.int64)] = True
    return np.flatnonzero(there)


def chosen(encoded: Encoded, present: Tensor, edit: TokenEdit | None) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """What of the ViT's output enters the prompt.

    Args:
        encoded: of the present tokens.
        present: bool ``(n_visual,)``.
        edit: what ``select_tokens`` answered.

    Returns:
        bool ``(n_visual,)``; features ``(n_kept, dim)``; DeepStack levels, ``(n_kept, dim)`` each, () for none. Rows
        of markers are among the levels: ``edit.has_visual`` says which they are.
    """
    kept = present.clone()
    if edit is None:
        return kept, encoded.tokens, encoded.deepstack
    kept[present] = edit.keep
    features = encoded.tokens[edit.keep] if edit.features is None else edit.features
    return kept, features, tuple(level[edit.keep] for level in encoded.deepstack) if edit.deepstack else ()


def _target_boxes(
    sample: Sample, file_size: tuple[int, int], prompt: Prompt
) -> tuple[tuple[float, float, float, float], ...]:
    """The sample's boxes (pixels of the last file) in pixels of the last image as the model sees it."""
    box = target_box(sample.target)
    if box is None:
        return ()
    sx, sy = (m / f for m, f in zip(prompt.layout.image_sizes[-1], file_size, strict=True))
    return ((box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy),)
