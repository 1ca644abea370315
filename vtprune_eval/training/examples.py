"""What is trained on: samples with their answers, from a task or from a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..sample import Sample

REMEDY = 'write a file of JSON lines with "images", "question" and "answer"'


@dataclass(frozen=True)
class Example:
    """A question, and the text that answers it."""

    sample: Sample
    answer: str


def load_examples(
    data: str, coordinates: str, style: str, *, limit: int | None = None, data_path: str | None = None
) -> list[Example]:
    """Examples of a task, or of a file of JSON lines.

    Args:
        data: name of a task, or a path that ends in ``.jsonl``.
        coordinates: frame in which the model writes places.
        style: of its prompts.
        limit: number of samples, a fixed draw of a task and the first ones of a file.
        data_path: folder of the data of a task that is not embedded.

    Raises:
        UserError: an unknown task, a damaged file, or records without an answer.
    """
    if data.endswith((".jsonl", ".json")):
        if data_path is not None:
            raise UserError("--data-path belongs to a task; the images of a .jsonl file are named in it.")
        return read_lines(Path(data), limit)
    from ..benchmarks.tasks import load_task

    task = load_task(data, limit, data_path, style=style)
    return [Example(s, answer_of(s.target, coordinates, f"{data}, sample {s.id}", _size(s))) for s in task.samples]


def _size(sample: Sample) -> tuple[int, int]:
    from ..image_file import image_size

    return image_size(sample.images[-1]) if sample.images else (1, 1)


def read_lines(path: Path, limit: int | None = None) -> list[Example]:
    """Examples of a file: one JSON object a line with ``images`` (paths, relative to the file's folder), ``question``
    and ``answer``; optional ``id``, ``instruction``, and ``box_xyxy`` in pixels of the last image.

    Raises:
        UserError: unreadable, or a line without one of them.
    """
    out: list[Example] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                if limit is not None and len(out) >= limit:
                    break
                out.append(_example(line, f"{path.name}, line {number}", path.parent, str(number)))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--data {path} cannot be read ({error}); give a task or a file of JSON lines.") from None
    if not out:
        raise UserError(f"--data {path} holds no record; {REMEDY}.")
    return out


def _example(line: str, where: str, folder: Path, number: str) -> Example:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON ({error}); mend or remove the line.") from None
    if not isinstance(record, dict):
        raise UserError(f"{where} is no JSON object; {REMEDY}.")
    answer, question, images = (record.get(k) for k in ("answer", "question", "images"))
    if not isinstance(answer, str) or not answer.strip():
        raise UserError(f'{where} has no answer to train on; give every record a text "answer".')
    if not isinstance(question, str) or not question.strip():
        raise UserError(f'{where} has no question; give every record a text "question".')
    if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise UserError(f'{where}: "images" must be a list of paths, [] for none.')
    box = record.get("box_xyxy")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(_is_number(v) for v in box)):
        raise UserError(f'{where}: "box_xyxy" must be four numbers, pixels of the last image.')
    sample = Sample(
        id=str(record.get("id", number)),
        images=tuple(folder / name for name in images),
        question=question,
        target={} if box is None else {"type": "box", "box_xyxy": box},
        instruction=record.get("instruction"),
    )
    return Example(sample, answer)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def answer_of(target: Mapping[str, Any], coordinates: str, where: str, size: Sequence[int]) -> str:
    """The text that a sample's target asks for.

    Args:
        target: of the sample.
        coordinates: frame of the model's answers.
        where: for the message.
        size: (width, height) of the last image, pixels.

    Raises:
        UserError: a target that is not written as text.
    """
    answers = target.get("answers") or ([target["answer"]] if isinstance(target.get("answer"), str) else [])
    if answers:
        return str(answers[0])
    if coordinates == "hundredths":
        action = target.get("action") or {}
        kind = "tap" if target.get("box_xyxy") else action.get("type")
        box = target.get("box_xyxy") or action.get("box_xyxy")
        if box:
            return f"{'click' if target.get('box_xyxy') else 'tap'} {_centre(box, size)}"
        if kind in {"type", "scroll"}:
            return f"{kind} {action.get('text') or action.get('direction')}"
        if kind in {"back", "finish"}:
            return "back" if kind == "back" else "done"
    raise UserError(f"{where} has no answer in text that the model could be trained on; {REMEDY}.")


def _centre(box: Sequence[float], size: Sequence[int]) -> str:
    """Centre of a box, clipped to the image, as two numbers of two digits: hundredths of the image."""
    middle = [(max(0, box[i]) + min(size[i], box[i + 2])) / 2 / size[i] for i in (0, 1)]
    return " ".join(f"{min(99, max(0, round(100 * m))):02d}" for m in middle)


def grouped(examples: Sequence[Example], most: int) -> list[tuple[Example, ...]]:
    """Examples of the same images, at most ``most`` together, in the order in which the images first occur."""
    if most == 1:
        return [(e,) for e in examples]
    by_images: dict[tuple[Path, ...], list[Example]] = {}
    for example in examples:
        by_images.setdefault(example.sample.images, []).append(example)
    return [tuple(part) for same in by_images.values() for part in _chunks(same, most)]


def _chunks(items: Sequence[Example], size: int) -> Iterable[Sequence[Example]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def answer_ids(tokenizer: Any, answer: str) -> tuple[int, ...]:
    """Token ids of an answer, with the token that ends the turn."""
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return (*ids, tokenizer.eos_token_id)
