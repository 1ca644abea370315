"""On-disk formats to samples. Records are read, images are not opened: a missing image becomes a failed sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UserError
from .sample import Sample

Spec = dict[str, Any]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is --data-path the right folder?") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); fetch it again.") from None


def _field(record: Any, key: str, path: Path) -> Any:
    """A field that the format promises; otherwise say what was found instead."""
    if not isinstance(record, dict) or key not in record:
        found = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
        raise UserError(f"{path.name}: a record has no field {key!r} (found: {found}); the data has another format.")
    return record[key]


def mini(folder: Path, spec: Spec) -> list[Sample]:
    """The embedded suite: one JSON object per line in ``samples.jsonl``."""
    path = folder / "samples.jsonl"
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is --data-path the right folder?") from None
    for number, line in enumerate(lines, 1):
        try:
            r = json.loads(line)
        except ValueError:
            raise UserError(f"{path.name}, line {number}: not valid JSON; fetch the file again.") from None
        samples.append(Sample(
            id=_field(r, "id", path), images=tuple(folder / i for i in _field(r, "images", path)),
            question=_field(r, "question", path), target=_field(r, "target", path), cluster=r.get("cluster"),
            meta=r.get("meta", {}),
        ))
    return samples


def screenspot_v2(folder: Path, spec: Spec) -> list[Sample]:
    """GUI-Actor's re-export: ``bbox`` is [x1, y1, x2, y2] in pixels of the file."""
    path = folder / "records.json"
    samples = []
    for i, r in enumerate(_json(path)):
        name = _field(r, "img_filename", path)
        samples.append(Sample(
            id=f"{Path(name).stem}-{i}", images=(folder / "images" / name,),
            question=spec["prompt"].format(instruction=_field(r, "instruction", path)),
            target={"type": "box", "box_xyxy": _field(r, "bbox", path)},
            meta={"target_kind": r.get("ui_type"), "platform": r.get("group")},
        ))
    return samples


def osworld_g(folder: Path, spec: Spec) -> list[Sample]:
    """OSWorld-G: ``box_coordinates`` is [x, y, width, height] in pixels; records without a box are not scored."""
    path = folder / "records.json"
    samples = []
    for i, r in enumerate(_json(path)):
        box = r.get("box_coordinates") if r.get("box_type") == "bbox" else None
        target: dict[str, Any] = {"type": "none"}
        if box:
            target = {"type": "box", "box_xyxy": [box[0], box[1], box[0] + box[2], box[1] + box[3]]}
        samples.append(Sample(
            id=r.get("id") or f"{Path(_field(r, 'image', path)).stem}-{i}", images=(folder / _field(r, "image", path),),
            question=spec["prompt"].format(instruction=_field(r, "instruction", path)), target=target,
        ))
    return samples


def agentnetbench(folder: Path, spec: Spec) -> list[Sample]:
    """OpenCUA's trajectories: a JSON each, screenshots under ``images/``; the last ``history`` screens come along."""
    samples = []
    for path in sorted(folder.glob("*.json")):
        r = _json(path)
        steps = _field(r, "steps", path)
        for i, step in enumerate(steps):
            shown = steps[max(0, i - spec["history"]): i + 1]
            done = "; ".join(s["inner_monologue"]["low_level_instruction"] for s in steps[:i]) or "none"
            samples.append(Sample(
                id=f"{r['task_id']}-{_field(step, 'step_num', path)}",
                images=tuple(folder / "images" / _field(s, "image", path) for s in shown),
                question=spec["prompt"].format(instruction=r["high_level_task_description"], history=done),
                target={"type": "none"}, cluster=r["task_id"],
            ))
    return samples


def aitw(folder: Path, spec: Spec) -> list[Sample]:
    """Android in the Zoo episodes: ``EPISODE/EPISODE.json`` beside its screenshots."""
    samples = []
    for path in sorted(folder.glob("*/*.json")):
        steps = _json(path)
        for i, step in enumerate(steps):
            shown = steps[max(0, i - spec["history"]): i + 1]
            done = "; ".join(s.get("coat_action_desc", "") for s in steps[:i]) or "none"
            samples.append(Sample(
                id=f"{_field(step, 'episode_id', path)}-{_field(step, 'step_id', path)}",
                images=tuple(path.parent / Path(_field(s, "image_path", path)).name for s in shown),
                question=spec["prompt"].format(instruction=_field(step, "instruction", path), history=done),
                target={"type": "none"}, cluster=str(step["episode_id"]),
            ))
    return samples


READERS: dict[str, Callable[[Path, Spec], list[Sample]]] = {
    "mini": mini, "screenspot_v2": screenspot_v2, "osworld_g": osworld_g, "agentnetbench": agentnetbench, "aitw": aitw,
}
