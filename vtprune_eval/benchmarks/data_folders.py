"""Where the data of a task lie, what a user does to have them, and their records."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from .base import Records
from .definitions import SUITES, benchmark_of, definition, folder_and_variant
from .spec import TaskSpec


def load_records(spec: TaskSpec, data_path: str | None) -> tuple[Records, Path]:
    """The reader of a definition on its data.

    Raises:
        UserError: absent or changed data, no records, an id that occurs twice.
    """
    name = spec.name
    folder = Path(data_path) if data_path else _data_folder(spec)
    if not folder.is_dir() and spec.data_folder is None:  # VLMEvalKit fetches its data itself
        raise UserError(f"task {name}: no data in {folder}; {where_to_get(spec)}.")
    records = benchmark_of(spec).open(folder, spec)
    if not records.ids:
        raise UserError(f"task {name}: {folder} holds no records.")
    seen: set[str] = set()
    for sample_id in records.ids:
        if sample_id in seen:
            raise UserError(f"task {name}: the sample id {sample_id!r} occurs twice in {folder}; fetch the data again.")
        seen.add(sample_id)
    return records, folder


def _data_folder(spec: TaskSpec) -> Path:
    """Where a task's data lies: beside its definition, where ``data get`` puts it, or in a package; the first of these
    where there is none."""
    if spec.data_folder is not None:
        return spec.data_folder
    beside = (spec.folder or Path()) / "data"
    places = (beside, default_data_path(spec.name), packaged_data(spec))
    return next((p for p in places if p is not None and p.is_dir()), beside)


def has_data(name: str) -> bool:
    """Whether a task (or every task of a suite) can be run without fetching anything."""
    return all(_data_folder(definition(task)).is_dir() for task in SUITES.get(name, (name,)))


def where_to_get(spec: TaskSpec) -> str:
    """What a user does to have a task's data; ``obtain`` of the definition says it for data that cannot be fetched."""
    ways = [f"install the package {spec.package}"] if spec.package else []
    ways += [f"run `python -m vtprune_eval data get {spec.name}`"] if spec.download or "render" in spec.settings else []
    ways.append(
        f"{spec.obtain} and give the folder with --data-path"
        if spec.obtain
        else f"give the folder of {spec.source} with --data-path"
    )
    return ", or ".join(ways)


def packaged_data(spec: TaskSpec) -> Path | None:
    """Data that an installed package holds (``package`` of the definition), None where there is none."""
    import importlib.util

    package = importlib.util.find_spec(spec.package) if spec.package else None
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "tasks" / spec.name / "data"


def default_data_path(name: str) -> Path:
    """Where ``data get`` puts a task's data: ``$VTPRUNE_DATA`` or ``~/.cache/vtprune_eval/data``, then the folder's
    name; variants share it."""
    import os

    base = os.environ.get("VTPRUNE_DATA")
    folder, _ = folder_and_variant(name) or (name, "")
    return (Path(base) if base else Path.home() / ".cache" / "vtprune_eval" / "data") / folder
