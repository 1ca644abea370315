"""The walk through the ViT of the Qwen2-VL line, block by block: what is dropped before or inside it, what is merged,
what methods ask for beside the tokens, and where branches of one sample part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clock import StageClock
from ..errors import UserError
from .base import Encoded, HalfEncoded, Merging, VlmAdapter
from .vit_extras import block_extras, read_needs
from .vit_merging import Merger


@dataclass(frozen=True)
class Segments:
    """Which patches a ViT block lets attend to each other.

    Attributes:
        lengths: patches per segment, in the order of the rows; no segment is empty.
        bounds: their cumulative sum from 0, int32 ``(n_segments + 1,)``.
    """

    lengths: list[int]
    bounds: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Segments:
        """Segments of ``lengths`` patches; an image or window of which nothing is left has none."""
        present = [n for n in lengths if n]
        bounds = torch.tensor([0, *present], device=device, dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(present, bounds)


@dataclass
class _Walk:
    """The patches of a sample on their way.

    Attributes:
        hidden: ``(n_patches, dim)``.
        rope: cos and sin, ``(n_patches, head_dim)`` each.
        images: segments of blocks that attend over the image.
        windows: segments of the others.
        order: of the merge blocks, None for that of the image.
        extras: what was asked for so far.
        taps: DeepStack features so far, ``(n_visual, dim)`` each.
        merger: what merges on the way.
        clock: takes the time of the extras: what a method asks for beside the tokens is its own cost.
    """

    hidden: Tensor
    rope: tuple[Tensor, Tensor]
    images: Segments
    windows: Segments | None
    order: Tensor | None
    extras: dict[str, Tensor]
    clock: StageClock
    taps: list[Tensor] = field(default_factory=list)
    merger: Merger | None = None

    def drop(self, rows: Tensor, group: int, images: Segments) -> None:
        """Go on with ``rows`` of the patches only, which are ``images``; ``group``: patches per merge block."""
        self.hidden, self.rope, self.images = self.hidden[rows], (self.rope[0][rows], self.rope[1][rows]), images
        self.extras = {need: extra[rows[::group] // group] for need, extra in self.extras.items()}


class VitWalk(VlmAdapter):
    """Adapter whose ViT is walked through block by block; a family overrides what differs."""

    def check_needs(self, needs: Sequence[str]) -> None:
        """See :class:`VlmAdapter`."""
        read_needs(needs, len(self.visual.blocks), self._is_global)

    @property
    def _group(self) -> int:
        """Patches per merge block."""
        return self.images.merge_size**2

    def encode(
        self,
        patches: Tensor | HalfEncoded,
        grids: Sequence[tuple[int, int]],
        keep: Sequence[Tensor | None],
        needs: Sequence[str] = (),
        after: int = 0,
        merging: Merging | None = None,
    ) -> Encoded:
        """See :class:`VlmAdapter`; geometry is computed on the full grid and indexed, so positions are kept.

        Raises:
            UserError: ``after`` lies outside the ViT, or its blocks attend in windows.
        """
        n_blocks, group = len(self.visual.blocks), self._group
        if after > n_blocks:
            raise UserError(
                f"{self.name}: patches cannot be dropped after ViT block {after}; its ViT has {n_blocks} blocks."
            )
        half = patches if isinstance(patches, HalfEncoded) else None
        device = patches.hidden.device if isinstance(patches, HalfEncoded) else patches.device
        kept, left = _joined(grids, keep), self._segments(grids, keep, device)
        later = None
        if after and kept is not None:
            later, kept, keep = kept.repeat_interleave(group).nonzero()[:, 0].to(device), None, [None] * len(grids)
        if isinstance(patches, HalfEncoded):
            walk = self._resumed(patches, grids, needs, later)
        else:
            walk = self._begun(patches, grids, keep, kept)
        self._check_inside(walk, later, merging)
        if merging is not None:
            walk.merger = Merger(merging, [n // group for n in walk.images.lengths], group, device)
        wanted = read_needs(needs, n_blocks, self._is_global)
        for number in range(0 if half is None else half.blocks, n_blocks):
            if later is not None and number == after:
                walk.drop(later, group, left)
            self._pass(walk, number, wanted.get(number, ()))
            tap = self._tap(number, walk.hidden if later is None or number >= after else walk.hidden[later])
            if tap is not None:
                walk.taps.append(tap)
        if later is not None and after == n_blocks:  # only the merger sees fewer
            walk.drop(later, group, left)
        return self._merged(walk)

    def encode_upto(
        self,
        patches: Callable[[], Tensor] | HalfEncoded,
        grids: Sequence[tuple[int, int]],
        blocks: int,
        needs: Sequence[str] = (),
    ) -> HalfEncoded:
        """See :class:`VlmAdapter`."""
        if isinstance(patches, HalfEncoded):
            walk, first, read = self._whole(patches, grids), patches.blocks, dict(patches.read)
        else:
            walk, first, read = self._begun(patches(), grids, [None] * len(grids), None), 0, {}
        self._check_inside(walk, None, None, True)
        wanted = read_needs(needs, len(self.visual.blocks), self._is_global)
        for number in range(first, blocks):
            self._pass(walk, number, wanted.get(number, ()))
            if number in self.deepstack_blocks:
                read[number] = walk.hidden
        return HalfEncoded(blocks, walk.hidden, walk.rope, walk.extras, read)

    def _begun(
        self, patches: Tensor, grids: Sequence[tuple[int, int]], keep: Sequence[Tensor | None], kept: Tensor | None
    ) -> _Walk:
        """The patches before the first block.

        Args:
            patches: of the kept blocks.
            grids: see :meth:`encode`.
            keep: see :meth:`encode`.
            kept: the same for all images together.
        """
        from transformers.vision_utils import get_vision_position_ids

        merge, group, device = self.images.merge_size, self._group, patches.device
        thw = torch.tensor([[1, h * merge, w * merge] for h, w in grids], device=device)
        rows = None if kept is None else kept.repeat_interleave(group).nonzero()[:, 0].to(device)
        places = get_vision_position_ids(thw, merge)
        if rows is not None:
            places = places[rows]
        weight, bias = self._patch_projection()
        hidden = F.linear(patches.to(weight.dtype), weight, bias)
        hidden = self._add_learned_positions(hidden, thw, rows)
        rope = self.visual.rotary_pos_emb(hidden, places)
        order, windows = self._windows(grids, kept, device)
        if order is not None:
            shuffled = (order[:, None] * group + torch.arange(group, device=device)).flatten()
            hidden, rope = hidden[shuffled], (rope[0][shuffled], rope[1][shuffled])
        return _Walk(hidden, rope, self._segments(grids, keep, device), windows, order, {}, StageClock(device))

    def _whole(self, half: HalfEncoded, grids: Sequence[tuple[int, int]]) -> _Walk:
        device = half.hidden.device
        images = self._segments(grids, [None] * len(grids), device)
        return _Walk(half.hidden, half.rope, images, None, None, dict(half.extras), StageClock(device))

    def _resumed(
        self, half: HalfEncoded, grids: Sequence[tuple[int, int]], needs: Sequence[str], later: Tensor | None
    ) -> _Walk:
        """A branch behind ``half``, with its own extras; DeepStack reads only the rows ``later`` that it will keep."""
        walk = self._whole(half, grids)
        walk.extras = {need: half.extras[need] for need in needs if need in half.extras}
        for number, hidden in sorted(half.read.items()):
            tap = self._tap(number, hidden if later is None else hidden[later])
            assert tap is not None
            walk.taps.append(tap)
        return walk

    def _check_inside(self, walk: _Walk, later: Tensor | None, merging: Merging | None, leaving: bool = False) -> None:
        """Refuse what rows in another order than the image's do not allow.

        Raises:
            UserError: what is not possible.
        """
        if walk.order is not None and (later is not None or leaving):
            raise UserError(f"{self.name}: patches cannot be dropped inside a ViT with window attention.")
        if merging is not None and (walk.order is not None or later is not None):
            raise UserError(
                f"{self.name}: blocks cannot be merged in a ViT with windows, or that drops patches inside."
            )

    def _pass(self, walk: _Walk, number: int, wanted: Sequence[tuple[str, str]]) -> None:
        """One block; ``wanted``: (need, kind) pairs of :func:`read_needs`."""
        block, group = self.visual.blocks[number], self._group
        part = walk.images if walk.windows is None or self._is_global(number) else walk.windows
        if wanted:
            with walk.clock.stage("extras"):
                walk.extras |= block_extras(block, wanted, walk.hidden, walk.rope, part.lengths, group)
        if walk.merger is None:
            walk.hidden = block(
                walk.hidden, cu_seqlens=part.bounds, max_seqlen=max(part.lengths), position_embeddings=walk.rope
            )
            return
        # What was taken of earlier blocks is merged along.
        names, n_taps = list(walk.extras), len(walk.taps)
        taken = [*walk.taps, *walk.extras.values()]
        walk.hidden, walk.rope, along = walk.merger.run(number, block, walk.hidden, walk.rope, part.bounds, taken)
        walk.taps = along[:n_taps]
        walk.extras = {
            name: x.view(len(x), *walk.extras[name].shape[1:]) for name, x in zip(names, along[n_taps:], strict=True)
        }
        walk.images = Segments.of([group * n for n in walk.merger.lengths], walk.hidden.device)

    def _merged(self, walk: _Walk) -> Encoded:
        """What the model's own merger makes of the last block, in the order of the image."""
        tokens, extras, taps = self.visual.merger(walk.hidden), walk.extras, tuple(walk.taps)
        if walk.order is not None:
            back = walk.order.argsort()
            tokens, extras = tokens[back], {need: extra[back] for need, extra in extras.items()}
        spent = walk.clock.ms.get("extras", 0.0)
        if walk.merger is None:
            return Encoded(tokens, taps, extras, spent)
        rows, left = walk.merger.in_order()
        return Encoded(
            tokens[rows],
            tuple(tap[rows] for tap in taps),
            {need: extra[rows] for need, extra in extras.items()},
            spent,
            left,
            tuple(walk.merger.patches),
        )

    def _segments(
        self, grids: Sequence[tuple[int, int]], keep: Sequence[Tensor | None], device: torch.device
    ) -> Segments:
        """One segment per image, of its kept patches."""
        counts = [h * w if k is None else int(k.sum()) for (h, w), k in zip(grids, keep, strict=True)]
        return Segments.of([self._group * n for n in counts], device)

    def _patch_projection(self) -> tuple[Tensor, Tensor | None]:
        """The patch embedding as a matrix ``(dim, values per patch)`` and its bias.

        A patch never overlaps its neighbour, so the Conv3d is one matrix product; on CPU the convolution costs a
        multiple of it. The view is made at every call: one made once would keep the old weights when they are moved,
        and belong to no graph when they are trained.
        """
        conv = self.visual.patch_embed.proj
        return conv.weight.flatten(1), conv.bias

    @property
    def merges(self) -> bool:
        """See :class:`VlmAdapter`."""
        return all(map(self._is_global, range(len(self.visual.blocks))))

    @property
    def deepstack_blocks(self) -> tuple[int, ...]:
        """ViT blocks behind which DeepStack features are taken."""
        return ()

    def _add_learned_positions(self, hidden: Tensor, thw: Tensor, rows: Tensor | None) -> Tensor:
        """Add position embeddings to ``hidden`` ``(n_patches, dim)``; ``rows``: kept rows of the full grids ``thw``."""
        return hidden

    def _windows(
        self, grids: Sequence[tuple[int, int]], kept: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Segments | None]:
        """Order of the kept visual tokens inside the ViT, and the segments of its windowed blocks; None without."""
        return None, None

    def _is_global(self, block: int) -> bool:
        """Whether a ViT block attends over the whole image."""
        return True

    def _tap(self, block: int, hidden: Tensor) -> Tensor | None:
        """DeepStack features ``(n_visual, dim)`` taken after a ViT block."""
        return None


def _joined(grids: Sequence[tuple[int, int]], keep: Sequence[Tensor | None]) -> Tensor | None:
    """Kept merge blocks of all images, bool on the CPU; None where nothing is dropped."""
    if all(k is None for k in keep):
        return None
    return torch.cat(
        [torch.ones(h * w, dtype=torch.bool) if k is None else k.cpu() for (h, w), k in zip(grids, keep, strict=True)]
    )
