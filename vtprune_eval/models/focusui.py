"""FocusUI: a coordinate-free model. It points at visual tokens with an action head and writes no coordinates.

"FocusUI: Efficient UI Grounding via Position-Preserving Visual Token Selection", arXiv 2601.03928, section 3.2 and
appendix; the head is GUI-Actor's (arXiv 2506.03143). A published folder holds the weights of its base model under that
model's own names, the saliency scorer under ``patch_scorer.`` (which the method ``focusui`` reads) and the head under
``multi_patch_pointer_head.``. Short names are spread over two families, one per base model.

The assistant's turn is given up to ``<|pointer_pad|>``, whose last hidden state asks the head: one forward pass, no
decoding. The published prompt goes on with two tokens (``<|pointer_end|>`` and a bracket); attention is causal, so that
they cannot change that state, and they are left out.

What this means for pruning: a method before the decoder takes candidates from the head; one inside the decoder changes
the hidden state that asks, and leaves the candidates; one that compresses the KV cache changes nothing in the answer,
because no token is decoded from it. With several images the point is on the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..turns import content
from .dims import ModelDims
from .family import Family, Request
from .folder import first_line
from .qwen_vl import QwenVL
from .regions import regions

HEADS = 8
HEAD, SCORER = "multi_patch_pointer_head.", "patch_scorer."
POINTER = "<|pointer_pad|>"
# Folders written by transformers 4 leave out a part of the base model's names; newer names match neither pattern.
OLD_NAMES = {r"^visual\.": "model.visual.", r"^model\.(?!language_model\.|visual\.)": "model.language_model."}
# Tokens that the checkpoints add to the vocabulary of their base model.
ADDED = ("<|recipient|>", "<|diff_marker|>", "<|pointer_start|>", "<|pointer_end|>", POINTER, "<|image_drop_end|>")


class ActionHead(nn.Module):
    """Attention of a hidden state over visual tokens, in the published layout of names and shapes."""

    def __init__(self, dim: int) -> None:
        """``dim``: width of the decoder, a multiple of 8."""
        super().__init__()
        self.self_attention = nn.MultiheadAttention(dim, HEADS, dropout=0.1, batch_first=True)
        self.layer_norm = nn.LayerNorm(dim)
        self.projection_enc = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.projection_dec = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, tokens: Tensor, asking: Tensor) -> Tensor:
        """Shares of ``tokens`` ``(n, dim)`` for ``asking`` ``(dim,)``: float32 ``(n,)`` that sum to 1.

        The softmax is taken in float32 whatever the weights' type: in bfloat16 neighbouring shares would be equal.
        """
        one = tokens[None]  # without weights asked for, the module holds no (n, n) map
        contextual = self.layer_norm(tokens + self.self_attention(one, one, one, need_weights=False)[0][0])
        logits: Tensor = self.projection_enc(contextual) @ self.projection_dec(asking)
        scaled: Tensor = logits.float() / tokens.shape[1] ** 0.5
        return scaled.softmax(0)


@cache
def with_head(base: type) -> type:
    """A class of transformers with the action head beside it, so that both load from one folder by name."""

    class WithHead(base):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.multi_patch_pointer_head = ActionHead(config.text_config.hidden_size)

    return WithHead


class Pointing(QwenVL):
    """What the adapters of both base models share; a family sets the two texts.

    Attributes:
        system: the system message that the checkpoint was trained with.
        opening: the assistant's turn before the pointer.
    """

    points = True
    system: ClassVar[str]
    opening: ClassVar[str]

    def _prompt(self, n_images: int, question: str) -> str:
        turns = [
            {"role": "system", "content": [{"type": "text", "text": self.system}]},
            {"role": "user", "content": content(n_images, question)},
        ]
        said = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
        return f"{said}<|im_start|>assistant<|recipient|>os\n{self.opening}<|pointer_start|>{POINTER}"

    def point(
        self,
        last: Tensor,
        sources: Tensor,
        places: Tensor,
        spans: Sequence[tuple[int, int]],
        grids: Sequence[tuple[int, int]],
    ) -> str:
        """See :class:`VlmAdapter`; all images' tokens compete for the attention, the map is that of the last image."""
        if not len(places):
            return ""
        shares = self.shares(last, sources)
        (start, end), (rows, cols) = spans[-1], grids[-1]
        here = (places >= start) & (places < end)
        grid = torch.zeros(rows * cols, device=shares.device)
        grid[(places[here] - start).to(shares.device)] = shares[here.to(shares.device)]
        found = regions(grid.view(rows, cols).cpu().numpy())
        return "click {:.6f} {:.6f}".format(*found[0].point) if found else ""

    def shares(self, last: Tensor, sources: Tensor) -> Tensor:
        """Attention of the pointer over ``sources`` ``(n, dim)``, float32 ``(n,)``."""
        head = self.model.multi_patch_pointer_head
        weight = head.layer_norm.weight
        attention: Tensor = head(sources.to(weight), last.to(weight))
        return attention

    @cached_property
    def dims(self) -> ModelDims:
        """See :class:`VlmAdapter`."""
        return replace(super().dims, action_head=True)


