"""A family's adapter on both sides of vLLM: where requests are prepared no module exists, in a worker they are vLLM's.

The worker's face gives vLLM's ViT the shape of transformers', so that the walk through the encoder, what methods ask of
its blocks, its windows and the dropping are those of the pipeline, line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ...models.family import Family
from ...models.qwen_vl import QwenVL

# model_type of config.json to the module of our family.
FAMILIES = {"qwen3_vl": "qwen3_vl", "qwen2_5_vl": "qwen2_5_vl", "qwen2_vl": "qwen2_vl"}


class _Side(QwenVL):
    """What does not come from modules of transformers."""

    _where: tuple[torch.dtype, torch.device] = (torch.float32, torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the encoder's output."""
        return self._where[0]

    @property
    def device(self) -> torch.device:
        """Device of the encoder."""
        return self._where[1]

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """See :class:`~vtprune_eval.models.base.VlmAdapter`."""
        return (self._where[1],)


def family_of_config(config: Any) -> Family:
    """The family of a loaded configuration.

    Raises:
        UserError: none that has a plug-in.
    """
    if config.model_type not in FAMILIES:
        raise UserError(f"the plug-in for vLLM has no {config.model_type}; it knows {', '.join(FAMILIES)}.")
    found: Family = import_module(f"vtprune_eval.models.{FAMILIES[config.model_type]}").FAMILY
    return found


def folder_of(model: str, revision: str | None = None) -> Path:
    """The local folder of a model that vLLM was given: a path, or a hub id that vLLM has loaded.

    Raises:
        UserError: neither.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True))
    except Exception as error:
        raise UserError(
            f"{model} is neither a folder nor in the hub's cache ({type(error).__name__}); download it first."
        ) from error


def front(config: Any, tokenizer: Any, folder: Path) -> QwenVL:
    """The adapter where requests are prepared: prompt, positions, sizes; no weights."""
    vision = config.vision_config
    visual = SimpleNamespace(
        blocks=range(vision.depth), fullatt_block_indexes=getattr(vision, "fullatt_block_indexes", ())
    )
    text = SimpleNamespace(config=config.get_text_config(), layers=range(config.get_text_config().num_hidden_layers))
    return _side(config, tokenizer, folder, visual, text)


def back(config: Any, tokenizer: Any, folder: Path, tower: Any, embed: Callable[[Tensor], Tensor]) -> QwenVL:
    """The adapter in a worker.

    Args:
        config: of the model.
        tokenizer: of the model.
        folder: of the model.
        tower: vLLM's vision transformer.
        embed: from token ids to embeddings.
    """
    text_config = config.get_text_config()
    text = SimpleNamespace(
        config=text_config, layers=range(text_config.num_hidden_layers), embed_tokens=_Embedding(embed, tower.device)
    )
    side = _side(config, tokenizer, folder, _Visual(tower, config), text)
    conv = tower.patch_embed.proj
    side._patch_projection = lambda: (conv.weight.flatten(1), conv.bias)  # type: ignore[method-assign]
    side._where = (tower.dtype, tower.device)  # type: ignore[attr-defined]
    return side


def _side(config: Any, tokenizer: Any, folder: Path, visual: Any, text: Any) -> QwenVL:
    family = family_of_config(config)
    side: Any = object.__new__(type("Side", (_Side, family.adapter), {}))
    side.name, side.folder, side.tokenizer, side.identity = folder.name, folder, tokenizer, {}
    side.images, side.coordinates = family.image_rules(config, folder), ""
    side.visual, side.text, side._image_id = visual, text, config.image_token_id
    side.model = SimpleNamespace(config=config)
    adapter: QwenVL = side
    return adapter


class _Embedding:
    """Token embeddings, of which a rank of a tensor-parallel group holds only a part."""

    def __init__(self, embed: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._embed, self._device = embed, device

    def __call__(self, ids: Tensor) -> Tensor:
        return self._embed(ids)

    @property
    def weight(self) -> _Embedding:
        """Rows by token id."""
        return self

    def __getitem__(self, number: int) -> Tensor:
        return self._embed(torch.tensor([number], device=self._device))[0]


class _Visual:
    """vLLM's vision transformer with the names of transformers'."""

    def __init__(self, tower: Any, config: Any) -> None:
        vision = config.vision_config
        segments = _Segments(tower)
        self.blocks = [_Block(block, segments) for block in tower.blocks]
        self.merger = lambda hidden: tower.merger(hidden[:, None])
        self.rotary_pos_emb = _rotary(config).to(tower.device)
        self.patch_size, self.window_size = vision.patch_size, getattr(vision, "window_size", 0)
        self.fullatt_block_indexes = getattr(vision, "fullatt_block_indexes", ())
        self.deepstack_visual_indexes = getattr(vision, "deepstack_visual_indexes", ())
        self.deepstack_merger_list = [_merge(m) for m in getattr(tower, "deepstack_merger_list", ())]
        if hasattr(tower, "pos_embed"):
            self.pos_embed, self.num_grid_per_side = tower.pos_embed, tower.num_grid_per_side
            # As the class of transformers sets them; they are no part of a configuration.
            self.interpolation_mode, self.interpolation_align_corners = "bilinear", True


def _merge(merger: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: merger(hidden[:, None])


def _rotary(config: Any) -> Any:
    """The ViT's rotary embedding, which has no weights."""
    module = import_module(f"transformers.models.{config.model_type}.modeling_{config.model_type}")
    prefix = {"qwen3_vl": "Qwen3VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen2_vl": "Qwen2VL"}[config.model_type]
    return getattr(module, f"{prefix}VisionRotaryEmbedding")(config.vision_config)


