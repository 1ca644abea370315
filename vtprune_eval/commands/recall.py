"""``recall`` and ``redundancy``: what methods before the ViT keep of targets, how redundant images are; no model."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..budget import Budget
from ..console import Parser
from ..errors import UserError
from ..naming import split_outside, typed_settings

BUDGETS = ("1", "5", "10", "20", "30", "40", "60", "80")


def _parser(name: str, about: str, tasks: str) -> Parser:
    p = Parser(name, description=about)
    p.add_argument("--tasks", "--task", default=tasks, metavar="T,...", help=f"tasks or suites (default {tasks})")
    p.add_argument(
        "--model", default="qwen3vl-2b", help="whose image size rules (default qwen3vl-2b); nothing is loaded"
    )
    p.add_argument("--model-path", help="hub-format folder whose processor settings are used instead of the defaults")
    p.add_argument("--data-path", help="folder of the data of a task that is not embedded")
    p.add_argument("--limit", type=int, help="samples per task, a fixed draw")
    p.add_argument("--out", metavar="FILE", help="also write one JSON line per image and per sample and cell")
    p.add_argument("--format", choices=("table", "md", "csv", "json"), default="table")
    return p


def recall(argv: Sequence[str]) -> int:
    """Target recall per method and budget; returns the exit code.

    Raises:
        UserError: a method that needs a model, an unknown name, no data.
    """
    p = _parser("recall", "Share of the target's blocks that methods before the ViT keep; no model.", "web-grounding")
    p.add_argument("--method", "--methods", dest="methods", metavar="M,...", help="default: all that need no model")
    p.add_argument("--budget", "--budgets", dest="budgets", metavar="B,...", default=",".join(BUDGETS),
                   help=f"as in a run (default {','.join(BUDGETS)})")  # fmt: skip
    p.add_argument("--set", dest="params", action="append", default=[], metavar="METHOD.KEY=V[,V...]")
    p.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    given = p.parse_args(list(argv))
    from ..models import image_rules
    from ..runner import sweeps
    from ..runner.survey import make_cells

    names = _split("--method", given.methods) if given.methods is not None else list(_before_vit())
    asked = [Budget.parse(text) for text in _split("--budget", given.budgets)]
    told = next((b for b in asked if b.kind == "flops"), None)
    if told is not None:
        raise UserError(
            f"--budget {told}: FLOPs are those of a model and its prompt, and none is loaded here; ask for percent, a "
            "number of tokens (256tok), auto or like:METHOD."
        )
    params = _params(given.params)
    rules = image_rules(given.model, given.model_path)

    def copied(name: str) -> Any:
        return sweeps.made(name, params, shared=False)[0]

    cells: list[Any] = []
    for name in (v for n in names for v in sweeps.variants(n, params)):
        budgets = [b for budget in asked for b in sweeps.budgets_of(name, budget, names, params)]
        methods = [(name, sweeps.made(name, params, shared=False))]
        cells += make_cells(given.model, rules, methods, budgets, given.seed, copied)
    return _report(given, _rows_of(given, rules, cells), _RECALL)


def redundancy(argv: Sequence[str]) -> int:
    """Duplicate and unique blocks and PixelPrune's retain ratios per task; returns the exit code.

    Raises:
        UserError: an unknown task, no data.
    """
    given = _parser(
        "redundancy", "Duplicate blocks (PixelPrune's Table 9) and retain ratios of images; no model.", "mini"
    ).parse_args(list(argv))
    from ..models import image_rules

    return _report(given, _rows_of(given, image_rules(given.model, given.model_path), ()), _REDUNDANCY)


def _split(option: str, text: str) -> list[str]:
    """The names of a list.

    Raises:
        UserError: an empty one, or none at all: a table without rows would look like a result.
    """
    names = [part.strip() for part in split_outside(text, ",")]
    if not all(names):
        raise UserError(f"{option}: an empty name stands in {text!r}; leave it out, or name one.")
    return names


def _before_vit() -> Iterator[str]:
    """Every method whose hooks run before the ViT, ``full`` first."""
    from ..registry import method_class, method_names
    from ..runner.survey import BEFORE_VIT

    for name in sorted(method_names(), key=lambda n: (n != "full", n)):
        try:
            hooks = method_class(name).hooks()
        except UserError:  # a broken package is told by `list methods`
            continue
        if all(h in BEFORE_VIT for h in hooks):
            yield name


def _params(items: Sequence[str]) -> dict[str, Any]:
    from ..runner.sweeps import checked

    out = typed_settings(items)
    bare_key = next((key for key in out if "." not in key), None)
    if bare_key is not None:
        raise UserError(f"--set {bare_key}: write METHOD.KEY=VALUE, for example --set pixelprune.tau=0.02.")
    return checked(out)


@dataclasses.dataclass
class _Found:
    """All that a survey of one task says."""

    task: str
    samples: int
    images: list[Any] = dataclasses.field(default_factory=list)
    kept: list[Any] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    unmet: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)


def _rows_of(given: argparse.Namespace, rules: Any, cells: Sequence[Any]) -> list[_Found]:
    from tqdm import tqdm

    from ..benchmarks.definitions import SUITES
    from ..benchmarks.prompts import style_of
    from ..benchmarks.tasks import load_task
    from ..models import check_model_name
    from ..runner.survey import survey

    names = list(dict.fromkeys(task for name in _split("--tasks", given.tasks) for task in SUITES.get(name, (name,))))
    if given.data_path and len(names) > 1:
        raise UserError("--data-path belongs to one task; look at the tasks one at a time.")
    if given.limit is not None and given.limit < 1:
        raise UserError(f"--limit={given.limit}: a whole number of at least 1 is needed.")
    style = style_of(given.model, check_model_name(given.model).family)
    tasks = [load_task(name, given.limit, given.data_path, style=style) for name in names]
    found = []
    with tqdm(total=sum(len(t.samples) for t in tasks), file=sys.stderr, unit="sample", mininterval=0.5) as bar:
        for task in tasks:
            own = _Found(task.name, len(task.samples))
            for facts, kept in survey(task.samples, rules, cells, failed=own.failed, unmet=own.unmet):
                own.images += facts
                own.kept += kept
                bar.update(len({k.sample for k in kept}) if cells else len(facts))
            found.append(own)
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def redundancy_row(task: str, images: Sequence[Any]) -> dict[str, Any]:
    """One line of the redundancy table: sums over all images, as PixelPrune's tables (not means of ratios)."""
    blocks = sum(i.blocks for i in images)
    row: dict[str, Any] = {
        "task": task,
        "images": len(images),
        "mean_width": _mean([i.size[0] for i in images]),
        "mean_height": _mean([i.size[1] for i in images]),
        "blocks": blocks,
        "duplicate_pct": 100 * sum(i.duplicated for i in images) / blocks,
        "unique_pct": 100 * sum(i.unique for i in images) / blocks,
    }
    for scan in images[0].retained:
        row[f"retain_{scan}_pct"] = 100 * sum(i.retained[scan] for i in images) / blocks
    return row


