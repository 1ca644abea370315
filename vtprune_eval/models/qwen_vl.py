"""What the families of the Qwen2-VL line share: prompt, M-RoPE positions, the walk through the ViT, projections.

The classes of transformers stay untouched: their modules are called one by one, so that the ViT can be given kept
patches only and the decoder can shorten its sequence between layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clock import StageClock
from ..errors import UserError
from ..turns import messages
from .base import Encoded, ImageRules, Merging, VlmAdapter
from .dims import ModelDims
from .identity import ModelIdentity
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


class QwenVL(VlmAdapter):
    """Adapter of a class of the Qwen2-VL line; a family overrides what differs.

    Attributes:
        template_options: extra variables for the chat template.
    """

    template_options: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        images: ImageRules,
        identity: ModelIdentity,
        coordinates: str = "thousandths",
    ) -> None:
        """Take the modules of a loaded ``model``.

        Raises:
            UserError: a decoder with sliding-window attention, which the decoder loop does not have.
        """
        self.name, self.model, self.tokenizer, self.images = name, model, tokenizer, images
        self.identity, self.coordinates = identity, coordinates
        self.text, self.visual, self.lm_head = model.model.language_model, model.model.visual, model.lm_head
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.eos_ids = frozenset(e for e in ends if e is not None) or frozenset([tokenizer.eos_token_id])
        self._image_id = model.config.image_token_id
        if "sliding_attention" in (getattr(self.text.config, "layer_types", None) or ()):
            raise UserError(
                f"{name}: this folder turns on sliding-window attention, which is not supported; set "
                "use_sliding_window to false in its config.json."
            )

    def _patch_projection(self) -> tuple[Tensor, Tensor | None]:
        """The patch embedding as a matrix ``(dim, values per patch)`` and its bias.

        A patch never overlaps its neighbour, so the Conv3d is one matrix product; on CPU the convolution costs a
        multiple of it. The view is made at every call: one made once would keep the old weights when they are moved,
        and belong to no graph when they are trained.
        """
        conv = self.visual.patch_embed.proj
        return conv.weight.flatten(1), conv.bias

    def prompt_ids(self, n_tokens: Sequence[int], question: str) -> tuple[list[int], list[tuple[int, int]]]:
        """See :class:`VlmAdapter`; the images come first in the user's turn, or where the question places them."""
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for token in self.tokenizer(self._prompt(len(n_tokens), question), add_special_tokens=False)["input_ids"]:
            if token == self._image_id and len(spans) < len(n_tokens):
                spans.append((len(ids), len(ids) + n_tokens[len(spans)]))
                ids += [token] * n_tokens[len(spans) - 1]
            elif token != self._image_id:  # a placeholder written in the question is text, not an image
                ids.append(token)
        if len(spans) != len(n_tokens):
            raise UserError(
                f"{self.name}: the chat template placed {len(spans)} images, the sample has "
                f"{len(n_tokens)}; the folder's chat_template does not fit {type(self.model).__name__}."
            )
        return ids, spans

    def _prompt(self, n_images: int, question: str) -> str:
        """The prompt before tokenisation, with one placeholder per image."""
        text: str = self.tokenizer.apply_chat_template(
            messages(n_images, question), tokenize=False, add_generation_prompt=True, **self.template_options
        )
        return text

    def positions(self, n_prompt: int, spans: Sequence[tuple[int, int]], grids: Sequence[tuple[int, int]]) -> Tensor:
        """See :class:`VlmAdapter`; text counts on, an image spans its grid and advances by its longer side."""
        out = torch.empty(3, n_prompt, dtype=torch.long)
        at = position = 0
        for (start, end), (rows, cols) in zip(spans, grids, strict=True):
            out[:, at:start] = torch.arange(position, position + start - at)
            position += start - at
            out[0, start:end] = position
            out[1, start:end] = position + torch.arange(rows).repeat_interleave(cols)
            out[2, start:end] = position + torch.arange(cols).repeat(rows)
            position += max(rows, cols)
            at = end
        out[:, at:] = torch.arange(position, position + n_prompt - at)
        return out

    def check_needs(self, needs: Sequence[str]) -> None:
        """See :class:`VlmAdapter`."""
        read_needs(needs, len(self.visual.blocks), self._is_global)

    def encode(
        self,
        patches: Tensor,
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
        from transformers.vision_utils import get_vision_position_ids

        visual, merge, device = self.visual, self.images.merge_size, patches.device
        group = merge * merge
        thw = torch.tensor([[1, h * merge, w * merge] for h, w in grids], device=device)
        kept = None
        if any(k is not None for k in keep):
            kept = torch.cat(
                [
                    torch.ones(h * w, dtype=torch.bool) if k is None else k.cpu()
                    for (h, w), k in zip(grids, keep, strict=True)
                ]
            )
        if after > len(self.visual.blocks):
            raise UserError(
                f"{self.name}: patches cannot be dropped after ViT block {after}; its ViT has "
                f"{len(self.visual.blocks)} blocks."
            )
        later, whole = None, list(keep)
        if after and kept is not None:
            later, kept, keep = kept.repeat_interleave(group).nonzero()[:, 0].to(device), None, [None] * len(grids)
        rows = None if kept is None else kept.repeat_interleave(group).nonzero()[:, 0].to(device)
        places = get_vision_position_ids(thw, merge)
        if rows is not None:
            places = places[rows]
        weight, bias = self._patch_projection()
        hidden = F.linear(patches.to(weight.dtype), weight, bias)
        hidden = self._add_learned_positions(hidden, thw, rows)
        rope = visual.rotary_pos_emb(hidden, places)
        per_image = Segments.of(
            [group * (h * w if k is None else int(k.sum())) for (h, w), k in zip(grids, keep, strict=True)], device
        )
        order, local = self._windows(grids, kept, device)
        if order is not None and later is not None:
            raise UserError(f"{self.name}: patches cannot be dropped inside a ViT with window attention.")
        if merging is not None and (order is not None or later is not None):
            raise UserError(
                f"{self.name}: blocks cannot be merged in a ViT with windows, or that drops patches inside."
            )
        if order is not None:
            shuffled = (order[:, None] * group + torch.arange(group, device=device)).flatten()
            hidden, rope = hidden[shuffled], (rope[0][shuffled], rope[1][shuffled])
        extras: dict[str, Tensor] = {}
        clock = StageClock(device)  # what a method asks for beside the tokens is its own cost, not the ViT's
        taps: list[Tensor] = []
        wanted = read_needs(needs, len(visual.blocks), self._is_global)
        merger = None if merging is None else Merger(merging, [n // group for n in per_image.lengths], group, device)
        for number, block in enumerate(visual.blocks):
            if later is not None and number == after:
                hidden, rope = hidden[later], (rope[0][later], rope[1][later])
                extras = {need: extra[later[::group] // group] for need, extra in extras.items()}
                per_image = Segments.of(
                    [group * (h * w if k is None else int(k.sum())) for (h, w), k in zip(grids, whole, strict=True)],
                    device,
                )
            part = per_image if local is None or self._is_global(number) else local
            if number in wanted:
                with clock.stage("extras"):
                    extras |= block_extras(block, wanted[number], hidden, rope, part.lengths, group)
            if merger is None:
                hidden = block(hidden, cu_seqlens=part.bounds, max_seqlen=max(part.lengths), position_embeddings=rope)
            else:  # what was taken of earlier blocks is merged along
                names, n_taps = list(extras), len(taps)
                hidden, rope, along = merger.run(number, block, hidden, rope, part.bounds, [*taps, *extras.values()])
                taps = along[:n_taps]
                extras = {k: x.view(len(x), *extras[k].shape[1:]) for k, x in zip(names, along[n_taps:], strict=True)}
                per_image = Segments.of([group * n for n in merger.lengths], device)
            tap = self._tap(number, hidden if later is None or number >= after else hidden[later])
            if tap is not None:
                taps.append(tap)
        if later is not None and after == len(visual.blocks):  # only the merger sees fewer
            hidden = hidden[later]
            extras = {need: extra[later[::group] // group] for need, extra in extras.items()}
        tokens = visual.merger(hidden)
        if order is not None:
            back = order.argsort()
            tokens, extras = tokens[back], {need: extra[back] for need, extra in extras.items()}
        spent = clock.ms.get("extras", 0.0)
        if merger is None:
            return Encoded(tokens, tuple(taps), extras, spent)
        rows, left = merger.in_order()
        return Encoded(
            tokens[rows],
            tuple(tap[rows] for tap in taps),
            {need: extra[rows] for need, extra in extras.items()},
            spent,
            left,
            tuple(merger.patches),
        )

    @property
    def merges(self) -> bool:
        """See :class:`VlmAdapter`."""
        return all(map(self._is_global, range(len(self.visual.blocks))))

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

    def project(self, layer: int, normed: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`VlmAdapter`; where the family has them, queries and keys are normalised before the rotation."""
        from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb

        a = self.text.layers[layer].self_attn
        shape = (1, normed.shape[0], -1, a.head_dim)
        q, k, v = (proj(normed).view(shape) for proj in (a.q_proj, a.k_proj, a.v_proj))
        if hasattr(a, "q_norm"):
            q, k = a.q_norm(q), a.k_norm(k)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        q, k = apply_rotary_pos_emb(q, k, *rope)
        return q[0], k[0], v[0]

    @cached_property
    def dims(self) -> ModelDims:
        """See :class:`VlmAdapter`."""
        return ModelDims.from_config(self.model.config)
