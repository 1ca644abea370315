"""The leaderboard's page: one HTML file that needs neither a server nor the network, and small pictures beside it.

The page holds three kinds of data. ``rows`` (one per cell of a result) are read at once. ``details`` (what every sample
was asked and answered, one part per result) are compressed and unpacked by the browser when a row is opened, so that
they cost nothing before. Pictures are WebP files in ``pictures/``, of the samples on which the rows disagree most.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..naming import typed
from ..results.quantities import QUANTITIES
from ..results.run_files import RunSettings
from ..results.store import write_atomic
from ..results.types import Record
from ..runner.folder import Key, spec_of, task_of
from ..sample import Sample, target_box
from .board_types import Axis, Details, TaskDetails
from .maps import Kept
from .pictures import predicted_point
from .result_file import GROUPS
from .result_types import BoardRow, ResultFile

# Samples per task of a result whose pictures and kept blocks the page holds, and the largest side of a picture in px.
PICTURED, PICTURE_SIDE, PICTURE_QUALITY = 24, 640, 55
# Bytes of all pictures beside the page: the least contested samples go without where this is reached.
PICTURES_LIMIT = 24_000_000
# Samples per task of a result whose questions and answers the page holds; scores are held of all.
DETAILED, TEXT_LENGTH = 400, 200

# Costs that a curve or a limit can be drawn on. The first is the default: pruning at every stage moves it.
AXES: tuple[Axis, ...] = tuple(
    {"key": q.key, "label": q.name, "unit": q.unit, "factor": q.factor, "machine": q.machine}
    for q in (
        QUANTITIES[key]
        for key in (
            *("kv_bytes", "flops_prefill", "flops", "layer_visual_pct", "visual_kept_pct"),
            *("ttft_ms", "e2e_ms", "peak_bytes", "energy_j"),
        )
    )
)


def page(rows: Sequence[BoardRow], parts: Mapping[str, Details], note: str) -> str:
    """The page with its data inside.

    Args:
        rows: of :func:`.pages.rows_of`, ranked and marked.
        parts: details of every result, by its name (:func:`details_of`).
        note: sentence under the title.
    """
    data = {"rows": [_slim(r) for r in rows], "axes": AXES, "groups": GROUPS, "note": note}
    scripts = "\n".join(
        f'<script type="text/plain" id="details-{name}">{packed(part)}</script>' for name, part in parts.items()
    )
    return (
        asset("page.html")
        .replace("/*STYLE*/", asset("style.css"))
        .replace("<!--DETAILS-->", scripts)
        .replace("/*SCRIPT*/", "\n".join(asset(name) for name in SCRIPTS))
        .replace("/*DATA*/", plain_json(data))
    )


SCRIPTS = ("base.js", "state.js", "curves.js", "within.js", "table.js", "detail.js", "export.js", "main.js")
_NOT_SHOWN = ("samples", "settings")


def _slim(row: BoardRow) -> dict[str, object]:
    """A row as the page needs it: numbers to six digits, what is absent left out."""
    out: dict[str, object] = {}
    for key, value in row.items():
        if key in _NOT_SHOWN or value is None or value == [] or value == "":
            continue
        out[key] = float(f"{value:.6g}") if isinstance(value, float) else value
    return out


def asset(name: str) -> str:
    """One file of ``page/``."""
    return (resources.files("vtprune_eval.report") / "page" / name).read_text(encoding="utf-8")


def plain_json(data: Any) -> str:
    """JSON for inside a script element: only ``<`` can end or open anything; ``\\u003c`` is the same to a parser."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def packed(data: Any) -> str:
    """JSON, gzip, base64: of letters that HTML gives no meaning."""
    return base64.b64encode(gzip.compress(json.dumps(data, separators=(",", ":")).encode(), mtime=0)).decode()


def details_of(
    result: ResultFile,
    records: dict[Key, list[Record]],
    folder: Path | None,
    data_path: str | None = None,
) -> Details:
    """What every sample of a result was asked and answered.

    Args:
        result: the result file's content.
        records: its records by (task, method, budget).
        folder: where ``pictures/`` is, None for no pictures.
        data_path: folder of the original data of a task that is not embedded.
    """
    tasks: dict[str, TaskDetails] = {}
    for task in dict.fromkeys(t for t, _, _ in records):
        own = {(m, b): r for (t, m, b), r in records.items() if t == task}
        samples = _samples_of(result["settings"], task, data_path)
        tasks[task] = _task_details(task, own, samples, folder)
    return {"settings": result["settings"], "command": command_of(result["settings"]), "tasks": tasks}


def _samples_of(settings: RunSettings, task: str, data_path: str | None) -> dict[str, Sample]:
    """The task's samples by id; {} where its data is not here or is other data: the page then shows answers alone."""
    try:
        loaded = task_of(spec_of(settings), task, data_path)
        if settings["data"].get(task) != f"v{loaded.version} {loaded.fingerprint}":
            return {}
        return {s.id: s for s in loaded.samples}
    except UserError:
        return {}


