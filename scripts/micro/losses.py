"""Losses of micro's question stage: answers, reader heads, pointers, attention; blocks may be missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from nano.forward import Pointers, decode, encode
from torch import Tensor, nn
from train_nano import Layout, is_right

from .batches import Batch
from .folder import MARKER, NUMBERS
from .forward import Reader

# Decoder layers whose attention has a target: characters before, named words on the screen, question, answer on the
# screen; and which of their heads, one of each key-value group.
WATCH = (0, 2, 3, 4)
HEADS = (0, 2)
BELL = 0.8  # width of a coordinate's target, in hundredths


class MicroPointers(Pointers):
    """nano's pointer heads, a layer later."""

    AT = (3, 4)


@dataclass
class Losses:
    """What a batch gives: the three losses, and per question (kind, whether its answer is right)."""

    answer: Tensor
    reader: Tensor
    look: Tensor
    right: list[tuple[str, bool]]
    parts: dict[str, float]


class Numbers:
    """Soft targets of coordinates: a bell over neighbouring hundredths, so that a near miss is a small error."""

    def __init__(self, tokenizer) -> None:
        self.ids = torch.tensor(tokenizer.convert_tokens_to_ids(NUMBERS))
        self.value = torch.full((int(self.ids.max()) + 1,), -1)
        self.value[self.ids] = torch.arange(100)
        at = torch.arange(100)
        bell = torch.exp(-0.5 * ((at[:, None] - at[None]) / BELL) ** 2)
        self.bell = bell / bell.sum(1, keepdim=True)

    def loss(self, logits: Tensor, wanted: Tensor, is_box: Tensor) -> Tensor:
        """Cross-entropy per token ``(n,)``; a coordinate's is the divergence from its bell.

        Args:
            logits: ``(n, vocabulary)``; wanted: int64 ``(n,)``; is_box: bool ``(n,)``, tokens of a click or tap.
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


def losses(model, reader: Reader, pointers: MicroPointers, tokenizer, numbers: Numbers, batch: Batch,
           heads_only: bool = False) -> Losses:
    """One batch; ``heads_only`` keeps the gradients of the reader and pointer losses out of the model."""
    body = model.model
    n_rows, n_segments = len(batch.segments), len(batch.segments[0])
    length = -(-max(len(s) for row in batch.segments for s in row) // 8) * 8
    height, width = batch.images.shape[1:3]
    layout = Layout(tokenizer, batch.frames, height // 32, width // 32, n_segments, length)
    tokens, taps = encode(body.visual, batch.images)
    n_prefix = len(layout.prefix)
    visual = torch.cat([torch.arange(start, end) for start, end in layout.spans])
    ids, labels, is_box = _texts(tokenizer, batch, layout, length)
    table = body.language_model.embed_tokens.weight
    embeds = F.embedding(ids, table)
    shown = batch.present[:, :, None]
    marker = table[tokenizer.convert_tokens_to_ids(MARKER)]
    placed = torch.where(shown, tokens.reshape(n_rows, -1, tokens.shape[-1]).to(embeds.dtype), marker)
    embeds = embeds.index_copy(1, visual, placed)
    rows = [t.reshape(n_rows, -1, t.shape[-1]) * shown for t in taps]
    there = torch.ones(n_rows, ids.shape[1], dtype=torch.bool)
    there[:, visual] = batch.present | batch.markers
    mask = layout.mask + torch.zeros(n_rows, 1, 1, ids.shape[1]).masked_fill(~there[:, None, None], -1e4)
    hidden, states, seen = decode(body.language_model, embeds, layout.positions, mask, layout.spans, rows, WATCH)
    chosen = labels >= 0
    logits = F.linear(hidden[chosen], table).float()
    guess = torch.full_like(labels, -100)
    guess[chosen] = logits.argmax(-1)
    right, counts = [], torch.zeros_like(chosen)
    for b in range(n_rows):
        for s in range(n_segments):
            part = slice(n_prefix + s * length, n_prefix + (s + 1) * length)
            evidence = batch.seen[b][s]
            if evidence and not batch.present[b, evidence].any():
                continue  # nothing on the screen says the answer
            counts[b, part] = True
            right.append(is_right(tokenizer, guess[b, part][chosen[b, part]], labels[b, part][chosen[b, part]],
                                  batch.checks[b][s]))
    weight = counts[chosen].float()
    answer = (numbers.loss(logits, labels[chosen], is_box[chosen]) * weight).sum() / weight.sum().clamp(min=1)
    if heads_only:
        tokens, states = tokens.detach(), [x.detach() for x in states]
    dense, parts = read_page(reader, tokens, batch)
    wanted = batch.wanted * batch.present[None, :, None]
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp(min=1e-6)
    at = torch.tensor(batch.answers) - 1 + n_prefix + torch.arange(n_segments) * length
    point = pointers(states, at, visual, wanted)
    look, stages = _attention(batch, seen, n_prefix, length, visual)
    parts.update(point=point.item(), **{f"look{i}": v for i, v in enumerate(stages)})
    return Losses(answer, dense, 0.3 * point + (0 if heads_only else 0.5 * look), right, parts)


def _texts(tokenizer, batch: Batch, layout: Layout, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, labels (-100 where nothing is asked) and whether a token belongs to a click, ``(rows, length)`` each."""
    n_prefix = len(layout.prefix)
    ids = torch.full((len(batch.segments), n_prefix + len(batch.segments[0]) * length), tokenizer.pad_token_id)
    labels, is_box = torch.full_like(ids, -100), torch.zeros_like(ids, dtype=torch.bool)
    ids[:, :n_prefix] = torch.tensor(layout.prefix)
    for b, row in enumerate(batch.segments):
        for s, segment in enumerate(row):
            at, start = n_prefix + s * length, batch.answers[b][s]
            ids[b, at:at + len(segment)] = torch.tensor(segment)
            labels[b, at + start - 1:at + len(segment) - 1] = torch.tensor(segment[start:])
            is_box[b, at:at + length] = batch.checks[b][s][0] == "box"
    return ids, labels, is_box


