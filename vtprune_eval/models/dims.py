"""Sizes of a model, read from its configuration, and what one of its parts computes (FLOPs, 1 multiply-add = 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Tokens that a linear-attention layer takes at once in prefill.
DELTA_CHUNK = 64


@dataclass(frozen=True)
class ModelDims:
    """Sizes that the formulas need.

    Attributes:
        vit_depth: blocks, width and feed-forward width of the ViT.
        vit_dim: blocks, width and feed-forward width of the ViT.
        vit_ffn: blocks, width and feed-forward width of the ViT.
        patch_in: values per patch (channels x frames x patch^2).
        merge: patches per visual token.
        merger_out: width of a visual token.
        n_deepstack: DeepStack mergers.
        layers: of the decoder.
        dim: of the decoder.
        ffn: of the decoder.
        q_heads: of the decoder.
        kv_heads: of the decoder.
        head_dim: of the decoder.
        vocab: of the decoder.
        vit_ffn_matrices: matrices of the ViT's feed-forward: 2, or 3 where it is gated.
        vit_local: blocks of the ViT that attend inside windows only.
        vit_window: patches in a full window.
        linear: indices of decoder layers with linear attention; () for none. Of these layers: linear_k_heads,
            linear_v_heads, linear_k_dim, linear_v_dim (per head), linear_kernel (of the convolution).
        gated: True where the query projection also gives a gate of the same width.
        action_head: True where the model points with an action head and runs no LM head.
    """

    vit_depth: int
    vit_dim: int
    vit_ffn: int
    patch_in: int
    merge: int
    merger_out: int
    n_deepstack: int
    layers: int
    dim: int
    ffn: int
    q_heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    vit_ffn_matrices: int = 2
    vit_local: int = 0
    vit_window: int = 0
    linear: tuple[int, ...] = ()
    linear_k_heads: int = 0
    linear_v_heads: int = 0
    linear_k_dim: int = 0
    linear_v_dim: int = 0
    linear_kernel: int = 0
    gated: bool = False
    action_head: bool = False

    @classmethod
    def from_config(cls, config: Any) -> ModelDims:
        """Read a transformers configuration of the Qwen2-VL, Qwen2.5-VL, Qwen3-VL or Qwen3.5 family."""
        v, t = config.vision_config, config.text_config
        # Qwen2-VL calls the ViT's width embed_dim; its hidden_size is the width of a visual token.
        width = getattr(v, "embed_dim", v.hidden_size)
        global_blocks = getattr(v, "fullatt_block_indexes", None)
        kinds = getattr(t, "layer_types", None) or ()
        linear = tuple(i for i, kind in enumerate(kinds) if kind == "linear_attention")
        hybrid: dict[str, Any] = (
            {}
            if not linear
            else {
                "linear": linear,
                "linear_k_heads": t.linear_num_key_heads,
                "linear_v_heads": t.linear_num_value_heads,
                "linear_k_dim": t.linear_key_head_dim,
                "linear_v_dim": t.linear_value_head_dim,
                "linear_kernel": t.linear_conv_kernel_dim,
                "gated": True,
            }
        )
        return cls(
            vit_depth=v.depth,
            vit_dim=width,
            vit_ffn=v.intermediate_size if hasattr(v, "intermediate_size") else int(width * v.mlp_ratio),
            patch_in=v.in_channels * v.temporal_patch_size * v.patch_size**2,
            merge=v.spatial_merge_size**2,
            merger_out=getattr(v, "out_hidden_size", v.hidden_size),
            n_deepstack=len(getattr(v, "deepstack_visual_indexes", ())),
            layers=t.num_hidden_layers,
            dim=t.hidden_size,
            ffn=t.intermediate_size,
            q_heads=t.num_attention_heads,
            kv_heads=t.num_key_value_heads,
            head_dim=getattr(t, "head_dim", None) or t.hidden_size // t.num_attention_heads,
            vocab=t.vocab_size,
            vit_ffn_matrices=2 if global_blocks is None else 3,
            vit_local=0 if global_blocks is None else v.depth - len(global_blocks),
            vit_window=0
            if global_blocks is None
            else (v.window_size // v.patch_size // v.spatial_merge_size * v.spatial_merge_size) ** 2,
            **hybrid,
        )

    def vit_linear(self, patches: int) -> float:
        """Projections (4 d^2) and feed-forward (2 d F, gated 3 d F) of all ViT blocks for ``patches`` patches."""
        ffn = self.vit_ffn_matrices * self.vit_dim * self.vit_ffn
        return self.vit_depth * patches * 2.0 * (4 * self.vit_dim**2 + ffn)

    def vit_attention(self, patches: int) -> float:
        """Scores and weighted sum over one image of ``patches`` patches, all blocks.

        Full square in a block that attends over the image. In a windowed block every patch is charged a full window:
        windows at the image's edge and windows thinned by a method hold fewer, which is below 1 % of the ViT's FLOPs
        and never in a method's favour.
        """
        pairs = (self.vit_depth - self.vit_local) * patches**2
        pairs += self.vit_local * patches * min(patches, self.vit_window)
        return 4.0 * pairs * self.vit_dim

    def merger(self, tokens: int) -> float:
        """One merger: (merge d)^2 and (merge d) x output, per visual token."""
        wide = self.merge * self.vit_dim
        return tokens * 2.0 * (wide**2 + wide * self.merger_out)

    def layer_linear(self, tokens: int, layer: int = 0) -> float:
        """Projections and the three SwiGLU matrices of ONE decoder layer.

        Full attention: q (with its gate, where there is one), k, v, o. Linear attention: q, k, v, the output gate, two
        numbers per value head, the output, and the depthwise convolution.
        """
        ffn = 3 * self.dim * self.ffn
        if layer in self.linear:
            values, mixed = self.linear_v_heads * self.linear_v_dim, 2 * self.linear_k_heads * self.linear_k_dim
            mixed += values
            per_token = self.dim * (mixed + 2 * values + 2 * self.linear_v_heads) + self.linear_kernel * mixed
        else:
            q, kv = self.q_heads * self.head_dim, self.kv_heads * self.head_dim
            per_token = (3 if self.gated else 2) * self.dim * q + 2 * self.dim * kv
        return tokens * 2.0 * (per_token + ffn)

    def delta_rule(self, tokens: int) -> float:
        """The gated delta rule of ONE linear-attention layer in prefill, in chunks of 64 as transformers runs it.

        Per chunk and value head: three products inside the chunk (two over keys, one over values), two triangular
        solves, and three products with the state.
        """
        c, k, v = DELTA_CHUNK, self.linear_k_dim, self.linear_v_dim
        per_chunk = 2 * c * c * (2 * k + v) + c * c * (k + v) + 6 * c * k * v
        return -(-tokens // c) * float(per_chunk) * self.linear_v_heads

    def delta_step(self) -> float:
        """The same for one decoded token: read what the state predicts, update it, read the answer."""
        return 6.0 * self.linear_k_dim * self.linear_v_dim * self.linear_v_heads

    def layer_attention(self, pairs: float) -> float:
        """Scores and weighted sum of ONE decoder layer over ``pairs`` (query, key) pairs."""
        return 4.0 * pairs * self.q_heads * self.head_dim

    def lm_head(self, positions: int) -> float:
        """Vocabulary logits for ``positions`` positions."""
        return 2.0 * positions * self.dim * self.vocab

    def pointing(self, tokens: int) -> float:
        """FocusUI's action head over ``tokens`` visual tokens: self-attention (4 d^2 projections, full square), two
        matrices per token and two for the pointer, and their product."""
        return 2.0 * tokens * (6 * self.dim**2 + self.dim) + 4.0 * tokens**2 * self.dim + 4.0 * self.dim**2
