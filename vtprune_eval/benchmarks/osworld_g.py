"""OSWorld-G: lmms-eval's rule (``official``), FocusUI's for pointer models, VLMEvalKit's.

Boxes are left, top, width, height in fractional pixels, kept in float64 and never rounded. A refusal item is right only
if both coordinates are negative; a refusal in words is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..json_values import JsonObject
from ..sample import Score, graded, unreadable
from .base import Item, Records, need, numbers
from .benchmark import FixedRules, Frame, Record, Rule, Truth
from .formats.listed import Listed
from .formats.spans import load_json
from .grammars.pointing import pointed, vlmeval_point
from .rules.geometry import as_corners, fractions_of, inside, inside_polygon, mean, ordered, pair_or_none
from .rules.pointed import kit_enter, the_point
from .spec import TaskSpec
from .untrusted import Unreadable, bounded

_NUM = r"-?\d+(?:\.\d+)?%?"
_NUMBER = re.compile(_NUM)
_TAG = re.compile(r"<\s*bbox", re.IGNORECASE)
_END_TAG = re.compile(r"<\s*/\s*bbox\s*>", re.IGNORECASE)
# One comma or at least one blank between the numbers.
_BRACKETED = re.compile(rf"[\[(]\s*({_NUM})(?:\s*,\s*|\s+)({_NUM})\s*[\])]")
_X = re.compile(rf"x['\"]?\s*[:=]\s*({_NUM})", re.IGNORECASE)
_Y = re.compile(rf"y['\"]?\s*[:=]\s*({_NUM})", re.IGNORECASE)
_BOX_WORDS = ("box", "rect")


class _Records(Listed):
    """``OSWorld-G.json`` or ``OSWorld-G_refined.json`` (setting ``file``), ``images/``, and where it lies beside them
    ``classification_result.json``. A record without an annotation is shown and not scored."""

    image_key = "image_path"

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        path = next(
            (p for p in (folder / spec.setting("file"), folder / "records.json") if p.is_file()),
            folder / spec.setting("file"),
        )
        self._categories: dict[str, list[str]] = {}
        classes = folder / "classification_result.json"
        if classes.is_file():
            for category, ids in need(load_json(classes), "classified", classes.name, dict).items():
                for own in ids:
                    self._categories.setdefault(str(own), []).append(category)
        super().__init__(folder, [("", path)])

    def note(self, record: Any) -> tuple[str | None, str]:
        own, stem = super().note(record)
        return own, stem or (Path(str(record.get("image", ""))).stem if isinstance(record, dict) else "")

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        image = self._images.find(Path(self._name(record, where)).name, where)
        target: JsonObject = {"type": "none"}
        kind = ""
        if {"box_type", "box_coordinates"} & record.keys():  # half an annotation is a changed format
            kind = need(record, "box_type", where, str).lower()
            n = 4 if kind == "bbox" else None
            stored = [] if kind == "refusal" else numbers(record, "box_coordinates", where, n)
            target = {
                "type": "region",
                "truth": {
                    "box_type": kind,
                    "box_coordinates": stored or list(record.get("box_coordinates") or []),
                    "image_size": numbers(record, "image_size", where, 2),
                },
            }
            if kind == "bbox":
                target["box_xyxy"] = list(as_corners(stored))
        return Item(
            id=id,
            images=(image,),
            fields={"instruction": need(record, "instruction", where, str)},
            target=target,
            meta={"box_type": kind, "categories": self._categories.get(id, [])},
        )

    @staticmethod
    def _name(record: Any, where: str) -> str:
        if isinstance(record, dict) and "image_path" not in record and "image" in record:
            return need(record, "image", where, str)
        return need(record, "image_path", where, str)


def _official(said: Any, truth: Truth, frame: Frame) -> Score:
    """``said``: a point, and whether it is known to be in fractions."""
    (x, y), fractions = said
    if fractions:  # outside of the screen, too: a refusal is a point with negative coordinates
        x, y = x * truth["image_size"][0], y * truth["image_size"][1]
        return in_region((x, y), truth)
    return compare((x, y), truth)


def _focusui(said: Any, truth: Truth, frame: Frame) -> Score:
    return focusui(said, truth)


def _kit(said: Any, truth: Truth, frame: Frame) -> Score:
    return compare_kit(said[0], truth)


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return error.score({"correct": False, "box_type": str(truth.get("box_type", "")).lower(), "parsed": None})


def _origin(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    """The kit reads an answer without a point as (0, 0); a click that holds no numbers is a format error."""
    if error.reason == "not_a_number":
        return error.score({"correct": 0, "wrong_format": 1})
    return compare_kit((0.0, 0.0), truth)


class OSWorldG(FixedRules):
    """``truth``: ``box_type``, ``box_coordinates``, ``image_size``."""

    name = "osworld_g"
    groups = ("box_type", "categories")
    settings = ("file",)
    _rules = {  # noqa: RUF012
        "official": Rule(
            _official,
            enter=lambda action, grammar, frame: (the_point(action, grammar, frame), True),
            readers={"lmms": lambda text, frame: (read_point(text), False)},
            understand=pointed,
            refused=_refused,
        ),
        "focusui": Rule(_focusui, enter=the_point, understand=pointed, refused=_refused),
        "vlmeval": Rule(
            _kit,
            enter=kit_enter,
            readers={"pyautogui": lambda text, frame: (kit_fraction(text), False)},
            understand=pointed,
            refused=_origin,
        ),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Records(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        return report(
            [
                {
                    "correct": r["score"] == 1,
                    "box_type": r["meta"].get("box_type"),
                    "categories": r["meta"].get("categories") or (),
                }
                for r in records
            ]
        )


def read_point(text: Any) -> tuple[float, float]:
    """lmms-eval's reading, in this order: four numbers in a ``bbox`` tag (their centre); two numbers in brackets;
    ``x: .. y: ..``; four numbers if a word like box or rect occurs (centre); the first two numbers.

    A trailing percent sign divides by 100.

    Raises:
        Unreadable: fewer than two numbers.
    """
    text = bounded(text)
    tagged = _tagged(text)
    if len(tagged) >= 4:
        return _centre(tagged)
    pair = _BRACKETED.search(text)
    if pair:
        return _value(pair[1]), _value(pair[2])
    x = _X.search(text)
    y = _Y.search(text, x.end()) if x else None
    if x and y:
        return _value(x[1]), _value(y[1])
    numbers = _NUMBER.findall(text)
    if len(numbers) >= 4 and any(word in text.lower() for word in _BOX_WORDS):
        return _centre(numbers)
    if len(numbers) < 2:
        raise Unreadable("no_point", "")
    return _value(numbers[0]), _value(numbers[1])


def official(text: Any, item: Mapping[str, Any]) -> Score:
    """lmms-eval's rule on a text; see :func:`compare`."""
    try:
        return compare(read_point(text), item)
    except Unreadable as error:
        return _refused(error, item, {})