def read_page(reader: nn.Module, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The reader heads' loss and its parts, over all blocks, missing ones included: it asks what the encoder sees."""
    inner, outer, _ = reader.read(tokens, batch.inner, batch.outer)

    def asked(head: nn.Module, wanted: Tensor, classes: int) -> Tensor:
        logits = head(tokens).float().view(-1, classes)
        known = wanted.flatten() >= 0
        return F.cross_entropy(logits[known], wanted.flatten()[known]) if known.any() else logits.sum() * 0

    icons = asked(reader.icons, batch.icons, reader.icons.out_features)
    points = asked(reader.points, batch.points, 100)
    digits = asked(reader.digits, batch.digits, 11)
    names = reader.names(tokens).float().view(-1, 37)
    # Blocks that show no value are many: they weigh a quarter.
    wanted = batch.names.flatten()
    each = F.cross_entropy(names, wanted, ignore_index=-100, reduction="none")
    filled = (batch.names > 0).any(-1, keepdim=True).expand_as(batch.names).flatten()
    share = filled.float().mean().clamp(min=0.005)
    weight = (filled.float() + 0.25 * share * (~filled)) * (wanted >= 0)
    label = (each * weight).sum() / weight.sum()
    parts = {"chars": inner, "beside": outer, "icons": icons, "points": points, "digits": digits, "names": label}
    total = inner + 0.2 * outer + 0.3 * (icons + points + digits + label)
    return total, {k: v.item() for k, v in parts.items()}


def _attention(batch: Batch, seen: dict[int, Tensor], n_prefix: int, length: int,
               visual: Tensor) -> tuple[Tensor, list[float]]:
    """-log of the attention that the watched heads put on their targets, summed over the stages, and by stage.

    Args:
        batch: ``attend`` holds the targets; seen: attention ``(rows, heads, length, length)`` of the watched layers.
        n_prefix: tokens before the first question; length: tokens per question; visual: places of the visual tokens.
    """
    total, stages = torch.zeros(()), []
    present = batch.present.numpy()
    for stage, layer in enumerate(WATCH):
        on_screen = stage in (1, 3)
        entries = [e for e in batch.attend[stage] if not on_screen or present[e[0]][e[3]].any()]
        if not entries:
            stages.append(0.0)
            continue
        rows = torch.tensor([e[0] for e in entries])
        first = torch.tensor([n_prefix + e[1] * length for e in entries])
        wanted = torch.zeros(len(entries), len(HEADS), seen[layer].shape[-1])
        for k, entry in enumerate(entries):
            for head, at in enumerate(entry[3:]):
                places = torch.tensor(at)
                wanted[k, head, visual[places] if on_screen else first[k] + places] = 1
        query = first + torch.tensor([e[2] for e in entries])
        mass = (seen[layer][rows[:, None], torch.tensor(HEADS), query[:, None]].float() * wanted).sum(-1)
        loss = -(mass + 1e-6).log().mean()
        stages.append(loss.item())
        total = total + loss
    return total, stages
