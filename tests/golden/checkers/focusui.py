"""Vectors of FocusUI: scorer, UI graph, box labels, pointer labels, keep counts, POSPAD, and the resize rule.

What upstream does and this project does otherwise (ties by a hash, a prompt's ``int(n * (1 - drop))``) is compared
where both are defined, with the upstream count given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vtprune_eval.methods.base import TokenLayout
from vtprune_eval.methods.focusui import padding
from vtprune_eval.methods.kernels.labels import box_coverage, graph_components, graph_weights
from vtprune_eval.methods.kernels.scorer import Scorer, saliency_loss
from vtprune_eval.methods.kernels.topk import best
from vtprune_eval.models.smart_resize import smart_resize

Case = tuple[str, str | None]


def matches(path: Path, data: Any) -> bool:
    """Recognised by the keys of the first record; scorer files by their name."""
    if data is None:
        return path.name.startswith("scorer_")
    first = data[0] if isinstance(data, list) and data else data
    return isinstance(first, dict) and any(
        keys <= first.keys()
        for keys in (
            {"component_weight_log"},
            {"no_bbox_raises"},
            {"blocks_hit"},
            {"n_image_tokens"},
            {"marker_id"},
            {"factor", "out_hw"},
            {"columns", "rows"},
        )
    )


def check(path: Path, data: Any) -> Iterator[Case]:
    """One case per recorded output."""
    if data is None:
        yield from _scorer(path)
    elif isinstance(data, list):
        one = _graph if "component_weight_log" in data[0] else _pointer if "blocks_hit" in data[0] else _resize
        for i, entry in enumerate(data):
            yield from ((f"{i}: {name}", failure) for name, failure in one(path, entry))
    elif "marker_id" in data:
        yield from _pospad(data)
    elif "columns" in data:
        yield from _counts(data)
    else:
        for i, entry in enumerate(data["cases"]):
            yield from ((f"{i}: {name}", failure) for name, failure in _label(path, entry))


def _near(got: Any, want: Any, tolerance: float) -> str | None:
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if a.shape != b.shape:
        return f"shape {a.shape} instead of {b.shape}"
    worst = float(np.abs(a - b).max()) if a.size else 0.0
    return None if worst <= tolerance else f"differs by {worst:g}"


def _scorer(path: Path) -> Iterator[Case]:
    stored = np.load(path)
    tokens, words = torch.from_numpy(stored["image_embeds"]), torch.from_numpy(stored["text_embeds"])
    scorer = Scorer(tokens.shape[1]).eval()
    scorer.load_state_dict({k[2:]: torch.from_numpy(stored[k]) for k in stored.files if k.startswith("w/")})
    with torch.no_grad():
        vision, text = scorer.units(tokens, words)
        yield "image_unit", _near(vision, stored["out/image_unit"], 1e-5)
        yield "text_unit", _near(text, stored["out/text_unit"], 1e-5)
        for pooling in ("mean", "max"):
            scores = scorer(tokens, words, pooling)
            yield f"scores {pooling}", _near(scores, stored[f"out/scores_{pooling}_float32"], 1e-5)
            loss = saliency_loss(scores, torch.from_numpy(stored["label"]))
            yield f"loss {pooling}", _near(loss, stored[f"out/loss_{pooling}"], 1e-5)
        half = scorer.bfloat16()
        for pooling in ("mean", "max"):
            scores = half(tokens.bfloat16(), words.bfloat16(), pooling).float()
            yield f"scores {pooling} bfloat16", _near(scores, stored[f"out/scores_{pooling}_bfloat16"], 1e-2)


def _pixels(path: Path, entry: dict[str, Any]) -> np.ndarray:
    width, height = entry["crop_wh"]
    folder = path.parent.parent / "pixelprune" / "images"
    return np.array(Image.open(folder / entry["image"]).convert("RGB"))[:height, :width]


def _unpack(code: list[list[int]]) -> list[int]:
    return [value for value, count in code for _ in range(count)]


def _graph(path: Path, entry: dict[str, Any]) -> Iterator[Case]:
    labels = graph_components(_pixels(path, entry), 2 * entry["patch"], entry["threshold"])
    name = f"{entry['image']} patch {entry['patch']} threshold {entry['threshold']}"
    same = labels.reshape(-1).tolist() == _unpack(entry["labels_rle"])
    yield f"{name} labels", None if same else "another partition"
    sizes = np.bincount(labels.reshape(-1))
    yield f"{name} sizes", None if sizes.tolist() == entry["component_sizes"] else "other sizes"
    first = np.unique(labels.reshape(-1), return_index=True)[1]
    yield f"{name} weights", _near(graph_weights(labels).reshape(-1)[first], entry["component_weight_log"], 1e-6)


def read_box(box: list[float], size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """A box as the published code reads it: fractions, corners in pixels, or (x, y, w, h); clipped to ``size``."""
    width, height = size
    x1, y1, x2, y2 = box
    if all(v <= 1 for v in box):
        x1, x2, y1, y2 = x1 * width, x2 * width, y1 * height, y2 * height
    elif x1 > x2 or y1 > y2:
        x2, y2 = x1 + x2, y1 + y2
    a, b, c, d = int(x1), int(y1), int(x2), int(y2)
    return max(0, a), max(0, b), min(width, c), min(height, d)


def _label(path: Path, entry: dict[str, Any]) -> Iterator[Case]:
    pixels, patch = _pixels(path, entry), entry["patch"]
    height, width = pixels.shape[:2]
    box = read_box(entry["bbox"], (width, height))
    assert box is not None
    rows, cols = height // patch, width // patch
    covered = box_coverage(box, rows, cols, patch)
    order = covered.reshape(rows // 2, 2, cols // 2, 2).transpose(0, 2, 1, 3).reshape(-1)
    want = np.zeros(entry["n"])
    for index, value in entry["nonzero"]:
        want[index] = value
    yield "box score", _near(order, want, 1e-6)
    graph = graph_weights(graph_components(pixels, 2 * patch)).reshape(-1).repeat(4)
    fused = (2 * np.clip(order + 0.5 * graph, 0, 1) - 1).reshape(-1, 4).mean(1)
    yield "combined label", _near(fused, entry["combined_label_merged"], 1e-5)


def _pointer(path: Path, entry: dict[str, Any]) -> Iterator[Case]:
    width, height = entry["size_wh"]
    block = 2 * entry["patch"]
    cols, rows = width // block, height // block
    x1, y1, x2, y2 = (v * s for v, s in zip(entry["bbox01"], (width, height) * 2, strict=True))
    hit = np.flatnonzero(box_coverage((x1, y1, x2, y2), rows, cols, block) > 0).tolist()
    yield "blocks hit", None if hit == entry["blocks_hit"] else f"{hit} instead of {entry['blocks_hit']}"
    for (x, y), want, centre in zip(entry["points01"], entry["block_of_point"], entry["centre_of_block"], strict=True):
        at = min(rows - 1, int(y * height // block)) * cols + min(cols - 1, int(x * width // block))
        middle = [(at % cols + 0.5) * block, (at // cols + 0.5) * block]
        yield f"point {x} {y}", None if (at, middle) == (want, centre) else f"block {at} at {middle}"


def _resize(path: Path, entry: dict[str, Any]) -> Iterator[Case]:
    try:
        width, height = smart_resize(
            entry["w"],
            entry["h"],
            factor=entry["factor"],
            min_pixels=entry["min_pixels"],
            max_pixels=entry["max_pixels"],
            clamp=True,
        )
        got: list[int] | None = [height, width]
    except ValueError:
        got = None
    yield f"{entry['w']}x{entry['h']}", None if got == entry["out_hw"] else f"{got} instead of {entry['out_hw']}"


def _counts(data: dict[str, Any]) -> Iterator[Case]:
    """Upstream's count, and ours where it differs only by binary rounding or by the floor of one token."""
    columns = data["columns"]
    for row in data["rows"]:
        entry = dict(zip(columns, row, strict=True))
        n, ratio = entry["n_image_tokens"], entry["ratio_dropped"]
        theirs = next(v for k, v in entry.items() if k not in {"n_image_tokens", "ratio_dropped"})
        ours = max(1, int((1 - ratio) * n + 1e-9))
        fine = int(n * (1.0 - ratio)) == theirs and (ours in (theirs, theirs + 1))
        yield f"{n} tokens, {ratio} dropped", None if fine else f"{ours} against upstream's {theirs}"