def compare(point: tuple[float, float], item: Mapping[str, Any]) -> Score:
    """lmms-eval's rule.

    Args:
        point: as read; both numbers in [0, 1] are fractions, else pixels.
        item: ``image_size``, ``box_type`` (``bbox``, ``polygon``, ``refusal``), ``box_coordinates``.

    Returns:
        ``parts``: ``correct``, ``box_type``, ``parsed`` (the numbers as read, or None).
    """
    x, y = point
    if 0 <= x <= 1 and 0 <= y <= 1:
        x, y = x * item["image_size"][0], y * item["image_size"][1]
    found = in_region((x, y), item)
    return replace(found, parts={**found.parts, "parsed": list(point)})


def in_region(point: tuple[float, float], item: Mapping[str, Any]) -> Score:
    """Is a point in pixels in the target's region?"""
    kind = str(item.get("box_type", "")).lower()
    hit = _in_region(point, kind, item.get("box_coordinates") or [])
    return graded(hit, {"correct": hit, "box_type": kind, "parsed": list(point)})


def focusui(point: Any, item: Mapping[str, Any]) -> Score:
    """FocusUI and GUI-Actor: a point, as fractions if both are in [0, 1], against the region as fractions."""
    at = pair_or_none(point)
    kind = str(item.get("box_type", "")).lower()
    if at is None:
        return unreadable("no_point", {"correct": False, "box_type": kind})
    width, height = item["image_size"]
    x, y = at
    if not (0 <= x <= 1 and 0 <= y <= 1):
        x, y = x / width, y / height
    stored = item.get("box_coordinates") or []
    if kind == "bbox":
        hit = inside((x, y), fractions_of(as_corners(stored), (width, height)))
    else:
        hit = _in_region((x, y), kind, [v / (height if i % 2 else width) for i, v in enumerate(stored)])
    return graded(hit, {"correct": hit, "box_type": kind})


