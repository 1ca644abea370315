"""Are the costs of a record possible? Every length, byte count and time against the others, and against the model.

FLOPs that follow from stated lengths prove nothing about the lengths. Here these follow from the image files, the
model's block, the bitmaps of what was kept, and the hooks that the method has. What only the model can tell stays open:
how long the text is, and how many entries a cache method left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from ..budget import Budget
from ..errors import UserError
from ..methods.base import Method
from ..models.dims import ModelDims
from ..models.embedded import EMBEDDED
from ..models.qwen3_vl_sizes import TRUE_DIMS
from ..outcome import Counts, achieved, spending
from ..profiling.plan import block_grids, model_block, model_dims
from ..results.inside import unpacked
from ..results.run_files import RunSettings

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
ROUNDING_MS = 1e-3  # times are written with four decimals and added up from such
# The sum of a record's times, and what it is the sum of.
SUMS = {
    "ttft_ms": ("preprocess_ms", "select_ms", "vit_ms", "prefill_ms"),
    "e2e_ms": ("image_decode_ms", "ttft_ms", "decode_ms"),
}
_PER_IMAGE = ("patches_full", "patches", "visual_full", "visual")
Size = tuple[int, int]


@dataclass(frozen=True)
class Measured:
    """What the costs of a result are held against.

    Attributes:
        dims: sizes of the model.
        block: pixels per merge-block side.
        pixels: limits (pixels) of the resize, None where the weights' own processor may set others.
        element_bytes: of a weight or a cache entry's number.
        on_gpu: whether peaks are those of an allocator.
    """

    dims: ModelDims
    block: int
    pixels: tuple[int, int] | None
    element_bytes: int
    on_gpu: bool

    @classmethod
    def of(cls, settings: RunSettings) -> Measured:
        """From the settings of a run.

        Raises:
            UserError: a model whose sizes are not known, or a number type that no model runs in.
        """
        name = settings["model"]
        dims, pixels = model_dims(name)
        sure = name in {*EMBEDDED, *TRUE_DIMS} or settings["weights"] == "random"
        if settings["dtype"] not in BYTES:
            raise UserError(
                f"dtype {settings['dtype']!r} is none of {', '.join(BYTES)}; make the file again with "
                "`leaderboard build RUN`."
            )
        return cls(
            dims, model_block(name), pixels if sure else None, BYTES[settings["dtype"]], settings["device"] != "cpu"
        )

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes that the matrices of the ViT, the decoder and the embedding need at least."""
        d = self.dims
        numbers = d.vit_linear(1) / 2 + sum(d.layer_linear(1, i) / 2 for i in range(d.layers)) + d.dim * d.vocab
        return int(numbers) * self.element_bytes


def fault(
    record: Mapping[str, Any], methods: Sequence[Method], model: Measured, file_sizes: Sequence[Size] | None = None
) -> str | None:
    """The first cost of an answered record that cannot be, as a clause ("visual is ..."); None if there is none.

    Args:
        record: with status ok.
        methods: the parts of its method.
        model: see :class:`Measured`.
        file_sizes: (width, height) of the sample's image files in pixels, None where they are not at hand.
    """
    try:
        return next(_faults(record, methods, model, file_sizes), None)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"its costs cannot be read ({type(error).__name__}: {error})"


def _faults(
    record: Mapping[str, Any], methods: Sequence[Method], model: Measured, file_sizes: Sequence[Size] | None
) -> Iterator[str]:
    hooks = {hook for m in methods for hook in m.hooks()}
    yield from _images(record, hooks, model, file_sizes)
    yield from _lengths(record, hooks, model.dims, methods)
    yield from _cache(record, hooks, model, methods)
    yield from _inside(record, model.block)
    yield from _budget(record, hooks, model.dims)
    yield from _times_and_memory(record, model)