def recall_rows(task: str, kept: Sequence[Any]) -> list[dict[str, Any]]:
    """Lines of the recall table, one per method and budget, in the order in which the cells were given."""
    cells: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for k in kept:
        cells[k.method, k.budget].append(k)
    rows = []
    for (method, budget), own in cells.items():
        recalls = [k.recall for k in own if k.recall is not None]
        rows.append(
            {
                "task": task,
                "method": method,
                "budget": "-" if method == "full" else budget,
                "kept_pct": 100 * sum(k.tokens for k in own) / sum(k.tokens_full for k in own),
                "target_recall_pct": None if not recalls else 100 * sum(recalls) / len(recalls),
                "whole_target_pct": None if not recalls else 100 * sum(r == 1 for r in recalls) / len(recalls),
                "lost_target_pct": None if not recalls else 100 * sum(r == 0 for r in recalls) / len(recalls),
                "targets": len(recalls),
            }
        )
    return rows


_REDUNDANCY = ("task", "images", "mean_width", "mean_height", "duplicate_pct", "unique_pct", "retain_pred_2d_pct",
               "retain_raster_pct", "retain_serpentine_pct")  # fmt: skip
_RECALL = (
    "task",
    "method",
    "budget",
    "kept_pct",
    "target_recall_pct",
    "whole_target_pct",
    "lost_target_pct",
    "targets",
)


def _report(given: argparse.Namespace, found: Sequence[_Found], columns: Sequence[str]) -> int:
    images = [redundancy_row(f.task, f.images) for f in found if f.images]
    rows = [row for f in found for row in recall_rows(f.task, f.kept)] if columns is _RECALL else images
    if given.out:
        _write(Path(given.out), found)
    if given.format == "json":
        unmet = [
            {"task": f.task, "method": method, "budget": budget, "samples": n}
            for f in found
            for (method, budget), n in f.unmet.items()
        ]
        failed = [s for f in found for s in f.failed]
        print(json.dumps({"rows": rows, "redundancy": images, "failed": failed, "unmet": unmet}, indent=2))
    elif given.format == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        print(out.getvalue().rstrip("\n"))
    else:
        print(_text(rows, columns, given.format))
        if columns is _RECALL and images:
            print("\n" + _text(images, _REDUNDANCY, given.format))
    for own in found:
        for sentence in own.failed:
            print(f"vtprune_eval: not looked at: {own.task}, {sentence}", file=sys.stderr)
        for method in dict.fromkeys(method for method, _ in own.unmet):
            numbers = ", ".join(f"{budget} on {n}" for (m, budget), n in own.unmet.items() if m == method)
            print(
                f"vtprune_eval: {own.task}: {method} cannot meet its budget on every sample, and those are in none of "
                f"its rows (of {own.samples} samples: {numbers})",
                file=sys.stderr,
            )
    return int(any(own.failed for own in found))


def _text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], form: str) -> str:
    from tabulate import tabulate

    heads = [c.replace("_pct", " %").replace("_", " ").replace("pred 2d", "pred-2d") for c in columns]
    lines = [[_shown(row.get(c)) for c in columns] for row in rows]
    return tabulate(lines, headers=heads, tablefmt="github" if form == "md" else "simple", disable_numparse=True)


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _write(path: Path, found: Sequence[_Found]) -> None:
    try:
        with path.open("w", encoding="utf-8") as out:
            for own in found:
                for kind, items in (("image", own.images), ("kept", own.kept)):
                    for item in items:
                        line = {"kind": kind, "task": own.task, **dataclasses.asdict(item)}
                        out.write(json.dumps(line, separators=(",", ":")) + "\n")
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror}); choose another place.") from None