def _task_details(
    task: str,
    cells: dict[tuple[str, str], list[Record]],
    samples: Mapping[str, Sample],
    folder: Path | None,
) -> TaskDetails:
    first = next(iter(cells.values()))
    ids = [str(r["id"]) for r in first]
    at = {i: n for n, i in enumerate(ids)}
    keys = sorted({k for r in first for k, v in r["meta"].items() if isinstance(v, (str, int, bool))})
    contested = sorted(range(len(ids)), key=lambda n: (-_contest(n, cells), n))
    shown = contested[:PICTURED]
    out: TaskDetails = {
        "ids": ids,
        "clusters": [str(r["cluster"] or r["id"]) for r in first],
        "groups": {k: [str(r["meta"].get(k, ""))[:60] for r in first] for k in keys},
        "asked": [_cut(samples[i].instruction or samples[i].question) if i in samples else "" for i in ids[:DETAILED]],
        "expected": [expected(samples[i].target) if i in samples else "" for i in ids[:DETAILED]],
        "pictures": {},
        "boxes": {n: box for n in shown if ids[n] in samples and (box := target_box(samples[ids[n]].target))},
        "cells": {},
    }
    for number in shown if folder is not None else ():
        sample = samples.get(ids[number])
        drawn = _picture(task, sample, folder) if sample is not None and folder is not None else None
        if drawn is not None:
            out["pictures"][number] = drawn
    block = _block(cells)
    for (method, budget), own in cells.items():
        ordered = sorted(own, key=lambda r: at[str(r["id"])])
        held = {n: _held(ordered[n], block) for n in shown}
        cut = {state for state, _ in held.values()} - {""}
        out["cells"][f"{method}@{budget}"] = {
            **({"cut": "unknown" if "unknown" in cut else "known"} if cut else {}),
            "scores": [r["score"] for r in ordered],
            "answers": [_cut(str(r["answer"])) for r in ordered[:DETAILED]],
            "reasons": [str(r["reason"])[:60] for r in ordered[:DETAILED]],
            "kept": {
                n: [
                    str(r["kept"][-1]),
                    r["frame"]["model_sizes"][-1],
                    str(r.get("kept_last", r["kept"])[-1]),
                    predicted_point(r),
                    *held[n][1],
                ]
                for n in shown
                if (r := ordered[n])["status"] == "ok" and r["kept"] and r["frame"]
            },
        }
    return out


def _block(cells: Mapping[Any, list[Record]]) -> int:
    """Pixels per merge-block side, 0 where no record tells."""
    from .pictures import Panel, Undrawable, block_size

    try:
        return block_size([Panel("", r) for own in cells.values() for r in own if r["kept"]])
    except Undrawable:
        return 0


def _held(record: Record, block: int) -> tuple[str, list[str]]:
    """What a record says of its cache.

    Returns:
        ``known``, ``unknown``, or "" for one that was not cut; and of the last image the share of layers and heads that
        hold each block, a digit from 0 to 9 each, [] where there is none.
    """
    if not block or record["status"] != "ok":
        return "", []
    try:
        kept = Kept(record, block)
        found = kept.share(len(kept.grids) - 1)
        cut = kept.cut_cache
    except (UserError, KeyError, TypeError, ValueError, IndexError):  # of a result that nobody could recompute
        return "", []
    digits = [] if found is None else ["".join(str(int(v)) for v in (9 * found).round().reshape(-1))]
    return ("known" if digits else "unknown") if cut else "", digits


def _contest(number: int, cells: Mapping[Any, list[Record]]) -> float:
    """How evenly a sample divides the cells into right and wrong, 0 to 0.25."""
    scores = [score for own in cells.values() if (score := own[number]["score"]) is not None]
    share = sum(scores) / len(scores) if scores else 0.0
    return share * (1 - share)


def expected(target: Mapping[str, Any]) -> str:
    """The target as a short text."""
    rest = {k: v for k, v in target.items() if k not in ("type", "regions") and v is not None}
    if not rest:
        return ""
    value = next(iter(rest.values())) if len(rest) == 1 else rest
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    """One line without control characters or half characters, of a bounded length."""
    flat = " ".join("".join(ch if ch.isprintable() else " " for ch in text[: 4 * TEXT_LENGTH]).split())
    return flat if len(flat) <= TEXT_LENGTH else flat[: TEXT_LENGTH - 1] + "…"


def _picture(task: str, sample: Sample, folder: Path) -> list[Any] | None:
    """Write the last image of a sample small; its file, and its own size in pixels; None if it cannot be opened."""
    import io

    from PIL import Image

    from .pictures import Undrawable, open_image

    if not sample.images:
        return None
    try:
        image = open_image(sample.images[-1])
    except Undrawable:
        return None
    size = list(image.size)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=PICTURE_QUALITY, method=6)
    digest = hashlib.sha256(stream.getvalue()).hexdigest()[:16]
    path = folder / "pictures" / f"{digest}.webp"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        held = sum(p.stat().st_size for p in path.parent.glob("*.webp"))
        if held + stream.tell() > PICTURES_LIMIT:
            return None
        write_atomic(path, stream.getvalue())
    return [f"pictures/{path.name}", *size]


def command_of(settings: Mapping[str, Any]) -> str:
    """The command that runs a result again."""
    from shlex import quote

    words = ["python -m vtprune_eval"]
    names = {"methods": "method", "budgets": "budget", "tasks": "tasks"}
    skipped = {"package", "fingerprint", "architecture", "data", "params"}
    defaults = {"weights": "hub", "history": None, "limit": None, "max_new_tokens": None, "protocol": None}
    for key, value in settings.items():
        if key in skipped or value is None or value is False or defaults.get(key, "") == value:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words.append(f"--{names.get(key, key).replace('_', '-')} {quote(text)}")
    words += [f"--set {quote(f'{k}={typed(v)}')}" for k, v in (settings.get("params") or {}).items()]
    return " ".join(words)
