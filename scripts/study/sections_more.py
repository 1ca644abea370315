"""Experiments 6 to 10: effort, two questions, calibration, DeepStack, and what dropping the target costs."""

from __future__ import annotations

import math

from vtprune_eval.registry import method_class
from vtprune_eval.results.measures import agreement, calibration, effort, losses_by_cause

from . import twice
from .runs import BUDGETS, DECODER, SEEDS, TWICE, Record, Study, accuracy, designs, paired, spent
from .sections import JUDGED, NOT_RUN, head_rows, judged, outside_cells, table


def every_cell(study: Study, n_draws: int = SEEDS) -> list[tuple[str, str, list[Record]]]:
    """(method, budget, records) of all rows that tables of single cells have."""
    cells = head_rows(study)
    cells += [("resize", b, rows) for b in BUDGETS if (rows := study.cell("outside", "resize", b))]
    cells += [(m, b, rows) for _, m, b, rows in outside_cells(study, n_draws)]
    layers = ("random-layer", *designs("decoder layers", study.model.name))
    for method in layers:
        cells += [(method, b, r) for b in DECODER if (r := study.cell("layers", method, b, n_draws=n_draws))]
    return cells


def costs_of_answers(study: Study) -> str:
    """6: generated tokens, tokens per correct answer, agreement with full."""
    full = study.cell("blind", "full", "100")
    rows = []
    for method, budget, records in every_cell(study):
        cost, same = effort(records), agreement(records, full)
        per = cost["per_correct"]
        rows.append(
            [
                method,
                budget,
                accuracy(records),
                f"{cost['n_new']:.1f}",
                "-" if per is None else f"{per:.0f}",
                "-" if same is None else f"{100 * same:.0f}",
            ]
        )
    return table(rows, ("method", "budget", "accuracy", "new tokens", "tokens per correct", "agrees with full %"))


def two_questions(study: Study) -> str:
    """7: the second question of a page, compressed for itself against compressed for the first."""
    rows = []
    for method in TWICE:
        own, other = (twice.cell(study, method, side) for side in reversed(twice.SIDES))
        aware = "yes" if method_class(method).query_aware else "no"
        line = [method, aware, twice.budget_of(method), accuracy(other), accuracy(own)]
        rows.append((line, paired(own, other)))
    made = judged(rows)
    columns = ("method", "reads the question", "budget", "chosen for itself", "for the first", *JUDGED)
    blind = ", ".join(f"{m} {accuracy(r)}" for m, _, r in head_rows(study))
    return f"{table(made, columns)}\n\nReference, on the draw of the other sections: {blind or NOT_RUN}"


def calibrated(study: Study) -> str:
    """8: whether the probability of an answer says that it is right; of a random control the first draw."""
    rows = []
    for method, budget, records in every_cell(study, n_draws=1):
        found = calibration(records)
        if found:
            shown = (f"{100 * found[k]:.1f}" for k in ("accuracy", "confidence", "ece"))
            rows.append([method, budget, str(found["n"]), *shown, f"{found['brier']:.3f}"])
    return table(rows, ("method", "budget", "n", "accuracy", "mean probability %", "ECE %", "Brier"))


def deepstack(study: Study) -> str:
    """9: kept tokens with and without what DeepStack adds to them."""
    rows = []
    for method in ("random-tokens", "divprune"):
        for budget in BUDGETS:
            own, other = study.cell("outside", method, budget), study.cell(f"shallow-{method}", "shallow", budget)
            rows.append(([method, budget, accuracy(own), accuracy(other)], paired(own, other)))
    head = [[m, b, accuracy(r), "-", "-", "-", "-", "-"] for m, b, r in head_rows(study)]
    made = judged(rows)
    return table(head + made if made else [], ("method", "budget", "kept", "cut", *JUDGED))


def recall_and_accuracy(study: Study) -> str:
    """10: how much of a loss is the target dropped, and how much is there and not found; random: the first draw."""
    full = study.cell("blind", "full", "100", study.boxes)
    cells = [(m, b, [r for r in rows if r["task"] in study.boxes]) for m, b, rows in every_cell(study, 1)]
    cells += [("oracle", b, rows) for b in BUDGETS if (rows := study.cell("oracle", "oracle", b, study.boxes))]
    rows = []
    for method, budget, records in cells:
        found = losses_by_cause(records, full)
        if found:
            shares = [f"{100 * found[k]:.0f}" if not math.isnan(found[k]) else "-" for k in _KEPT]
            lost = f"{found['lost']:.0f}"
            rows.append([method, budget, spent(records), f"{100 * found['recall']:.0f}", accuracy(records)])
            rows[-1] += [lost, f"{found['dropped']:.0f}", f"{found['lost'] - found['dropped']:.0f}", *shares]
    head = ("method", "budget", "spent %", "target recall %", "accuracy", "lost", "target dropped", "target there")
    return table(rows, (*head, "right if kept %", "right if dropped %"))


_KEPT = ("right_if_kept", "right_if_dropped")
