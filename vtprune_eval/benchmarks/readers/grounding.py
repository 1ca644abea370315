"""Grounding data sets in the form in which their authors store them. Nothing in the files says which box is which:
ScreenSpot v1, v2 and OSWorld-G keep x, y, width, height; Pro, UI-Vision and GUI-Actor's copy of v2 keep two corners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..base import ImageRoots, Item, Records, Spec, need, numbers
from ..formats.spans import Spans, load_json
from ..protocols.geometry import as_corners, ordered


class _Listed(Records):
    """Records of one or more files that are JSON lists."""

    image_key = "img_filename"
    roots: tuple[str, ...] = ("images",)

    def __init__(self, folder: Path, files: Sequence[tuple[str, Path]]) -> None:
        self._images = ImageRoots(folder, self.roots)
        self._files = [(name, Spans(path, self.note)) for name, path in files]
        self._ids: list[str] = []
        self._place: list[tuple[int, int]] = []
        for number, (name, spans) in enumerate(self._files):
            for i, note in enumerate(spans.notes):
                self._ids.append(self.make_id(note, name, i))
                self._place.append((number, i))

    def note(self, record: Any) -> tuple[str | None, str]:
        """The record's own id, where it has one, and the stem of its image."""
        if not isinstance(record, dict):
            return None, ""
        own = record.get("id")
        return None if own is None else str(own), Path(str(record.get(self.image_key, ""))).stem

    def make_id(self, note: tuple[str | None, str], name: str, i: int) -> str:
        """Its own id, or image and number in the file (an image has several instructions)."""
        own, stem = note
        return own if own is not None else f"{stem}-{i}"

    @property
    def ids(self) -> Sequence[str]:
        return self._ids

    def item(self, i: int) -> Item:
        number, at = self._place[i]
        name, spans = self._files[number]
        return self.build(self._ids[i], spans[at], name, spans.path.name)

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        """One item of a record out of file ``group``."""
        raise NotImplementedError

    def image(self, record: Any, where: str) -> tuple[Path, ...]:
        """The one screenshot."""
        return (self._images.find(need(record, self.image_key, where, str), where),)


class ScreenSpot(_Listed):
    """v1 (``screenspot_PLATFORM.json``) and v2 (``screenspot_PLATFORM_v2.json``; GUI-Actor's copy has the same names,
    two corners, ``img_size`` and ``ui_type``)."""

    roots = ("screenspot_imgs", "screenspotv2_image", "images")

    def __init__(self, folder: Path, spec: Spec) -> None:
        ending = "_v2.json" if spec["name"].startswith("screenspot_v2") else ".json"
        files = [(p, folder / f"screenspot_{p}{ending}") for p in ("mobile", "desktop", "web")]
        files = [(p, f) for p, f in files if f.is_file()]
        if not files and (folder / "records.json").is_file():  # an excerpt
            files = [("", folder / "records.json")]
        if not files:
            raise UserError(
                f"{folder} has none of screenspot_mobile{ending}, screenspot_desktop{ending}, "
                f"screenspot_web{ending}; give the folder of {spec['source']} with --data-path."
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


class ScreenSpotPro(_Listed):
    """``annotations/*.json`` and ``images/``; two corners."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        files = sorted((folder / "annotations").glob("*.json"))
        if not files:
            raise UserError(
                f"{folder} has no annotations/*.json; give the folder of {spec['source']} with --data-path."
            )
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


class OSWorldG(_Listed):
    """``OSWorld-G.json`` or ``OSWorld-G_refined.json`` (setting ``file``), ``images/``, and where it lies beside them
    ``classification_result.json``. A record without an annotation is shown and not scored."""

    image_key = "image_path"

    def __init__(self, folder: Path, spec: Spec) -> None:
        path = next((p for p in (folder / spec["file"], folder / "records.json") if p.is_file()), folder / spec["file"])
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
        target: dict[str, Any] = {"type": "none"}
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


class UIVision(_Listed):
    """``annotations/element_grounding/element_grounding_SUBSET.json``; corners may be swapped."""

    image_key = "image_path"

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.roots = (".", "images")
        below = folder / "annotations" / "element_grounding"
        files = [(s, below / f"element_grounding_{s}.json") for s in ("basic", "functional", "spatial")]
        files = [(s, f) for s, f in files if f.is_file()]
        if not files:
            raise UserError(
                f"{folder} has no annotations/element_grounding/element_grounding_*.json; give the folder "
                f"of {spec['source']} with --data-path."
            )
        super().__init__(folder, files)

    def make_id(self, note: tuple[str | None, str], name: str, i: int) -> str:
        return f"{name}-{i}"

    def build(self, id: str, record: Any, group: str, where: str) -> Item:
        corners = numbers(record, "bbox", where, 4)
        return Item(
            id=id,
            images=self.image(record, where),
            fields={"instruction": need(record, "prompt_to_evaluate", where, str)},
            target={
                "type": "box",
                "box_xyxy": list(ordered(corners)),
                "truth": {"corners": corners, "image_size": numbers(record, "image_size", where, 2)},
            },
            meta={"subset": group, "application": record.get("platform"), "element_type": record.get("element_type")},
        )
