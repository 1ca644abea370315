"""Qwen3-VL: DeepStack ViT, interleaved M-RoPE decoder, coordinates in thousandths.

The class of transformers stays untouched: its modules are called one by one, so that the ViT can be given kept
patches only and the decoder can shorten its sequence between layers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from ..profiling.flops import ModelDims
from .base import Encoded, ImageRules, VlmAdapter

ARCHITECTURE = "Qwen3VLForConditionalGeneration"

# Limits that the published checkpoints set (preprocessor_config.json): shortest and longest edge are areas.
DEFAULT_PIXELS = (65536, 16777216)

# Queries whose attention is materialised at once when a method asks for encoder attention.
ATTENTION_CHUNK = 256

# True sizes, for --weights random. Source: the published config.json of the Instruct checkpoints.
_VISION_300M = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
    "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
}
_VISION_500M = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
    "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
}


def _sizes(hidden: int, ffn: int, layers: int, heads: int, vision: dict[str, Any], tied: bool) -> dict[str, Any]:
    text = {
        "vocab_size": 151936, "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0, "mrope_section": [24, 20, 20],
                            "mrope_interleaved": True},
        "tie_word_embeddings": tied,
    }
    return {"text_config": text, "vision_config": {**vision, "out_hidden_size": hidden}, "tie_word_embeddings": tied}


TRUE_SIZES = {
    "qwen3vl-2b": _sizes(2048, 6144, 28, 16, _VISION_300M, True),
    "qwen3vl-4b": _sizes(2560, 9728, 36, 32, _VISION_300M, True),
    "qwen3vl-8b": _sizes(4096, 12288, 36, 32, _VISION_500M, False),
}


class Qwen3VL(VlmAdapter):
    """Adapter of one loaded ``Qwen3VLForConditionalGeneration``."""

    def __init__(self, name: str, model: Any, tokenizer: Any, images: ImageRules, identity: dict[str, Any],
                 coordinates: str = "thousandths") -> None:
        self.name, self.model, self.tokenizer, self.images = name, model, tokenizer, images
        self.identity, self.coordinates = identity, coordinates
        self.text, self.visual, self.lm_head = model.model.language_model, model.model.visual, model.lm_head
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.eos_ids = frozenset(e for e in ends if e is not None) or frozenset([tokenizer.eos_token_id])
        self._image_id = model.config.image_token_id
        # A patch never overlaps its neighbour, so the Conv3d patch embedding is one matrix product; on CPU the
        # convolution costs a multiple of it.
        conv = self.visual.patch_embed.proj
        self._patch_weight, self._patch_bias = conv.weight.flatten(1), conv.bias

    def prompt_ids(self, n_tokens: Sequence[int], question: str) -> tuple[list[int], list[tuple[int, int]]]:
        """See :class:`VlmAdapter`; the images come first in the user's turn, then the text."""
        content = [{"type": "image"} for _ in n_tokens] + [{"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]:
            if token == self._image_id and len(spans) < len(n_tokens):
                spans.append((len(ids), len(ids) + n_tokens[len(spans)]))
                ids += [token] * n_tokens[len(spans) - 1]
            elif token != self._image_id:  # a placeholder written in the question is text, not an image
                ids.append(token)
        if len(spans) != len(n_tokens):
            raise UserError(f"{self.name}: the chat template placed {len(spans)} images, the sample has "
                            f"{len(n_tokens)}; the folder's chat_template does not fit {ARCHITECTURE}.")
        return ids, spans

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

    def encode(self, patches: Tensor, grids: Sequence[tuple[int, int]], keep: Sequence[Tensor | None],
               needs: Sequence[str] = ()) -> Encoded:
        """See :class:`VlmAdapter`; geometry is computed on the full grid and indexed, so positions are kept."""
        from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

        visual, merge = self.visual, self.images.merge_size
        group = merge * merge
        thw = torch.tensor([[1, h * merge, w * merge] for h, w in grids], device=patches.device)
        index, weight = get_vision_interpolation_indices_and_weights(
            thw, num_grid_per_side=visual.num_grid_per_side, mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners, spatial_merge_size=merge, kwargs={},
        )
        places = get_vision_position_ids(thw, merge, kwargs={})
        lengths = [group * (h * w if k is None else int(k.sum())) for (h, w), k in zip(grids, keep, strict=True)]
        if any(k is not None for k in keep):
            full = [torch.ones(h * w, dtype=torch.bool) if k is None else k.cpu()
                    for (h, w), k in zip(grids, keep, strict=True)]
            rows = torch.cat(full).repeat_interleave(group).nonzero()[:, 0].to(patches.device)
            index, weight = index[rows], weight[rows]
            places = places[:, rows] if places.shape[0] == 2 else places[rows]
        lengths = [n for n in lengths if n]  # an image of which nothing is left has no segment
        bounds = torch.tensor([0, *lengths], device=patches.device, dtype=torch.int32).cumsum(0, dtype=torch.int32)
        hidden = F.linear(patches.to(self._patch_weight.dtype), self._patch_weight, self._patch_bias)
        hidden = hidden + (visual.pos_embed(index) * weight[:, :, None]).sum(1).to(hidden.dtype)
        rope = visual.rotary_pos_emb(hidden, places)
        taps, extras = [], {}
        wanted = read_needs(needs, len(visual.blocks))
        levels = list(visual.deepstack_visual_indexes)
        for number, block in enumerate(visual.blocks):
            for need, kind in wanted.get(number, ()):
                extras[need] = _block_extra(block, kind, hidden, rope, lengths, group)
            hidden = block(hidden, cu_seqlens=bounds, max_seqlen=max(lengths), position_embeddings=rope)
            if number in levels:
                taps.append(visual.deepstack_merger_list[levels.index(number)](hidden))
        return Encoded(visual.merger(hidden), tuple(taps), extras)

    def project(self, layer: int, normed: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`VlmAdapter`; queries and keys are normalised per head before the rotation."""
        from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

        a = self.text.layers[layer].self_attn
        shape = (1, normed.shape[0], -1, a.head_dim)
        q = a.q_norm(a.q_proj(normed).view(shape)).transpose(1, 2)
        k = a.k_norm(a.k_proj(normed).view(shape)).transpose(1, 2)
        v = a.v_proj(normed).view(shape).transpose(1, 2)
        q, k = apply_rotary_pos_emb(q, k, *rope)
        return q[0], k[0], v[0]

    @property
    def dims(self) -> ModelDims:
        """See :class:`VlmAdapter`."""
        return ModelDims.from_config(self.model.config)


def read_needs(needs: Sequence[str], depth: int) -> dict[int, list[tuple[str, str]]]:
    """ViT block to the (need, kind) pairs wanted of it.

    Raises:
        ValueError: an unknown kind or a block outside the tower.
    """
    wanted: dict[int, list[tuple[str, str]]] = {}
    for need in needs:
        kind, _, text = need.partition(":")
        if kind not in {"encoder_attention", "encoder_keys"} or not text.removeprefix("-").isdigit():
            raise ValueError(f"unknown need {need!r}")
        block = int(text)
        if not -depth <= block < depth:
            raise ValueError(f"need {need!r}: the ViT has {depth} blocks")
        wanted.setdefault(block % depth, []).append((need, kind))
    return wanted


def _block_extra(block: Any, kind: str, hidden: Tensor, rope: tuple[Tensor, Tensor], lengths: Sequence[int],
                 group: int) -> Tensor:
    """One extra output of a ViT block, from its own projections of its input; see :meth:`VlmAdapter.encode`.

    Attention is computed for at most ``ATTENTION_CHUNK`` queries at a time: never a map of the whole image.
    """
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

    a = block.attn
    n = hidden.shape[0]
    q, k, _ = a.qkv(block.norm1(hidden)).view(n, 3, a.num_heads, -1).unbind(1)
    if kind == "encoder_keys":
        return k.reshape(n // group, group, -1).mean(1)
    q, k = apply_rotary_pos_emb_vision(q, k, *rope)
    received = []
    at = 0
    for length in lengths:
        queries, keys = q[at:at + length].transpose(0, 1), k[at:at + length].permute(1, 2, 0)
        total = torch.zeros(length, dtype=torch.float32, device=hidden.device)
        for start in range(0, length, ATTENTION_CHUNK):
            scores = (queries[:, start:start + ATTENTION_CHUNK] @ keys).float() * a.scaling
            total += scores.softmax(-1).sum((0, 1))
        received.append(total / a.num_heads)
        at += length
    return torch.cat(received).view(-1, group).mean(1)


def image_rules(config: Any, folder: Path | None) -> ImageRules:
    """Rules from the folder's image processor; without a folder the published defaults of the family.

    Raises:
        UserError: the folder has no readable image processor configuration.
    """
    vision = config.vision_config
    low, high = DEFAULT_PIXELS
    mean = std = (0.5, 0.5, 0.5)
    if folder:
        data = _processor_config(folder)
        size = data.get("size") or {}
        low = data.get("min_pixels") or size.get("shortest_edge") or low
        high = data.get("max_pixels") or size.get("longest_edge") or high
        mean, std = tuple(data.get("image_mean") or mean), tuple(data.get("image_std") or std)
    return ImageRules(vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size, low, high, mean, std)


def _processor_config(folder: Path) -> dict[str, Any]:
    """The image processor's settings: a file of its own, or (transformers 5) a part of ``processor_config.json``."""
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        path = folder / name
        if path.exists():
            try:
                data = json.loads(path.read_text())
            except ValueError:
                raise UserError(f"{path} is not valid JSON; download the folder again.") from None
            if key is None or key in data:
                return data[key] if key else data
    raise UserError(f"{folder} has no preprocessor_config.json, which says how images are resized; download the "
                    "model's processor files too.")
