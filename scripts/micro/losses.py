"""Losses of micro's question stage: answers, reader heads, pointers, attention; blocks may be missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from nano.forward import encode
from torch import Tensor, nn
from train_nano import Layout, is_right

from .batches import Batch, is_icon
from .folder import MARKER, NUMBERS
from .forward import Reader, decode

# Decoder layers whose attention has a target: characters before, named words on the screen, question, answer on the
# screen; and which of their heads, one of each key-value group.
WATCH = (0, 2, 3, 4)
HEADS = (0, 2)
BELL = 0.8  # width of a coordinate's target, in hundredths
PLACE = 2.0  # weight of a block's own place
BESIDE = 0.6  # weight of the characters beside a patch: they say where in a number a block is
WIDE_BELL = 2.0  # and of what the reader says of a target's centre


class Pointers(nn.Module):
    """Auxiliary heads, dropped after training: where the decoder should look.

    At the last prompt token of a question, two dot products with the visual tokens say which blocks the question names
    (after layer ``AT[0]``) and which hold the answer (after layer ``AT[1]``).
    """

    AT = (3, 4)

    def __init__(self, dim: int, width: int = 128) -> None:
        super().__init__()
        self.ask = nn.ModuleList(nn.Linear(dim, width) for _ in self.AT)
        self.show = nn.ModuleList(nn.Linear(dim, width) for _ in self.AT)

    def forward(self, screens: list[Tensor], asked: list[Tensor], at: Tensor, wanted: Tensor) -> Tensor:
        """Loss.

        Args:
            screens: visual tokens after every layer, ``(rows, n_visual, dim)``.
            asked: questions after every layer, ``(rows, questions, length, dim)``.
            at: int64 ``(rows, questions)``, the last prompt token of every question.
            wanted: ``(2, rows, questions, n_visual)``, target shares per head; all zero where there is none.
        """
        total = asked[0].new_zeros(())
        for head, layer in enumerate(self.AT):
            here = at[:, :, None, None].expand(-1, -1, 1, asked[layer].shape[-1])
            x = asked[layer].gather(2, here)[:, :, 0]
            q = self.ask[head](F.layer_norm(x, x.shape[-1:]))
            k = self.show[head](F.layer_norm(screens[layer], x.shape[-1:]))
            scores = (q @ k.transpose(1, 2)).float() * k.shape[-1] ** -0.5
            loss = -(wanted[head] * scores.log_softmax(-1)).sum(-1)
            total = total + loss.sum() / wanted[head].sum(-1).sum().clamp(min=1.0)
        return total


@dataclass
class Losses:
    """What a batch gives: the three losses, and per question (kind, whether its answer is right)."""

    answer: Tensor
    reader: Tensor
    look: Tensor
    right: list[tuple[str, bool]]
    parts: dict[str, float]


def bells(width: float) -> Tensor:
    """Targets ``(100, 100)``: per hundredth a bell of ``width`` over its neighbours."""
    at = torch.arange(100)
    bell = torch.exp(-0.5 * ((at[:, None] - at[None]) / width) ** 2)
    return bell / bell.sum(1, keepdim=True)


class Numbers:
    """Soft targets of coordinates: a bell over neighbouring hundredths, so that a near miss is a small error."""

    def __init__(self, tokenizer) -> None:
        self.ids = torch.tensor(tokenizer.convert_tokens_to_ids(NUMBERS))
        self.value = torch.full((int(self.ids.max()) + 1,), -1)
        self.value[self.ids] = torch.arange(100)
        self.bell = bells(BELL)

    def loss(self, logits: Tensor, wanted: Tensor, is_box: Tensor) -> Tensor:
        """Cross-entropy per token ``(n,)``; a coordinate's is the divergence from its bell.

        Args:
            logits: ``(n, vocabulary)``.
            wanted: int64 ``(n,)``.
            is_box: bool ``(n,)``, tokens of a click or tap.
        """
        logs = logits.log_softmax(-1)
        loss = -logs.gather(1, wanted[:, None])[:, 0]
        value = self.value[wanted.clamp(max=len(self.value) - 1)]
        soft = is_box & (value >= 0)
        if soft.any():
            near = self.bell[value[soft]]
            divergence = (near * (near.clamp(min=1e-9).log() - logs[soft][:, self.ids])).sum(-1)
            loss = loss.masked_scatter(soft, divergence)
        return loss


def losses(
    model, reader: Reader, pointers: Pointers, tokenizer, numbers: Numbers, batch: Batch, only_heads: bool = False
) -> Losses:
    """One batch; ``only_heads`` keeps the gradients of the reader and pointer losses out of the model."""
    body = model.model
    n_rows, n_segments = len(batch.segments), len(batch.segments[0])
    length = -(-max(len(s) for row in batch.segments for s in row) // 4) * 4
    height, width = batch.images.shape[1:3]
    layout = Layout(tokenizer, batch.frames, height // 32, width // 32, 1, length)
    n_page = len(layout.prefix)
    visual = torch.cat([torch.arange(start, end) for start, end in layout.spans])
    seen = batch.present.view(len(batch.images), -1) if batch.before else None
    tokens, taps = encode(body.visual, batch.images, seen)
    ids, labels, is_box = _texts(tokenizer, batch, length)
    table = body.language_model.embed_tokens.weight
    shown = batch.present[:, :, None]
    marker = table[tokenizer.convert_tokens_to_ids(MARKER)]
    placed = torch.where(shown, tokens.reshape(n_rows, -1, tokens.shape[-1]).float(), marker)
    page = F.embedding(torch.tensor(layout.prefix), table).expand(n_rows, -1, -1).index_copy(1, visual, placed)
    present = torch.ones(n_rows, n_page, dtype=torch.bool)
    present[:, visual] = batch.present | batch.markers
    positions = layout.positions[:, :n_page], layout.positions[:, n_page:]
    rows = [t.reshape(n_rows, -1, t.shape[-1]) * shown for t in taps]
    out = decode(body.language_model, page, F.embedding(ids, table), positions, present, visual, rows)
    chosen = labels >= 0
    logits = F.linear(out.hidden[chosen], table).float()
    guess = torch.full_like(labels, -100)
    guess[chosen] = logits.argmax(-1)
    right, counts = [], torch.zeros_like(chosen)
    for b in range(n_rows):
        for s in range(n_segments):
            if not answerable(batch.present[b, batch.seen[b][s]], batch.checks[b][s][0]):
                continue
            counts[b, s] = True
            here = chosen[b, s]
            kind, hit = is_right(tokenizer, guess[b, s][here], labels[b, s][here], batch.checks[b][s])
            right.append(("icon" if is_icon(batch.checks[b][s]) else kind, hit))
    weight = counts[chosen].float()
    answer = (numbers.loss(logits, labels[chosen], is_box[chosen]) * weight).sum() / weight.sum().clamp(min=1)
    if only_heads:
        tokens, out.pages, out.asked = tokens.detach(), *([x.detach() for x in y] for y in (out.pages, out.asked))
    dense, parts = read_page(reader, tokens, batch)
    wanted = batch.wanted * batch.present[None, :, None]
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp(min=1e-6)
    point = pointers([x[:, visual] for x in out.pages], out.asked, torch.tensor(batch.answers) - 1, wanted)
    look, stages = _attention(batch, out.attention, n_page, length, visual)
    parts.update(point=point.item(), **{f"look{i}": v for i, v in enumerate(stages)})
    return Losses(answer, dense, 0.3 * point + (0 if only_heads else 0.5 * look), right, parts)


def answerable(shown: Tensor, kind: str) -> bool:
    """Whether the screen says the answer: all of a key and its value, any part of what is clicked.

    Args:
        shown: bool, which blocks of the evidence are present; empty where the answer needs none.
        kind: ``text`` or ``box``.
    """
    return not len(shown) or bool(shown.all() if kind == "text" else shown.any())


def _texts(tokenizer, batch: Batch, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels (-100 where nothing is asked), whether it is of a click; ``(rows, questions, length)`` each."""
    ids = torch.full((len(batch.segments), len(batch.segments[0]), length), tokenizer.pad_token_id)
    labels, is_box = torch.full_like(ids, -100), torch.zeros_like(ids, dtype=torch.bool)
    for b, row in enumerate(batch.segments):
        for s, segment in enumerate(row):
            start = batch.answers[b][s]
            ids[b, s, : len(segment)] = torch.tensor(segment)
            labels[b, s, start - 1 : len(segment) - 1] = torch.tensor(segment[start:])
            is_box[b, s] = batch.checks[b][s][0] == "box"
    return ids, labels, is_box


