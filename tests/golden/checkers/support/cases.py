"""Running golden cases of a metric file against the rules, and comparing results within the file's tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vtprune_eval.benchmarks.untrusted import Unreadable
from vtprune_eval.sample import Score

Case = tuple[str, str | None]
Rule = Callable[[Mapping[str, Any]], Any]
# Expected floats are written with six to nine decimals, also in files that state no tolerance.
DEFAULT_TOLERANCE = 1e-6


def run(data: Mapping[str, Any], rules: Mapping[str, Rule], key: str = "kind") -> Iterator[Case]:
    """One (id, failure) per case; a kind without a rule is a failure."""
    tolerance = data.get("tolerance", DEFAULT_TOLERANCE)
    for case in data["cases"]:
        name = case["id"]
        rule = rules.get(case.get(key, ""))
        if rule is None:
            yield name, f"no rule for {key} {case.get(key)!r}"
            continue
        yield name, judge(case, rule, tolerance)


def judge(case: Mapping[str, Any], rule: Rule, tolerance: float) -> str | None:
    """None if the rule agrees with the case. Where the reference raises, a refusal with a reason is agreement, and so
    is a wrong score that says why; where it skips a sample, the score must say so."""
    expected = case["expected"]
    try:
        got = rule(case)
    except (Unreadable, ValueError) as error:
        return None if "error" in expected else f"refused ({error}) instead of {expected}"
    if "error" in expected:
        if isinstance(got, Score) and got.value == 0 and (got.why or got.reason not in ("ok", "wrong")):
            return None
        return None if got is None else f"{got} where the reference raises {expected['error']}"
    if expected.get("skipped") is True:
        return None if isinstance(got, Score) and got.skipped else "not marked as skipped"
    return difference(expected, got.parts if isinstance(got, Score) else got, tolerance)


def difference(expected: Any, got: Any, tolerance: float, where: str = "") -> str | None:
    """The first difference; additional keys of ``got`` are allowed, missing ones are not."""
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return f"{where or 'result'}: {got!r} instead of {expected!r}"
        for key, value in expected.items():
            if key not in got:
                return f"{where}.{key} is missing"
            found = difference(value, got[key], tolerance, f"{where}.{key}")
            if found:
                return found
        return None
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return f"{where or 'result'}: {got!r} instead of {expected!r}"
        pairs = enumerate(zip(expected, got, strict=True))
        parts = (difference(a, b, tolerance, f"{where}[{i}]") for i, (a, b) in pairs)
        return next((p for p in parts if p), None)
    numbers = isinstance(expected, (int, float)) and isinstance(got, (int, float))
    same = math.isclose(expected, got, rel_tol=0, abs_tol=tolerance) if numbers else expected == got
    return None if same else f"{where or 'result'}: {got!r} instead of {expected!r}"
