"""What the kit's prediction files do not keep: frame, counts, times of every answer, and what made them.

The kit stores plain texts and reuses only these, so the rest stands in ``MODEL_DATASET_vtprune.jsonl`` in the model's
folder, one line per answer, keyed by ``index``; a line with ``made_by`` opens each session.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject

ENDING = "_vtprune.jsonl"
# Where answers go; the kit tells a model neither its working folder nor the name that it was asked for under.
_open: list[Path] = []


def watch(job: Callable[..., Any], limit: int | None = None) -> Callable[..., Any]:
    """The kit's ``infer_data_job``, so that answers given inside it are written beside its predictions.

    Args:
        job: of the kit.
        limit: rows to keep, for a kit that has no such option itself.
    """

    @wraps(job)
    def watched(model: Any, work_dir: str, model_name: str, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        if limit is not None:
            dataset.data = dataset.data.iloc[:limit]
        folder = Path(work_dir)
        folder = folder.parent if folder.parent.name == model_name else folder  # one per model, not per evaluation
        _open.append(folder / f"{model_name}_{dataset.dataset_name}{ENDING}")
        try:
            return job(model, work_dir, model_name, dataset, *args, **kwargs)
        finally:
            _open.pop()

    watched.vtprune_watched = True  # type: ignore[attr-defined]
    return watched


class SideFile:
    """The file of the job that is running; nothing is written outside of one."""

    def __init__(self, made_by: Callable[[], Mapping[str, Any]]) -> None:
        """``made_by`` says what stands in the first line of a session."""
        self._made_by, self._begun = made_by, set[Path]()

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one answer.

        Raises:
            UserError: the folder cannot be written.
        """
        if not _open:
            return
        path = _open[-1]
        lines = [] if path in self._begun else [{"made_by": self._made_by()}]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps(line) + "\n" for line in (*lines, record)))
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}); choose another --work-dir.") from None
        self._begun.add(path)


def records_of(eval_file: str) -> dict[str, list[JsonObject]] | None:
    """Answers by ``index``, oldest first, for a prediction file; None for a model that is not ours."""
    path = Path(eval_file)
    name = path.stem + ENDING
    found = next((f for f in (path.parent / name, path.parent.parent / name) if f.is_file()), None)
    if found is None:
        return None
    out: dict[str, list[JsonObject]] = {}
    for line in found.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # torn by a kill; its answer is not in the predictions either, or is given again
            continue
        if isinstance(record, dict) and "index" in record:
            out.setdefault(record["index"], []).append(record)
    return out
