"""The kit's own numbers for answers of ours: its ``evaluate`` on a whole prediction file."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

from ...benchmarks.vlmeval.catalogue import KIT_TASKS, default_folder, kit_name
from ...benchmarks.vlmeval.reader import build, data_root, kind_of, plain, quietly
from ...errors import UserError
from ...extras import host_version, require
from ...json_values import JsonObject

EXACT = "exact_matching"
CELL = 32767


@contextmanager
def no_forks() -> Iterator[None]:
    """The kit scores lines in 16 forked processes: a fork of a process with threads, as torch's, may wait forever."""
    from vlmeval.dataset import image_vqa

    pools: list[ThreadPool] = []

    def pool(processes: int | None = None) -> ThreadPool:
        pools.append(ThreadPool(1))
        return pools[-1]

    held = image_vqa.mp
    image_vqa.mp = SimpleNamespace(Pool=pool)
    try:
        yield
    finally:
        image_vqa.mp = held
        for made in pools:  # the kit closes none
            made.terminate()


def kit_numbers(name: str, folder: Path, answers: Mapping[str, str]) -> JsonObject:
    """Evaluate answers with the kit's whole-file code, with no judge.

    Args:
        name: data set of the kit.
        folder: its data folder.
        answers: sample id (the kit's ``index`` as text) to answer; the data set is cut down to these.

    Returns:
        the kit's summary: names of its columns or keys to numbers (lists where it has a row per split), None where it
        had nothing to average.

    Raises:
        UserError: an answer to a sample that the data set does not have, or none at all; an evaluation that cannot do
            without a judge.
    """
    if KIT_TASKS[name].kind == "mmlongbench":
        raise UserError(
            f"{name}: the kit's own number needs a judge model; run the kit on our model instead, with "
            "--judge (see docs/integrations.md)."
        )
    require("vlmeval", f"the kit's number of {name}")
    from vlmeval.smp import dump

    name = kit_name(name)
    with data_root(folder), tempfile.TemporaryDirectory() as work:
        dataset = build(name, folder)
        data = dataset.data[[str(i) in answers for i in dataset.data["index"]]].copy()
        unknown = set(answers) - {str(i) for i in data["index"]}
        if unknown or not len(data):
            raise UserError(
                f"{name}: {len(unknown)} of {len(answers)} answers belong to no row of {name}.tsv; use the "
                "file with which the run was made."
            )
        data["prediction"] = [answers[str(i)] for i in data["index"]]
        data = data.drop(columns=[c for c in ("image",) if c in data])
        # The format of the file keeps text as text; the kit's spreadsheets turn "007" into 7 and "NA" into nan.
        path = Path(work) / "ours.pkl"
        if kind_of(name) == "olmocr":  # this evaluation reads spreadsheets only, and returns nothing
            if any(len(a) > CELL for a in answers.values()):
                raise UserError(
                    f"{name}: the kit's evaluation reads spreadsheets, whose cells end at {CELL} "
                    "characters, and an answer is longer; use the scores in the records."
                )
            path = path.with_suffix(".xlsx")
        dump(data, str(path))
        try:
            with no_forks():
                found = quietly(dataset.evaluate, str(path), model=EXACT, nproc=1)
        except Exception as error:  # of whatever kind: one cell that it cannot read is enough
            raise UserError(
                f"{name}: VLMEvalKit's own evaluation stops ({type(error).__name__}: {str(error)[:120]}); use the "
                "scores in the records."
            ) from error
        if found is None:
            with (path.parent / "olmOCRBench_eval_summary.csv").open(encoding="utf-8") as stream:
                found = {r["type"]: float(r["score"]) for r in csv.DictReader(stream)}
    if hasattr(found, "to_dict"):
        columns = found.to_dict("list")
        found = {str(k): v[0] if len(v) == 1 else v for k, v in columns.items()}
    return {str(k): plain(v) for k, v in found.items()}


def _kit_or_why(task: str, folder: Path, answers: Mapping[str, str]) -> JsonObject:
    """``kit``; None with a ``why`` where it has no number: the other data sets of a run have theirs."""
    try:
        return {"kit": kit_numbers(task, folder, answers)}
    except UserError as error:
        return {"kit": None, "why": str(error)}


def run_rows(path: Path, data_path: str | None = None) -> list[JsonObject]:
    """The kit's numbers for the answers of a finished run of ours.

    Args:
        path: run folder.
        data_path: the kit's data folder, None for its default.

    Returns:
        per data set of the kit and cell: ``task``, ``method``, ``budget``, ``protocol``, ``n``, ``mean_score`` (ours,
        in percent, failed samples count as 0), ``kit`` (the kit's summary; None with the reason in ``why``) and
        ``host`` (name and version of the kit).

    Raises:
        UserError: no finished run, or one without a data set of the kit.
    """
    from ...runner.folder import read_run

    folder = Path(data_path) if data_path else default_folder()
    rows = []
    for (task, method, budget), found in read_run(path).records.items():
        if task not in KIT_TASKS:
            continue
        records = list(found.values())
        rows.append(
            {
                "task": task,
                "method": method,
                "budget": budget,
                "protocol": records[0]["protocol"],
                "n": len(records),
                "mean_score": 100 * sum(r["score"] or 0.0 for r in records) / len(records),
                **_kit_or_why(task, folder, {r["id"]: str(r["answer"] or "") for r in records}),
                "host": host_version("vlmeval"),
            }
        )
    if not rows:
        raise UserError(f"{path} has no records of a data set of VLMEvalKit; give a run with one of its tasks.")
    return rows