class _Block:
    """A block of vLLM's ViT, called as one of transformers'."""

    def __init__(self, block: Any, segments: _Segments) -> None:
        self._block, self._segments = block, segments
        self.norm1, self.attn = block.norm1, _Attention(block.attn)

    def __call__(
        self, hidden: Tensor, *, cu_seqlens: Tensor, max_seqlen: int, position_embeddings: tuple[Tensor, Tensor]
    ) -> Tensor:
        cos, sin = (half[:, : half.shape[1] // 2].to(hidden.dtype) for half in position_embeddings)
        bounds, lengths, longest = self._segments(cu_seqlens, max_seqlen)
        extra = {} if lengths is NotImplemented else {"sequence_lengths": lengths}
        out: Tensor = self._block(
            hidden[:, None],
            cu_seqlens=bounds,
            rotary_pos_emb_cos=cos,
            rotary_pos_emb_sin=sin,
            max_seqlen=longest,
            **extra,
        )
        return out[:, 0]


class _Attention:
    """What methods that read a block's attention and keys need of it."""

    def __init__(self, attention: Any) -> None:
        self._attention = attention
        self.num_heads = attention.num_attention_heads_per_partition
        self.scaling = attention.hidden_size_per_attention_head**-0.5

    def qkv(self, hidden: Tensor) -> Tensor:
        """Queries, keys and values of all heads."""
        if self._attention.tp_size > 1:
            raise UserError(
                "a method that reads the encoder's attention needs all its heads in one process; start "
                "vLLM with --tensor-parallel-size 1 or --mm-encoder-tp-mode data."
            )
        projected: Tensor = self._attention.qkv(hidden)[0]
        return projected


class _Segments:
    """Segments of the blocks in the form that the attention backend wants; made once per image, not once per block."""

    def __init__(self, tower: Any) -> None:
        self._tower = tower
        self._made: list[tuple[Tensor, tuple[Tensor, Any, Tensor]]] = []

    def __call__(self, bounds: Tensor, longest: int) -> tuple[Tensor, Any, Tensor]:
        """Bounds, lengths and the longest; lengths are NotImplemented where blocks do not take any."""
        for seen, made in self._made:
            if seen is bounds:
                return made
        made = self._make(bounds, longest)
        self._made = [*self._made[-1:], (bounds, made)]  # a ViT has at most two: windows and whole images
        return made

    def _make(self, bounds: Tensor, longest: int) -> tuple[Tensor, Any, Tensor]:
        tower = self._tower
        if not hasattr(tower, "fp8_padded_hidden_size"):  # Qwen2-VL's tower has the plain form alone
            return bounds, NotImplemented, torch.tensor(longest, dtype=torch.int32)
        from vllm.model_executor.layers.attention import MMEncoderAttention as Backend

        kind, rows = tower.attn_backend, bounds.cpu().numpy()
        own = Backend.maybe_recompute_cu_seqlens(
            kind,
            rows,
            tower.hidden_size,
            tower.tp_size,
            tower.device,
            fp8_padded_hidden_size=tower.fp8_padded_hidden_size,
        )
        lengths = Backend.maybe_compute_seq_lens(kind, rows, tower.device)
        return own, lengths, torch.tensor(Backend.compute_max_seqlen(kind, rows), dtype=torch.int32)


def relative_positions(positions: Tensor, index: Sequence[int] | Tensor, start: int) -> Tensor:
    """Positions (t, h, w) of the rows ``index`` of a prompt, counted from where its first image begins.

    Args:
        positions: int64 ``(3, n_prompt)``.
        index: rows.
        start: row of the first visual token.

    Returns:
        int64 ``(3, n)``; the least is 0.
    """
    return positions[:, index] - positions[:, start : start + 1]
