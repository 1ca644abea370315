"""Is a data set whole? Every record is read, its target checked, every image looked up; nothing stops at the first
fault."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..benchmarks.checks import NO_TARGET, Size, faults_of
from ..benchmarks.data_folders import load_records
from ..benchmarks.definitions import benchmark_of, check_protocol, definition
from ..benchmarks.samples import update_fingerprint
from ..errors import UserError
from ..json_values import JsonObject
from ..sample import Sample
from .receipt import Receipt

SHOWN = 5
NOT_STATED = "not stated"


def check(task: str, data_path: str | None = None, *, open_images: bool = False) -> JsonObject:
    """Read everything once.

    Args:
        task: name.
        data_path: folder of the data, None for where ``data get`` puts it.
        open_images: decode every image and compare its size with the annotation's, where that has one.

    Returns:
        ``task``, ``folder``, ``records``, ``clusters``, ``fingerprint`` (of records and image sizes, without a prompt;
        None if a record cannot be read), ``counts`` per breakdown key (``not stated`` for records without it),
        ``problems`` (sentences with counts and the first record), ``ok``.

    Raises:
        UserError: no data, or not of the task's format at all.
    """
    check_protocol(task, None, None)
    spec = definition(task)
    benchmark = benchmark_of(spec)
    records, folder = load_records(spec, data_path)
    broken: dict[str, list[str]] = {}
    faults: dict[str, list[str]] = {}
    sizes: dict[Path, Size | None] = {}
    missing: list[str] = []
    damaged: list[str] = []
    clusters, counts, digest, seen = set(), dict[str, Counter[str]](), hashlib.sha256(), set()
    for i, own in enumerate(records.ids):
        try:
            item = records.item(i)
        except UserError as error:
            broken.setdefault(str(error), []).append(own)
            continue
        clusters.add(item.cluster or item.id)
        update_fingerprint(digest, Sample(item.id, item.images, "", item.target))
        for key in benchmark.groups:
            value = item.meta.get(key)
            for v in value if isinstance(value, list) else [value]:
                counts.setdefault(key, Counter())[NOT_STATED if v in (None, "") else str(v)] += 1
        path = item.images[-1]
        found = faults_of(benchmark.faults, item.target, partial(_size, path, sizes))
        for what, value in dict(reversed(found)).items():  # once per record, with the first value
            faults.setdefault(what, []).append(f"{own}: {value}" if value else own)
        if path in seen:
            continue
        seen.add(path)
        if not path.is_file():
            missing.append(f"{path.relative_to(folder) if path.is_relative_to(folder) else path} (record {own})")
        elif open_images:
            damaged += _damage(path, item.target.get("truth", {}).get("image_size"), own)
    problems = [
        *_grouped("records cannot be read: ", broken),
        *_grouped("", faults),
        *_unscorable(faults, records.ids),
        *_listed("screenshots are missing", missing),
        *_listed("screenshots are damaged or of another size", damaged),
        *_listed("fetched files are no longer what was fetched", Receipt(folder).changed(read=open_images)),
        *_unexpected(dict(spec.expected), len(records.ids), counts),
    ]
    return {
        "task": task,
        "folder": str(folder),
        "records": len(records.ids),
        "clusters": len(clusters),
        "fingerprint": None if broken else digest.hexdigest()[:16],
        "counts": {k: dict(sorted(c.items())) for k, c in counts.items()},
        "problems": problems,
        "ok": not problems,
    }


def _grouped(start: str, found: dict[str, list[str]]) -> list[str]:
    """A sentence per kind of fault: a changed format has one for all its records."""
    out = [
        f"{len(own)} {start}{what.rstrip('.')} (first: record {own[0]})" for what, own in list(found.items())[:SHOWN]
    ]
    more = sum(map(len, list(found.values())[SHOWN:]))
    return [*out, f"{more} more {start.rstrip(': ') or 'faults of annotations'}"] if more else out


def _unscorable(faults: dict[str, list[str]], ids: Sequence[str]) -> list[str]:
    if len(faults.get(NO_TARGET, ())) < len(ids):
        return []
    return [
        "no record has a target: nothing of this task can be scored; the fields of the annotation are missing or "
        "have other names, see the task's README"
    ]


def _size(path: Path, known: dict[Path, Size | None]) -> Size | None:
    """(width, height) in pixels from a file's header; None where it cannot be read, which is told elsewhere."""
    from ..errors import SampleError
    from ..image_file import image_size

    if path not in known:
        try:
            known[path] = image_size(path)
        except SampleError:
            known[path] = None
    return known[path]


def _listed(what: str, found: list[str]) -> list[str]:
    if not found:
        return []
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{len(found)} {what}: {'; '.join(found[:SHOWN])}{more}"]


def _unexpected(expected: JsonObject, n: int, counts: dict[str, Counter[str]]) -> list[str]:
    out = []
    if expected.get("records", n) != n:
        out.append(f"{expected['records']} records expected, {n} found")
    for key, wanted in expected.items():
        if isinstance(wanted, dict):
            for value, count in wanted.items():
                found = counts.get(key, Counter())[value]
                if found != count:
                    out.append(f"{key} {value}: {count} records expected, {found} found")
    return out


def _damage(path: Any, size: Any, own: str) -> list[str]:
    from ..errors import SampleError
    from ..image_file import open_image

    try:
        pixels = open_image(path)
    except SampleError as error:
        return [f"{error} (record {own})"]
    found = (pixels.shape[1], pixels.shape[0])
    if size and tuple(size) != found:
        return [f"{path.name} has {found[0]}x{found[1]} pixels, the annotation says {size[0]}x{size[1]} (record {own})"]
    return []
