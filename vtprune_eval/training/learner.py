"""What a training step computes: a micro-batch through the stages of evaluation, and its losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..budget import Budget
from ..clock import StageClock
from ..errors import UserError
from ..methods.full import Full
from ..models.base import VlmAdapter
from ..pipeline.generate import Pipeline
from ..pipeline.packed import (
    Answered,
    Looked,
    Packed,
    can_pack,
    enter_together,
    look_at,
    pack,
    run,
    shared_rows,
    use_packed_attention,
)
from ..pipeline.prompt import Prompt, build_prompt
from ..pipeline.stages import Entered
from .cost import Trained, work_before_decoder, work_of
from .examples import Example, answer_ids
from .focusui import Recipe
from .losses import answer_loss, distillation_loss, first_wrong


class NotFinite(Exception):
    """A loss that is no number; ``sample`` is the id of the first one."""

    def __init__(self, sample: str) -> None:
        super().__init__(sample)
        self.sample = sample


@dataclass(frozen=True)
class Item:
    """Questions about the same images, ready for the model.

    Attributes:
        examples: the questions.
        answers: their ids.
        looked: the first one's images and prompt.
    """

    examples: tuple[Example, ...]
    answers: tuple[tuple[int, ...], ...]
    looked: Looked


class Learner(nn.Module):
    """A model with a method in the loop, and what is trained beside it.

    Args:
        adapter: the model.
        pipeline: with the method.
        teacher: pipeline of the teacher, None without one.
        kd_weight: share of its loss.
        recipe: FocusUI's further losses, None without them.
        autocast: floating type of the passes, None for that of the weights.
        trained: for counting.
        decodes: False where what is trained has its loss before the decoder.
    """

    def __init__(
        self,
        adapter: VlmAdapter,
        pipeline: Pipeline,
        *,
        teacher: Pipeline | None = None,
        kd_weight: float = 1.0,
        recipe: Recipe | None = None,
        autocast: torch.dtype | None = None,
        trained: Trained | None = None,
        decodes: bool = True,
    ) -> None:
        super().__init__()
        self.model = adapter.model
        self.scorer = recipe.scorer if recipe is not None else None
        self.adapter, self.pipeline, self.recipe = adapter, pipeline, recipe
        self.full = Pipeline(adapter, Full(), Budget.parse("100"))
        self.trained = trained or Trained()
        self.divided, self.decodes = False, decodes  # divided: among processes
        # Not a submodule: a teacher is neither saved nor moved with the student.
        self._teacher = (teacher, kd_weight) if teacher is not None else None
        self._autocast = autocast
        self.clock = StageClock(*adapter.devices)
        use_packed_attention(adapter)
        if teacher is not None:
            use_packed_attention(teacher.adapter)

    def prepare(self, examples: Sequence[Example], budget: Budget | None = None, full: bool = False) -> Item:
        """The part of a sample that needs no weights.

        Args:
            examples: questions about the same images.
            budget: a drawn one.
            full: with all tokens.

        Raises:
            SampleError: an unreadable image, a prompt that is too long, a budget that cannot be met.
        """
        pipeline = self.full if full else self.pipeline if budget is None else self.pipeline.at(budget)
        answers = tuple(self.answer_ids(e) for e in examples)
        return Item(tuple(examples), answers, look_at(pipeline, examples[0].sample, self.clock))

    def answer_ids(self, example: Example) -> tuple[int, ...]:
        """Ids of an answer; () for a model that points."""
        return () if self.adapter.points else answer_ids(self.adapter.tokenizer, example.answer)

    def packs(self, items: Sequence[Item], most: int) -> list[list[Item]]:
        """Micro-batch in packed sequences of at most ``most`` rows, as far as they are known before the ViT."""
        if not can_pack(self.adapter):
            return [[item] for item in items]
        out: list[list[Item]] = []
        room = 0
        for item in items:
            kept = zip(item.looked.prompt.layout.n_tokens, item.looked.keep, strict=True)
            dropped = sum(n - int(k.sum()) for n, k in kept if k is not None)
            rows = item.looked.prompt.layout.n_prompt - dropped + sum(len(a) for a in item.answers)
            if not out or rows > room:
                out.append([])
                room = most
            out[-1].append(item)
            room -= rows
        return out

    def forward(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Losses of one packed sequence, as sums.

        Returns:
            ``loss``: to be divided by ``tokens``; ``answer``, ``teacher``: of its parts, detached, where there are
            any; ``extra``: mean-able losses of FocusUI, to be divided by the number of questions; ``n_extra``.

        Raises:
            NotFinite: with the sample.
        """
        mode = nullcontext() if self._autocast is None else torch.autocast(self.adapter.device.type, self._autocast)
        with mode:
            entered, questions, owners = self._questions(self.pipeline, items)
            if not self.decodes:
                return self._before_decoder(entered, questions, owners)
            packed = pack(self.adapter, questions)
            self.work = work_of(self.adapter.dims, self.trained, entered, packed)
            sources = self._sources(packed)
            hidden = run(self.adapter, packed)
            logits = self.adapter.lm_head(hidden[0, packed.rows])
            losses = answer_loss(logits, packed.labels)
            out = {"answer": losses.detach().sum(), "right": (logits.argmax(-1) == packed.labels).sum()}
            if self._teacher is not None:
                teacher, weight = self._teacher
                with torch.no_grad():
                    wanted = teacher_logits(teacher, items, self._autocast)
                kl = distillation_loss(logits, wanted)
                out["teacher"] = kl.detach().sum()
                losses = (1 - weight) * losses + weight * kl if weight < 1 else kl
            wrong = first_wrong(losses, packed.owner)
            if wrong is not None:
                raise NotFinite(owners[wrong].sample.id)
            out["loss"] = losses.sum()
            if self.divided:  # every process exchanges the same gradients, also of parts that its samples do not use
                out["loss"] = out["loss"] + 0 * sum(p.sum() for p in self.parameters() if p.requires_grad)
            if self.recipe is not None:
                extra = self.recipe.losses(self, questions, packed, sources, hidden)
                out |= {name: value.detach() for name, value in extra.items()}
                total = self.recipe.weighted(extra)
                if not bool(torch.isfinite(total)):
                    raise NotFinite(owners[0].sample.id)
                out["extra"] = total
        return out

    def _before_decoder(
        self, entered: Sequence[Entered], questions: Sequence[Answered], owners: Sequence[Example]
    ) -> dict[str, Tensor]:
        """Losses of a scorer that is trained alone: nothing behind it is run, so that answers have no loss."""
        assert self.recipe is not None
        self.work = work_before_decoder(self.adapter.dims, self.trained, entered)
        extra = self.recipe.losses(self, questions, None, (), None)
        total = self.recipe.weighted(extra)
        if not bool(torch.isfinite(total)):
            raise NotFinite(owners[0].sample.id)
        unused = sum(p.sum() for p in self.parameters() if p.requires_grad) if self.divided else 0
        return {name: value.detach() for name, value in extra.items()} | {
            "extra": total,
            "loss": total * 0 + 0 * unused,
        }

    def _sources(self, packed: Packed) -> tuple[Tensor, ...]:
        """Visual tokens of every question as they enter decoder layer 0; only a model that points needs them."""
        if not self.adapter.points:
            return ()
        return tuple(packed.state.hidden[0, places] for places in packed.sources)

    def _questions(
        self, pipeline: Pipeline, items: Sequence[Item]
    ) -> tuple[list[Entered], list[Answered], list[Example]]:
        entered = enter_together([item.looked for item in items])
        return entered, *answered(pipeline.adapter, items, entered, self.clock)

    @contextmanager
    def all_tokens(self) -> Iterator[None]:
        """Within it, nothing is dropped, taught by a teacher or weighed by a recipe: for timing."""
        held = self.pipeline, self._teacher, self.recipe
        self.pipeline, self._teacher, self.recipe = self.full, None, None
        try:
            yield
        finally:
            self.pipeline, self._teacher, self.recipe = held


