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

from ..budget import Budget, StageBudget, largest, split_proportionally
from ..errors import InfeasibleBudget, UserError, unknown_name
from ..methods.base import ImageView
from ..models.dims import ModelDims
from ..models.embedded import EMBEDDED, embedded_folder
from ..models.qwen3_vl_sizes import BLOCK, DEFAULT_PIXELS, TRUE_DIMS
from ..models.smart_resize import smart_resize
from ..outcome import Counts
from .flops import flops_of

if TYPE_CHECKING:
    from ..methods.base import Method


def model_dims(name: str) -> tuple[ModelDims, tuple[int, int]]:
    """Sizes of a model, and the limits (pixels) of its resize.

    Raises:
        UserError: a model whose sizes are not known.
    """
    if name in TRUE_DIMS:
        return TRUE_DIMS[name], DEFAULT_PIXELS
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


def n_layers_of(name: str) -> int | None:
    """Decoder layers of a model, without building anything; None for one whose sizes are not known here."""
    if name in {*EMBEDDED, *TRUE_DIMS}:
        return model_dims(name)[0].layers
    from ..models import FAMILIES, MODELS, family_of

    card = MODELS.get(name)
    if card is None or card.family not in FAMILIES:
        return None
    n_layers = family_of(name).sizes[name]["text_config"].get("num_hidden_layers")
    return None if n_layers is None else int(n_layers)


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
        sizes: of the files.
        pixels: limits of the area after the resize.
        block: pixels per merge-block side.

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


def planned_layers(method: Method, kept: tuple[int, ...], left: tuple[int, ...], n_layers: int) -> tuple[int, ...]:
    """Visual tokens that every decoder layer processes.

    Args:
        method: with or without ``prune_layer``.
        kept: visual tokens per image that enter the decoder.
        left: what it leaves behind each of its layers (:meth:`Method.stage_counts`), () for everything.
    """
    seen, out = sum(kept), []
    ends = dict(zip(method.layers_of(n_layers), left, strict=False)) if left else {}
    for layer in range(n_layers):
        out.append(seen)
        seen = min(seen, ends.get(layer, seen))
    return tuple(out)


