"""Qwen3.5: the ViT of Qwen3-VL without DeepStack, and a decoder in which three layers of four have linear attention.

A linear-attention layer (gated delta rule) keeps one state of fixed size instead of a KV cache. What follows for
pruning: a method that reads or cuts a cache can act on the full-attention layers only, and dropping tokens after layer
k is not the same as masking them, because a short convolution and the recurrence run over whatever is left. The bytes
that a record gives for the KV cache are those of the full-attention layers; the fixed states are not part of them.

The chat template is asked for an answer without a thinking part.
"""

from __future__ import annotations

from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from torch import Tensor

from .family import Family
from .qwen3_vl import Qwen3VL
from .qwen3_vl_sizes import DEFAULT_PIXELS

_VISION_300M = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16}
_VISION_500M = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16}


def _sizes(
    hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, value_heads: int, vision: dict[str, Any], tied: bool
) -> dict[str, Any]:
    text = {
        "vocab_size": 248320,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 256,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": value_heads,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "max_position_embeddings": 262144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [11, 11, 10],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": tied,
    }
    return {"text_config": text, "vision_config": {**vision, "out_hidden_size": hidden}, "tie_word_embeddings": tied}


# Source: the published config.json; the multi-token prediction head of the checkpoints is not part of the class.
TRUE_SIZES = {
    "qwen3.5-2b": _sizes(2048, 6144, 24, 8, 2, 16, _VISION_300M, True),
    "qwen3.5-4b": _sizes(2560, 9216, 32, 16, 4, 32, _VISION_300M, True),
    "qwen3.5-9b": _sizes(4096, 12288, 32, 16, 4, 32, _VISION_500M, False),
}


class _LinearLayer:
    """A linear-attention layer whose state belongs to the prompt's cache and goes when the cache goes."""

    def __init__(self, layer: Any, config: Any, states: WeakKeyDictionary[Any, Any]) -> None:
        self._layer, self._config, self._states = layer, config, states

    def __call__(
        self,
        hidden: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Any = None,
    ) -> Tensor:
        """The layer on ``(1, n, dim)``; it is causal by itself, so a causal mask is not passed on."""
        from transformers import DynamicCache

        state = None
        if past_key_values is not None:
            state = self._states.setdefault(past_key_values, DynamicCache(config=self._config))
        out: Tensor = self._layer(
            hidden, position_embeddings=position_embeddings, attention_mask=None, past_key_values=state
        )
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class _HybridText:
    """The face of the text model that the pipeline uses, with linear layers that find their state."""

    def __init__(self, text: Any) -> None:
        self.config, self.embed_tokens, self.norm = text.config, text.embed_tokens, text.norm
        self.rotary_emb = text.rotary_emb
        states: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self.layers = [
            _LinearLayer(layer, text.config, states) if kind == "linear_attention" else layer
            for layer, kind in zip(text.layers, text.config.layer_types, strict=True)
        ]


class Qwen3_5(Qwen3VL):
    """Adapter of one loaded ``Qwen3_5ForConditionalGeneration``."""

    template_options: ClassVar[dict[str, Any]] = {"enable_thinking": False}

    def text_of(self, model: Any) -> Any:
        """See :class:`QwenVL`; layers of linear attention find their state."""
        return _HybridText(super().text_of(model))

    @property
    def deepstack_blocks(self) -> tuple[int, ...]:
        """See :class:`VitWalk`; the configuration may name some all the same."""
        return ()

    def has_cache(self, layer: int) -> bool:
        """See :class:`VlmAdapter`."""
        return bool(self.text.config.layer_types[layer] != "linear_attention")

    def attention_output(self, layer: int, normed: Tensor, mixed: Tensor) -> Tensor:
        """See :class:`VlmAdapter`; the gate lies beside the queries in one projection."""
        a = self.text.layers[layer].self_attn
        _, gate = a.q_proj(normed).view(1, normed.shape[0], -1, 2 * a.head_dim).chunk(2, dim=-1)
        out: Tensor = a.o_proj(mixed * gate.flatten(2).sigmoid())
        return out

    def project(self, layer: int, normed: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`VlmAdapter`; only a part of each head is rotated, and the gate beside the queries is left out.

        Raises:
            UserError: a linear-attention layer, which has neither.
        """
        from transformers.models.qwen3_5.modeling_qwen3_5 import apply_rotary_pos_emb

        self.require_cache(layer)
        a = self.text.layers[layer].self_attn
        shape = (1, normed.shape[0], -1, a.head_dim)
        q, _ = a.q_proj(normed).view(1, normed.shape[0], -1, 2 * a.head_dim).chunk(2, dim=-1)
        q, k = a.q_norm(q).transpose(1, 2), a.k_norm(a.k_proj(normed).view(shape)).transpose(1, 2)
        q, k = apply_rotary_pos_emb(q, k, *rope)
        return q[0], k[0], a.v_proj(normed).view(shape).transpose(1, 2)[0]


FAMILY = Family(
    architecture="Qwen3_5ForConditionalGeneration",
    model_type="qwen3_5",
    config_class="Qwen3_5Config",
    adapter=Qwen3_5,
    sizes=TRUE_SIZES,
    pixels=DEFAULT_PIXELS,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
