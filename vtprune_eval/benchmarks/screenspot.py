"""ScreenSpot v1: SeeClick's rule (GUI-KV's is the same test on other readings) and VLMEvalKit's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_values import JsonObject
from ..sample import Score
from .base import Item, Records, need, numbers
from .benchmark import FixedRules, Frame, Record, Rule, Truth, screen_size
from .formats.listed import Listed
from .grammars.pointing import pointed
from .rules.geometry import as_corners, fractions_of, mean
from .rules.pointed import GUIKV_READERS, NOWHERE, compare_kit, in_box, kit_rule, read_seeclick, the_point
from .spec import TaskSpec
from .untrusted import Unreadable


class _Records(Listed):
    """v1 (``screenspot_PLATFORM.json``) and v2 (``screenspot_PLATFORM_v2.json``; GUI-Actor's copy has the same names,
    two corners, ``img_size`` and ``ui_type``)."""

    roots = ("screenspot_imgs", "screenspotv2_image", "images")

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        ending = "_v2.json" if spec.benchmark == "screenspot_v2" else ".json"
        files = [(p, folder / f"screenspot_{p}{ending}") for p in ("mobile", "desktop", "web")]
        files = [(p, f) for p, f in files if f.is_file()]
        if not files and (folder / "records.json").is_file():  # an excerpt
            files = [("", folder / "records.json")]
        if not files:
            raise UserError(
                f"{folder} has none of screenspot_mobile{ending}, screenspot_desktop{ending}, "
                f"screenspot_web{ending}; give the folder of {spec.source} with --data-path."
            )
        super().__init__(folder, files)

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        box = numbers(record, "bbox", where, 4)
        if "img_size" in record:  # GUI-Actor's copy
            corners = tuple(box)
            kind, platform, source = (need(record, k, where, str) for k in ("ui_type", "group", "platform"))
        else:
            corners = as_corners(box)
            kind, source, platform = need(record, "data_type", where, str), record.get("data_source"), group
        x1, y1, x2, y2 = corners
        return Item(
            id=id,
            images=self.image(record, where),
            fields={"instruction": need(record, "instruction", where, str)},
            target={"type": "box", "box_xyxy": [x1, y1, x2, y2], "truth": {"box_xywh": [x1, y1, x2 - x1, y2 - y1]}},
            meta={"platform": platform, "target_kind": kind, "source": source},
        )


def _compare(said: Any, truth: Truth, frame: Frame) -> Score:
    return in_box(said, fractions_of(as_corners(truth["box_xywh"]), screen_size(frame)))


def _kit(said: Any, truth: Truth, frame: Frame) -> Score:
    return compare_kit(said, truth["box_xywh"], screen_size(frame), "v1v2")


def _refused(error: Unreadable, truth: Truth, frame: Frame) -> Score:
    return error.score(NOWHERE)


class ScreenSpot(FixedRules):
    """``truth``: ``box_xywh`` in pixels of the file."""

    name = "screenspot"
    groups = ("platform", "target_kind")
    # SeeClick's own reader keeps its accidents (a box by whole numbers, no exponents); GUI-KV takes the first two
    # numbers of UI-TARS's first argument, a box's corner.
    _rules = {  # noqa: RUF012
        "seeclick": Rule(
            _compare, enter=the_point, readers={"seeclick": read_seeclick}, understand=pointed, refused=_refused
        ),
        "guikv": Rule(_compare, enter=the_point, readers=GUIKV_READERS, understand=pointed, refused=_refused),
        "vlmeval": kit_rule(_kit),
    }

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Records(folder, spec)

    def report(self, records: Sequence[Record]) -> JsonObject:
        return groups_report(
            [
                {"platform": r["meta"].get("platform"), "data_type": r["meta"].get("target_kind"), "score": r["score"]}
                for r in records
            ]
        )


def groups_report(rows: Sequence[Mapping[str, Any]]) -> JsonObject:
    """v1 and v2 in every average that papers use.

    Args:
        rows: ``platform`` (mobile, desktop, web), ``data_type`` (text, icon), ``score``.

    Returns:
        ``micro``; ``groups`` per platform and type; ``macro`` (mean of the groups, SeeClick's table); ``mean_of_means``
        (GUI-KV: mean of the mean text and the mean icon accuracy over platforms).
    """
    platforms = list(dict.fromkeys(r["platform"] for r in rows))
    groups: dict[str, JsonObject] = {}
    for platform in platforms:
        for kind in ("text", "icon"):
            scores = [r["score"] for r in rows if r["platform"] == platform and r["data_type"] == kind]
            groups.setdefault(platform, {})[kind] = {"n": len(scores), "accuracy": mean(scores)}
    values = [g["accuracy"] for p in groups.values() for g in p.values() if g["accuracy"] is not None]
    pairs = [[groups[p][k]["accuracy"] or 0.0 for k in ("text", "icon")] for p in platforms]
    return {
        "n": len(rows),
        "micro": mean([r["score"] for r in rows]),
        "macro": mean(values),
        "groups": groups,
        "mean_of_means": guikv_report(pairs)["overall"],
    }


def guikv_report(platforms: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """Mean text, mean icon accuracy over platforms ([text, icon] each), and the mean of the two; 0 without any."""
    text = mean([p[0] for p in platforms]) or 0.0
    icon = mean([p[1] for p in platforms]) or 0.0
    return {"text": text, "icon": icon, "overall": (text + icon) / 2}
