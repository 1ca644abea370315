"""What the families of the Qwen2-VL line share: prompt, M-RoPE positions, projections (the ViT: :mod:`.vit_walk`).

The classes of transformers stay untouched: their modules are called one by one, so that the ViT can be given kept
patches only and the decoder can shorten its sequence between layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..turns import messages
from .base import ImageRules
from .dims import ModelDims
from .identity import ModelIdentity
from .vit_walk import VitWalk


class QwenVL(VitWalk):
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
        self.text, self.visual, self.lm_head = self.text_of(model), model.model.visual, model.lm_head
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.eos_ids = frozenset(e for e in ends if e is not None) or frozenset([tokenizer.eos_token_id])
        self._image_id = model.config.image_token_id
        if "sliding_attention" in (getattr(self.text.config, "layer_types", None) or ()):
            raise UserError(
                f"{name}: this folder turns on sliding-window attention, which is not supported; set "
                "use_sliding_window to false in its config.json."
            )

    def text_of(self, model: Any) -> Any:
        """The decoder of a loaded model, as the pipeline walks it."""
        return model.model.language_model

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
