"""Check a submission as if nobody could be trusted: from its records, everything is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ..benchmarks.tasks import Task
from ..errors import UserError
from ..outcome import Counts
from ..profiling.flops import flops_of
from ..profiling.plan import model_dims
from ..results.run_files import RunSettings
from ..results.types import Record
from ..results.verified import engine_of
from ..runner.folder import Key, expected_key, spec_of, task_of
from ..runner.spec import RunSpec
from .check_costs import Measured, Size, fault
from .result_file import differs, group_of, read
from .result_types import ResultFile

Read = tuple[ResultFile, dict[Key, list[Record]]]  # of :func:`.result_file.read`


def validate(path: Path, data_path: str | None = None, held: Read | None = None) -> list[str]:
    """Check a result file in full: schema, fingerprints, sample ids, scores, lengths, bytes, times, FLOPs.

    Args:
        path: the JSON file; its records lie beside it.
        data_path: folder of the original data, for a task that is not embedded.
        held: what :func:`.result_file.read` gave, where the file was read before.

    Returns:
        One sentence per thing that was checked, and per thing that could not be.

    Raises:
        UserError: the first thing that is wrong.
    """
    result, records = held or read(path)
    settings = result["settings"]
    spec = spec_of(settings)
    said = [
        f"schema, fingerprint, {sum(map(len, records.values()))} records and {len(result['cells'])} aggregates fit "
        "together"
    ]
    cells = {(c.method, c.budget): c for c in spec.cells()}
    for name in spec.tasks:
        task = task_of(spec, name, data_path)
        here, there = f"v{task.version} {task.fingerprint}", str(settings["data"].get(name))
        if here != there:
            raise UserError(
                f"{path.name}: {name} was run on data {there}, the data here is {here}; run it again on "
                "the present data."
            )
        for key, own in records.items():
            if key[0] == name:
                _check_cell(path, task, key, own, expected_key(settings, name, cells[key[1], key[2]]), settings)
        if engine_of(settings) is None:
            said.append(_check_costs(path, spec, task, settings, records))
        said.append(f"{name}: data, sample ids, keys and scores of {len(task.samples)} samples per cell agree")
    said.append(_check_flops(path, settings, records) if engine_of(settings) is None else _check_none(path, records))
    said += _check_weights(path, settings)
    return said


def lacks_of(result: ResultFile, data_path: str | None = None) -> str:
    """Why not everything of a sound result can be computed again here, "" where it can be.

    Args:
        result: that was read.
        data_path: as for :func:`validate`.
    """
    spec = spec_of(result["settings"])
    for name in spec.tasks:
        try:
            task_of(spec, name, data_path)
        except UserError as error:
            return str(error)
    if group_of(result["settings"]) == "scripted" or engine_of(result["settings"]) is not None:
        return ""
    try:
        Measured.of(result["settings"])
    except UserError as error:
        return str(error)
    return ""


def why_not_recomputed(path: Path, held: Read) -> str:
    """Why a result that was read is not ``recomputed``; "" where all of it follows from its records and the data."""
    try:
        lacks = lacks_of(held[0])
        if not lacks:
            validate(path, held=held)
        return lacks
    except UserError as error:
        return str(error)


def _check_none(path: Path, records: dict[Key, list[Record]]) -> str:
    """Costs come from the pipeline alone: an engine's records must have none."""
    for (task, method, budget), own in records.items():
        for record in own:
            if any(record.get(name) is not None for name in ("times", "peak_bytes", "flops", "kv_bytes", "energy_j")):
                raise UserError(
                    f"{path.name}: {method} at {budget} on {task}: sample {record['id']!r} states costs, and answers "
                    "of an engine have none; make the file again from the run folder."
                )
    return "no costs are stated, since another engine answered"


