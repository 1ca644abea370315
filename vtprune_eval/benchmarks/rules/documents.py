"""Document metrics as VLMEvalKit (ms-vlmeval 0.0.20) computes them, without its judge.

Texts that upstream evaluates as Python (answer lists) are read as literals. Known traps are kept: ANLS divides by the
length of the unfolded strings, so blanks around a wrong answer raise its score; a target of 0 is compared as text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...sample import Score, graded, unreadable
from ..untrusted import Unreadable, literal
from .distance import edit_distance
from .geometry import mean

ANLS_THRESHOLD = 0.5
RELATIVE_CHANGE = 0.05
FORMULAS = "Handwritten Mathematical Expression Recognition"
NOT_ANSWERABLE = "Not answerable"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_NOTHING_RECEIVED = "Failed to obtain answer via API"
_PUNCTUATION = ".()[],:;!*#{}"
_RECOGNITION = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)
_IDENTICAL = (
    re.compile(r"\d+(-\d+|\s\d+)?"),
    re.compile(r"\d{4}[-\s]\d{2}[-\s]\d{2}"),
    re.compile(r"\d{4}[-\s]\d{2}"),
    re.compile(r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}"),
)


def accepted(answer: Any) -> list[str]:
    """Accepted answers: a list, the text of a list, or one text."""
    if isinstance(answer, str) and answer.startswith("[") and answer.endswith("]"):
        try:
            answer = literal(answer)
        except Unreadable:
            pass
    return [str(a) for a in answer] if isinstance(answer, (list, tuple)) else [str(answer)]


def anls(text: str, answer: Any) -> Score:
    """DocVQA, InfoVQA: best similarity over the accepted answers, 0 below 0.5.

    similarity = 1 - distance of the folded lower-case strings / length of the longer original (1 for two empty ones).
    """
    best = max(_similarity(a, text, ANLS_THRESHOLD) for a in accepted(answer))
    score = best if best >= ANLS_THRESHOLD else 0.0
    return graded(score, {"score": score})


def relaxed_accuracy(text: str, answer: Any) -> Score:
    """ChartQA: numbers within 5 % of a target that is not 0, else equality in lower case; best over the answers."""
    said = str(text).strip()
    hit = any(_relaxed(said, target) for target in accepted(answer))
    return graded(hit, {"score": float(hit)})


def ocrbench(text: str, answer: Any, category: str) -> Score:
    """OCRBench: an accepted answer is contained in the prediction.

    Lower case, stripped, line breaks to blanks; for handwritten formulas no blanks at all, and case is kept.
    """

    def folded(value: str) -> str:
        if category == FORMULAS:
            return value.strip().replace("\n", " ").replace(" ", "")
        return value.lower().strip().replace("\n", " ")

    said = folded(str(text))
    hit = any(folded(a) in said for a in accepted(answer))
    return graded(hit, {"score": int(hit), "category": category})


def ocrbench_report(scores: Sequence[Score]) -> dict[str, float]:
    """Counts of the five summed categories, ``Final Score`` and ``Final Score Norm`` (a tenth of it)."""
    right: dict[str, int] = {}
    for score in scores:
        category = score.parts["category"]
        right[category] = right.get(category, 0) + score.parts["score"]
    out: dict[str, float] = {"Text Recognition": sum(right.get(c, 0) for c in _RECOGNITION)}
    for category in ("Scene Text-centric VQA", "Doc-oriented VQA", "Key Information Extraction", FORMULAS):
        out[category] = right.get(category, 0)
    out["Final Score"] = sum(out.values())
    out["Final Score Norm"] = out["Final Score"] / 10
    return out


def mcq(text: str, choices: Mapping[str, Any], answer: str) -> Score:
    """AI2D with exact matching; ``parts``: ``option`` (``Z``: nothing could be read), ``hit``."""
    option = _option(str(text), choices) or _option_text(str(text), choices) or "Z"
    hit = option == answer
    parts = {"option": option, "hit": int(hit)}
    return graded(hit, parts) if hit or option != "Z" else unreadable("no_option", parts)


def mmlongbench(predicted: Any, answer: Any, answer_format: str) -> Score:
    """MMLongBench-Doc, the part after the judge: an extracted answer against the annotated one by its format."""
    try:
        rule = {"Int": _int, "Float": _float, "Str": _str}.get(answer_format, _list)
        score = float(rule(answer, predicted))
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        return unreadable(getattr(error, "reason", "not_comparable"), {"score": 0.0})
    return graded(score, {"score": score})


def mmlongbench_f1(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """F1 of recall (mean score over answerable questions) and precision (mean over questions that were answered).

    None ("not defined") where one of them has nothing to average, or both are 0: the reference divides by zero there.
    """
    recall = mean([r["score"] for r in rows if r["answer"] != NOT_ANSWERABLE])
    precision = mean([r["score"] for r in rows if r["pred"] != NOT_ANSWERABLE])
    if recall is None or precision is None or recall + precision == 0:
        return None
    return 2 * recall * precision / (recall + precision)


def _similarity(true: str, said: str, threshold: float) -> float:
    """1 - distance / length; any value below the threshold may be returned as 0 (lengths that differ too much)."""
    n = max(len(true.upper()), len(said.upper()))
    if n == 0:
        return 1.0
    a, b = " ".join(true.strip().lower().split()), " ".join(said.strip().lower().split())
    # The distance is at least the difference of the lengths.
    return 0.0 if 1 - abs(len(a) - len(b)) / n < threshold else 1 - edit_distance(a, b) / n


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _relaxed(said: str, target: str) -> bool:
    a, b = _number(said), _number(target)
    if a is not None and b:
        return abs(a - b) / abs(b) <= RELATIVE_CHANGE
    return said.lower() == target.lower()


def _option(text: str, choices: Mapping[str, Any]) -> str:
    if _NOTHING_RECEIVED in text:
        return ""
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    for mark in _PUNCTUATION:
        text = text.replace(mark, " ")
    words = text.split()
    named = [c for c in choices if c in words]
    if len(named) == 1:
        return named[0] if words.index(named[0]) > len(words) - 5 else ""
    return "Z" if not named and "Z" in words else ""


def _option_text(text: str, choices: Mapping[str, Any]) -> str:
    text = text.lower()
    if len(text) > 2 * sum(len(str(v)) for v in choices.values()):
        return ""
    found = [k for k, v in choices.items() if str(v).lower() in text]
    return found[0] if len(found) == 1 else ""


def _int(answer: Any, predicted: Any) -> bool:
    try:
        return int(answer) == int(float(predicted))
    except (ValueError, TypeError, OverflowError):
        return bool(answer == "")


def _float(answer: Any, predicted: Any) -> bool:
    try:
        true, said = float(_cleaned(answer)), float(_cleaned(predicted))
    except ValueError:
        _plain_float(answer)  # an unreadable annotation is an error, an unreadable prediction is wrong
        return False
    for item in (true / 100, true, true * 100):
        if math.isclose(item, said, rel_tol=0.01):
            return True
        digits = max(min(_decimals(said), _decimals(item)), 2)
        if math.isfinite(said) and math.isfinite(item) and round(said, digits) == round(item, digits):
            return True
    return False


def _plain_float(value: Any) -> float:
    return float(str(value).strip().rstrip("%").strip())


def _decimals(value: float) -> int:
    text = str(value)
    return len(text.split(".")[-1]) if "." in text else 3


def _str(answer: Any, predicted: Any) -> float:
    true, said = _cleaned(answer), _cleaned(predicted)
    return float(true == said) if _must_be_identical(true) else _strict_similarity(true, said)


def _list(answer: Any, predicted: Any) -> float:
    true, said = _as_list(answer), _as_list(predicted)
    if len(true) != len(said):
        return 0.0
    true, said = sorted(map(_cleaned, true)), sorted(map(_cleaned, said))
    if _is_float(true[0]) or _must_be_identical(true[0]):
        return float("-".join(true) == "-".join(said))
    return min(_strict_similarity(a, b) for a, b in zip(true, said, strict=True))


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        value = literal(value)
    return value if isinstance(value, list) else [value]


def _strict_similarity(true: str, said: str) -> float:
    """1 - distance / length without folding; values up to 0.5 become 0."""
    n = max(len(true.upper()), len(said.upper()))
    if n == 0:
        return 1.0
    if 1 - abs(len(true) - len(said)) / n <= ANLS_THRESHOLD:
        return 0.0
    value = 1 - edit_distance(true, said) / n
    return value if value > ANLS_THRESHOLD else 0.0


def _cleaned(value: Any) -> str:
    """Lower case without brackets and what they hold, outer quotes, a leading dollar or a trailing percent sign."""
    text = _without_brackets(str(value).lower().strip()).strip()
    if text[:1] in ("'", '"'):
        text = text[1:]
    if text[-1:] in ("'", '"'):
        text = text[:-1]
    return text.strip().lstrip("$").strip().rstrip("%").strip()


def _without_brackets(text: str) -> str:
    """Without every ``(...)`` and the blanks before it."""
    out, at, start = [], 0, text.find("(")
    while start >= 0:
        end = text.find(")", start)
        if end < 0:
            break
        out.append(text[at:start].rstrip())
        at = end + 1
        start = text.find("(", at)
    return "".join(out) + text[at:]


def _must_be_identical(true: str) -> bool:
    """Addresses, code files, pages, telephone-like numbers, dates, times, e-mail."""
    return (
        "https://" in true
        or true.endswith((".py", "ipynb"))
        or true.startswith("page")
        or "a.m." in true
        or "p.m." in true
        or any(p.fullmatch(true) for p in _IDENTICAL)
    )


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