@dataclass(frozen=True)
class PointingFamily(Family):
    """A base model's family with FocusUI's tensors and tokens beside it."""

    def classes(self) -> tuple[Any, Any]:
        """See :class:`Family`; the model's class has the action head."""
        base, config_class = super().classes()
        return with_head(base), config_class

    def tokenizer(self, ask: Request) -> Any:
        """See :class:`Family`; a stand-in tokenizer is given the added tokens.

        Raises:
            UserError: the folder's tokenizer lacks one of them.
        """
        tokenizer = super().tokenizer(ask)
        if ask.folder is None:
            tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED)})
        known = tokenizer.get_vocab()
        missing = [token for token in ADDED if token not in known]
        if missing:
            raise UserError(
                f"{ask.name}: the tokenizer in {ask.folder} lacks {', '.join(missing)}, so this is not a "
                "FocusUI checkpoint; download the tokenizer files of the checkpoint itself."
            )
        return tokenizer

    def _trained(
        self, model_class: Any, config: Any, folder: Path, ask: Request, places: Mapping[str, str] | None
    ) -> Any:
        check_tensors(folder, ask.name, config.text_config.hidden_size)
        return super()._trained(model_class, config, folder, ask, places)


def check_tensors(folder: Path, name: str, dim: int) -> None:
    """Compare the head's and the scorer's tensors in a folder with what a model of width ``dim`` needs.

    Only the headers of the files are read.

    Raises:
        UserError: an unreadable file, or the names of missing or misshapen tensors.
    """
    from safetensors import SafetensorError, safe_open

    from ..methods.kernels.scorer import Scorer

    with torch.device("meta"):
        parts = {HEAD: ActionHead(dim), SCORER: Scorer(dim)}
    wanted = {prefix + k: tuple(v.shape) for prefix, part in parts.items() for k, v in part.state_dict().items()}
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                found |= {k: tuple(tensors.get_slice(k).get_shape()) for k in wanted.keys() & set(tensors.keys())}
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{name}: the weights in {folder} cannot be loaded ({file.name}: {first_line(error)}); "
                "download the folder again or point --model-path to a complete one."
            ) from None
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise UserError(
            f"{name}: the weights in {folder} lack {len(missing)} tensors of the action head and the "
            f"scorer ({_some(missing)}); point --model-path to a complete FocusUI checkpoint."
        )
    wrong = [
        f"{k} is {_shape(found[k])} instead of {_shape(wanted[k])}" for k in sorted(wanted) if found[k] != wanted[k]
    ]
    if wrong:
        raise UserError(
            f"{name}: {len(wrong)} tensors in {folder} have another shape ({_some(wrong)}); they belong to "
            "a model of another width, so choose the short name that fits the folder."
        )


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