def answered(
    adapter: VlmAdapter, items: Sequence[Item], entered: Sequence[Entered], clock: StageClock
) -> tuple[list[Answered], list[Example]]:
    """Every question of ``items`` before the first decoder layer, and the examples that they are."""
    questions: list[Answered] = []
    owners: list[Example] = []
    for item, images in zip(items, entered, strict=True):
        pipeline, first = item.looked.pipeline, None
        for example, answer in zip(item.examples, item.answers, strict=True):
            own = images
            if first is not None:
                prompt = build_prompt(adapter, images.prompt.pixels, example.sample.question)
                own = dataclasses.replace(images, sample=example.sample, prompt=prompt)
            begun = pipeline.begin(own, item.looked.budgets, clock)
            shared = 0 if first is None or not can_pack(adapter) else shared_rows(first, own, begun)
            question = Answered(own, begun, answer, shared, turn_length(adapter, own.prompt) if adapter.points else 0)
            first = question if first is None or not shared else first
            questions.append(question)
            owners.append(example)
    return questions, owners


def turn_length(adapter: VlmAdapter, prompt: Prompt) -> int:
    """Tokens of the assistant's fixed turn that a prompt of a model that points ends with."""
    start, ids = adapter.tokenizer.convert_tokens_to_ids("<|im_start|>"), prompt.ids.tolist()
    return ids[::-1].index(start) if start in ids else 0


def _whole(teacher: Pipeline, looked: Looked, clock: StageClock) -> Looked:
    """A sample with all its tokens; its prompt is the student's, unless that has other images."""
    if looked.pipeline.method_of("reduce_images") is not None:
        return look_at(teacher, looked.sample, clock)
    return dataclasses.replace(looked, pipeline=teacher, budgets={}, keep=[None] * len(looked.keep))


def teacher_logits(teacher: Pipeline, items: Sequence[Item], autocast: torch.dtype | None) -> Tensor:
    """What the teacher, who sees all tokens, says at the tokens of the answers, ``(n_answer, vocabulary)``."""
    adapter, clock = teacher.adapter, StageClock(*teacher.adapter.devices)
    shown = [dataclasses.replace(item, looked=_whole(teacher, item.looked, clock)) for item in items]
    entered = enter_together([item.looked for item in shown])
    questions, _ = answered(adapter, shown, entered, clock)
    packed = pack(adapter, questions)
    logits: Tensor = adapter.lm_head(run(adapter, packed)[0, packed.rows])
    return logits


def check_answers(learner: Learner, examples: Sequence[Any]) -> None:
    """Refuse examples whose answer is nothing but the end of the turn.

    Raises:
        UserError: with the sample.
    """
    for example in examples:
        if not learner.adapter.points and len(learner.answer_ids(example)) < 2:
            raise UserError(f"sample {example.sample.id} has an empty answer; give it one, or remove the record.")