def read_page(reader: nn.Module, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The reader heads' loss and its parts, over all blocks, missing ones included: it asks what the encoder sees."""
    inner, outer, _ = reader.read(tokens, batch.inner, batch.outer)

    def asked(head: nn.Module, wanted: Tensor, classes: int) -> Tensor:
        logits = head(tokens).float().view(-1, classes)
        known = wanted.flatten() >= 0
        return F.cross_entropy(logits[known], wanted.flatten()[known]) if known.any() else logits.sum() * 0

    icons = asked(reader.icons, batch.icons, reader.icons.out_features)
    places = reader.points(tokens).float().view(-1, 100)
    known = batch.points.flatten() >= 0
    soft = bells(WIDE_BELL)[batch.points.flatten()[known]]
    points = F.cross_entropy(places[known], soft) if known.any() else places.sum() * 0
    digits, _ = reader.numbers(tokens, batch.digits)
    names = reader.names(tokens).float().view(-1, 37)
    # Blocks that show no value are many: they weigh a quarter.
    wanted = batch.names.flatten()
    each = F.cross_entropy(names, wanted, ignore_index=-100, reduction="none")
    filled = (batch.names > 0).any(-1, keepdim=True).expand_as(batch.names).flatten()
    share = filled.float().mean().clamp(min=0.005)
    weight = (filled.float() + 0.25 * share * (~filled)) * (wanted >= 0)
    label = (each * weight).sum() / weight.sum().clamp(min=1e-6)  # of a batch that asks none it is 0
    place = reader.places(tokens, batch.images.shape[1] // 32, batch.images.shape[2] // 32)
    parts = {"chars": inner, "beside": outer, "icons": icons, "points": points, "digits": digits, "names": label}
    parts["place"] = place
    total = inner + BESIDE * outer + 0.3 * (icons + points + label) + digits + PLACE * place
    return total, {k: v.item() for k, v in parts.items()}


def _attention(
    batch: Batch, attention: list[Tensor], n_page: int, length: int, visual: Tensor
) -> tuple[Tensor, list[float]]:
    """-log of the attention that the watched heads put on their targets, summed over the stages, and by stage.

    Args:
        batch: ``attend`` holds the targets.
        attention: of every layer, ``(rows, heads, questions * length, n_page + length)``.
        n_page: tokens before the questions.
        length: tokens per question.
        visual: places of the visual tokens.
    """
    total, stages = torch.zeros(()), []
    present = batch.present.numpy()
    for stage, layer in enumerate(WATCH):
        on_screen = stage in (1, 3)
        entries = [e for e in batch.attend[stage] if not on_screen or present[e[0]][e[3]].any()]
        if not entries:
            stages.append(0.0)
            continue
        wanted = torch.zeros(len(entries), len(HEADS), attention[layer].shape[-1])
        for k, entry in enumerate(entries):
            for head, at in enumerate(entry[3:]):
                places = torch.tensor(at)
                wanted[k, head, visual[places] if on_screen else n_page + places] = 1
        rows = torch.tensor([e[0] for e in entries])
        query = torch.tensor([e[1] * length + e[2] for e in entries])
        mass = (attention[layer][rows[:, None], torch.tensor(HEADS), query[:, None]].float() * wanted).sum(-1)
        loss = -(mass + 1e-6).log().mean()
        stages.append(loss.item())
        total = total + loss
    return total, stages
