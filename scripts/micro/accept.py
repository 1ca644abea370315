"""Whether a model is an instrument: what must hold of it before differences between methods mean anything.

Every rule compares two cells on the same samples, by the 95 % interval of their paired difference (bootstrap over
pages). ``passed`` needs evidence: the whole interval lies above the rule's bound. That one cell is not below another is
shown to within ``NEAR``. Where the interval leaves it open, more samples are needed and nothing is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vtprune_eval.results.stats import paired_difference

NEAR = 0.10  # points that count as "near", as shares
PASSED, FAILED, OPEN, MISSING = "passed", "FAILED", "open", "not measured"


@dataclass(frozen=True)
class Rule:
    """``better`` less ``worse`` on the same samples.

    Attributes:
        title: what it asks.
        better: cells.
        worse: cells.
        least: the true difference must be above it, as a share.
        margin: how far below ``least`` the interval may reach, and yet the rule passes.
        relative: of the accuracy of ``better``: ``least`` is that share of it.
    """

    title: str
    better: str
    worse: str
    least: float = 0.0
    margin: float = 0.0
    relative: bool = False


RULES = (
    Rule("accuracy does not fall with tokens: 25 % to 50 %", "resize 50 %", "resize 25 %", margin=NEAR),
    Rule("accuracy does not fall with tokens: 50 % to all", "full", "resize 50 %", margin=NEAR),
    Rule("accuracy does not fall with tokens: factor 0.7 to 1", "full", "full, factor 0.7", margin=NEAR),
    Rule("accuracy does not fall with tokens: factor 1 to 1.4", "full, factor 1.4", "full", margin=NEAR),
    Rule("resize does not beat full at PixelPrune's count", "full", "resize, as many", margin=NEAR),
    Rule("PixelPrune beats random at equal tokens", "pixelprune", "random, as many"),
    Rule("the oracle at 20 % is near full", "oracle 20 %", "full", least=-NEAR),
    Rule("without an image at most half is left", "full", "no image", least=0.5, relative=True),
)


def judge(rule: Rule, rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Verdict and the difference in words.

    Args:
        rule: of :data:`RULES`.
        rows: of one task, with ``cell``, ``scores`` and ``clusters``, in the samples' order.
    """
    cells = {row["cell"]: row for row in rows if "scores" in row}
    if rule.better not in cells or rule.worse not in cells:
        return MISSING, "-"
    better, worse = cells[rule.better], cells[rule.worse]
    floor = rule.least
    a, b = better["scores"], worse["scores"]
    if rule.relative:  # a - b > least * mean(a) as a - b - least * a > 0
        a, floor = [x * (1 - rule.least) for x in a], 0.0
    mean, low, high = paired_difference(a, b, better["clusters"])
    shown, *_ = paired_difference(better["scores"], b, better["clusters"])
    words = f"{100 * shown:+.1f}" + (
        "" if math.isnan(low) or rule.relative else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    )
    if math.isnan(low):
        return OPEN, words
    if high < floor or mean <= floor - rule.margin:
        return FAILED, words
    return (OPEN if low <= floor - rule.margin else PASSED), words


def accepted(rows: Sequence[dict[str, Any]]) -> tuple[list[tuple[str, str, str, str]], bool]:
    """Lines (task, rule, difference, verdict), and whether every rule passed on every task that can be asked.

    The oracle needs boxes: tasks without its cell are not asked for it where another task has it.
    """
    lines, tasks = [], list(dict.fromkeys(row["task"] for row in rows))
    for task in tasks:
        own = [row for row in rows if row["task"] == task]
        for rule in RULES:
            verdict, words = judge(rule, own)
            if not (rule.better.startswith("oracle") and verdict == MISSING and task.endswith("doc")):
                lines.append((task, rule.title, words, verdict))
    return lines, bool(lines) and all(verdict == PASSED for *_, verdict in lines)
