"""Experiments 1 to 5: random against design, resize, positions, the target's place, no image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from vtprune_eval.results.compare import adjust
from vtprune_eval.results.measures import image_needing, kept_by_band, third_of

from .controls import PLACES
from .runs import (
    BUDGETS,
    DECODER,
    FLOPS,
    HORIZON,
    HORIZON_AT,
    PLACED_AT,
    SEEDS,
    SMALL,
    STAGES,
    Record,
    Study,
    accuracy,
    designs,
    difference,
    paired,
    spent,
)

NOT_RUN = "Not run."
THIRDS = ("upper", "middle", "lower")


def table(rows: Iterable[Sequence[Any]], head: Sequence[str]) -> str:
    """A Markdown table, or the sentence that there is nothing in it."""
    rows = list(rows)
    return tabulate(rows, head, tablefmt="github", disable_numparse=True) if rows else NOT_RUN


def judged(rows: list[tuple[list[str], dict[str, Any] | None]]) -> list[list[str]]:
    """Rows with difference, pairs, adjusted p and verdict behind them; those without a comparison are left out."""
    found = [(row, c) for row, c in rows if c is not None]
    adjust([c for _, c in found])
    return [[*row, difference(c), str(c["n"]), f"{c['p_holm']:.2g}", c["verdict"]] for row, c in found]


JUDGED = ("difference (points), 95 %", "pairs", "p (Holm)", "verdict")


def head_rows(study: Study, tasks: Sequence[str] | None = None) -> list[tuple[str, str, list[Record]]]:
    """The rows of every table: the full model, and no image at all."""
    found = [("full", "100"), ("no-image", "auto")]
    return [(m, b, rows) for m, b in found if (rows := study.cell("blind", m, b, tasks))]


def outside_cells(study: Study, n_draws: int = SEEDS) -> list[tuple[str, str, str, list[Record]]]:
    """(stage, method, budget, records) of all methods but those inside the decoder, which go by other budgets."""
    out = []
    for stage, (control, _) in STAGES.items():
        if stage != "decoder layers":
            for method in (control, *designs(stage, study.model.name)):
                out += [(stage, method, b, study.cell("outside", method, b, n_draws=n_draws)) for b in BUDGETS]
    return [cell for cell in out if cell[3]]


def design_against_random(study: Study) -> str:
    """1: every design against its stage's random control at equal tokens, and from which layer on it matters."""
    rows, lines = [], []
    for stage, (control, _) in STAGES.items():
        name, budgets = ("layers", DECODER) if stage == "decoder layers" else ("outside", BUDGETS)
        for method in designs(stage, study.model.name):
            for budget in budgets:
                own, other = study.cell(name, method, budget), study.cell(name, control, budget)
                line = [stage, method, f"{budget} %", spent(own), accuracy(own), accuracy(other)]
                rows.append((line, paired(own, other)))
    for layer in HORIZON:
        own = study.cell(f"horizon-{layer}", "fastv", HORIZON_AT)
        other = study.cell(f"horizon-{layer}", "random-layer", HORIZON_AT)
        lines.append(([str(layer), spent(own), accuracy(own), accuracy(other)], paired(own, other)))
    columns = ("stage", "method", "budget", "spent %", "accuracy", "random, 5 draws", *JUDGED)
    blind = ", ".join(f"{m} {accuracy(r)}" for m, _, r in head_rows(study))
    return (
        f"{table(judged(rows), columns)}\n\nReference: {blind or NOT_RUN}\n\n"
        f"From which layer on: {HORIZON_AT} % of the tokens are left from layer k on (the reading `paper`: the layers "
        "before see all), chosen by FastV's attention or at random.\n\n"
        + table(judged(lines), ("k", "spent %", "fastv", "random, 5 draws", *JUDGED))
    )


def resize_against_all(study: Study) -> str:
    """2: resize at equal tokens and at equal FLOPs, on all samples and on those that need the image."""
    needing = needing_image(study)
    rows = []
    for _, method, budget, own in outside_cells(study):
        rows.append(_against_resize([method, f"{budget} %"], own, study.cell("outside", "resize", budget), needing))
    for method in designs("decoder layers", study.model.name):
        own, other = study.cell("layers", method, DECODER[1]), study.cell("layers-resize", "resize", DECODER[1])
        if own and other:
            rows.append(_against_resize([method, f"{DECODER[1]} %"], own, other, needing))
    lines = []
    for name, budget in zip(("flops", "flops-behind"), FLOPS, strict=True):
        for method in map(str, study.runs[name].methods[1:]):
            own, other = study.cell(name, method, budget), study.cell(name, "resize", budget)
            lines.append(_against_resize([method, budget], own, other, needing))
    columns = ("method", "budget", "accuracy", "resize", "needing: method", "needing: resize", *JUDGED)
    head = [
        [m, "-", accuracy(r), "-", accuracy(_only(r, needing)), "-", "-", "-", "-", "-"] for m, _, r in head_rows(study)
    ]
    made = judged(rows) + judged(lines)
    total = len(study.cell("blind", "full", "100"))
    return f"{len(needing)} of {total} samples need the image (section 5).\n\n" + table(
        head + made if made else [], columns
    )


