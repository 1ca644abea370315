"""Ten experiments that settle what one table cannot: ``python scripts/experiments.py``.

Every experiment is a section of ``docs/experiments.md`` with paired statistics, on ``nano`` and, where its weights are
here, on ``micro``. Runs that are there are gone on with; the page is written from what has been finished, and says of
every comparison how many samples it has.

    python scripts/experiments.py --limit 24                       # everything that is missing, then the page
    python scripts/experiments.py --only 3,9                       # the runs of two sections
    python scripts/experiments.py --models micro --model-path DIR  # weights that are not shipped
    python scripts/experiments.py --page                           # the page alone
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from study import sections, sections_more, twice
from study.controls import PLACES
from study.notes import HEAD, NOTES
from study.runs import HORIZON, Study

from vtprune_eval.api import load_model
from vtprune_eval.commands.options import at_least_one
from vtprune_eval.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
TASKS = {"nano": ("mini-grounding", "mini-doc"), "micro": ("mini-large-grounding", "mini-large-doc")}
TWO_QUESTIONS = "twice"


@dataclass(frozen=True)
class Section:
    """A section of the page, what makes it, and the runs that it is made from."""

    title: str
    make: Callable[[Study], str]
    runs: tuple[str, ...]


_CELLS = ("blind", "outside", "layers")
SECTIONS = {
    1: Section(
        "Random against design per stage",
        sections.design_against_random,
        (*_CELLS, *(f"horizon-{k}" for k in HORIZON)),
    ),
    2: Section(
        "Resize at equal tokens and at equal FLOPs",
        sections.resize_against_all,
        (*_CELLS, "small", "layers-resize", "flops", "flops-behind"),
    ),
    3: Section("Positions of one mask", sections.positions, ("blind", *(f"placed-{p}" for p in PLACES))),
    4: Section("The target's place on the page", sections.by_place, ("blind", "outside")),
    5: Section("Without an image", sections.without_image, ("blind", "small")),
    6: Section("New tokens, tokens per correct answer, agreement", sections_more.costs_of_answers, _CELLS),
    7: Section("Two questions about a page", sections_more.two_questions, ("blind", TWO_QUESTIONS)),
    8: Section("Calibration", sections_more.calibrated, _CELLS),
    9: Section(
        "DeepStack kept and cut",
        sections_more.deepstack,
        ("blind", "outside", "shallow-random-tokens", "shallow-divprune"),
    ),
    10: Section("Target recall against accuracy", sections_more.recall_and_accuracy, (*_CELLS, "oracle")),
}


def answer(study: Study, numbers: list[int]) -> None:
    """Run what is missing for the sections."""
    wanted = {name for number in numbers for name in SECTIONS[number].runs}
    for name in study.runs:
        if name in wanted:
            study.answer(name)
    if TWO_QUESTIONS in wanted:
        twice.answer(study)


def page(studies: list[Study]) -> str:
    """The Markdown page."""
    n = {s.model.name: "; ".join(f"{name}: {s.answered(name)} samples" for name in s.tasks) for s in studies}
    parts = [HEAD.format(models="\n".join(f"- {model}: {text}" for model, text in n.items()))]
    parts.append((ROOT / "scripts" / "study" / "conclusions.md").read_text(encoding="utf-8"))  # read by hand
    for number, section in SECTIONS.items():
        parts.append(f"\n## {number}. {section.title}\n")
        parts.append(NOTES[number])
        for study in studies:
            parts.append(f"\n### {study.model.name}\n\n{section.make(study)}")
    return "\n".join(parts) + "\n"


def main() -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="nano,micro")
    parser.add_argument("--model-path", default=None, help="folder of micro's weights, where they are not shipped")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "experiments", help="where the runs are kept")
    parser.add_argument(
        "--limit", type=at_least_one, default=None, help="samples per task, a fixed draw (default: all)"
    )
    parser.add_argument("--only", help="comma-separated numbers of sections whose runs are made")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "experiments.md")
    args = parser.parse_args()
    asked = args.only.split(",") if args.only else list(map(str, SECTIONS))
    for given, known, option in (
        (asked, list(map(str, SECTIONS)), "--only"),
        (args.models.split(","), TASKS, "--models"),
    ):
        wrong = [name for name in given if name not in known]
        if wrong:
            parser.error(f"{option}: {', '.join(map(repr, wrong))} is none of {', '.join(known)}")
    numbers = [int(n) for n in asked]
    studies = []
    for name in args.models.split(","):
        try:
            model = load_model(name, **({"model_path": args.model_path} if name == "micro" and args.model_path else {}))
        except UserError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        studies.append(Study(model, TASKS[name], args.folder / name, args.limit))
        if not args.page:
            answer(studies[-1], numbers)
    if not any(study.done(name) for study in studies for name in study.runs):
        print(f"no run of {args.folder} has been finished, so that {args.out} is left as it is", file=sys.stderr)
        return 2
    args.out.write_text(page(studies), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
