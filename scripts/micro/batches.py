"""Micro's training examples: questions about pages at any scale, packed, with all targets in displayed pixels."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mini.design import ICONS
from nano.batches import page_questions, point

from .folder import PIECES
from .sheets import CLASSES, read
from .shown import Shown, Word, show, snap
from .windows import CHAR_IDS, FILTERS, patch_targets

ICON_IDS = {name: i + 1 for i, name in enumerate(ICONS)}
MOST_ROWS = 24  # pages of a batch; one alone would be compiled anew
DIGITS = 4  # longest number that is asked for
Question = tuple[str, str, tuple]
Look = tuple[int, int, int, list[int], list[int]]  # row, question, token, places for the first and second head


@dataclass
class Batch:
    """Rows of equal layout: ``frames`` images each, then packed questions.

    Attributes:
        images: uint8 ``(rows * frames, height, width, 3)``.
        inner, outer, icons, points, names, digits: the reader's targets per image and block.
        segments: token ids of every question with its answer; answers: where each answer starts.
        checks: what makes an answer right; seen: blocks that hold the answer's evidence, per question.
        attend: attention targets of four decoder layers; wanted: pointer targets ``(2, rows, questions, blocks)``.
        present: bool ``(rows, blocks)``, False for a missing block; markers: bool, where a marker stands instead.
    """

    images: torch.Tensor
    frames: int
    inner: torch.Tensor
    outer: torch.Tensor
    icons: torch.Tensor
    points: torch.Tensor
    names: torch.Tensor
    digits: torch.Tensor
    segments: list[list[list[int]]]
    answers: list[list[int]]
    checks: list[list[tuple]]
    seen: list[list[list[int]]]
    attend: list[list[Look]]
    wanted: torch.Tensor
    present: torch.Tensor
    markers: torch.Tensor


class Maker:
    """Draws batches from the page sheets in ``folder``."""

    def __init__(self, folder: Path, tokenizer, seed: int) -> None:
        self.folder, self.tokenizer, self.rng = folder, tokenizer, random.Random(seed)
        self.sheets: dict[str, list] = {}
        self.refresh()

    def refresh(self) -> None:
        """Open the sheets that are there by now."""
        self.sheets = {name: found for name in CLASSES if (found := list(read(self.folder, name)))}

    def pick(self, cells: tuple[float, float], most: float) -> tuple[str, tuple[int, int]]:
        """A page class and a size that puts the character cell into ``cells`` px and the page under ``most`` tokens."""
        while True:
            name = self.rng.choice(list(self.sheets))
            cls = CLASSES[name]
            factor = math.exp(self.rng.uniform(*map(math.log, cells))) / cls.cell
            size = snap(cls.size[0] * factor, cls.size[1] * factor)
            if factor <= 1.5 and size[0] * size[1] / 1024 <= most:
                return name, size

    def draw(self, name: str, size: tuple[int, int]) -> Shown:
        """A random page of a class, shown at ``size``."""
        images, facts, scale = self.rng.choice(self.sheets[name])
        i = self.rng.randrange(len(facts))
        return show(images[i], facts[i], scale, size, self.rng.choice(FILTERS))

    def pages(self, name: str, size: tuple[int, int], tokens: int, n_questions: int, missing: bool) -> Batch:
        """Single-page questions about ``tokens`` visual tokens in all; ``missing``: with blocks taken out.

        All questions of a batch take the room of the longest: in most batches long ones are left out.
        """
        rows: list[tuple[list[Shown], list[Question]]] = []
        longest = 15 if self.rng.random() < 0.75 else 30
        while len(rows) < min(MOST_ROWS, max(2, round(tokens / (size[0] * size[1] / 1024)))):
            page = self.draw(name, size)
            pairs = [p for p in questions(page) if len(p[0]) <= longest]
            if not pairs:
                continue
            self.rng.shuffle(pairs)
            while len(pairs) < n_questions:
                pairs = pairs + pairs
            rows.append(([page], pairs[:n_questions]))
        return self.pack(rows, missing)

    def segment(self, question: str, answer: str) -> tuple[list[int], int]:
        """Token ids of a question with its answer, and where the answer starts."""
        head = self.tokenizer.encode(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        return head + self.tokenizer.encode(f"{answer}<|im_end|>"), len(head)

    def pack(self, rows: list[tuple[list[Shown], list[Question]]], missing: bool) -> Batch:
        """Stack rows of equal frame count and size."""
        pages = [page for shown, _ in rows for page in shown]
        width, height = pages[0].size
        read_out = [patch_targets(p.chars, p.advance, width, height) for p in pages]
        made = [[self.segment(q, a) for q, a, _ in pairs] for _, pairs in rows]
        looks = _looks(rows, made)
        present, markers = self._missing(np.stack([p.image for p in pages]), len(rows), missing)
        return Batch(
            images=torch.from_numpy(np.stack([p.image for p in pages])), frames=len(rows[0][0]),
            inner=torch.from_numpy(np.stack([a for a, _ in read_out])),
            outer=torch.from_numpy(np.stack([b for _, b in read_out])),
            **{name: torch.from_numpy(np.stack([of(p) for p in pages])) for name, of in
               (("icons", _icons), ("points", _points), ("names", _names), ("digits", _digits))},
            segments=[[ids for ids, _ in row] for row in made], answers=[[at for _, at in row] for row in made],
            checks=[[c for _, _, c in pairs] for _, pairs in rows], seen=looks.seen, attend=looks.attend,
            wanted=torch.from_numpy(looks.wanted), present=torch.from_numpy(present),
            markers=torch.from_numpy(markers),
        )

    def _missing(self, images: np.ndarray, rows: int, missing: bool) -> tuple[np.ndarray, np.ndarray]:
        """Which blocks stay, and which of the others leave a marker; bool ``(rows, blocks)`` each.

        Half of the time exact duplicates go, else a random share of up to 60 %; every other batch leaves one marker at
        the end of each missing run, as POSPAD does.
        """
        n, height, width, _ = images.shape
        blocks = images.reshape(n, height // 32, 32, width // 32, 32, 3).transpose(0, 1, 3, 2, 4, 5)
        blocks = blocks.reshape(rows, -1, 32 * 32 * 3)
        present = np.ones(blocks.shape[:2], bool)
        if missing:
            for b in range(rows):
                if self.rng.random() < 0.5:
                    seen = {}
                    for i, block in enumerate(blocks[b]):
                        present[b, i] = seen.setdefault(block.tobytes(), i) == i
                else:
                    share = self.rng.uniform(0.05, 0.6)
                    gone = self.rng.sample(range(blocks.shape[1]), int(share * blocks.shape[1]))
                    present[b, gone] = False
        markers = np.zeros_like(present)
        if missing and self.rng.random() < 0.5:
            markers[:, :-1] = ~present[:, :-1] & present[:, 1:]
            markers[:, -1] = ~present[:, -1]
        return present, markers


def questions(page: Shown) -> list[Question]:
    """Questions that occur once on the page; values are numbers of at most DIGITS digits."""
    facts = {"targets": page.targets, "facts": page.facts, "cells": page.cells}
    pairs = [(q, a, c) for q, a, c in page_questions(facts, page.size)
             if c[0] == "box" or (a.isdigit() and len(a) <= DIGITS)]
    often = Counter(q for q, _, _ in pairs)
    return [p for p in pairs if often[p[0]] == 1]


def pieces(text: str, words: list[str]) -> list[tuple[int, str, int]]:
    """Tokens of ``text`` that belong to ``words``: (number of the token, word, first character inside the word)."""
    spans = [m.span() for m in re.finditer(PIECES, text)]
    out = []
    for word in dict.fromkeys(words):
        for m in re.finditer(rf"\b{re.escape(word)}\b", text):
            out += [(i, word, a - m.start()) for i, (a, b) in enumerate(spans) if m.start() <= a and b <= m.end()]
    return out


@dataclass
class _Looks:
    attend: list[list[Look]]
    wanted: np.ndarray
    seen: list[list[list[int]]]


def _looks(rows: list[tuple[list[Shown], list[Question]]], made: list) -> _Looks:
    """Where the decoder should look.

    Stage 0: a character looks at the one or two before it. Stage 1: a character of a named word at the block that
    shows it. Stage 2: the tokens that predict the answer at the question's first and last named word. Stage 3: they
    look at the answer on the screen. Stages 0 and 2 count tokens within the question.
    """
    first = rows[0][0]
    n = first[0].grid[0] * first[0].grid[1]
    out = _Looks([[], [], [], []], np.zeros((2, len(rows), len(rows[0][1]), n * len(first)), np.float32), [])
    for b, (pages, pairs) in enumerate(rows):
        places: dict[str, list[tuple[int, Word]]] = {}
        for frame, page in enumerate(pages):
            for word in page.words:
                places.setdefault(word[0], []).append((frame, word))
        last = len(pages) - 1
        seen_row = []
        for s, (question, answer, check) in enumerate(pairs):
            named, said, box, last_only = check[-1]
            start = made[b][s][1]

            def only(text: str, last_only: bool = last_only, places=places) -> tuple[int, Word] | None:
                found = [p for p in places.get(text, []) if not last_only or p[0] == last]
                return found[0] if len(found) == 1 else None

            def char(text: str, offset: int, only=only, pages=pages) -> list[int]:
                found = only(text)
                return [found[0] * n + k for k in pages[found[0]].char_block(found[1], offset)] if found else []

            icon = None if box is None else [last * n + k for k in pages[last].box_blocks(box)]
            evidence: set[int] = set(icon or ())
            for head, words in ((0, named), (1, said)):
                if icon:
                    out.wanted[head, b, s, icon] = 1
                    continue
                for text in words:
                    if found := only(text):
                        blocks = [found[0] * n + k for k in pages[found[0]].word_blocks(found[1])]
                        out.wanted[head, b, s, blocks] = 1
                        if head == (0 if check[0] == "box" else 1):
                            evidence.update(blocks)
            seen_row.append(sorted(evidence))
            asked = pieces(question, named)
            head_words = [t for t, word, _ in asked if word == named[0]] if named else []
            tail_words = [t for t, word, _ in asked if word == named[-1]] if named else []
            shown: set[int] = set()
            for token, word, offset in asked:
                if offset >= 1:
                    out.attend[0].append((b, s, token, [token - 1], [token - min(2, offset)]))
                if at := icon or char(word, offset):
                    out.attend[1].append((b, s, token, at, at))
                    shown.update(at)
            if check[0] == "box":
                told = [(i, sorted(shown)) for i in (1, 2, 3, 4)]  # after the verb: space, number, space, number
            else:
                told = [(i, char(word, offset)) for i, word, offset in pieces(answer, said)]
            for i, at in told:
                if at:
                    out.attend[3].append((b, s, start + i - 1, at, at))
                    if asked:
                        out.attend[2].append((b, s, start + i - 1, head_words, tail_words))
        out.seen.append(seen_row)
    out.wanted /= np.maximum(out.wanted.sum(-1, keepdims=True), 1)
    return out


def _icons(page: Shown) -> np.ndarray:
    """Per block the icon it shows, 0 for none."""
    out = np.zeros(page.grid[0] * page.grid[1], np.int64)
    for t in page.targets:
        if t["kind"] == "icon":
            out[page.box_blocks(t["box"])] = ICON_IDS[t["name"]]
    return out


def _points(page: Shown) -> np.ndarray:
    """Per block the centre, in hundredths, of the target it shows or of the value its key stands for; else -100."""
    out = np.full((page.grid[0] * page.grid[1], 2), -100, np.int64)
    places: dict[str, list[Word]] = {}
    for word in page.words:
        places.setdefault(word[0], []).append(word)
    for fact in page.facts:
        value, key = places.get(fact["value"], []), places.get(fact["key"].split()[0], [])
        if len(value) == len(key) == 1:
            text, x, y = value[0]
            box = [x, y, x + len(text) * page.advance, y + page.cell]
            out[page.word_blocks(key[0])] = [int(v) for v in point(box, page.size).split()]
    for t in page.targets:
        if not t["name"]:
            continue
        centre = [int(v) for v in point(t["box"], page.size).split()]
        if t["kind"] == "icon":
            out[page.box_blocks(t["box"])] = centre
            continue
        x1, y1, x2, y2 = t["box"]
        for word in page.words:
            if x1 <= word[1] + 1 < x2 and y1 <= word[2] + page.cell / 2 < y2:
                out[page.word_blocks(word)] = centre
    return out


def _names(page: Shown) -> np.ndarray:
    """Per block that shows a value the first four characters of its key; 0 for none, -100 where it is not certain."""
    out = np.zeros((page.grid[0] * page.grid[1], 4), np.int64)
    places: dict[str, list[Word]] = {}
    for word in page.words:
        places.setdefault(word[0], []).append(word)
    for fact in page.facts:
        found = [w for v in fact["value"].split() for w in places.get(v, [])]
        key = fact["key"].split()[0][:4]
        code = [CHAR_IDS[c] for c in key] + [0] * (4 - len(key))
        for word in found:
            out[page.word_blocks(word)] = code if len(found) == 1 else -100
    return out


def _digits(page: Shown) -> np.ndarray:
    """Per block that shows one number its digits from the left (1 to 10, 0 behind its end), -100 elsewhere."""
    out = np.full((page.grid[0] * page.grid[1], DIGITS), -100, np.int64)
    often: Counter[int] = Counter()
    for word in page.words:
        if word[0].isdigit() and len(word[0]) <= DIGITS:
            blocks = page.word_blocks(word)
            often.update(blocks)
            out[blocks] = [int(c) + 1 for c in word[0]] + [0] * (DIGITS - len(word[0]))
    out[[k for k, times in often.items() if times > 1]] = -100
    return out
