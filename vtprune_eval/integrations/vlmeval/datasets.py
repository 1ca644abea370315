"""Our embedded tasks as a data set class of VLMEvalKit, scored by our rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from vlmeval.dataset.image_base import ImageBaseDataset
from vlmeval.smp import dump, get_intermediate_file_path
from vlmeval.smp.file import INFER_FAIL_MSG

from ...benchmarks.definitions import task_names
from ...benchmarks.tasks import load_task
from ...benchmarks.vlmeval.catalogue import KIT_TASKS
from ...benchmarks.vlmeval.mmlongbench import PageByPage
from ...benchmarks.vlmeval.reader import plain
from ...benchmarks.vlmeval.rules import score as kit_score
from ...errors import UserError, unknown_name
from ...json_values import JsonObject
from ...paths import tasks_dir
from ...sample import Score
from ..engine import COORDINATES, file_frame
from .model import SAMPLE_ID
from .side_file import ENDING, records_of

EXACT = "exact_matching"


class VtpruneTask(ImageBaseDataset):
    """A task with embedded data: one row per sample, pictures as paths, our prompt, our scores."""

    TYPE = "VQA"
    MODALITY = "IMAGE"

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """Every task of ours that ships its data."""
        return [n for n in task_names() if n not in KIT_TASKS and (tasks_dir() / n / "data").is_dir()]

    def load_data(self, dataset: str) -> Any:
        """One row per sample: ``index`` (its id), ``image_path`` (list), ``question``, ``category``."""
        self.task = load_task(dataset)
        self.samples = {s.id: s for s in self.task.samples}
        return pd.DataFrame(
            [
                {
                    "index": s.id,
                    "image_path": [str(p) for p in s.images],
                    "question": s.question,
                    "category": next((str(s.meta[k]) for k in ("target_kind", "kind", "step") if k in s.meta), "all"),
                }
                for s in self.task.samples
            ]
        )

    def build_prompt(self, line: Any) -> list[JsonObject]:
        """Images, oldest first, then the question; the first item names the sample."""
        sample = self.samples[str((self.data.iloc[line] if isinstance(line, int) else line)["index"])]
        message: list[JsonObject] = [{"type": "image", "value": str(p)} for p in sample.images]
        message.append({"type": "text", "value": sample.question})
        message[0][SAMPLE_ID] = sample.id
        return message

    def evaluate(self, eval_file: str, **judge_kwargs: Any) -> dict[str, float]:
        """Score a prediction file with the rule of the task.

        Args:
            eval_file: predictions as the kit wrote them (xlsx, tsv or json).
            judge_kwargs: only ``coordinates`` is read: the frame of a model that is not ours
                (``--judge-args '{"coordinates": "thousandths"}'``; default hundredths).

        Returns:
            ``Overall`` and ``format_error_rate`` in percent, and the accuracy of each category.

        Raises:
            UserError: an unknown frame.
        """
        coordinates = judge_kwargs.get("coordinates", COORDINATES[0])
        if coordinates not in COORDINATES:
            raise unknown_name("frame of coordinates", str(coordinates), COORDINATES)
        table = read_predictions(eval_file)
        ours = records_of(eval_file)
        scores = [self._score(row, coordinates, ours) for row in table]
        values: dict[str, list[float]] = {}
        for row, score in zip(table, scores, strict=True):
            for group in ("Overall", row["category"]):
                values.setdefault(group, []).append(score.value or 0.0)
        report = {group: 100 * sum(v) / len(v) for group, v in values.items()}
        report["format_error_rate"] = 100 * sum(s.reason == "format_error" for s in scores) / len(scores)
        dump(report, get_intermediate_file_path(eval_file, "_score", "json"))
        return report

    def _score(self, row: dict[str, str], coordinates: str, ours: dict[str, list[JsonObject]] | None) -> Score:
        text = row["prediction"]
        if INFER_FAIL_MSG in text:
            return Score(0.0, None, "failed")
        sample = self.samples[row["index"]]
        frame = None
        if row.get("extra_records"):  # of an earlier version
            frame = json.loads(row["extra_records"])["frame"]
        elif ours is not None:
            frame = _frame(row, ours)
        return self.task.score(sample, text, frame or file_frame(sample.images, coordinates))


def _frame(row: dict[str, str], ours: dict[str, list[JsonObject]]) -> JsonObject:
    """The frame in which an answer of ours was given.

    Raises:
        UserError: the side file does not have it.
    """
    given = [r for r in ours.get(row["index"], ()) if r.get("frame")]
    same = [r for r in given if r["prediction"] == row["prediction"]] or given
    if not same:
        raise UserError(
            f"sample {row['index']!r}: the file *{ENDING} in the model's folder has no frame of its coordinates; run "
            "again without --reuse."
        )
    frame: JsonObject = same[-1]["frame"]
    return frame


class MMLongBenchDoc(PageByPage):
    """MMLongBench-Doc page by page; without a judge, the answers are compared as they are (``no_judge``)."""

    def evaluate(self, eval_file: str, **judge_kwargs: Any) -> Any:
        """``Overall`` in percent by the kit's comparison, or what the kit's own evaluation with a judge gives."""
        if judge_kwargs.get("model") not in (None, EXACT):
            return super().evaluate(eval_file, **judge_kwargs)
        rows = {
            str(r["index"]): {str(k): plain(v) for k, v in r.items() if k != "image"} for _, r in self.data.iterrows()
        }
        values = []
        for given in read_predictions(eval_file):
            target = {"kind": "mmlongbench", "protocol": "no_judge", "row": rows[given["index"]]}
            values.append(kit_score(given["prediction"], target, {}).value or 0.0)
        report = {"Overall": 100 * sum(values) / len(values), "judge": "none"}
        dump(report, get_intermediate_file_path(eval_file, "_score", "json"))
        return report


def read_predictions(path: str) -> list[dict[str, str]]:
    """Rows of a prediction file with every cell as the text that was written.

    The kit's own reader lets pandas guess types: an answer "007" comes back as 7 and "NA" as a missing value.

    Raises:
        UserError: a format that the kit does not write.
    """
    suffix = Path(path).suffix
    if suffix == ".xlsx":
        table = pd.read_excel(path, dtype=str, keep_default_na=False)
    elif suffix == ".tsv":
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    elif suffix == ".json":
        return [
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
            for row in json.loads(Path(path).read_text(encoding="utf-8"))
        ]
    else:
        raise UserError(f"{path}: predictions in {suffix} are not read; set PRED_FORMAT to xlsx, tsv or json.")
    rows: list[dict[str, str]] = table.to_dict("records")
    return rows
