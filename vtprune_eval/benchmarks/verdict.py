"""What a scoring rule of a benchmark returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """Outcome of one sample under one rule.

    Attributes:
        score: 0 to 1; an unreadable answer is 0, never missing.
        reason: ``ok``, ``wrong``, or why nothing could be compared (``not_a_literal``, ``no_point``, ...).
        detail: what the rule understood and its secondary measures, by the names of the rule's project.
        error: the exception with which the project's own code stops on this sample, empty where it does not.
        skipped: the project leaves the sample out of every count; here it counts with ``score``.
    """

    score: float
    reason: str = "ok"
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    skipped: bool = False


class RuleUndefined(ValueError):
    """A summary that the project's own code refuses to make for these results (asked for with ``upstream=True``)."""