def _merged(counts: tuple[tuple[int, ...], ...], full: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Merge blocks per image that each ViT block processes when ``counts`` of them vanish behind its attention."""
    n_blocks = len(counts[0]) if counts else 0
    return tuple(
        tuple(n - sum(gone[:number]) for n, gone in zip(full, counts, strict=True)) for number in range(n_blocks)
    )


def planned_counts(
    dims: ModelDims,
    grids: Sequence[tuple[int, int]],
    n_text: int,
    n_new: int,
    method: Method | None = None,
    budget: Budget | None = None,
    told: StageBudget | None = None,
) -> Counts:
    """Lengths of every stage for one prompt when ``method`` keeps ``budget`` of the visual tokens.

    Args:
        dims: model sizes.
        grids: merge blocks (rows, columns) per image.
        n_text: tokens that are not visual.
        n_new: generated tokens; of a model that points, none.
        method: None, or a method without hooks, keeps everything. ``budget``: a percentage or a token count; 100 %
            drops nothing. The last image is the current screenshot of a method that treats it apart.
        told: the budget as resolved, where that is known.

    Raises:
        InfeasibleBudget: a method that shrinks images cannot meet the budget.
    """
    full = tuple(h * w for h, w in grids)
    kept, patches = full, full
    layer_visual: Sequence[int] = [sum(full)] * dims.layers
    by_block: tuple[tuple[int, ...], ...] = ()
    depth = 0  # ViT blocks that still see every patch
    entries, heads = n_text + sum(full), dims.kv_heads
    hooks = method.hooks() if method is not None and budget is not None and not budget.is_full else ()
    if method is not None and budget is not None and hooks:
        stage = told or method.told(budget, full)
        n_keep = stage.n_keep
        assert n_keep is not None  # a percentage or a token count
        if hooks == ("compress_kv",):
            of_prompt = budget.reading == "paper" and method.paper_of == "prompt"
            entries = method.paper_count(entries, budget) if of_prompt else n_text + n_keep
            heads = dims.q_heads if method.kv_granularity == "query_head" else dims.kv_heads
        else:
            if hooks[0] == "reduce_images":
                # Images in units of merge blocks: the method's own sizes are then grids.
                views = tuple(ImageView((w, h), (w, h), 1) for h, w in grids)
                patches = kept = tuple(w * h for w, h in method.reduce_images(views, stage))
            elif hooks[0] != "prune_layer":
                entering = method.entering(stage, dims.layers) if hooks[0] == "select_tokens" else n_keep
                kept = split_proportionally(entering, full)
                if hooks[0] == "select_patches":
                    patches = kept
                    depth = method.vit_depth if kept != full else 0
                if hooks[0] == "merge_patches" and kept != full:
                    by_block, patches = _merged(method.merge_patches(full, dims.vit_depth, stage), full), kept
            layer_visual = [sum(kept)] * dims.layers
            entries = -1  # each layer caches what it processed
            if "prune_layer" in hooks:
                left = method.stage_counts(kept, dims.layers, stage)
                layer_visual = planned_layers(method, kept, left, dims.layers)
                entries = n_text + layer_visual[-1] if method.trim_cache else entries
    layer_tokens = tuple(n_text + n for n in layer_visual)
    held = layer_tokens if entries < 0 else (entries,) * dims.layers
    text_competes = budget is not None and budget.reading == "paper" and hooks == ("compress_kv",)
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
        cache_entries=held,
        cache_heads=(heads,) * dims.layers,
        # Which entries a method keeps where text competes, too, only a run can tell.
        cache_visual=() if text_competes else tuple((n - n_text) * heads for n in held),
        n_new=0 if dims.action_head else n_new,
        candidates=sum(kept) if dims.action_head else 0,
        vit_depth=depth,
        patches_entered=tuple(n * dims.merge for n in full) if depth or by_block else (),
        vit_patches=tuple(tuple(n * dims.merge for n in block) for block in by_block),
    )


def matched(
    dims: ModelDims, grids: Sequence[tuple[int, int]], n_text: int, method: Method, budget: Budget
) -> StageBudget:
    """The largest number of tokens that costs at most a share of the full model's FLOPs to the first token.

    Args:
        dims: model sizes.
        grids: merge blocks (rows, columns) per image.
        n_text: tokens that are not visual.
        method: of one stage or several.
        budget: of the kind ``flops``.

    Raises:
        InfeasibleBudget: the smallest number costs more.
    """
    assert budget.kind == "flops" and budget.value is not None
    sizes = tuple(h * w for h, w in grids)
    n_full = sum(sizes)
    if not n_full:
        return StageBudget(0, sizes, 0, budget)
    whole = flops_of(dims, planned_counts(dims, grids, n_text, 1))["total_prefill"]

    def told(n: int) -> StageBudget:
        return StageBudget(n, split_proportionally(n, sizes), n_full, budget)

    def cost(n: int) -> float | None:
        """Percent of the full model's FLOPs; None where the method cannot process so few tokens."""
        at = method.layers_of(dims.layers) if "prune_layer" in method.hooks() else ()
        try:
            counts = planned_counts(dims, grids, n_text, 1, method, budget, told(n))
        except InfeasibleBudget:
            return None
        left = method.stage_counts(counts.visual, dims.layers, told(n)) if at else ()
        if left and min(left) < method.least_left(counts.visual):
            return None
        return 100 * flops_of(dims, counts)["total_prefill"] / whole

    asked = float(budget.value)
    n = largest(lambda n: (spent := cost(n)) is None or spent <= asked, 1, n_full)
    if n is None or cost(n) is None:
        feasible = largest(lambda n: cost(n) is None, 1, n_full) or 0
        least = cost(min(n_full, feasible + 1))
        raise InfeasibleBudget(
            f"{method.name} at {budget} cannot be met on this sample: it spends {least or 100:.1f} % or more of the "
            "full model's FLOPs to the first token; give a larger share, or a method that acts earlier."
        )
    return told(n)
