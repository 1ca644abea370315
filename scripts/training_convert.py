"""Conversations about screenshots, as GUI models are trained on them, into the JSON lines of ``train --data``.

    python scripts/training_convert.py jedi/*.jsonl --images jedi/images --frame pixels --to thousandths \
        --only-coordinates --out JEDI.jsonl
    python scripts/training_convert.py uground.json --images uground/images --frame fractions --out FOCUSUI.jsonl

Read: one JSON list or JSON lines of records with ``conversations`` (turns with ``from``: human or user, gpt or
assistant, and ``value``) and the images in ``image``, ``images``, or in ``<img>PATH</img>`` within the text. That is
how PixelPrune's released training reads Jedi (training/README.md, OPPO-Mente-Lab/PixelPrune) and how FocusUI's data lie
(datasets/Example-Data, showlab/FocusUI; a box in ``bbox_gt``, fractions of the image). Every pair of question and
answer becomes a record of its own; ``train --questions N`` lets those about the same images share them.

Points in an answer are rewritten from ``--frame`` to ``--to`` where they stand (PixelPrune turns Jedi's pixels into
relative places); a model's frame is in ``python -m vtprune_eval list models``. Nothing is guessed: what cannot be read
is left out, counted, and named with its line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HUMAN, MODEL = {"human", "user"}, {"gpt", "assistant"}
# Size of the frame that a point is written in; None: the image's own pixels. And how a number of it is written.
FRAMES: dict[str, float | None] = {"pixels": None, "fractions": 1.0, "hundredths": 100.0, "thousandths": 1000.0}
NUMBER = r"-?\d+(?:\.\d+)?"
# x=A, y=B; (A, B); [A, B]. A list of four is a box and no point.
POINT = re.compile(
    rf"(?P<open>\bx\s*=\s*|[(\[]\s*)(?P<x>{NUMBER})(?P<between>\s*,\s*(?:y\s*=\s*)?)(?P<y>{NUMBER})(?P<close>\s*[)\]])"
)
IMAGE = re.compile(r"<img>(.*?)</img>", re.DOTALL)


class Unusable(Exception):
    """A record or a turn that cannot be read; its text is the reason."""


def written(value: float, frame: str) -> str:
    """A coordinate in the way of its frame: fractions with four digits, everything else as a whole number."""
    return f"{value:.4f}" if frame == "fractions" else str(round(value))


def moved(text: str, source: str, target: str, size: tuple[int, int]) -> tuple[str, int]:
    """A text with its points in another frame, and how many there were.

    Args:
        text: of an answer.
        source: frame of its points.
        target: frame that is wanted.
        size: (width, height) of the image, pixels.

    Raises:
        Unusable: a point outside of the image, as one in another frame than ``source`` would be.
    """
    count = 0

    def place(value: str, side: int) -> str:
        share = float(value) / (FRAMES[source] or side)
        if not 0 <= share <= 1:
            raise Unusable(f"a point lies outside of the image (is --frame {source} right?)")
        return written(min(share * (FRAMES[target] or side), 99 if target == "hundredths" else 1e9), target)

    def rewrite(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        x, y = (place(found[name], side) for name, side in zip("xy", size, strict=True))
        return f"{found['open']}{x}{found['between']}{y}{found['close']}"

    return POINT.sub(rewrite, text), count


def box_of(turn: dict[str, Any], size: tuple[int, int]) -> list[float] | None:
    """``bbox_gt`` in pixels, None where there is none.

    Raises:
        Unusable: no four fractions of the image, or nothing inside.
    """
    box = turn.get("bbox_gt")
    if box is None:
        return None
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in box)):
        raise Unusable("bbox_gt is not four fractions of the image")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise Unusable("bbox_gt has no area")
    return [round(v * size[i % 2], 2) for i, v in enumerate(box)]


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """Where a record stands, and the record, of a JSON list or of JSON lines; a line that is no JSON is None."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        yield from ((f"{path.name}, record {n}", record) for n, record in enumerate(json.loads(text), 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            yield f"{path.name}, line {number}", record


def pairs(record: Any) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """Image paths of a record, and its pairs of a question and a turn of the model.

    Raises:
        Unusable: no conversation, or no image.
    """
    turns = record.get("conversations") if isinstance(record, dict) else None
    if not isinstance(turns, list) or not all(isinstance(t, dict) and isinstance(t.get("value"), str) for t in turns):
        raise Unusable("no conversation")
    named = record.get("images", record.get("image", []))
    images, found, asked = [named] if isinstance(named, str) else list(named or []), [], None
    for turn in turns:
        if turn.get("from") in HUMAN:
            images += IMAGE.findall(turn["value"])
            asked = IMAGE.sub("", turn["value"]).replace("<image>", "").strip()
        elif turn.get("from") in MODEL and asked:
            found.append((asked, turn))
            asked = None
    if not images:
        raise Unusable("no image")
    return images, found


def converted(
    path: Path, images: Path, frame: str, target: str, only_coordinates: bool, lost: Counter[str], first: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Lines for ``train --data``.

    Args:
        path: of the source.
        images: folder that its image paths are relative to.
        frame: of its points.
        target: frame that is wanted.
        only_coordinates: leave out answers without a point.
        lost: what was left out, by reason; counted here.
        first: where each reason occurred first; filled here.
    """
    from vtprune_eval.image_file import image_size

    def leave(reason: str, where: str) -> None:
        lost[reason] += 1
        first.setdefault(reason, where)

    for number, (where, record) in enumerate(records(path), 1):
        try:
            names, asked = pairs(record)
            files = [images / name for name in names]
            missing = next((f for f in files if not f.is_file()), None)
            if missing is not None:
                raise Unusable("an image is missing")
            size = image_size(files[-1])
        except Unusable as error:
            leave(str(error), where)
            continue
        except Exception as error:
            leave(f"an image cannot be read ({type(error).__name__})", where)
            continue
        for turn, (question, said) in enumerate(asked):
            try:
                answer, n_points = moved(said["value"], frame, target, size)
                box = box_of(said, size)
            except Unusable as error:
                leave(str(error), where)
                continue
            if only_coordinates and not n_points:
                leave("an answer without a point (--only-coordinates)", where)
            elif not answer.strip():
                leave("an empty answer", where)
            else:
                line = {"id": f"{path.stem}-{number}-{turn}", "images": [str(f.resolve()) for f in files],
                        "question": question, "instruction": question, "answer": answer.strip()}  # fmt: skip
                yield line if box is None else {**line, "box_xyxy": box}


def main() -> int:
    """Convert, and say what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, help=".json or .jsonl")
    parser.add_argument("--images", type=Path, required=True, help="folder that image paths are relative to")
    parser.add_argument("--frame", choices=tuple(FRAMES), required=True, help="of the points in the answers")
    parser.add_argument("--to", choices=tuple(FRAMES), help="frame that the model writes (default: as they are)")
    parser.add_argument("--only-coordinates", action="store_true", help="leave out answers without a point")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lost: Counter[str] = Counter()
    first: dict[str, str] = {}
    count, part = 0, args.out.with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        for source in args.sources:
            for line in converted(
                source, args.images, args.frame, args.to or args.frame, args.only_coordinates, lost, first
            ):
                out.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
    for reason, number in lost.most_common():
        print(f"left out {number}: {reason}; first {first[reason]}", file=sys.stderr)
    if not count:
        part.unlink()
        raise SystemExit("nothing could be converted; see the reasons above, and mend --images or --frame.")
    part.replace(args.out)
    print(f"{count} questions in {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
