"""Several samples with the answers behind their prompts, as one packed sequence: the forward pass of training.

The stages are those of evaluation: :meth:`.Pipeline.look`, the adapter's ``encode``, :meth:`.Pipeline.begin` and
:func:`.prefill.run_layer`. What is added here: the images of several samples pass through the ViT in one call, the
prompts and their answers stand one behind the other, and attention never crosses from one to the next. Questions about
the same images may share them: each sees the images and itself, at the positions that it has alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..clock import StageClock
from ..models.base import Encoded, VlmAdapter
from ..sample import Sample
from .generate import Pipeline
from .images import Images, load_images
from .prompt import Prompt, patch_rows
from .stages import Begun, Entered
from .state import State, causal_mask, run_layer

# Name under which transformers finds the attention of packed sequences.
ATTENTION = "vtprune_packed"


@dataclass(frozen=True)
class Looked:
    """A sample as far as it goes without the model.

    Attributes:
        pipeline: at the sample's own budget.
        sample: the first of those that share the images.
        images: see :class:`.Pipeline`.
        budgets: see :class:`.Pipeline`.
        prompt: see :class:`.Pipeline`.
        keep: see :class:`.Pipeline`.
    """

    pipeline: Pipeline
    sample: Sample
    images: Images
    budgets: dict[str, StageBudget]
    prompt: Prompt
    keep: list[np.ndarray | None]


def look_at(pipeline: Pipeline, sample: Sample, clock: StageClock) -> Looked:
    """Decode and reduce the images of a sample, and build its prompt.

    Raises:
        SampleError: ``bad_image``, ``too_long``, or a budget that the method cannot meet.
    """
    reduced = pipeline.method_of("reduce_images") is not None
    images = load_images(
        sample, pipeline.adapter.images, clock, keep_files=reduced, hand_over=True, resized=not reduced
    )
    budgets = pipeline.budgets(sample, images, clock)
    prompt, keep = pipeline.look(sample, images, budgets, clock)
    return Looked(pipeline, sample, images, budgets, prompt, keep)


def enter_together(looked: Sequence[Looked]) -> list[Entered]:
    """The images of all samples through the ViT in one call (one by one where blocks are merged inside it)."""
    adapter, rules = looked[0].pipeline.adapter, looked[0].pipeline.adapter.images
    merging = [p.pipeline.merging(p.prompt, p.keep, p.budgets) for p in looked]
    if len(looked) > 1 and any(m is not None for m in merging):
        return [entered for one in looked for entered in enter_together([one])]
    keep = [k for one in looked for k in one.keep]
    if not keep:
        width = adapter.text.embed_tokens.weight.shape[1]
        nothing = Encoded(torch.zeros(0, width, dtype=adapter.dtype, device=adapter.device), ())
        return [one.pipeline.entered(one.sample, one.images, one.prompt, one.keep, nothing) for one in looked]
    depth = looked[0].pipeline.depth_of(keep)
    pixels = [p for one in looked for p in one.prompt.pixels]
    rows = [patch_rows(p, rules, None if depth else k) for p, k in zip(pixels, keep, strict=True)]
    patches = (rows[0] if len(rows) == 1 else torch.cat(rows)).to(adapter.device)
    grids = [grid for one in looked for grid in one.prompt.layout.grids]
    masks = [None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep]
    encoded = adapter.encode(patches, grids, masks, looked[0].pipeline.needs, depth, merging[0])
    if len(looked) == 1:
        return [looked[0].pipeline.entered(looked[0].sample, looked[0].images, looked[0].prompt, keep, encoded)]
    sizes = [_n_kept(one) for one in looked]
    tokens, levels = encoded.tokens.split(sizes), [level.split(sizes) for level in encoded.deepstack]
    extras = {name: extra.split(sizes) for name, extra in encoded.extras.items()}
    return [
        one.pipeline.entered(
            one.sample,
            one.images,
            one.prompt,
            one.keep,
            Encoded(tokens[i], tuple(level[i] for level in levels), {name: extra[i] for name, extra in extras.items()}),
        )
        for i, one in enumerate(looked)
    ]


def _n_kept(one: Looked) -> int:
    return sum(n if k is None else int(k.sum()) for n, k in zip(one.prompt.layout.n_tokens, one.keep, strict=True))


@dataclass(frozen=True)
class Answered:
    """A prompt before the first decoder layer, and the answer that is taught.

    Attributes:
        entered: of the pipeline.
        begun: of the pipeline.
        answer: ids, the end token included; () for none.
        shared: rows of the prompt that belong to the images of the question before, 0 where nothing is shared.
        turn: last tokens of the prompt that are taught, too: the fixed turn of a model that points.
    """

    entered: Entered
    begun: Begun
    answer: tuple[int, ...]
    shared: int = 0
    turn: int = 0


def shared_rows(first: Answered, entered: Entered, begun: Begun) -> int:
    """How many rows of a prompt are those of ``first``: all up to the end of the last image, 0 where one differs."""
    mine, other = entered.prompt, first.entered.prompt
    if not mine.layout.spans or mine.layout.spans != other.layout.spans:
        return 0
    end = mine.layout.spans[-1][1]
    if not torch.equal(mine.ids[:end], other.ids[:end]) or begun.kept != first.begun.kept:
        return 0
    return int((begun.state.index < end).sum())


@dataclass(frozen=True)
class Segment:
    """Rows of a packed sequence that see each other.

    Attributes:
        start: half-open rows of a prompt with its answer, causal.
        middle: half-open rows of a prompt with its answer, causal.
        end: rows ``middle`` to ``end`` are further questions about its images.
        shared: rows from ``start`` on that these questions see beside themselves.
        mask: bool ``(end - middle, shared + end - middle)``, None without further questions.
    """

    start: int
    middle: int
    end: int
    shared: int = 0
    mask: Tensor | None = None


@dataclass(frozen=True)
class Packed:
    """A packed sequence before the first decoder layer.

    Attributes:
        state: what the decoder layers take; consumed by :func:`run`.
        segments: which rows see each other.
        rows: rows that predict a token of an answer, int64 ``(n_answer,)``.
        labels: these tokens.
        owner: number of the question that each belongs to, int64 ``(n_answer,)``.
        lengths: per question the rows that it adds.
        before: the rows that it sees and does not add.
        prompt_end: last row of every question's prompt.
        sources: places in ``state`` of the visual tokens of every question, markers left out.
    """

    state: State
    segments: tuple[Segment, ...]
    rows: Tensor
    labels: Tensor
    owner: Tensor
    lengths: tuple[int, ...]
    before: tuple[int, ...]
    prompt_end: tuple[int, ...]
    sources: tuple[Tensor, ...]


def pack(adapter: VlmAdapter, questions: Sequence[Answered]) -> Packed:
    """Put prompts with their answers one behind the other; a question that shares images follows the one it shares
    them with."""
    hidden, index, visual, cos, sin, levels, level_rows = [], [], [], [], [], [], []
    rows, labels, owner, lengths, before, ends, segments = [], [], [], [], [], [], []
    sources: list[Tensor] = []
    at = 0
    group: list[tuple[int, int, int]] = []  # start, rows, shared, of a first question and those behind it
    for number, question in enumerate(questions):
        state = _with_answer(adapter, question)
        first, n = question.shared, state.hidden.shape[1] - question.shared
        if group and not first:
            segments.append(_segment(group, state.hidden.device))
            group = []
        group.append((at, n, first))
        hidden.append(state.hidden[:, first:])
        index.append(state.index[first:])
        visual.append(state.visual[first:])
        cos.append(state.rope[0][:, first:])
        sin.append(state.rope[1][:, first:])
        if not first and len(state.deepstack_rows):
            levels.append(state.deepstack)
            level_rows.append(state.deepstack_rows + at)
        sources.append(state.deepstack_rows + at if not first else sources[-1])
        end = at + question.begun.n_in - first - 1
        m = len(question.answer) + question.turn
        rows.append(torch.arange(end - question.turn, end - question.turn + m))
        taught = question.entered.prompt.ids.tolist()[-question.turn :] if question.turn else []
        labels.append(torch.tensor([*taught, *question.answer], dtype=torch.long))
        owner.append(torch.full((m,), number))
        lengths.append(n)
        before.append(first)
        ends.append(end)
        at += n
    device = hidden[0].device
    segments.append(_segment(group, device))
    packed = State(
        _one(hidden, 1),
        _one(index, 0),
        _one(visual, 0),
        (_one(cos, 1), _one(sin, 1)),
        tuple(_one(list(level), 0) for level in zip(*levels, strict=True)),
        _one(level_rows, 0) if level_rows else torch.zeros(0, dtype=torch.long, device=device),
    )
    return Packed(
        packed,
        tuple(segments),
        torch.cat(rows).to(device),
        torch.cat(labels).to(device),
        torch.cat(owner).to(device),
        tuple(lengths),
        tuple(before),
        tuple(ends),
        tuple(sources),
    )


def _one(parts: list[Tensor], dim: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _with_answer(adapter: VlmAdapter, question: Answered) -> State:
    """The state of a prompt with all tokens of the answer but the last behind it, at the positions of decoding."""
    state, fed = question.begun.state, question.answer[:-1]
    if not fed:
        return state
    device = state.hidden.device
    hidden = adapter.text.embed_tokens(torch.tensor([fed], device=device)).to(state.hidden.dtype)
    first = question.begun.next_position
    places = torch.arange(first, first + len(fed), device=device)
    cos, sin = adapter.text.rotary_emb(hidden, places.expand(3, 1, -1))
    n_prompt = question.entered.prompt.layout.n_prompt
    return State(
        torch.cat([state.hidden, hidden], 1),
        torch.cat([state.index, torch.arange(n_prompt, n_prompt + len(fed), device=device)]),
        torch.cat([state.visual, torch.zeros(len(fed), dtype=torch.bool, device=device)]),
        (torch.cat([state.rope[0], cos], 1), torch.cat([state.rope[1], sin], 1)),
        state.deepstack,
        state.deepstack_rows,
    )


def _segment(group: Sequence[tuple[int, int, int]], device: torch.device) -> Segment:
    (start, n, _), rest = group[0], group[1:]
    middle = start + n
    if not rest:
        return Segment(start, middle, middle)
    shared, lengths = rest[0][2], [n for _, n, _ in rest]
    own = torch.repeat_interleave(torch.arange(len(rest)), torch.tensor(lengths))
    inside = (own[:, None] == own[None]) & torch.ones(len(own), len(own), dtype=torch.bool).tril()
    mask = torch.cat([torch.ones(len(own), shared, dtype=torch.bool), inside], 1).to(device)
    return Segment(start, middle, middle + len(own), shared, mask)


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: tuple[Segment, ...] = (),
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' layers, segment by segment, each with the kernel that evaluation uses.

    Args:
        module: the layer's attention.
        query: ``(1, heads, n, head_dim)``.
        key: ``(1, heads, n, head_dim)``.
        value: ``(1, heads, n, head_dim)``.
        attention_mask: None; a single sequence is causal.
        segments: of :class:`Packed`; () for a single sequence.
        options: of the attention function.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward as attend

    if not segments:
        mixed: Tensor = attend(module, query, key, value, attention_mask, **options)[0]
        return mixed, None
    out = []
    for s in segments:
        q, k, v = (x[:, :, s.start : s.middle] for x in (query, key, value))
        out.append(attend(module, q, k, v, None, **options)[0])
        if s.mask is None:
            continue
        seen = [torch.cat([x[:, :, s.start : s.start + s.shared], x[:, :, s.middle : s.end]], 2) for x in (key, value)]
        out.append(attend(module, query[:, :, s.middle : s.end], *seen, s.mask[None, None], **options)[0])
    return torch.cat(out, 1), None


def use_packed_attention(adapter: VlmAdapter) -> None:
    """Let the decoder of a model take packed sequences; single ones are computed as before.

    It stays in place, because gradient checkpointing runs a layer again in the backward pass.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    adapter.text.config._attn_implementation = ATTENTION


def can_pack(adapter: VlmAdapter) -> bool:
    """Whether several sequences can be packed: not where layers with linear attention carry a state along."""
    return all(map(adapter.has_cache, range(len(adapter.text.layers))))


def run(adapter: VlmAdapter, packed: Packed) -> Tensor:
    """All decoder layers and the final norm; hidden states ``(1, n, dim)`` of every row."""
    state = packed.state
    alone = len(packed.segments) == 1 and packed.segments[0].mask is None
    options = {} if alone else {"segments": packed.segments}
    for number in range(len(adapter.text.layers)):
        run_layer(adapter, state, number, causal_mask(adapter, state.hidden), None, **options)
    out: Tensor = adapter.text.norm(state.hidden)
    return out
