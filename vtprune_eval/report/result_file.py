"""Result files: one JSON file of settings and aggregates per run, and its records beside it.

``NAME.json`` holds schema 1: ``schema``, ``name``, ``group``, ``settings`` and ``environment`` of the run, ``cells``
(one per task, method and budget), ``records`` (file name, count and SHA-256 of the text of
``NAME.records.jsonl.gz``), ``submission`` where somebody submits it (:mod:`.submission`), and ``fingerprint``, the
SHA-256 of all the rest. ``NAME.records.jsonl.gz`` holds the run's records as they were written, each with its ``task``,
``method`` and ``budget``, compressed to about a twentieth. Everything in ``cells`` follows from the records.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from ..errors import UserError
from ..methods.base import HOOKS
from ..models.embedded import EMBEDDED
from ..models.identity import is_foreign
from ..naming import parts_of
from ..profiling.gpu import GpuState
from ..registry import method_class
from ..results.compare import compare_cells
from ..results.costs import accuracy, costs_of
from ..results.record import all_failed
from ..results.run_files import Environment, RunSettings
from ..results.store import write_atomic
from ..results.types import Record
from ..results.verified import check_rows
from ..runner.folder import Key, Run, identity_of, parse_records, read_json, spec_of
from .result_types import ResultCell, ResultFile, Submitted
from .submission import check as check_submission

SCHEMA = 1
ENDING = ".records.jsonl.gz"
# A hostile archive must not fill the memory: this is over a million records.
MAX_RECORDS_BYTES = 2**31
GROUPS = {
    "embedded": "embedded model",
    "full-scale": "full-scale models",
    "random": "random weights: costs only",
    "scripted": "scripted stand-in: tests of the harness",
}
STAGES = dict(
    zip(
        HOOKS,
        ("image size", "before the ViT", "inside the ViT", "after the ViT", "decoder layers", "KV cache"),
        strict=True,
    )
)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,119}")
_FIELDS: dict[str, type] = {
    "schema": int,
    "name": str,
    "group": str,
    "settings": dict,
    "environment": dict,
    "cells": list,
    "records": dict,
    "fingerprint": str,
}
_SETTINGS: dict[str, type] = {
    "model": str,
    "methods": list,
    "budgets": list,
    "tasks": list,
    "weights": str,
    "dtype": str,
    "device": str,
    "fingerprint": str,
    "data": dict,
    "package": str,
}


def group_of(settings: RunSettings) -> str:
    """Which ranking a run may enter: ``embedded``, ``full-scale``, ``random`` or ``scripted``."""
    if settings["model"] == "stub":
        return "scripted"
    if settings["weights"] == "random":
        return "random"
    return "embedded" if settings["model"] in EMBEDDED else "full-scale"


def stage_of(method: str) -> str:
    """The stage or stages at which a method (or composition) acts."""
    stages = [STAGES[hook] for part in parts_of(method) for hook in method_class(part).hooks()]
    return ", ".join(stages) or "none"


def device_of(settings: RunSettings, environment: Environment) -> str:
    """Name of the processor or the GPU that the run was measured on."""
    gpu = environment.get("gpu") or GpuState()
    named = environment.get("processor") if settings["device"] == "cpu" else gpu.get("name")
    return str(named or settings["device"])[:120]


def cells_of(settings: RunSettings, records: dict[Key, list[Record]]) -> list[ResultCell]:
    """Aggregates of every cell, from its records alone.

    Args:
        settings: of the run.
        records: by (task, method, budget), in one order for all cells of a task.

    Returns:
        Per cell: ``task``, ``method``, ``budget``, ``stage``, ``ranked`` (False for an upper bound that sees the
        target), ``n``, ``n_failed``, ``sample_set`` (hash of the ids), ``costs``, and unless weights are random
        ``accuracy``, ``ci95``, ``format_error_rate``, ``vs_full``.
    """
    trained = group_of(settings) != "random"
    tasks = list(dict.fromkeys(task for task, _, _ in records))
    cells = list(dict.fromkeys((method, budget) for _, method, budget in records))
    scored = [t for t in tasks if trained and any(r["score"] is not None for m, b in cells for r in records[t, m, b])]
    against, _ = compare_cells(cells, scored, records)
    base = next((c for c in cells if c[0] == "full"), None)
    out = []
    for (task, method, budget), own in records.items():
        ids = sorted(r["id"] for r in own)
        graded = [r for r in own if r["score"] is not None]
        costs = costs_of(own, records[task, base[0], base[1]] if base else None, trained)
        cell: ResultCell = {
            "task": task,
            "method": method,
            "budget": budget,
            "stage": stage_of(method),
            "ranked": not any(method_class(part).sees_target for part in parts_of(method)),
            "n": len(own),
            "n_failed": sum(r["status"] == "failed" for r in own),
            "sample_set": hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12],
            "costs": costs,
        }
        if task in scored and graded:
            found = accuracy(graded)
            cell["accuracy"], cell["ci95"] = found["accuracy"], found["ci95"]
            cell["format_error_rate"] = found["format_error_rate"]
            if (task, (method, budget)) in against:
                cell["vs_full"] = against[task, (method, budget)]
        out.append(cell)
    return out


def from_run(run: Run, submission: dict[str, str] | None = None) -> tuple[ResultFile, str]:
    """The result file of a run, and the text of its records file.

    Args:
        run: finished.
        submission: author, account, date, paper and licence of one that is submitted.

    Raises:
        UserError: a program crashed, or nothing of a task was answered: neither can be ranked; rows of an engine that
            were not compared with the pipeline, or that differ from it.
    """
    check_rows(run.settings, run.environment, [(c.method, c.budget) for c in run.spec.cells()])
    if is_foreign(run.environment.get("model") or {}):
        raise UserError(
            f"{run.path}: {run.environment['model']['note']}, so it is not ranked as {run.settings['model']}; name the "
            "model that the folder holds."
        )
    for (task, method, budget), own in run.records.items():
        crashed = [r for r in own.values() if r["reason"] == "crash"]
        if crashed:
            raise UserError(
                f"{run.path}: {method} at {budget} crashed on {len(crashed)} of {len(own)} samples of {task} "
                f"({crashed[0]['message']}), which is no verdict on the method; mend it and run again in a new folder."
            )
    for task in run.spec.tasks:
        if all_failed([r for (name, *_), own in run.records.items() if name == task for r in own.values()]):
            raise UserError(
                f"{run.path}: every sample of {task} failed, so there is nothing to rank; run again in a new folder."
            )
    name = f"{run.settings['model']}-{identity_of(run.settings)}"
    lines = [_line(key, r) for key, own in run.records.items() for r in own.values()]
    text = "".join(line + "\n" for line in lines)
    result: ResultFile = {
        "schema": SCHEMA,
        "name": name,
        "group": group_of(run.settings),
        "settings": run.settings,
        "environment": run.environment,
        "cells": cells_of(run.settings, {k: list(own.values()) for k, own in run.records.items()}),
        "records": {"file": f"{name}{ENDING}", "n": len(lines), "sha256": _sha256(text)},
    }
    if submission is not None:
        result["submission"] = cast(Submitted, submission)
    return {**result, "fingerprint": fingerprint(result)}, text


def write(result: ResultFile, records: str, folder: Path) -> Path:
    """Write both files of a result, records first; returns the path of the JSON file.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another folder with --dir.") from None
    # Without a time stamp in it the same records give the same file.
    write_atomic(folder / result["records"]["file"], gzip.compress(records.encode(), mtime=0))
    path = folder / f"{result['name']}.json"
    write_atomic(path, json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n")
    return path


def read(path: Path) -> tuple[ResultFile, dict[Key, list[Record]]]:
    """Read a result file with its records and check everything that needs no task data.

    Returns:
        The result, and its records by (task, method, budget).

    Raises:
        UserError: another schema, missing or wrong fields, files changed by hand, aggregates that do not follow from
            the records.
    """
    found = read_json(path)
    _check_schema(found, path)
    result = cast(ResultFile, found)  # every field is there, and of its kind
    name, entry = result["name"], result["records"]
    file = entry.get("file")
    if not _SAFE.fullmatch(name) or path.name != f"{name}.json" or file != f"{name}{ENDING}":
        raise UserError(
            f"{path.name}: the files of the result {name[:80]!r} must be called NAME.json and "
            "NAME.records.jsonl.gz, in letters, digits and . _ + @ -; rename them back."
        )
    if fingerprint(result) != result["fingerprint"]:
        raise UserError(
            f"{path.name} was edited: its fingerprint does not fit its content; make it again from the run "
            "folder with `leaderboard build RUN`."
        )
    raw = _unpacked(path, file)
    if hashlib.sha256(raw).hexdigest() != entry.get("sha256"):
        raise UserError(
            f"{file} was edited: its SHA-256 is not the one in {path.name}; make both again from the run "
            "folder with `leaderboard build RUN`."
        )
    records = _grouped(raw.decode("utf-8", "replace").splitlines(), file)
    _check_cells(path, result, records)
    return result, records


def _unpacked(path: Path, file: str) -> bytes:
    try:
        with gzip.open(path.parent / file) as stream:
            raw = stream.read(MAX_RECORDS_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{file} is not a complete gzip file ({error}); make both files again from the run folder with "
            "`leaderboard build RUN`."
        ) from None
    except OSError:
        raise UserError(f"{path.name}: the records file {file} is missing beside it; submit both files.") from None
    if len(raw) > MAX_RECORDS_BYTES:
        raise UserError(f"{file} unpacks to over {MAX_RECORDS_BYTES} bytes and is not read; submit one run per file.")
    return raw


def _check_schema(result: dict[str, Any], path: Path) -> None:
    schema = result.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        newer = isinstance(schema, int) and schema > SCHEMA
        remedy = "update vtprune_eval" if newer else "make it again from the run folder with `leaderboard build RUN`"
        raise UserError(f"{path.name} has result schema {schema!r}, this version reads {SCHEMA}; {remedy}.")
    for where, fields, data in (("", _FIELDS, result), ("settings.", _SETTINGS, result.get("settings"))):
        for key, kind in fields.items():
            value = data.get(key) if isinstance(data, dict) else None
            if not isinstance(value, kind):
                raise UserError(
                    f"{path.name}: {where}{key} must be {kind.__name__}, found {type(value).__name__}; "
                    "make the file again with `leaderboard build RUN`."
                )
    if "submission" in result:
        if not isinstance(result["submission"], dict):
            raise UserError(f"{path.name}: submission must be a mapping; make the file with `submit RUN`.")
        check_submission(result["submission"])
    unknown = sorted(result.keys() - _FIELDS.keys() - {"submission"})
    if unknown:
        raise UserError(f"{path.name}: unknown field {unknown[0]!r}; schema {SCHEMA} has {', '.join(_FIELDS)}.")
    if result["group"] != group_of(result["settings"]):
        raise UserError(
            f"{path.name}: group {result['group']!r} does not fit its settings, which make it "
            f"{group_of(result['settings'])!r}; make the file again with `leaderboard build RUN`."
        )


def _grouped(lines: list[str], name: str) -> dict[Key, list[Record]]:
    out: dict[Key, list[Record]] = {}
    for record in parse_records(lines, name):
        own: Any = record  # with three keys more than a record
        where = (own.pop("task", None), own.pop("method", None), own.pop("budget", None))
        if not all(isinstance(w, str) for w in where):
            raise UserError(
                f"{name}: sample {record['id']!r} does not say its task, method and budget; make the file "
                "again with `leaderboard build RUN`."
            )
        out.setdefault(where, []).append(record)
    return out


def _check_cells(path: Path, result: ResultFile, records: dict[Key, list[Record]]) -> None:
    spec = spec_of(result["settings"])
    check_rows(result["settings"], result["environment"], [(c.method, c.budget) for c in spec.cells()])
    expected = {(t, c.method, c.budget) for t in spec.tasks for c in spec.cells()}
    if set(records) != expected:
        one = sorted(expected ^ set(records))[0]
        raise UserError(
            f"{path.name}: half a run: {one[1]} at {one[2]} on {one[0]} is in its settings or in its "
            "records only; finish the run and make the file again."
        )
    for task in spec.tasks:
        sets = [[r["id"] for r in own] for (t, _, _), own in records.items() if t == task]
        if any(sorted(ids) != sorted(sets[0]) or len(set(ids)) != len(ids) for ids in sets):
            raise UserError(
                f"{path.name}: the cells of {task} do not hold the same samples once each; finish the run "
                "and make the file again."
            )
    try:
        again = cells_of(result["settings"], records)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            f"{path.name}: its records lack what the aggregates need ({type(error).__name__}: {error}); "
            "make the file again with `leaderboard build RUN`."
        ) from None
    where = differs(result["cells"], again)
    if where:
        raise UserError(
            f"{path.name}: {where} does not follow from its records; make the file again with `leaderboard build RUN`."
        )