def kit_fraction(text: Any) -> tuple[float, float]:
    """VLMEvalKit's reading: coordinates divided by 1000, whatever they are; an unreadable answer is (0, 0).

    Raises:
        Unreadable: a click whose coordinates are no numbers.
    """
    x, y = vlmeval_point(text)
    return x / 1000, y / 1000


def vlmeval(text: Any, item: Mapping[str, Any]) -> Score:
    """VLMEvalKit's rule on a text; see :func:`compare_kit`."""
    try:
        return compare_kit(kit_fraction(text), item)
    except Unreadable as error:
        return error.score({"correct": 0, "wrong_format": 1})


def compare_kit(point: tuple[float, float], item: Mapping[str, Any]) -> Score:
    """VLMEvalKit: the first four stored numbers as x, y, width, height, even for polygons and refusals."""
    stored = list(item["box_coordinates"][:4])
    width, height = item["image_size"]
    safe = [0 if v == -1 else v for v in (stored[0], stored[1], stored[0] + stored[2], stored[1] + stored[3])]
    hit = inside(point, fractions_of(safe, (width, height)))
    return graded(hit, {"correct": int(hit), "wrong_format": 0})


def report(results: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Share of right items overall and per box type (0 where there is none), and per category where given.

    Args:
        results: ``correct``, ``box_type``, optional ``categories`` (an item with two counts in both).
    """

    def share(rows: Sequence[Mapping[str, Any]]) -> float:
        return mean([float(bool(r["correct"])) for r in rows]) or 0.0

    out: JsonObject = {"overall": share(results), "n": len(results)}
    for kind in ("bbox", "polygon", "refusal"):
        out[kind] = share([r for r in results if r.get("box_type") == kind])
    names = dict.fromkeys(c for r in results for c in r.get("categories", ()))
    out["by_category"] = {c: share([r for r in results if c in r.get("categories", ())]) for c in names}
    return out


def _in_region(point: tuple[float, float], kind: str, stored: Sequence[float]) -> bool:
    if kind == "bbox":
        return len(stored) == 4 and inside(point, as_corners(stored))
    if kind == "polygon":
        # Four numbers are two corners, not a polygon of two points.
        return inside(point, ordered(stored)) if len(stored) == 4 else inside_polygon(point, stored)
    return kind == "refusal" and point[0] < 0 and point[1] < 0


def _tagged(text: str) -> list[str]:
    """Numbers inside the first bbox tag."""
    start = _TAG.search(text)
    opened = text.find(">", start.end()) if start else -1
    end = _END_TAG.search(text, opened + 1) if opened >= 0 else None
    return _NUMBER.findall(text[opened + 1 : end.start()]) if end else []


def _centre(tokens: Sequence[str]) -> tuple[float, float]:
    x1, y1, x2, y2 = (_value(t) for t in tokens[:4])
    return (x1 + x2) / 2, (y1 + y2) / 2


def _value(token: str) -> float:
    return float(token[:-1]) / 100 if token.endswith("%") else float(token)
