"""A small random model of every family, and a slow ViT and decoder that mask instead of dropping."""

from __future__ import annotations

from functools import cache

import torch

from tests.lent import shared
from tests.pipeline.support import Reference
from vtprune_eval.selftest.small import small_adapter

# Families whose every decoder layer has a KV cache.
CACHED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@cache
def tiny(family: str, attn: str = "sdpa"):
    """Adapter of a small float32 model with random weights, shared by all tests: nothing about it may be changed."""
    return shared(afresh(family, attn))


def afresh(family: str, attn: str = "sdpa"):
    """The same for a test that changes it, as training does."""
    torch.set_num_threads(1)
    return small_adapter(family, attn, seed=0)


def reference(family: str, sample, attn: str = "sdpa") -> Reference:
    return Reference(tiny(family, attn), sample)


class SlowVit:
    """The tower over ALL patches, where dropped ones are hidden as keys; segments come from coordinates alone."""

    def __init__(self, ref: Reference, keep: torch.Tensor) -> None:
        visual = ref.model.model.visual
        places, image = [], []
        for number, (rows, cols) in enumerate(ref.layout.grids):
            for row in range(rows):
                for col in range(cols):
                    places += [(2 * row + dy, 2 * col + dx) for dy in range(2) for dx in range(2)]
                    image += [number] * 4
        self.places, self.image = torch.tensor(places), torch.tensor(image)
        self.kept = keep.repeat_interleave(4)
        self.visual, self.ref = visual, ref
        side = getattr(visual, "window_size", 0) // visual.config.patch_size
        self.window = self.places // side if side else None

    def allowed(self, block: int) -> torch.Tensor:
        """bool ``(n, n)``: may patch i see patch j in this block?"""
        see = (self.image[:, None] == self.image[None]) & self.kept[None]
        if self.window is not None and block not in self.visual.fullatt_block_indexes:
            see &= (self.window[:, None] == self.window[None]).all(-1)
        return see

    @torch.no_grad()
    def run(self) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Tokens of kept blocks, DeepStack levels, and per block the attention map ``(heads, n, n)``."""
        from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

        visual = self.visual
        hidden = visual.patch_embed(self.ref.patches)
        if hasattr(visual, "pos_embed"):
            from transformers.vision_utils import get_vision_interpolation_indices_and_weights

            index, weight = get_vision_interpolation_indices_and_weights(
                self.ref.thw,
                num_grid_per_side=visual.num_grid_per_side,
                mode=visual.interpolation_mode,
                align_corners=visual.interpolation_align_corners,
                spatial_merge_size=2,
            )
            hidden = hidden + (visual.pos_embed(index) * weight[:, :, None]).sum(1)
        rope = visual.rotary_pos_emb(hidden, self.places)
        taps, maps = [], []
        for number, block in enumerate(visual.blocks):
            a = block.attn
            q, k, v = a.qkv(block.norm1(hidden)).reshape(len(hidden), 3, a.num_heads, -1).unbind(1)
            q, k = apply_rotary_pos_emb_vision(q, k, *rope)
            scores = torch.einsum("ihd,jhd->hij", q, k) * q.shape[-1] ** -0.5
            # A dropped patch sees itself only, so that its row stays finite; nobody sees it.
            see = self.allowed(number) | (torch.eye(len(hidden), dtype=torch.bool) & ~self.kept)
            maps.append(scores.masked_fill(~see, float("-inf")).softmax(-1))
            hidden = hidden + a.proj(torch.einsum("hij,jhd->ihd", maps[-1], v).flatten(1))
            hidden = hidden + block.mlp(block.norm2(hidden))
            if number in getattr(visual, "deepstack_visual_indexes", ()):
                taps.append(visual.deepstack_merger_list[len(taps)](hidden))
        keep = self.kept[::4]
        return visual.merger(hidden)[keep], [tap[keep] for tap in taps], maps

    def received(self, attention: torch.Tensor) -> torch.Tensor:
        """Attention that each kept visual token receives, as :meth:`VlmAdapter.encode` defines it."""
        from_kept = attention[:, self.kept][:, :, self.kept]
        return from_kept.mean(0).sum(0).view(-1, 4).mean(1)


@torch.no_grad()
def masked_decoder(ref: Reference, hidden_from: dict[int, torch.Tensor], n_new: int) -> list[int]:
    """Greedy ids without a cache: the whole sequence again for every token, some prompt tokens hidden in some layers.

    ``hidden_from``: layer to a bool ``(n_prompt,)`` of tokens that nobody may see from this layer on.
    """
    text, head = ref.model.model.language_model, ref.model.lm_head
    tokens, levels = SlowVit(ref, torch.ones(ref.layout.n_visual, dtype=torch.bool)).run()[:2]
    prompt = text.embed_tokens(ref.ids).clone()
    prompt[0, ref.visual] = tokens
    positions = ref.positions()
    out: list[int] = []
    while len(out) < n_new and not (out and out[-1] in ref.adapter.eos_ids):
        more = torch.tensor([out], dtype=torch.long)
        hidden = torch.cat([prompt, text.embed_tokens(more)], 1)
        after = positions.max() + 1 + torch.arange(len(out))
        rope = text.rotary_emb(hidden, torch.cat([positions, after.expand(3, 1, -1)], 2))
        n = hidden.shape[1]
        see = torch.ones(n, n, dtype=torch.bool).tril()
        left = torch.ones(n, dtype=torch.bool)
        kinds = getattr(text.config, "layer_types", None) or ()
        for number, layer in enumerate(text.layers):
            if number in hidden_from:
                left[: len(hidden_from[number])] &= ~hidden_from[number]
                see = see.clone()
                gone = hidden_from[number]
                see[:, : len(gone)][:, gone] = False
                see |= torch.eye(n, dtype=torch.bool)  # a hidden token's own row stays finite; nobody else sees it
            if kinds and kinds[number] == "linear_attention":  # a recurrence has no mask: it runs over what is left
                hidden = hidden.clone()
                hidden[:, left] = layer(hidden[:, left], position_embeddings=rope, attention_mask=None)
                continue
            mask = torch.zeros(n, n).masked_fill(~see, float("-inf"))[None, None]
            hidden = layer(hidden, position_embeddings=rope, attention_mask=mask)
            if number < len(levels):
                hidden = hidden.clone()
                hidden[0, : len(ref.visual)][ref.visual] += levels[number]
        out.append(int(head(text.norm(hidden[:, -1])).argmax()))
    return out