def differs(stated: Any, found: Any, where: str = "cells") -> str | None:
    """Path of the first difference between two JSON values, numbers within 1e-6 relative; None if there is none."""
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in sorted(stated.keys() | found.keys()):
            if key not in stated or key not in found:
                return f"{where}.{key}"
            inner = differs(stated[key], found[key], f"{where}.{key}")
            if inner:
                return inner
        return None
    if isinstance(stated, list) and isinstance(found, list):
        if len(stated) != len(found):
            return where
        pairs = enumerate(zip(stated, found, strict=True))
        return next((d for i, (a, b) in pairs if (d := differs(a, b, f"{where}[{i}]"))), None)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (stated, found))
    same = (
        math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-9)
        if numbers
        else type(stated) is type(found) and stated == found
    )
    return None if same else where


def fingerprint(result: ResultFile) -> str:
    """SHA-256 of the canonical JSON of everything but the fingerprint itself, 16 hex digits."""
    rest = {k: v for k, v in result.items() if k != "fingerprint"}
    return _sha256(json.dumps(rest, sort_keys=True))[:16]


def result_paths(folder: Path) -> Iterable[Path]:
    """The result files of a folder, by name."""
    return sorted(folder.glob("*.json"))


def _line(key: Key, record: Mapping[str, Any]) -> str:
    named = dict(zip(("task", "method", "budget"), key, strict=True))
    return json.dumps({**named, **record}, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