def _pospad(data: dict[str, Any]) -> Iterator[Case]:
    image_id, marker_id = data["image_token_id"], data["marker_id"]
    for case in data["cases"]:
        yield case["name"], _one_prompt(case, case["scores"], case["out"], image_id, marker_id)
    for tie in data["ties"]:
        kept = best(torch.tensor(tie["scores"])[None], tie["n_kept"])[0].tolist()
        good = len(kept) == tie["n_kept"] and set(tie["must_keep"]) <= set(kept)
        yield f"ties {tie['name']}", None if good else f"kept {kept}"


def _one_prompt(
    case: dict[str, Any], scores: list[float], out: dict[str, Any], image_id: int, marker_id: int
) -> str | None:
    ids = torch.tensor(case["input_ids"])
    places = (ids == image_id).nonzero()[:, 0]
    grids = tuple(tuple(g) for g in case["grids_hw"])
    counts = [h * w for h, w in grids]
    spans, at = [], 0
    for n in counts:
        spans.append((int(places[at]), int(places[at + n - 1]) + 1))
        at += n
    layout = TokenLayout(
        grids, tuple(spans), len(ids), 2, 14, torch.tensor(case["position_ids"]), tuple((28, 28) for _ in grids)
    )
    n_keep = len(places) if case["ratio_dropped"] == 0 else int(len(places) * (1 - case["ratio_dropped"]))
    keep = torch.zeros(len(places), dtype=torch.bool)
    keep[best(torch.tensor(scores)[None], n_keep)[0]] = True
    _, markers = padding(keep, layout, torch.ones(len(places), dtype=torch.bool))
    stay = keep.clone()
    stay[markers] = True
    index = torch.ones(len(ids), dtype=torch.bool)
    index[places] = stay
    after = ids.clone()
    after[places[markers]] = marker_id
    checks = {
        "input_ids_after": [after[index].tolist()],
        "source_index": [index.nonzero()[:, 0].tolist()],
        "position_ids_after": [[row] for row in layout.positions[:, index].tolist()],
    }
    for key, got in checks.items():
        if got != out[key]:
            return f"{key} differs"
    return None
