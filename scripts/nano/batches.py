"""Training examples: questions and answers about pool pages, packed into batches of equal layout."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np
import torch
from mini.design import ICONS
from mini.training_pages import SIZES

from .folder import PIECES
from .pool import Pool

ICON_IDS = {name: i + 1 for i, name in enumerate(ICONS)}
CHAR_IDS = {c: i + 1 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz0123456789")}


def hundredths(value: float, size: int) -> str:
    """A pixel coordinate as two digits, hundredths of ``size``."""
    return f"{min(99, max(0, round(100 * value / size))):02d}"


def point(box: list[float], size: tuple[int, int]) -> str:
    """Centre of ``box`` (x1, y1, x2, y2 in pixels, clipped to the image) as ``xx yy``."""
    width, height = size
    x = (max(0, box[0]) + min(width, box[2])) / 2
    y = (max(0, box[1]) + min(height, box[3])) / 2
    return f"{hundredths(x, width)} {hundredths(y, height)}"


def target_name(target: dict) -> str:
    """How a question names a target."""
    return f"{target['name']} icon" if target["kind"] == "icon" else target["name"]


def page_questions(facts: dict, size: tuple[int, int]) -> list[tuple[str, str, tuple]]:
    """All (question, answer, check) of one page; ``check`` is ("box", box, size) or ("text",).

    The last element of a check is what the pointers should find: (words named, words of the answer, box of an icon,
    whether only the last screen counts).
    """
    out: list[tuple[str, str, tuple]] = []
    for t in facts["targets"]:
        if t["name"]:
            out.append(
                (f"click {target_name(t)}", f"click {point(t['box'], size)}", ("box", t["box"], size, _pointer(t)))
            )
    for f in facts["facts"]:
        out.append((f"what is {f['key']}", f["value"], ("text", (f["key"].split(), f["value"].split(), None, True))))
    for c in facts["cells"]:
        named = [c["row"], c["col"]]
        out.append((f"what is {c['col']} of {c['row']}", c["value"], ("text", (named, [c["value"]], None, True))))
    return out


NOTHING = ([], [], None, True)


def _pointer(target: dict) -> tuple:
    """What a click or tap should look at: the words of a label, or the block of an icon."""
    if target["kind"] == "icon":
        return [target["name"]], [], target["box"], True
    return target["name"].split(), target["name"].split(), None, True


def nav_prompt(goal: str, done: list[str]) -> str:
    """The text of a navigation step: the goal and the actions so far."""
    return f"goal: {goal}. history: {', '.join(done) if done else 'none'}. next?"


def nav_step(
    rng: random.Random, facts: list[dict], field: bool, size: tuple[int, int], done_share: float = 0.14
) -> tuple[str, str, tuple] | None:
    """One step of an episode on its last screen, or None if this draw of screens supports none.

    Args:
        rng: draws the step.
        facts: of every screen, the last one included.
        field: whether the last screen has a focused text field.
        size: (width, height) of a screen, in the unit of its boxes.
        done_share: share of "done" among the steps that neither type nor go back.
    """
    now = [t for t in facts[-1]["targets"] if t["name"]]
    past = [t for f in facts[:-1] for t in f["targets"] if t["name"]]
    names_now = {target_name(t) for t in now}
    done = [f"tap {target_name(rng.choice(past))}" if past else "tap menu icon" for _ in facts[:-1]]
    if any(not t["name"] for t in facts[-1]["targets"]):
        # Whatever the goal, also one that elsewhere would mean to scroll.
        goals = [f"type code of {_word(rng)}", f"tap {_word(rng)}", *(f"tap {target_name(t)}" for t in now[:1])]
        goal = rng.choice(goals)
        return nav_prompt(goal, done), "back", ("text", NOTHING)
    numbers = [f for fs in facts[:-1] for f in fs["facts"]]
    if field and numbers and rng.random() < 0.8:
        fact = rng.choice(numbers)
        return (
            nav_prompt(f"type code of {fact['key']}", done),
            f"type {fact['value']}",
            ("text", (fact["key"].split(), fact["value"].split(), None, False)),
        )
    roll = rng.random()
    if roll < done_share:  # every part of the goal is in the history
        parts = done or ["tap menu icon"]
        return nav_prompt(", ".join(parts[-2:]), done or parts), "done", ("text", NOTHING)
    if roll < done_share + 0.16:  # the target is not on this screen
        others = [n for t in past if (n := target_name(t)) not in names_now and t["kind"] == "text"]
        name = rng.choice(others) if others and rng.random() < 0.5 else _word(rng)
        return nav_prompt(f"tap {name}", done), "scroll down", ("text", NOTHING)
    if not now:
        return None
    target = rng.choice(now)
    # A goal names some of what is done already, the step, and up to two later ones, icons included.
    past = min(2, len(done)) if rng.random() < 0.6 else rng.randint(0, len(done))
    parts = [*done[len(done) - past :], f"tap {target_name(target)}"]
    for _ in range(rng.choice((0, 0, 1, 2))):
        later = (
            rng.choice([target_name(t) for t in now])
            if rng.random() < 0.3
            else (f"{rng.choice(list(ICONS))} icon" if rng.random() < 0.4 else _word(rng))
        )
        parts.append(f"tap {later}")
    if f"tap {target_name(target)}" in done:
        return None
    return (
        nav_prompt(", ".join(parts), done),
        f"tap {point(target['box'], size)}",
        ("box", target["box"], size, _pointer(target)),
    )


@dataclass
class Batch:
    """Equal layouts: images ``(batch * frames, height, width, 3)`` and packed segments.

    ``segments[b]`` holds token ids of every question with its answer; ``answers[b]`` where each answer starts.
    """

    images: torch.Tensor
    frames: int
    chars: torch.Tensor
    icons: torch.Tensor
    segments: list[list[list[int]]]
    answers: list[list[int]]
    checks: list[list[tuple]]
    wanted: torch.Tensor
    attend: list[list[tuple[int, int, int, list[int], list[int]]]]
    points: torch.Tensor
    names: torch.Tensor


class Maker:
    """Draws batches from a pool."""

    def __init__(self, pool: Pool, tokenizer, seed: int) -> None:
        self.pool, self.tokenizer, self.rng = pool, tokenizer, random.Random(seed)

    def segment(self, question: str, answer: str) -> tuple[list[int], int]:
        head = self.tokenizer.encode(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        return head + self.tokenizer.encode(f"{answer}<|im_end|>"), len(head)

    def pages(self, size: str, kind: str, batch: int, n_questions: int) -> Batch:
        """Single-image questions."""
        rows = []
        while len(rows) < batch:
            image, facts = self.pool.draw(self.rng, size, kind)
            pairs = page_questions(facts, (image.shape[1], image.shape[0]))
            if not pairs:
                continue
            if kind in {"table", "bars"}:  # the page's own kind leads, the rest only fills up
                own = [p for p in pairs if p[0].startswith("what")]
                pairs = own if own and self.rng.random() < 0.75 else pairs
            self.rng.shuffle(pairs)
            while len(pairs) < n_questions:
                pairs = pairs + pairs
            rows.append(([image], [facts], pairs[:n_questions]))
        return self.pack(rows)

    def steps(self, size: str, frames: int, batch: int, n_questions: int) -> Batch:
        """Navigation steps with ``frames`` screenshots each; several questions about the same screenshots."""
        rows = []
        while len(rows) < batch:
            kinds = [self.rng.choice(("ui", "ui", "form")) for _ in range(frames)]
            if self.rng.random() < 0.35:
                kinds[-1] = "field"
            shown = [self.pool.draw(self.rng, size, kind) for kind in kinds]
            pairs = [p for _ in range(n_questions) if (p := self._step(shown, kinds))]
            if len(pairs) == n_questions:
                rows.append(([image for image, _ in shown], [f for _, f in shown], pairs))
        return self.pack(rows)

    def _step(self, shown: list[tuple[np.ndarray, dict]], kinds: list[str]) -> tuple[str, str, tuple] | None:
        height, width = shown[-1][0].shape[:2]
        return nav_step(self.rng, [f for _, f in shown], kinds[-1] == "field", (width, height))

    def pack(self, rows: list[tuple]) -> Batch:
        """Stack rows of equal frame count and size."""
        images = np.stack([image for shown, _, _ in rows for image in shown])
        height, width = images.shape[1:3]
        chars = np.zeros((len(images), height // 32, width // 32, 4, 2), np.int64)
        icons = np.zeros((len(images), height // 32, width // 32), np.int64)
        for i, facts in enumerate(f for _, all_facts, _ in rows for f in all_facts):
            for word, x, y in facts["words"]:
                for j, c in enumerate(word):
                    px, py = int(x) + 8 * j, int(y)
                    if 0 <= px < width and 0 <= py < height and c in CHAR_IDS:
                        chars[i, py // 32, px // 32, py % 32 // 16 * 2 + px % 32 // 16, px % 16 // 8] = CHAR_IDS[c]
            for t in facts["targets"]:
                if t["kind"] == "icon":
                    icons[i, int(t["box"][1]) // 32, int(t["box"][0]) // 32] = ICON_IDS[t["name"]]
        made = [[self.segment(q, a) for q, a, _ in pairs] for _, _, pairs in rows]
        return Batch(
            images=torch.from_numpy(images),
            frames=len(rows[0][0]),
            chars=torch.from_numpy(chars.reshape(len(images), -1, 4, 2)),
            icons=torch.from_numpy(icons.reshape(len(images), -1)),
            segments=[[ids for ids, _ in row] for row in made],
            answers=[[at for _, at in row] for row in made],
            checks=[[c for _, _, c in pairs] for _, _, pairs in rows],
            wanted=_wanted(rows, height // 32, width // 32),
            attend=_attend(rows, made, height // 32, width // 32),
            points=_points([f for _, all_facts, _ in rows for f in all_facts], height, width),
            names=_names([f for _, all_facts, _ in rows for f in all_facts], height // 32, width // 32),
        )


def _pieces(text: str, words: list[str]) -> list[tuple[int, str, int]]:
    """Tokens of ``text`` that belong to ``words``: (index of the token, word, first character inside the word)."""
    spans = [m.span() for m in re.finditer(PIECES, text)]
    out = []
    for word in dict.fromkeys(words):
        for m in re.finditer(rf"\b{word}\b", text):
            out += [(i, word, a - m.start()) for i, (a, b) in enumerate(spans) if m.start() <= a and b <= m.end()]
    return out


def _block(found: list[tuple[int, int, int]], frame: int | None, offset: int, height: int, width: int) -> list[int]:
    """The block that shows a word from its character ``offset`` on, if the word stands in one place only.

    Args:
        found: (frame, x, y) of every place where the word stands.
        frame: the only one that counts, None for all.
        offset: characters before the piece.
        height: blocks per frame.
        width: blocks per frame.
    """
    places = [p for p in found if frame is None or p[0] == frame]
    if len(places) != 1:
        return []
    at, x, y = places[0]
    col, row = (x + 8 * offset) // 32, y // 32
    return [at * height * width + row * width + col] if 0 <= col < width and 0 <= row < height else []


def _attend(
    rows: list[tuple], made: list, height: int, width: int
) -> list[list[tuple[int, int, int, list[int], list[int]]]]:
    """Attention targets of three decoder layers: per stage a list of (row, question, token, places, places).

    The two lists of places are for the first and the second watched head. Stage 0: a token of a named word looks at
    the block that shows it. Stage 1: the tokens that predict the answer look at the question's named words (places are
    token numbers): one head at the first word, one at the last (of a cell: the row and the column). Stage 2: they look
    at the answer's block.
    """
    frames, n = len(rows[0][0]), height * width
    stages: list[list[tuple[int, int, int, list[int], list[int]]]] = [[], [], []]
    for b, (_, facts, pairs) in enumerate(rows):
        places: dict[str, list[tuple[int, int, int]]] = {}
        for frame, f in enumerate(facts):
            for word, x, y in f["words"]:
                places.setdefault(word, []).append((frame, int(x), int(y)))
        for s, (question, answer, check) in enumerate(pairs):
            named, said, box, last_only = check[-1]
            start = made[b][s][1]

            icon = None if box is None else [(frames - 1) * n + int(box[1]) // 32 * width + int(box[0]) // 32]
            last = frames - 1 if last_only else None
            asked = _pieces(question, named)
            first = [t for t, word, _ in asked if word == named[0]]
            final = [t for t, word, _ in asked if word == named[-1]]
            shown = []
            for token, word, offset in asked:
                if at := icon or _block(places.get(word, []), last, offset, height, width):
                    stages[0].append((b, s, token, at, at))
                    shown += at
            if check[0] == "box":
                told = [
                    (1, sorted(set(shown))),
                    (2, sorted(set(shown))),
                    (3, sorted(set(shown))),
                    (4, sorted(set(shown))),
                ]
            else:
                told = [
                    (i, _block(places.get(word, []), last, offset, height, width))
                    for i, word, offset in _pieces(answer, said)
                ]
            for i, at in told:
                if at:
                    stages[2].append((b, s, start + i - 1, at, at))
                    if asked:
                        stages[1].append((b, s, start + i - 1, first, final))
    return stages


def _points(all_facts: list[dict], height: int, width: int) -> torch.Tensor:
    """Per block that shows a target, the target's centre in hundredths ``(n_images, n_blocks, 2)``; else -100."""
    out = np.full((len(all_facts), height // 32, width // 32, 2), -100, np.int64)
    for i, facts in enumerate(all_facts):
        for t in facts["targets"]:
            if not t["name"]:
                continue
            x1, y1, x2, y2 = t["box"]
            centre = [int(v) for v in point(t["box"], (width, height)).split()]
            if t["kind"] == "icon":
                out[i, int(y1) // 32, int(x1) // 32] = centre
                continue
            for word, x, y in facts["words"]:
                if x1 <= x < x2 and y1 <= y < y2 and 0 <= y < height:
                    last = min(width - 1, int(x) + 8 * len(word) - 1)
                    out[i, int(y) // 32, int(x) // 32 : last // 32 + 1] = centre
    return torch.from_numpy(out.reshape(len(all_facts), -1, 2))


def _names(all_facts: list[dict], height: int, width: int) -> torch.Tensor:
    """Per block that shows a value, the first four characters of its key or of its row and column; 0 for none.

    Returns int64 ``(n_images, height * width, 2, 4)``; -100 where a value stands in several places.
    """
    out = np.zeros((len(all_facts), height, width, 2, 4), np.int64)
    for i, facts in enumerate(all_facts):
        places: dict[str, list[tuple[int, int]]] = {}
        for word, x, y in facts["words"]:
            places.setdefault(word, []).append((int(x), int(y) // 32))
        known = [(f["value"], (f["key"].split()[0], "")) for f in facts["facts"]]
        known += [(c["value"], (c["row"], c["col"])) for c in facts["cells"]]
        for value, labels in known:
            found = [at for word in value.split() for at in places.get(word, []) if 0 <= at[1] < height]
            code = np.array([[CHAR_IDS[c] for c in label[:4]] + [0] * (4 - len(label[:4])) for label in labels])
            for x, row in found:
                cells = out[i, row, x // 32 : min(width, (x + 8 * len(value) - 1) // 32 + 1)]
                cells[:] = code if len(found) == 1 else -100
    return torch.from_numpy(out.reshape(len(all_facts), -1, 2, 4))


def _wanted(rows: list[tuple], height: int, width: int) -> torch.Tensor:
    """Pointer targets ``(2, batch, n_questions, frames * height * width)``, each summing to 1 or 0."""
    frames, n = len(rows[0][0]), height * width
    out = np.zeros((2, len(rows), len(rows[0][2]), frames * n), np.float32)
    for b, (_, facts, pairs) in enumerate(rows):
        places: dict[str, list[tuple[int, list[int]]]] = {}
        for frame, f in enumerate(facts):
            for word, x, y in f["words"]:
                first, last = int(x) // 32, min(width - 1, (int(x) + 8 * len(word) - 1) // 32)
                if 0 <= int(y) < height * 32:
                    blocks = [frame * n + int(y) // 32 * width + c for c in range(first, last + 1)]
                    places.setdefault(word, []).append((frame, blocks))
        for s, (_, _, check) in enumerate(pairs):
            named, answer, box, last_only = check[-1]
            if box is not None:
                block = (frames - 1) * n + int(box[1]) // 32 * width + int(box[0]) // 32
                out[:, b, s, block] = 1
                continue
            for head, words in ((0, named), (1, answer)):
                for word in words:
                    found = [p for p in places.get(word, []) if not last_only or p[0] == frames - 1]
                    if len(found) == 1:
                        out[head, b, s, found[0][1]] = 1
    return torch.from_numpy(out / np.maximum(out.sum(-1, keepdims=True), 1))


def _word(rng: random.Random) -> str:
    from mini.vocabulary import training_word

    return training_word(rng)


def stage_batch(maker: Maker, stage: int) -> Batch:
    """One batch of a curriculum stage (0: cards, 1: half screens, 2: everything)."""
    rng = maker.rng
    if stage == 0:
        kind = rng.choice(("ui", "ui", "form"))
        return maker.pages("card", kind, 64, 2)
    if stage == 1:
        if rng.random() < 0.15:
            return maker.steps(rng.choice(("phone", "pane")), rng.randint(1, 2), 12, 4)
        return maker.pages("half", rng.choice(("ui", "ui", "form", "form")), 20, 6)
    if rng.random() < 0.2:  # what was learnt on half screens stays in use
        return maker.pages("half", rng.choice(("ui", "form")), 20, 6)
    roll = rng.random()
    if roll < 0.42:
        return maker.steps(rng.choice(("phone", "pane")), rng.choice((1, 2, 3, 4, 5)), 6, 5)
    kind = "ui" if roll < 0.66 else rng.choice(("form", "table", "bars"))
    return maker.pages(rng.choice(("pane", "square", "phone")), kind, 16, 6)


assert SIZES  # the pool's sizes are the pages' sizes
