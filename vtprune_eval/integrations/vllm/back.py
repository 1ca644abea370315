"""In a worker: the encoder on the kept patches, then the tokens that stay, with their DeepStack rows and positions.

Rows that leave here carry their positions as further columns, in digits that every floating type holds exactly: a mask
that only the encoder's output gives cannot be known when vLLM first lays out positions. vLLM has a place where such
columns are read again (made for its own pruning of videos), and :func:`take_positions` is called there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...clock import StageClock
from ...methods.base import TokenEdit, TokenLayout
from ...models.qwen_vl import QwenVL
from ...notes import said
from ...pipeline.prompt import build_prompt
from ...pipeline.sequence import chosen as chosen_of
from ...pipeline.stages import Entered
from .front import About, Pipelines, read_about, sample_of
from .plan import Plan
from .report import Report

# bfloat16 holds whole numbers up to 256; two digits to this base reach position 16383 within an image.
BASE = 128
COLUMNS = 6
# Items whose outputs are held between the question for their rows and the request, and reports not yet asked for.
MAX_HELD, MAX_REPORTS = 64, 4096


@dataclass(frozen=True)
class Chosen:
    """What of an item's images enters the prompt.

    Attributes:
        ids: of the full prompt.
        layout: of the full prompt.
        index: rows of it from the first to the last visual token that stay.
        visual: bool ``(n_rows,)``, which of them are visual.
        features: of these, ``(n_kept, dim)``.
        levels: DeepStack.
        marked: bool ``(n_kept,)``, False for markers, which get no DeepStack rows; None for none.
    """

    ids: Tensor
    layout: TokenLayout
    index: Tensor
    visual: Tensor
    features: Tensor
    levels: tuple[Tensor, ...]
    marked: Tensor | None


class Back:
    """The encoder's side of the plug-in."""

    def __init__(self, adapter: QwenVL) -> None:
        self._adapter, self._pipelines = adapter, Pipelines(adapter)
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._held: OrderedDict[str, Chosen] = OrderedDict()

    def report(self) -> dict[str, Report]:
        """What was done with the pictures since the last call, by :attr:`.plan.Plan.key`."""
        out, self._reports = dict(self._reports), OrderedDict()
        return out

    def count(self, packed: Tensor, keep: Tensor, patches: Tensor, pixels: Tensor) -> int:
        """Rows that an item will take, for a method that only the encoder's output can tell; fields as for
        :meth:`rows`."""
        chosen = self._choose(packed, keep, patches, pixels)
        self._held[read_about(packed).key] = chosen
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        return len(chosen.index)

    def rows(self, packed: Tensor, keep: Tensor, patches: Tensor, pixels: Tensor) -> Tensor:
        """What takes an item's placeholders, ``(n_rows, dim * (1 + levels) + COLUMNS)``; fields of :class:`Fields`.

        Raises:
            RuntimeError: another number of rows than was announced.
        """
        about = read_about(packed)
        chosen = self._held.pop(about.key, None) or self._choose(packed, keep, patches, pixels)
        if len(chosen.index) != about.rows:
            raise RuntimeError(
                f"{about.rows} tokens were announced for this image and {len(chosen.index)} came out: the method keeps "
                "another number than its budget says"
            )
        return self._laid_out(chosen)

    @torch.inference_mode()
    def _choose(self, packed: Tensor, keep: Tensor, patches: Tensor, pixels: Tensor) -> Chosen:
        adapter, about = self._adapter, read_about(packed)
        device, clock = adapter.device, StageClock(adapter.device)
        plan = Plan.read(about.plan)
        pipeline, sample = self._pipelines.of(plan), sample_of(plan)
        prompt = build_prompt(adapter, _pictures(about, pixels), sample.question)
        layout, block = prompt.layout, adapter.images.block
        parts = [m.cpu() for m in keep.bool().split(list(layout.n_tokens))]
        masks: tuple[Tensor | None, ...] = tuple(parts) if about.dropped else (None,) * len(parts)
        patcher = pipeline.method_of("select_patches")
        depth = patcher.vit_depth if patcher is not None and about.dropped else 0
        encoded = adapter.encode(patches.to(device), layout.grids, masks, pipeline.needs, depth)
        through = tuple(int(m.sum()) * adapter.images.merge_size**2 for m in parts)
        full_grids = tuple((h // block, w // block) for w, h in about.full)
        seed = pipeline.seed_of(sample)
        entered = Entered(sample, prompt, encoded, masks, through, about.file_sizes, full_grids, seed, (depth, ()))
        present, ids = entered.present.to(device), prompt.ids.to(device)
        edit = pipeline.tokens(entered, present, about.budgets, ids, clock)
        kept, features, levels = chosen_of(encoded, present, edit)
        marked = None if edit is None else edit.has_visual
        self._remember(about, kept, layout.n_tokens, through, depth, edit)
        start, end = layout.spans[0][0], layout.spans[-1][1]
        visual = torch.zeros(end - start, dtype=torch.bool)
        for first, last in layout.spans:
            visual[first - start : last - start] = True
        stays = ~visual
        stays[visual] = kept.cpu()
        index = stays.nonzero()[:, 0] + start
        return Chosen(prompt.ids, layout, index, visual[stays], features, levels, marked)

    @torch.inference_mode()
    def _laid_out(self, chosen: Chosen) -> Tensor:
        """Rows of images and of the text between them, in the prompt's order, with their positions."""
        features, start = chosen.features, chosen.layout.spans[0][0]
        own = chosen.visual.to(features.device)
        n_levels = len(getattr(self._adapter.visual, "deepstack_visual_indexes", ()))
        dim = features.shape[1]
        out = features.new_zeros(len(chosen.index), dim * (1 + n_levels) + COLUMNS)
        out[own, :dim] = features
        text = chosen.ids[chosen.index][~chosen.visual]
        if len(text):
            out[~own, :dim] = self._adapter.text.embed_tokens(text.to(features.device)).to(out.dtype)
        for number, level in enumerate(chosen.levels):
            rows = level if chosen.marked is None else level * chosen.marked[:, None]
            out[own, dim * (1 + number) : dim * (2 + number)] = rows.to(out.dtype)
        positions = chosen.layout.positions
        out[:, -COLUMNS:] = to_columns(positions[:, chosen.index] - positions[:, start : start + 1]).to(out)
        return out

    def _remember(
        self,
        about: About,
        kept: Tensor,
        n_tokens: Sequence[int],
        patches: Sequence[int],
        depth: int,
        edit: TokenEdit | None,
    ) -> None:
        marked, note = (None, "") if edit is None else (edit.has_visual, edit.note)
        self._reports[about.key] = {
            "kept": [k.nonzero()[:, 0].tolist() for k in kept.cpu().split(list(n_tokens))],
            "patches": list(patches),
            "depth": depth,
            "markers": 0 if marked is None else int((~marked).sum()),
            "note": said(note).data() if note else "",
            "sizes": about.sizes,
            "file_sizes": about.file_sizes,
            "full": about.full,
            "n_keep": {hook: budget.n_keep for hook, budget in about.budgets.items()},
        }
        while len(self._reports) > MAX_REPORTS:
            self._reports.popitem(last=False)


def _pictures(about: About, pixels: Tensor) -> list[np.ndarray]:
    """The images as the model sees them; of their size alone where no method looks at them."""
    flat, out, at = pixels.cpu().numpy(), [], 0
    for width, height in about.sizes:
        n = width * height * 3
        out.append(
            flat[at : at + n].reshape(height, width, 3)
            if len(flat)
            else np.broadcast_to(np.uint8(0), (height, width, 3))
        )
        at += n
    return out


def to_columns(relative: Tensor) -> Tensor:
    """Positions int64 ``(3, n)`` within an item as digits ``(n, COLUMNS)``."""
    return torch.cat([relative // BASE, relative % BASE]).T


def from_columns(columns: Tensor) -> Tensor:
    """The reverse of :func:`to_columns`."""
    digits = columns.T.round().long()
    return digits[:3] * BASE + digits[3:]


def take_positions(
    ids: Tensor, rows: Sequence[Tensor], positions: Tensor, n_computed: int, image_id: int
) -> tuple[list[Tensor], Tensor, int]:
    """Split the positions off ``rows`` and put them where the rows stand.

    Args:
        ids: int64 ``(n_prompt,)`` of the prompt as vLLM laid it out.
        rows: of the items, or parts of items, that begin at or behind ``n_computed``, in the prompt's order.
        positions: int64 ``(3, n_prompt)``; those of text are right.
        image_id: the id that stands for every row of an image.

    Returns:
        rows without positions, all positions, and what is added to a decoded token's index for its position.
    """
    positions = positions.clone()
    if len(rows):
        found = torch.cat([from_columns(r[:, -COLUMNS:].float()) for r in rows], 1).to(positions.device)
        image = (ids == image_id).to(positions.device)
        places = image.nonzero()[:, 0]
        places = places[places >= n_computed][: found.shape[1]]
        first = image.clone()
        first[1:] &= ~image[:-1]  # text stands between two items
        starts = first.nonzero()[:, 0]
        start = starts[torch.searchsorted(starts, places, right=True) - 1]
        base = torch.where(start > 0, positions[0, (start - 1).clamp(min=0)] + 1, 0)
        positions[:, places] = found + base
    return [r[:, :-COLUMNS] for r in rows], positions, int(positions.max()) + 1 - len(ids)


def first_positions(n_prompt: int, items: Sequence[tuple[int, int, int]]) -> tuple[Tensor, int]:
    """Positions before the encoder has run: right for text; of a row of an image, the image's first.

    Args:
        n_prompt: tokens.
        items: (first row, rows, advance) of every image item, in order.

    Returns:
        int64 ``(3, n_prompt)``, and what is added to a decoded token's index for its position.
    """
    out = torch.empty(3, n_prompt, dtype=torch.long)
    at = position = 0
    for offset, length, advance in items:
        out[:, at:offset] = torch.arange(position, position + offset - at)
        position += offset - at
        out[:, offset : offset + length] = position
        position, at = position + advance, offset + length
    out[:, at:] = torch.arange(position, position + n_prompt - at)
    return out, position + (n_prompt - at) - n_prompt
