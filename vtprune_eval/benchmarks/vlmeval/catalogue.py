"""Which of VLMEvalKit's data sets are tasks of ours, as task definitions. Nothing of ``vlmeval`` is imported here.

A task has the name of the kit's data set. Its data are ``<name>.tsv`` in the folder of the environment variable
``LMUData`` (else ``~/LMUData``), or in the folder given with ``--data-path``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..spec import TaskSpec

READER = "vlmeval"
PREFIX = "vlmeval:"
_OTHER = re.compile(r"vlmeval:[A-Za-z0-9][A-Za-z0-9_.-]*")
DATA_ROOT = "LMUData"  # the kit's environment variable, in its own spelling


@dataclass(frozen=True)
class KitTask:
    """A data set of the kit.

    Attributes:
        kind: which of the kit's evaluations scores it: ``vqa``, ``ocrbench``, ``mcq``, ``gui``, ``mmlongbench``,
            ``olmocr``.
        title: for listings; the data are never shipped.
        licence: for listings; the data are never shipped.
        protocols: scoring rules, the default first. ``vlmeval`` is the kit's own metric code.
        max_new_tokens: limit of an answer.
    """

    kind: str
    title: str
    licence: str
    protocols: tuple[str, ...] = ("vlmeval",)
    max_new_tokens: int = 512  # PixelPrune, section 4.1: 16,384 for olmOCR-bench, 512 otherwise


_GUI = ("official", "vlmeval")
_SPLITS = {
    "ScreenSpot": ("Mobile", "Desktop", "Web"),
    "ScreenSpot_v2": ("Mobile", "Desktop", "Web"),
    "ScreenSpot_Pro": ("Development", "Creative", "CAD", "Scientific", "Office", "OS"),
}


class _Tasks(dict[str, KitTask]):
    """The listed data sets, and any other of the kit's as ``vlmeval:NAME``; whether the kit has it, and scores it
    without a judge, is known when its table is opened."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _OTHER.fullmatch(name) is not None)

    def __missing__(self, name: str) -> KitTask:
        if name not in self:
            raise KeyError(name)
        return KitTask("by class", f"VLMEvalKit's {kit_name(name)}", "see the data set")


def kit_name(task: str) -> str:
    """The kit's name of a task of ours."""
    return task.removeprefix(PREFIX)


KIT_TASKS = _Tasks(
    {
        "DocVQA_VAL": KitTask("vqa", "DocVQA, validation split (ANLS)", "research use, registration at rrc.cvc.uab.es"),
        "InfoVQA_VAL": KitTask(
            "vqa", "InfographicVQA, validation split (ANLS)", "research use, registration at rrc.cvc.uab.es"
        ),
        "ChartQA_TEST": KitTask("vqa", "ChartQA, test split (relaxed accuracy)", "GPL-3.0"),
        "OCRBench": KitTask("ocrbench", "OCRBench (containment)", "several sources, see the data set"),
        "AI2D_TEST": KitTask("mcq", "AI2D, test split (multiple choice, exact matching)", "see the data set"),
        "MMLongBench_DOC": KitTask(
            "mmlongbench",
            "MMLongBench-Doc, pages rendered at 144 dpi",
            "see the data set",
            protocols=("no_judge",),
        ),
        "olmOCRBench": KitTask(
            "olmocr", "olmOCR-bench, unit tests on pages of PDF documents", "ODC-BY", max_new_tokens=16384
        ),
        "OSWorld_G": KitTask("gui", "OSWorld-G as VLMEvalKit distributes it (boxes only)", "see the data set", _GUI),
        **{
            f"{name}_{split}": KitTask("gui", f"{name.replace('_', '-')} {split}", "see the data set", _GUI)
            for name, splits in _SPLITS.items()
            for split in splits
        },
    }
)


def definition(name: str) -> TaskSpec:
    """The task definition of a data set of the kit, as ``task.yaml`` would hold it."""
    task = KIT_TASKS[name]
    return TaskSpec(
        name=name,
        title=task.title,
        version=1,
        benchmark=READER,
        protocol=task.protocols[0],
        max_new_tokens=task.max_new_tokens,
        licence=task.licence,
        source=f"VLMEvalKit {kit_name(name)}.tsv",
        data_folder=default_folder(),
    )


def default_folder() -> Path:
    """Where the kit keeps its data: ``LMUData`` if that folder exists, else ``~/LMUData``."""
    named = os.environ.get(DATA_ROOT, "")
    return Path(named) if named and Path(named).is_dir() else Path.home() / "LMUData"