def _against_resize(
    line: list[str], own: list[Record], other: list[Record], needing: set[str]
) -> tuple[list[str], dict[str, Any] | None]:
    parts = [accuracy(own), accuracy(other), accuracy(_only(own, needing)), accuracy(_only(other, needing))]
    return [*line, *parts], paired(own, other)


def _only(records: Sequence[Record], ids: set[str]) -> list[Record]:
    return [r for r in records if r["id"] in ids]


def needing_image(study: Study) -> set[str]:
    """Samples that no image, and resizing to a tenth of the tokens, get wrong; none where one of both was not run."""
    blind, small = study.cell("blind", "no-image", "auto"), study.cell("small", "resize", SMALL)
    return image_needing([blind, small]) if blind and small else set()


def positions(study: Study) -> str:
    """3: one random mask, and what its dropped tokens leave."""
    kept = study.cell("placed-kept", "placed", PLACED_AT)
    rows = [
        ([place, _entered(own), accuracy(own)], paired(own, kept))
        for place in PLACES
        if place != "kept" and (own := study.cell(f"placed-{place}", "placed", PLACED_AT))
    ]
    head = [[m, _entered(r), accuracy(r), "-", "-", "-", "-"] for m, _, r in head_rows(study)]
    head += [["kept", _entered(kept), accuracy(kept), "-", "-", "-", "-"]] if kept else []
    return table(head + judged(rows) if rows else [], ("positions", "tokens that enter", "accuracy", *JUDGED))


def _entered(records: Sequence[Record]) -> str:
    done = [sum(r["counts"]["visual"]) for r in records if r["counts"]]
    return f"{sum(done) / len(done):.1f}" if done else "-"


def by_place(study: Study) -> str:
    """4: accuracy and kept share by the third of the page in which the target stands."""
    height = {f"{name}/{sample.id}": sample for name in study.boxes for sample in study.loaded[name].samples}
    cells = [(m, b, study.cell("blind", m, b, study.boxes)) for m, b, _ in head_rows(study)]
    cells += [("resize", b, study.cell("outside", "resize", b, study.boxes)) for b in BUDGETS]
    cells += [(m, b, _of(rows, study.boxes)) for _, m, b, rows in outside_cells(study)]
    rows = []
    for method, budget, records in cells:
        thirds: list[list[Record]] = [[], [], []]
        for record in records:
            if record["frame"]:
                third = third_of(height[record["id"]], record["frame"]["file_sizes"][-1][1])
                if third is not None:
                    thirds[third].append(record)
        bands = [b for r in records if (b := kept_by_band(r)) is not None]
        shares = [f"{100 * v:.0f}" for v in np.nanmean(bands, 0)] if bands else ["-"] * 3
        if any(thirds):
            rows.append([method, budget, *(accuracy(t) for t in thirds), *shares])
    counts = [sum(len(t) for t in thirds)] if rows else []
    head = ("method", "budget", *(f"target {t}" for t in THIRDS), *(f"kept {t} %" for t in THIRDS))
    return table(rows, head) + (f"\n\n{counts[0]} targets per row; kept shares of the first draw." if counts else "")


def _of(records: Sequence[Record], tasks: Sequence[str]) -> list[Record]:
    return [r for r in records if r["task"] in tasks]


def without_image(study: Study) -> str:
    """5: what is answered without looking, per task."""
    rows = []
    for task in study.tasks:
        for name, method, budget in (
            ("blind", "full", "100"),
            ("blind", "no-image", "auto"),
            ("small", "resize", SMALL),
        ):
            records = study.cell(name, method, budget, (task,))
            if records:
                rows.append([task, f"{method} {budget}", str(len(records)), accuracy(records)])
    needing = needing_image(study)
    note = f"\n\n{len(needing)} samples are wrong both without an image and at {SMALL} % by resizing: they need it."
    return table(rows, ("task", "row", "n", "accuracy")) + (note if needing else "")
