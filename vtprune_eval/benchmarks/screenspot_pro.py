"""ScreenSpot-Pro: its own rule (``official``), GUI-KV's and VLMEvalKit's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_values import JsonObject
from ..sample import Score, graded, unreadable
from .base import Item, Records, need, numbers
from .benchmark import FixedRules, Frame, Record, Rule, Truth
from .formats.listed import Listed
from .grammars.pointing import pointed
from .rules.geometry import fractions_of, inside, pair_or_none
from .rules.pointed import GUIKV_READERS, NOWHERE, Size, compare_kit, guikv_point, kit_rule, the_point
from .spec import TaskSpec
from .untrusted import Unreadable


class _Records(Listed):
    """``annotations/*.json`` and ``images/``; two corners."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        files = sorted((folder / "annotations").glob("*.json"))
        if not files:
            raise UserError(f"{folder} has no annotations/*.json; give the folder of {spec.source} with --data-path.")
        super().__init__(folder, [(f.stem, f) for f in files])

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        corners = numbers(record, "bbox", where, 4)
        return Item(
            id=id,
            images=self.image(record, where),
            fields={"instruction": need(record, "instruction", where, str)},
            target={
                "type": "box",
                "box_xyxy": corners,
                "truth": {"corners": corners, "image_size": numbers(record, "img_size", where, 2)},
            },
            meta={
                "group": need(record, "group", where, str),
                "application": need(record, "application", where, str),
                "platform": record.get("platform"),
                "target_kind": need(record, "ui_type", where, str),
            },
        )


def _compare(said: Any, truth: Truth, frame: Frame) -> Score:
    return pro(said, truth["corners"], truth["image_size"])


def _kit(said: Any, truth: Truth, frame: Frame) -> Score:
    return compare_kit(said, truth["corners"], truth["image_size"], "pro")


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return error.score({"correctness": "wrong_format", **NOWHERE})


def _refused_by_guikv(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    """GUI-KV does not tell unreadable from wrong."""
    return error.score({"correctness": "wrong", **NOWHERE})


class ScreenSpotPro(FixedRules):
    """``truth``: ``corners`` in pixels and ``image_size``."""

    name = "screenspot_pro"
    groups = ("group", "platform", "target_kind")
    _rules = {  # noqa: RUF012
        "official": Rule(_compare, enter=the_point, understand=pointed, refused=_refused),
        "guikv": Rule(  # the first two numbers of UI-TARS's first argument: a box's corner
            _compare, enter=the_point, readers=GUIKV_READERS, understand=pointed, refused=_refused_by_guikv
        ),
        "vlmeval": kit_rule(_kit),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Records(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        return pro_report(
            [
                {
                    "correctness": r["parts"].get("correctness") or ("correct" if r["score"] == 1 else "wrong"),
                    "ui_type": r["meta"].get("target_kind"),
                    **{k: r["meta"].get(k) for k in ("group", "application", "platform")},
                }
                for r in records
            ]
        )


def guikv_pro(
    text: Any, corners: Sequence[float], image_size: Size, *, model: str = "ui_tars", model_size: Size | None = None
) -> Score:
    """Pro by GUI-KV: an unreadable answer is ``wrong``, not ``wrong_format``."""
    try:
        point: tuple[float, float] | None = guikv_point(text, image_size, model=model, model_size=model_size)
    except Unreadable as error:
        return error.score({"correctness": "wrong", **NOWHERE})
    return pro(point, corners, image_size)


def pro(point: Sequence[float] | None, corners: Sequence[float], image_size: Sequence[int]) -> Score:
    """Pro, target present: ``correctness`` is ``correct``, ``wrong``, or ``wrong_format`` for no point.

    Args:
        point: (x, y) as fractions, or None.
        corners: two corners in pixels; in the wrong order they contain nothing.
        image_size: (width, height).
    """
    at = pair_or_none(point)
    if at is None:
        return unreadable("no_point", {"correctness": "wrong_format", **NOWHERE})
    hit = inside(at, fractions_of(corners, image_size))
    word = "correct" if hit else "wrong"
    return graded(hit, {"correctness": word, "correct": int(hit), "wrong_format": 0, "point": list(at)})


def pro_negative(result: Any) -> Score:
    """Pro, target absent: right if the model's wrapper says ``negative``, wrong for ``positive``."""
    word = {"negative": "correct", "positive": "wrong"}.get(result if isinstance(result, str) else "", "wrong_format")
    parts = {"correctness": word}
    return unreadable(word, parts) if word == "wrong_format" else graded(word == "correct", parts)


def pro_report(results: Sequence[Mapping[str, Any]]) -> JsonObject:
    """Counts and accuracies overall, by group, application and platform.

    Args:
        results: ``correctness``, ``ui_type`` (text or icon), and the attributes.
    """
    out: JsonObject = {"overall": _counts(results)}
    for name, key, prefix in (
        ("by_group", "group", "group"),
        ("by_application", "application", "app"),
        ("by_platform", "platform", "plat"),
    ):
        values = list(dict.fromkeys(r.get(key) for r in results if r.get(key) is not None))
        out[name] = {f"{prefix}:{v}": _counts([r for r in results if r.get(key) == v]) for v in values}
    return out


def _counts(results: Sequence[Mapping[str, Any]]) -> JsonObject:
    def accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
        return sum(r["correctness"] == "correct" for r in rows) / len(rows) if rows else 0

    return {
        "num_correct_action": sum(r["correctness"] == "correct" for r in results),
        "num_total": len(results),
        "wrong_format_num": sum(r["correctness"] == "wrong_format" for r in results),
        "action_acc": accuracy(results),
        "text_acc": accuracy([r for r in results if r.get("ui_type") == "text"]),
        "icon_acc": accuracy([r for r in results if r.get("ui_type") == "icon"]),
    }
