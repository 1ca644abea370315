"""The kit's own numbers for answers of ours: its ``evaluate`` on a whole prediction file."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from .catalogue import KIT_TASKS
from .reader import build, data_root
from .rules import quietly

EXACT = "exact_matching"
CELL = 32767


def kit_numbers(name: str, folder: Path, answers: Mapping[str, str]) -> dict[str, Any]:
    """Evaluate answers with the kit's whole-file code, with no judge.

    Args:
        name: data set of the kit; folder: its data folder.
        answers: sample id (the kit's ``index`` as text) to answer; the data set is cut down to these.

    Returns:
        the kit's summary: names of its columns or keys to numbers (a column per split where there are several rows).

    Raises:
        UserError: an answer to a sample that the data set does not have, or none at all.
    """
    from vlmeval.smp import dump

    with data_root(folder), tempfile.TemporaryDirectory() as work:
        dataset = build(name, folder)
        data = dataset.data[[str(i) in answers for i in dataset.data["index"]]].copy()
        unknown = set(answers) - {str(i) for i in data["index"]}
        if unknown or not len(data):
            raise UserError(f"{name}: {len(unknown)} of {len(answers)} answers belong to no row of {name}.tsv; use the "
                            "file with which the run was made.")
        data["prediction"] = [answers[str(i)] for i in data["index"]]
        data = data.drop(columns=[c for c in ("image",) if c in data])
        # The format of the file keeps text as text; the kit's spreadsheets turn "007" into 7 and "NA" into nan.
        path = Path(work) / "ours.pkl"
        if KIT_TASKS[name].kind == "olmocr":  # this evaluation reads spreadsheets only, and returns nothing
            if any(len(a) > CELL for a in answers.values()):
                raise UserError(f"{name}: the kit's evaluation reads spreadsheets, whose cells end at {CELL} "
                                "characters, and an answer is longer; use the scores in the records.")
            path = path.with_suffix(".xlsx")
        dump(data, str(path))
        found = quietly(dataset.evaluate, str(path), model=EXACT, nproc=1)
        if found is None:
            with (path.parent / "olmOCRBench_eval_summary.csv").open(encoding="utf-8") as stream:
                found = {r["type"]: float(r["score"]) for r in csv.DictReader(stream)}
    if hasattr(found, "to_dict"):
        columns = found.to_dict("list")
        found = {str(k): v[0] if len(v) == 1 else v for k, v in columns.items()}
    return {str(k): v.item() if hasattr(v, "item") else v for k, v in found.items()}