def _images(
    record: Mapping[str, Any], hooks: set[str], model: Measured, file_sizes: Sequence[Size] | None
) -> Iterator[str]:
    """Full lengths from the files' sizes, kept ones from the bitmaps."""
    c, frame, merge = record["counts"], record["frame"], model.dims.merge
    stated = [tuple(size) for size in frame["file_sizes"]]
    seen = [tuple(size) for size in frame["model_sizes"]]
    if len({len(x) for x in (stated, seen, record["kept"], *(c[k] for k in _PER_IMAGE))}) > 1:
        yield "its sizes, counts and bitmaps are of different numbers of images"
    if file_sizes is not None and stated != list(file_sizes):
        yield f"file_sizes is {stated}, the image files have {list(file_sizes)}"
    grids = tuple((h // model.block, w // model.block) for w, h in seen)
    if any(side % model.block or side < model.block for size in seen for side in size):
        yield f"model_sizes is {seen}, no whole blocks of {model.block} pixels"
    blocks, full = [h * w for h, w in grids], list(c["visual_full"])
    if model.pixels is not None:
        rule = block_grids(stated, model.pixels, model.block)
        if full != [h * w for h, w in rule]:
            yield f"visual_full is {full}, files of {stated} pixels give {[h * w for h, w in rule]}"
        if "reduce_images" not in hooks and grids != rule:
            yield f"model_sizes is {seen}, which is not what the processor makes of {stated}"
    if "reduce_images" not in hooks and blocks != full:
        yield f"visual_full is {full}, images of {seen} pixels give {blocks}"
    if list(c["patches_full"]) != [n * merge for n in full]:
        yield f"patches_full is {c['patches_full']}, {full} visual tokens are made of {[n * merge for n in full]}"
    bits = [int(text, 16) for text in record["kept"]]
    if any(b.bit_length() > n for b, n in zip(bits, blocks, strict=True)):
        yield "kept marks a block outside its image"
    # An empty bitmap is written as 0.
    if list(c["visual"]) != [b.bit_count() for b in bits]:
        yield f"visual is {c['visual']}, kept marks {[b.bit_count() for b in bits]} blocks"
    whole = [n * merge for n in blocks]
    if not {"select_patches", "merge_patches"} & set(hooks) and list(c["patches"]) != whole:
        yield f"patches is {c['patches']}, its images have {whole} and its method drops none"
    through = [n // merge for n in c["patches"]]
    if any(n > m for n, m in zip(c["patches"], whole, strict=True)) or (
        any(n > m for n, m in zip(c["visual"], through, strict=True))
        or ("select_tokens" not in hooks and list(c["visual"]) != through)
    ):
        yield f"visual is {c['visual']}, {c['patches']} patches went through the ViT of images that have {whole}"
    if c["patches_entered"] and list(c["patches_entered"]) != whole and "select_patches" not in hooks:
        yield f"patches_entered is {c['patches_entered']}, its images have {whole}"


def _lengths(record: Mapping[str, Any], hooks: set[str], dims: ModelDims, methods: Sequence[Method]) -> Iterator[str]:
    """Prompt and layers."""
    c = record["counts"]
    tokens, visual, n_text = list(c["layer_tokens"]), list(c["layer_visual"]), c["n_text"]
    blind = any(m.blind for m in methods)  # the control that keeps none
    if (sum(c["visual"]) < 1) != blind or n_text < 1:
        yield f"its prompt has {n_text} text and {sum(c['visual'])} visual tokens"
    if (c["prompt_full"], c["prompt"]) != (n_text + sum(c["visual_full"]), n_text + sum(c["visual"])):
        yield f"prompt_full and prompt are {c['prompt_full']} and {c['prompt']}, not text and visual tokens together"
    if len(tokens) != dims.layers or tokens != [n_text + n for n in visual] or tokens[0] != c["prompt"]:
        yield "layer_tokens is not text and visual tokens together, in every layer from the prompt on"
    places = {k for m in methods if "prune_layer" in m.hooks() for k in m.layers_of(dims.layers)}
    if any(b > a or (b < a and i not in places) for i, (a, b) in enumerate(pairwise(visual))):
        yield f"layer_visual is {visual}, its method drops tokens after layers {sorted(places) or 'none'} only"
    depth = max((m.vit_depth for m in methods if "select_patches" in m.hooks()), default=0)
    inside = bool(depth) and list(c["patches"]) != list(c["patches_full"])
    merged = any("merge_patches" in m.hooks() for m in methods)
    if not merged and (c["vit_depth"] != (depth if inside else 0) or bool(c["patches_entered"]) != inside):
        yield f"vit_depth is {c['vit_depth']}, its method drops patches after {depth} blocks"
    expected = 0 if dims.action_head else len(record["ids"])
    if c["n_new"] != expected:
        yield f"n_new is {c['n_new']}, its answer has {expected} tokens"


def _cache(record: Mapping[str, Any], hooks: set[str], model: Measured, methods: Sequence[Method]) -> Iterator[str]:
    """Entries, heads and bytes, of the layers that have a cache."""
    c, dims = record["counts"], model.dims
    entries, heads = list(c["cache_entries"]), list(c["cache_heads"])
    cached = [i for i in range(dims.layers) if i not in dims.linear]
    if len(entries) != dims.layers or len(heads) != dims.layers:
        yield f"cache_entries and cache_heads are of {len(entries)} and {len(heads)} layers, not of {dims.layers}"
    may = {dims.kv_heads}
    if any("compress_kv" in m.hooks() and m.kv_granularity == "query_head" for m in methods):
        may.add(dims.q_heads)
    if any(heads[i] not in may for i in cached):
        yield f"cache_heads is {heads}, the model has {' or '.join(map(str, sorted(may)))} per layer"
    tokens = list(c["layer_tokens"])
    last = tokens[-1] if any("prune_layer" in m.hooks() and m.trim_cache for m in methods) else None
    held = [tokens[i] if last is None else last for i in range(dims.layers)]
    if any(not 1 <= entries[i] <= held[i] or ("compress_kv" not in hooks and entries[i] != held[i]) for i in cached):
        yield f"cache_entries is {entries}, its layers processed {tokens} tokens"
    yield from _visual_entries(record, hooks, held, cached)
    size = sum(entries[i] * heads[i] for i in cached) * dims.head_dim * 2 * model.element_bytes
    if record["kv_bytes"] != size:
        yield f"kv_bytes is {record['kv_bytes']}, its entries take {size}"


def _visual_entries(record: Mapping[str, Any], hooks: set[str], held: list[int], cached: list[int]) -> Iterator[str]:
    """Entries of visual tokens, where they were counted (records from before there were readings lack them)."""
    c = record["counts"]
    if not c.get("cache_visual"):
        return
    n_text, stored = c["n_text"], c["cache_visual"]
    for i in cached:
        n, heads = c["cache_entries"][i], c["cache_heads"][i]
        whole, least = (held[i] - n_text) * heads, max(0, n - n_text) * heads
        cut = "compress_kv" in hooks and n < held[i]
        if not least <= stored[i] <= min(n * heads, whole) or (not cut and stored[i] != whole):
            yield f"cache_visual is {stored}, layer {i} holds {n} entries per head, of {held[i]} with {n_text} of text"
            return


def _inside(record: Mapping[str, Any], block: int) -> Iterator[str]:
    """What is said of layers and heads, where a run recorded it, against the counts."""
    stored, c = record.get("kept_inside"), record["counts"]
    if stored is None:
        return
    visual = [sum(c["visual"])] * len(c["layer_visual"])
    for layer, bitmaps in stored["layers"]:
        visual[layer:] = [sum(int(text, 16).bit_count() for text in bitmaps)] * (len(visual) - layer)
    if visual != list(c["layer_visual"]):
        yield f"kept_inside gives {visual} visual tokens per layer, its counts {list(c['layer_visual'])}"
    heads, n_blocks = stored["heads"], sum((w // block) * (h // block) for w, h in record["frame"]["model_sizes"])
    if any(h not in (0, n) for h, n in zip(heads, c["cache_heads"], strict=True)):
        yield f"kept_inside is of {heads} heads, the cache has {list(c['cache_heads'])}"
        return
    try:
        rows = unpacked(stored["bits"], sum(heads), n_blocks) if sum(heads) else None
    except UserError as error:
        yield str(error).split(";")[0]
        return
    at = 0
    for layer, own in enumerate(heads):
        held = int(rows[at : at + own].sum()) if rows is not None and own else c["cache_visual"][layer]
        if c["cache_visual"] and held != c["cache_visual"][layer]:
            yield f"kept_inside holds {held} visual entries in layer {layer}, its counts say {c['cache_visual'][layer]}"
        at += own


def _budget(record: Mapping[str, Any], hooks: set[str], dims: ModelDims) -> Iterator[str]:
    """What was achieved, and whether the reading ``equal`` was kept to."""
    budget, c = record.get("spent"), record["counts"]
    if not budget:
        return
    counts = Counts(**c)
    said, found = budget["achieved_pct"], achieved(counts, hooks, dims.kv_heads)
    if (said is None) != (found is None) or (said is not None and abs(said - (found or 0)) > ROUNDING_MS):
        yield f"achieved_pct is {said}, its counts give {found}"
    asked = Budget.parse(budget["asked"])
    if budget["reading"] == "equal" and asked.is_number and sum(c["visual_full"]) and hooks:
        spent, places = spending(counts, hooks, dims.kv_heads)
        allowed = asked.count(sum(c["visual_full"]))
        if spent > allowed * places:
            yield f"it spent {spent / places:.1f} visual tokens per layer, and {allowed} were asked for"


def _times_and_memory(record: Mapping[str, Any], model: Measured) -> Iterator[str]:
    """Times add up; a peak holds at least the weights on a GPU, and the cache anywhere."""
    times, peak = record["times"], record["peak_bytes"]
    if times is not None:
        values = {k: v for k, v in times.items() if v is not None}
        if any(not math.isfinite(v) or v < 0 for v in values.values()) or times["ttft_ms"] <= 0:
            yield f"its times are not positive: {values}"
        for name, parts in SUMS.items():
            if abs(times[name] - sum(times[p] for p in parts)) > ROUNDING_MS:
                yield f"{name} is {times[name]}, its stages add up to {sum(times[p] for p in parts):.4f}"
        steps = record["counts"]["n_new"] - 1
        if steps > 0 and abs(times["tpot_ms"] * steps - times["decode_ms"]) > ROUNDING_MS * steps:
            yield f"tpot_ms is {times['tpot_ms']}, {steps} tokens took {times['decode_ms']}"
    least = max(record["kv_bytes"], model.weight_bytes if model.on_gpu else 0)
    if peak is not None and peak < least:
        yield f"peak_bytes is {peak}, the {'weights and the ' if model.on_gpu else ''}cache alone take {least}"
    if (record.get("energy_j") or 0.0) < 0:
        yield f"energy_j is {record['energy_j']}"
