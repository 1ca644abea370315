"""FLOPs of a training step, from the lengths that were executed; 1 multiply-add = 2 FLOPs.

Forward: the terms of :mod:`vtprune_eval.profiling.flops`, the LM head at the tokens of the answers alone. Backward: of
every matrix product two of the same size (one for its input, one for its weight); the patch embedding has no gradient
of its input, a frozen matrix none of its weight, and what lies before the first trained weight none at all. With
gradient checkpointing the ViT's blocks and the decoder layers run forward once more. Not counted, as in evaluation:
norms, activations, softmax, look-ups, a method's own work, and the optimizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.dims import ModelDims
from ..outcome import Counts
from ..pipeline.packed import Packed
from ..pipeline.stages import Entered
from ..profiling.flops import flops_of


@dataclass(frozen=True)
class Work:
    """What one or more packed sequences made the model do.

    Attributes:
        tokens: rows of decoder layer 0.
        visual: of them visual.
        patches: through the last ViT block.
        answers: tokens of the answers.
        forward: FLOPs.
        backward: FLOPs.
    """

    tokens: int = 0
    visual: int = 0
    patches: int = 0
    answers: int = 0
    forward: float = 0.0
    backward: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, f) + getattr(other, f) for f in self.__dataclass_fields__))


@dataclass(frozen=True)
class Trained:
    """Which parts have gradients.

    Attributes:
        vision: whether their weights are trained.
        decoder: whether their weights are trained.
        lora: the decoder's matrices are frozen beside small ones.
        checkpointing: whether layers run forward twice.
    """

    vision: bool = True
    decoder: bool = True
    lora: bool = False
    checkpointing: bool = False


def vision_flops(dims: ModelDims, patches: Sequence[int], vit: tuple[int, Sequence[int]] = (0, ())) -> dict[str, float]:
    """Stages before the decoder.

    Args:
        dims: model sizes.
        patches: per image behind the last drop.
        vit: blocks that see every patch, and these patches per image.
    """
    nothing = (0, 0, 0, (), (), (), (), 0)  # of the decoder
    through = tuple(patches)
    counts = Counts(through, through, (), (), *nothing, vit_depth=vit[0], patches_entered=tuple(vit[1]))
    found = flops_of(dims, counts)
    return {k: found[k] for k in ("patch_embed", "vit_linear", "vit_attention", "merger", "deepstack")}


def decoder_flops(dims: ModelDims, rows: int, before: int) -> float:
    """Decoder layers over ``rows`` tokens that also see ``before`` tokens of the prompt that they share."""
    pairs = rows * before + rows * (rows + 1) / 2
    out = 0.0
    for layer in range(dims.layers):
        mixed = dims.delta_rule(rows) if layer in dims.linear else dims.layer_attention(pairs)
        out += dims.layer_linear(rows, layer) + mixed
    return out


def work_of(dims: ModelDims, trained: Trained, entered: Sequence[Entered], packed: Packed) -> Work:
    """The work of one packed sequence; ``entered``: its images, once each."""
    parts = _vision_of(dims, entered)
    decoder = sum(decoder_flops(dims, n, b) for n, b in zip(packed.lengths, packed.before, strict=True))
    head = dims.lm_head(len(packed.rows))
    pointing = sum(dims.pointing(len(s)) for s in packed.sources) if dims.action_head else 0.0
    return Work(
        tokens=sum(packed.lengths),
        visual=int(packed.state.visual.sum()),
        patches=sum(sum(one.n_patches) for one in entered),
        answers=len(packed.rows),
        **step_flops(parts, decoder, head + pointing, trained),
    )


def work_before_decoder(dims: ModelDims, trained: Trained, entered: Sequence[Entered]) -> Work:
    """The work of images that no decoder layer sees."""
    flops = step_flops(_vision_of(dims, entered), 0.0, 0.0, trained)
    patches = sum(sum(one.n_patches) for one in entered)
    return Work(patches=patches, forward=flops["forward"], backward=flops["backward"])


def _vision_of(dims: ModelDims, entered: Sequence[Entered]) -> dict[str, float]:
    parts: dict[str, float] = {}
    for one in entered:
        for name, flops in vision_flops(dims, one.n_patches, one.vit).items():
            parts[name] = parts.get(name, 0.0) + flops
    return parts


def step_flops(vision: dict[str, float], decoder: float, head: float, trained: Trained) -> dict[str, float]:
    """Forward and backward FLOPs; ``vision``: from :func:`vision_flops`; decoder, head: of the forward pass."""
    seen = sum(vision.values())
    back = 0.0
    if trained.decoder:
        back += (1 if trained.lora else 2) * decoder + (1 if trained.lora else 2) * head
    elif trained.vision:
        back += decoder + head
    if trained.vision:
        back += 2 * seen - vision.get("patch_embed", 0.0)
    if trained.checkpointing and back:
        back += decoder + (vision.get("vit_linear", 0.0) + vision.get("vit_attention", 0.0)) * trained.vision
    return {"forward": seen + decoder + head, "backward": back}
