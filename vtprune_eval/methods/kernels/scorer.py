"""FocusUI's query-guided scorer: its modules in the published checkpoints' layout, loading, and the loss.

arXiv 2601.03928, section 3.2. A scorer file is a safetensors file or a hub folder whose tensors carry the published
names, with or without the prefix ``patch_scorer.``; other tensors of a whole checkpoint are ignored.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError

HEADS = 8


class Enhancer(nn.Module):
    """Self-attention with a residual and a norm, then an MLP without one; ``(m, dim)`` to ``(m, dim)``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, HEADS, dropout=0.1, batch_first=True)
        self.layer_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """All tokens of a prompt form one sequence, without mask or positions."""
        attended, _ = self.attn(x[None], x[None], x[None], need_weights=False)
        out: Tensor = self.mlp(self.layer_norm(x + attended[0]))
        return out


class Scorer(nn.Module):
    """Saliency of visual tokens for an instruction."""

    def __init__(self, dim: int) -> None:
        """``dim``: width of the merged tokens and of the embeddings, a multiple of 8."""
        super().__init__()
        self.vision_enhancer = Enhancer(dim)
        self.text_enhancer = Enhancer(dim)

    def units(self, tokens: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Enhanced, squashed (tanh), then normalised tokens ``(m, dim)`` and words ``(n, dim)``."""
        return (
            F.normalize(torch.tanh(self.vision_enhancer(tokens)), dim=-1),
            F.normalize(torch.tanh(self.text_enhancer(words)), dim=-1),
        )

    def forward(self, tokens: Tensor, words: Tensor, pooling: str = "mean") -> Tensor:
        """Scores ``(m,)`` in [-1, 1]: mean (or max) over the words of the cosine."""
        vision, text = self.units(tokens, words)
        similar = vision @ text.T
        return similar.mean(-1) if pooling == "mean" else similar.amax(-1)


def saliency_loss(scores: Tensor, label: Tensor) -> Tensor:
    """KL(softmax(label) || softmax(score)) over one sample's visual tokens, both ``(m,)`` (section 3.2)."""
    return F.kl_div(scores.float().log_softmax(-1), label.float().log_softmax(-1), reduction="sum", log_target=True)


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # it is kept, and a training in the same process needs tensors with a gradient
def random_scorer(dim: int, dtype: torch.dtype, device: torch.device) -> Scorer:
    """A scorer with random weights, always the same: what it costs, and nothing of what it selects."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scorer = Scorer(dim)
    return scorer.to(device=device, dtype=dtype).eval().requires_grad_(False)


@lru_cache(maxsize=2)
def holds_scorer(folder: Path) -> bool:
    """Whether a model's own checkpoint has tensors of a scorer, by their names."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                if any("patch_scorer." in name for name in tensors.keys()):  # noqa: SIM118 (no mapping)
                    return True
        except SafetensorError:
            continue  # loading says what is wrong with it
    return False


@lru_cache(maxsize=2)
@torch.inference_mode(False)  # as above
def load_scorer(path: Path, dim: int, dtype: torch.dtype, device: torch.device) -> Scorer:
    """Read a scorer and check every tensor by name and shape.

    Args:
        path: a ``.safetensors`` file, or a folder of them.
        dim: width of the model's merged tokens.

    Raises:
        UserError: no such file, a missing tensor, or one of another width.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise UserError(f"focusui: no scorer weights in {path}; point --set focusui.scorer= to a FocusUI checkpoint.")
    with torch.device("meta"):
        scorer = Scorer(dim)
    wanted = {k: tuple(v.shape) for k, v in scorer.state_dict().items()}
    found: dict[str, Tensor] = {}
    try:
        for file in files:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (a safetensors handle is no mapping)
                    short = name.rsplit("patch_scorer.", 1)[-1]
                    if short in wanted:
                        found[short] = tensors.get_tensor(name)
    except SafetensorError as error:
        raise UserError(
            f"focusui: {file.name} is not a readable safetensors file ({error}); download it again."
        ) from None
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise UserError(
            f"focusui: the checkpoint in {path} lacks {len(missing)} tensors of the scorer (for example "
            f"{missing[0]}); it is not a FocusUI checkpoint."
        )
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise UserError(
                f"focusui: {name} has shape {tuple(found[name].shape)}, this model needs {shape}; the "
                "scorer belongs to a model of another width."
            )
    scorer.load_state_dict(found, assign=True)
    return scorer.to(device=device, dtype=dtype).eval().requires_grad_(False)
