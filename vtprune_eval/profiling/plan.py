"""What a prompt would cost: sizes of the known models, and the counts that a method at a retained share would leave.

Nothing here is measured. A run's own FLOPs come from the lengths it really executed (:func:`.flops.flops_of` on the
pipeline's counts); this is the same formula on lengths computed beforehand. No model is built; torch is imported only
for the sizes of families other than Qwen3-VL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..budget import Budget, StageBudget, split_proportionally
from ..errors import UserError, unknown_name
from ..methods.base import ImageView
from ..models.embedded import EMBEDDED, embedded_folder
from ..models.smart_resize import smart_resize
from ..outcome import Counts
from .flops import ModelDims

if TYPE_CHECKING:
    from ..methods.base import Method

_VIT_300M: dict[str, Any] = {
    "vit_depth": 24,
    "vit_dim": 1024,
    "vit_ffn": 4096,
    "patch_in": 1536,
    "merge": 4,
    "n_deepstack": 3,
}
_VIT_500M: dict[str, Any] = {**_VIT_300M, "vit_depth": 27, "vit_dim": 1152, "vit_ffn": 4304}
_HEADS: dict[str, Any] = {"kv_heads": 8, "head_dim": 128, "vocab": 151936}

# Source: the published config.json of the Instruct checkpoints; a test holds them equal to the model table.
TRUE_DIMS = {
    "qwen3vl-2b": ModelDims(**_VIT_300M, **_HEADS, merger_out=2048, layers=28, dim=2048, ffn=6144, q_heads=16),
    "qwen3vl-4b": ModelDims(**_VIT_300M, **_HEADS, merger_out=2560, layers=36, dim=2560, ffn=9728, q_heads=32),
    "qwen3vl-8b": ModelDims(**_VIT_500M, **_HEADS, merger_out=4096, layers=36, dim=4096, ffn=12288, q_heads=32),
}
# Pixels of an image after the resize: limits of the hub's processor (shortest_edge, longest_edge).
TRUE_PIXELS = (65536, 16777216)
BLOCK = 32  # pixels per merge-block side: patches of 16, merged 2 x 2


def model_dims(name: str) -> tuple[ModelDims, tuple[int, int]]:
    """Sizes of a model, and the limits (pixels) of its resize.

    Raises:
        UserError: a model whose sizes are not known.
    """
    if name in TRUE_DIMS:
        return TRUE_DIMS[name], TRUE_PIXELS
    if name in EMBEDDED:
        folder = embedded_folder(name)
        config = json.loads((folder / "config.json").read_text())
        size = json.loads((folder / "preprocessor_config.json").read_text())["size"]
        parts = {k: SimpleNamespace(**config[k]) for k in ("vision_config", "text_config")}
        return ModelDims.from_config(SimpleNamespace(**parts)), (size["shortest_edge"], size["longest_edge"])
    from ..models import family_of

    config, limits = _configuration(name)
    return replace(ModelDims.from_config(config), action_head=family_of(name).adapter.points), limits


def model_block(name: str) -> int:
    """Pixels per merge-block side of a model.

    Raises:
        UserError: a model whose sizes are not known.
    """
    if name in {*EMBEDDED, *TRUE_DIMS}:
        return BLOCK
    vision = _configuration(name)[0].vision_config
    return int(vision.patch_size * vision.spatial_merge_size)


@cache
def _configuration(name: str) -> tuple[Any, tuple[int, int]]:
    """The transformers configuration of a published model at its true size, and the limits of its resize."""
    from ..models import FAMILIES, MODELS, family_of

    known = [n for n, card in MODELS.items() if card.family in FAMILIES]
    if name not in known:
        raise unknown_name("model", name, known, "FLOPs are known for these models.")
    family = family_of(name)
    return family.classes()[1](**family.sizes[name]), family.pixels


def block_grids(
    sizes: Sequence[tuple[int, int]],
    pixels: tuple[int, int],
    block: int = BLOCK,
) -> tuple[tuple[int, int], ...]:
    """Merge blocks (rows, columns) of images of ``sizes`` (width, height in pixels) after the processor's resize.

    Args:
        sizes: of the files; pixels: limits of the area after the resize; block: pixels per merge-block side.

    Raises:
        UserError: a size that the processor refuses.
    """
    grids = []
    for width, height in sizes:
        try:
            w, h = smart_resize(width, height, factor=block, min_pixels=pixels[0], max_pixels=pixels[1])
        except ValueError as error:
            raise UserError(f"--image {width}x{height}: {error}.") from None
        grids.append((h // block, w // block))
    return tuple(grids)


def planned_counts(
    dims: ModelDims,
    grids: Sequence[tuple[int, int]],
    n_text: int,
    n_new: int,
    method: Method | None = None,
    budget: Budget | None = None,
) -> Counts:
    """Lengths of every stage for one prompt when ``method`` keeps ``budget`` of the visual tokens.

    Args:
        dims: model sizes; grids: merge blocks (rows, columns) per image; n_text: tokens that are not visual.
        n_new: generated tokens; of a model that points, none.
        method: None, or a method without hooks, keeps everything. ``budget``: a percentage or a token count; 100 %
            drops nothing. The last image is the current screenshot of a method that treats it apart.

    Raises:
        UserError: the method drops tokens after several layers, so that its lengths follow from no single share.
    """
    full = tuple(h * w for h, w in grids)
    kept, patches = full, full
    layer_visual = [sum(full)] * dims.layers
    depth = 0  # ViT blocks that still see every patch
    entries = n_text + sum(full)
    hooks = method.hooks() if method is not None and budget is not None and not budget.is_full else ()
    if method is not None and budget is not None and hooks:
        n_keep = budget.count(sum(full))
        stage = StageBudget(n_keep, split_proportionally(n_keep, full), sum(full), budget)
        if hooks == ("compress_kv",):
            entries = budget.count(entries) if budget.of == "prompt" else n_text + n_keep
        else:
            if hooks[0] == "reduce_images":
                # Images in units of merge blocks: the method's own sizes are then grids.
                views = tuple(ImageView((w, h), (w, h), 1) for h, w in grids)
                patches = kept = tuple(w * h for w, h in method.reduce_images(views, stage))
            elif hooks[0] != "prune_layer":
                kept = split_proportionally(n_keep, full)
                if hooks[0] == "select_patches":
                    patches = kept
                    depth = method.vit_depth if kept != full else 0
            layer_visual = [sum(kept)] * dims.layers
            entries = -1  # each layer caches what it processed
            if "prune_layer" in hooks:
                at = method.layers_of(dims.layers)
                if len(at) != 1:
                    raise UserError(
                        f"{method.name} drops tokens after several layers; its FLOPs stand in the records of a run."
                    )
                n_last = method.left_behind(kept, stage)
                layer_visual = [sum(kept) if layer <= at[0] else n_last for layer in range(dims.layers)]
                entries = n_text + n_last if method.trim_cache else entries
    layer_tokens = tuple(n_text + n for n in layer_visual)
    return Counts(
        patches_full=tuple(n * dims.merge for n in full),
        patches=tuple(n * dims.merge for n in patches),
        visual_full=full,
        visual=kept,
        n_text=n_text,
        prompt_full=n_text + sum(full),
        prompt=n_text + sum(kept),
        layer_tokens=layer_tokens,
        layer_visual=tuple(layer_visual),
        cache_entries=layer_tokens if entries < 0 else (entries,) * dims.layers,
        cache_heads=(dims.kv_heads,) * dims.layers,
        n_new=0 if dims.action_head else n_new,
        candidates=sum(kept) if dims.action_head else 0,
        vit_depth=depth,
        patches_entered=tuple(n * dims.merge for n in full) if depth else (),
    )
