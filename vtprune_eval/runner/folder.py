"""A finished run folder, read without changing anything in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..benchmarks.prompts import style_of
from ..benchmarks.tasks import Task, load_task
from ..budget import LEGACY
from ..errors import UserError
from ..json_values import JsonObject
from ..models import check_model_name
from ..results.record import SCHEMA
from ..results.run_files import Environment, RunSettings
from ..results.store import digests
from ..results.types import Record
from .config import from_mapping
from .spec import Cell, RunSpec

Key = tuple[str, str, str]
# In run.json beside the settings that were asked for: what the model and the data turned out to be.
_MADE_BY = {"fingerprint", "architecture", "data", "engine_version"}


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Attributes:
        path: the folder.
        settings: ``run.json``.
        environment: ``environment.json``.
        spec: rebuilt from the settings.
        records: by (task, method, budget), then by sample id, in file order.
        sealed: True where the summary holds the digests of the record files and they fit; False for a run from before
            digests were written.
    """

    path: Path
    settings: RunSettings
    environment: Environment
    spec: RunSpec
    records: dict[Key, dict[str, Record]]
    sealed: bool = False

    def tell_unsealed(self) -> None:
        """A note on stderr where nothing says whether the records were edited."""
        if not self.sealed:
            print(
                f"note: {self.path} was made before summaries held digests of the record files; whether these were "
                "edited cannot be told.",
                file=sys.stderr,
            )


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        UserError: no run folder, damaged or half-done, with records of another run or another schema, or with record
            files that were changed after the summary was written.
    """
    if not (path / "run.json").is_file():
        raise UserError(f"{path} is not a run folder (no run.json); give the folder that the run printed at its end.")
    if not (path / "summary.json").is_file():
        raise UserError(
            f"half a run: {path} has no summary yet; start its command again with --out {path} to finish it."
        )
    if not (path / "environment.json").is_file():
        raise UserError(f"{path} has no environment.json; start the run's command again with --out {path} to write it.")
    settings, environment = read_settings(path), read_environment(path)
    if "shard" in settings:
        raise UserError(
            f"{path} is shard {settings['shard']} of a run; put the shards together first with `python -m "
            "vtprune_eval merge RUN... --out DIR`."
        )
    spec = spec_of(settings)
    records: dict[Key, dict[str, Record]] = {}
    for task in spec.tasks:
        for cell in spec.cells():
            file = path / "records" / f"{task}--{cell.slug}.jsonl"
            if not file.is_file():
                raise UserError(
                    f"half a run: {path} has no records of {cell.method} at {cell.budget} on {task}; start "
                    f"its command again with --out {path} to finish it."
                )
            own = parse_records(file.read_bytes().decode("utf-8", "replace").splitlines(), file.name)
            key = expected_key(settings, task, cell)
            for record in own:
                if record["key"] != key:
                    raise UserError(
                        f"{file.name}: sample {record['id']!r} carries the key {record['key']!r} instead "
                        f"of {key}: it is of another run or was edited; run it again in a new folder."
                    )
            records[task, cell.method, cell.budget] = {r["id"]: r for r in own}
            if len(own) != len(records[task, cell.method, cell.budget]):
                raise UserError(
                    f"{file.name} holds a sample twice; start the run's command again with --out {path} to mend it."
                )
    for task in spec.tasks:
        sizes = {f"{m} at {b}": len(r) for (t, m, b), r in records.items() if t == task}
        if len(set(sizes.values())) > 1:
            raise UserError(
                f"half a run: {path} has {min(sizes.values())} to {max(sizes.values())} records per cell "
                f"on {task}; start its command again with --out {path} to finish it."
            )
    return Run(path, settings, environment, spec, records, _is_sealed(path))


def _is_sealed(path: Path) -> bool:
    """True if the record files are those that the summary was made of, False if it does not say.

    Raises:
        UserError: a record file was changed, added or removed since.
    """
    stated = read_json(path / "summary.json").get("digests")
    if stated is None:
        return False
    found = digests(path)
    if stated != found:
        known = stated if isinstance(stated, dict) else {}
        name = min((n for n in {*found, *known} if found.get(n) != known.get(n)), default="summary.json")
        raise UserError(f"{name} was changed after the run's summary was written; run it again in a new folder.")
    return True


def read_json(path: Path) -> JsonObject:
    """A JSON object from a file.

    Raises:
        UserError: unreadable, not JSON, or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not valid JSON; make it again.") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no JSON object; make it again.")
    return data


def read_settings(folder: Path) -> RunSettings:
    """``run.json`` of a run folder; see :func:`read_json`."""
    return cast(RunSettings, read_json(folder / "run.json"))


def read_environment(folder: Path) -> Environment:
    """``environment.json`` of a run folder; see :func:`read_json`."""
    return cast(Environment, read_json(folder / "environment.json"))


def parse_records(lines: list[str], name: str) -> list[Record]:
    """Records from JSON lines.

    Raises:
        UserError: a line that is no record of schema :data:`~.record.SCHEMA`.
    """
    out: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise UserError(f"{name}: line {number} is not JSON; start the run's command again to mend it.") from None
        if not isinstance(record, dict) or not all(isinstance(record.get(k), str) for k in ("id", "key", "status")):
            raise UserError(f"{name}: line {number} is not a record; start the run's command again to mend it.")
        if record.get("schema") != SCHEMA:
            raise UserError(
                f"{name}: line {number} has record schema {record.get('schema')!r}, this version reads "
                f"{SCHEMA}; run it again with this version."
            )
        out.append(record)  # its other fields are read where they are used: records may come from anybody
    return out


def spec_of(settings: RunSettings) -> RunSpec:
    """The specification that a run's settings came from.

    Raises:
        UserError: settings that this installation does not know (for example a method of a third party).
    """
    names = {f.name for f in dataclasses.fields(RunSpec)}
    try:
        spec = from_mapping({"reading": LEGACY, **{k: v for k, v in settings.items() if k in names}})
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the settings of the run cannot be read ({error}); make the file again from its run folder."
        ) from None
    absent = [t for t in spec.tasks if t not in (settings.get("data") or {})]
    if absent:
        raise UserError(f"the settings of the run name no data version of {absent[0]}; run it again.")
    return spec


def task_of(spec: RunSpec, name: str, data_path: str | None = None) -> Task:
    """A task of a run, loaded with the run's limit, protocol, history and prompt style.

    Raises:
        UserError: absent data.
    """
    style = style_of(spec.model, check_model_name(spec.model).family)
    return load_task(name, spec.limit, data_path, protocol=spec.protocol, history=spec.history, style=style)


def identity_of(settings: RunSettings) -> str:
    """The run's identity as it was when it ran, 12 hex digits: a setting that came later does not change it."""
    return _hash({k: v for k, v in settings.items() if k not in _MADE_BY})


def expected_key(settings: RunSettings, task: str, cell: Cell) -> str:
    """The key that the run loop gave to a cell's records, from the settings that it wrote down.

    Taken from the file and not from a rebuilt specification: a setting that a later version added is not part of it.
    """
    version = str(settings["data"][task]).split(" ")[0].removeprefix("v")
    parts = {k: v for k, v in settings.items() if k not in {"methods", "budgets", "tasks", "limit", *_MADE_BY}}
    parts |= {"method": cell.method, "budget": cell.budget, "task": task, "task_version": version}
    return _hash(parts)


def _hash(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