def _check_cell(path: Path, task: Task, key: Key, own: list[Record], cell_key: str, settings: RunSettings) -> None:
    label = f"{path.name}: {key[1]} at {key[2]} on {key[0]}"
    samples = {s.id: s for s in task.samples}
    missing = sorted(samples.keys() ^ {r["id"] for r in own})
    if missing:
        raise UserError(
            f"{label}: the sample {missing[0]!r} is missing or unknown ({len(missing)} in all); finish the "
            "run and make the file again."
        )
    for record in own:
        if record["key"] != cell_key:
            raise UserError(f"{label}: sample {record['id']!r} carries the key of another run; run the cell again.")
        if record["status"] == "failed":
            score, reason = (0.0 if task.scored else None), record["reason"]
        else:
            frame = record["frame"]
            if not isinstance(frame, dict) or not isinstance(record["answer"], str):
                raise UserError(
                    f"{label}: sample {record['id']!r} has no answer or no coordinate frame; run the cell again."
                )
            again = task.score(samples[record["id"]], record["answer"], frame)
            score, reason = again.value, again.reason
        if (record["score"], record["reason"]) != (score, reason):
            raise UserError(
                f"{label}: sample {record['id']!r} states score {record['score']} ({record['reason']}), "
                f"its answer scores {score} ({reason}); run the cell again."
            )


def _check_costs(path: Path, spec: RunSpec, task: Task, settings: RunSettings, records: dict[Key, list[Record]]) -> str:
    """Lengths, bytes and times of every answered record of a task."""
    if group_of(settings) == "scripted":
        return f"{task.name}: costs not checked, the stand-in makes them up"
    try:
        model = Measured.of(settings)
    except UserError as error:
        return f"{task.name}: costs not checked: {error}"
    samples = {s.id: s for s in task.samples}

    @cache
    def sizes_of(id_: str) -> tuple[Size, ...] | None:
        try:
            return tuple(_size_of(file) for file in samples[id_].images)
        except OSError:
            return None  # the scores, which the data decides, were checked before

    text: dict[str, int] = {}
    n = 0
    for key, own in records.items():
        if key[0] != task.name:
            continue
        methods = () if key[2] == "100" else spec.make(key[1])  # no hook runs at 100 %
        for record in own:
            if record["status"] != "ok":
                continue
            why = fault(record, methods, model, sizes_of(record["id"]))
            if why is None and (own_text := record["counts"]["n_text"]) != text.setdefault(record["id"], own_text):
                why = f"n_text is {own_text}, in another cell {text[record['id']]}"
            if why:
                raise UserError(
                    f"{path.name}: sample {record['id']!r} ({key[1]} at {key[2]} on {key[0]}): {why}; run "
                    "the cell again."
                )
            n += 1
    about = "" if model.pixels else ", image sizes as stated (the limits of the weights' processor are not known here)"
    return f"{task.name}: lengths, bytes and times of {n} records fit together and to the model{about}"


def _size_of(file: Path) -> Size:
    """(width, height) in pixels, from the file's header."""
    with Image.open(file) as image:
        return image.width, image.height


def _check_flops(path: Path, settings: RunSettings, records: dict[Key, list[Record]]) -> str:
    """FLOPs of every record from its own lengths."""
    if group_of(settings) == "scripted":
        return "FLOPs not recomputed: the stand-in has none"
    try:
        dims, _ = model_dims(settings["model"])
    except UserError:
        return f"FLOPs not recomputed: the sizes of {settings['model']} are not known here"
    n = 0
    for key, own in records.items():
        for record in own:
            if record["status"] != "ok":
                continue
            counts: Mapping[str, Any] = record["counts"]
            flops: Any = record["flops"]
            try:
                found = flops_of(dims, Counts(**counts))
            except (TypeError, AttributeError):
                found = {}
            where = differs({k: flops.get(k) for k in found} if found else None, found, "flops")
            if where:
                raise UserError(
                    f"{path.name}: {where} of sample {record['id']!r} ({key[1]} at {key[2]} on "
                    f"{key[0]}) do not follow from the formulas and its lengths; run the cell again."
                )
            n += 1
    return f"FLOPs of {n} records follow from their lengths"


def _check_weights(path: Path, settings: RunSettings) -> list[str]:
    """The embedded weights are here: a result of other ones is old and must not stand beside the present ones."""
    from ..models import EMBEDDED, embedded_folder, fingerprint

    name = settings["model"]
    if name not in EMBEDDED or settings["weights"] == "random":
        return ["weights not compared: they are not part of this checkout"]
    here = fingerprint(embedded_folder(name))
    if settings["fingerprint"] != here:
        raise UserError(
            f"{path.name}: measured with {name} weights {settings['fingerprint']}, the embedded ones are "
            f"{here}; run it again."
        )
    return ["weights are the embedded ones"]
