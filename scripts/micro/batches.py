"""Micro's training examples: questions about pages at any scale, packed, with all targets in displayed pixels."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano.batches import nav_step, page_questions

from . import targets
from .characters import patch_targets
from .looks import SPELT, Look, Question, looks
from .sheets import CLASSES, STEPS, PageClass, read
from .shown import FILTERS, Shown, show, snap
from .targets import DIGITS

MOST_ROWS = 12  # pages of a batch
ALONE_FROM = 700  # tokens of a page that is a batch of its own, which is compiled anew once; smaller ones come in pairs
LARGEST_FACTOR = 1.5  # by which a picture is enlarged
MOSTLY_LARGE = 0.25  # share of the batches whose pages must be large: half of the tokens that they may have, or nearly
ONLY_EVIDENCE = 0.5  # share of the batches with missing blocks that keep little but the evidence
EVIDENCE_FOR = 2  # questions of each of their pages: with more, all evidence together would be much of the page
LASTS = {"field": 0.4, "error": 0.12}  # shares of the last screens of navigation steps
DONE = 0.3  # share of "done" among the other steps
FEW_DIGITS = 0.3  # share of navigation steps that do not prefer numbers of three digits and more


@dataclass
class Batch:
    """Rows of equal layout: ``frames`` images each, then packed questions.

    Attributes:
        images: uint8 ``(rows * frames, height, width, 3)``.
        inner: the reader's targets per image and block.
        outer: the reader's targets per image and block.
        icons: the reader's targets per image and block.
        points: the reader's targets per image and block.
        names: the reader's targets per image and block.
        digits: the reader's targets per image and block.
        segments: token ids of every question with its answer.
        answers: where each answer starts.
        checks: what makes an answer right.
        seen: blocks that hold the answer's evidence, per question.
        attend: attention targets of four decoder layers.
        wanted: pointer targets ``(2, rows, questions, blocks)``.
        present: bool ``(rows, blocks)``, False for a missing block.
        markers: bool, where a marker stands instead.
        before: whether missing blocks go before the vision encoder, not behind it.
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
    before: bool


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
        """A page class and a size that puts the character cell into ``cells`` px and the page under ``most`` tokens.

        Classes are drawn by their share of the sheets. Of some pages at least half of ``most`` is asked; every draw
        that does not fit lowers that a little, because small text allows no large page.
        """
        names = [name for name in self.sheets if not CLASSES[name].last]
        shares = [CLASSES[name].share for name in names]
        least = most / 2 if self.rng.random() < MOSTLY_LARGE else 0.0
        while True:
            name = self.rng.choices(names, shares)[0]
            cls = CLASSES[name]
            factor = self._cell(cls, *cells) / cls.cell
            size = snap(cls.size[0] * factor, cls.size[1] * factor)
            if factor <= LARGEST_FACTOR and least <= size[0] * size[1] / 1024 <= most:
                return name, size
            least *= 0.97

    def _cell(self, cls: PageClass, low: float, high: float) -> float:
        """Character cell in px, log-uniform; half of what was drawn at a scale of 1 is proposed as it was drawn."""
        if cls.scale == 1 and low <= cls.cell <= high and self.rng.random() < 0.5:
            return cls.cell
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))

    def draw(self, name: str, size: tuple[int, int]) -> Shown:
        """A random page of a class, shown at ``size``."""
        images, facts, scale = self.rng.choice(self.sheets[name])
        i = self.rng.randrange(len(facts))
        return show(images[i], facts[i], scale, size, self.rng.choice(FILTERS))

    def pages(self, name: str, size: tuple[int, int], tokens: int, n_questions: int, missing: bool) -> Batch:
        """Single-page questions about ``tokens`` visual tokens in all; ``missing``: with blocks taken out.

        All questions of a batch take the room of the longest: in most batches long ones are left out. Where little but
        the evidence stays, pages are twice as many and have few questions each.
        """
        rows: list[tuple[list[Shown], list[Question]]] = []
        longest = 20 if self.rng.random() < 0.75 else 30  # an icon's question fits into 20
        area = size[0] * size[1] / 1024
        only_evidence = missing and self.rng.random() < ONLY_EVIDENCE
        if only_evidence:
            tokens, n_questions = 2 * tokens, EVIDENCE_FOR
        while len(rows) < min(MOST_ROWS, max(2 if area < ALONE_FROM else 1, round(tokens / area))):
            page = self.draw(name, size)
            pairs = [p for p in questions(page) if len(p[0]) <= longest]
            if not pairs:
                continue
            # Icons and values are few on a page and learnt last: mostly they are asked first.
            pairs.sort(key=lambda pair: self.rng.random() - first(pair[2]))
            while len(pairs) < n_questions:
                pairs = pairs + pairs
            rows.append(([page], pairs[:n_questions]))
        return self.pack(rows, missing, only_evidence)

    def steps(self, cells: tuple[float, float], most: float, tokens: int, n_questions: int, missing: bool) -> Batch:
        """Navigation steps with up to four earlier screens; all questions of a row are about the same screens.

        Args:
            cells: lowest and highest character cell, px.
            most: visual tokens of all screens of a row, at most (up to the rounding to whole blocks).
            tokens: visual tokens of the batch, about.
            n_questions: per row.
            missing: with blocks taken out.
        """
        frames, name = self.rng.choice((1, 2, 2, 3, 3, 4, 5)), self.rng.choice(list(STEPS))
        cls = CLASSES[name]
        largest = min(LARGEST_FACTOR, math.sqrt(1024 * most / frames / (cls.size[0] * cls.size[1])))
        high = max(cells[0], min(cells[1], cls.cell * largest))
        factor = self._cell(cls, cells[0], high) / cls.cell
        size = snap(cls.size[0] * factor, cls.size[1] * factor)
        n_rows = min(5, max(2, round(tokens / (frames * size[0] * size[1] / 1024))))  # its questions are long
        rows: list[tuple[list[Shown], list[Question]]] = []
        while len(rows) < n_rows:
            last = self.rng.choices(("", *LASTS), (1 - sum(LASTS.values()), *LASTS.values()))[0]
            classes = [name] * (frames - 1) + [STEPS[name].get(last, name)]
            shown = [self.draw(each, size) for each in classes]
            least = 1 if self.rng.random() < FEW_DIGITS else 3
            facts = [{"targets": p.targets, "facts": _values(p.facts, least)} for p in shown]
            pairs = [p for _ in range(3 * n_questions) if (p := nav_step(self.rng, facts, last == "field", size, DONE))]
            if len(pairs) >= n_questions:
                rows.append((shown, pairs[:n_questions]))
        return self.pack(rows, missing, missing and self.rng.random() < ONLY_EVIDENCE)

    def segment(self, question: str, answer: str, kind: str) -> tuple[list[int], int]:
        """Token ids of a question with its answer, and where the answer starts.

        The digits of a value ("text") are spelt out even where two are a token, so that the first is always one token.
        """
        head = self.tokenizer.encode(f"{question}<|im_end|>\n<|im_start|>assistant\n")
        if kind != "text":
            return head + self.tokenizer.encode(f"{answer}<|im_end|>"), len(head)
        return head + self.tokenizer.convert_tokens_to_ids([*re.findall(SPELT, answer), "<|im_end|>"]), len(head)

    def pack(self, rows: list[tuple[list[Shown], list[Question]]], missing: bool, only_evidence: bool = False) -> Batch:
        """Stack rows of equal frame count and size.

        Args:
            rows: screens and the questions about them.
            missing: with blocks taken out.
            only_evidence: with all taken out but the questions' evidence and a few others.
        """
        pages = [page for shown, _ in rows for page in shown]
        width, height = pages[0].size
        read_out = [patch_targets(p.chars, p.advance, width, height) for p in pages]
        made = [[self.segment(q, a, c[0]) for q, a, c in pairs] for _, pairs in rows]
        where = looks(rows, [[at for _, at in row] for row in made])
        images = np.stack([p.image for p in pages])
        n_blocks = len(rows[0][0]) * pages[0].grid[0] * pages[0].grid[1]
        present = np.ones((len(rows), n_blocks), bool)
        if only_evidence:
            evidence = [[k for seen in row for k in seen] for row in where.seen]
            if self.rng.random() < 0.5:
                evidence = [a + b for a, b in zip(evidence, _under_boxes(rows), strict=True)]
            present = self._evidence(evidence, n_blocks)
        elif missing:
            present = self._missing(images, len(rows))
        markers = self._markers(present)
        before = missing and self.rng.random() < 0.5
        dense = {
            "outer": torch.from_numpy(np.stack([b for _, b in read_out])),
            "points": _stacked(targets.points, pages),
            "names": _stacked(targets.names, pages),
            "digits": _stacked(targets.digits, pages),
        }
        if before:  # what lies beyond a block may be gone: it is asked for what it shows itself alone
            for wanted in dense.values():
                wanted.fill_(-100)
        return Batch(
            images=torch.from_numpy(images),
            frames=len(rows[0][0]),
            inner=torch.from_numpy(np.stack([a for a, _ in read_out])),
            icons=_stacked(targets.icons, pages),
            **dense,
            segments=[[ids for ids, _ in row] for row in made],
            answers=[[at for _, at in row] for row in made],
            checks=[[c for _, _, c in pairs] for _, pairs in rows],
            seen=where.seen,
            attend=where.attend,
            wanted=torch.from_numpy(where.wanted),
            present=torch.from_numpy(present),
            markers=torch.from_numpy(markers),
            before=before,
        )

    def _missing(self, images: np.ndarray, n_rows: int) -> np.ndarray:
        """Which blocks stay, bool ``(rows, blocks)``: exact duplicates go, or a random share of up to 60 %."""
        n, height, width, _ = images.shape
        blocks = images.reshape(n, height // 32, 32, width // 32, 32, 3).transpose(0, 1, 3, 2, 4, 5)
        blocks = blocks.reshape(n_rows, -1, 32 * 32 * 3)
        present = np.ones(blocks.shape[:2], bool)
        for b in range(n_rows):
            if self.rng.random() < 0.5:
                first = {}
                for i, block in enumerate(blocks[b]):
                    present[b, i] = first.setdefault(block.tobytes(), i) == i
            else:
                share = self.rng.uniform(0.05, 0.6)
                present[b, self.rng.sample(range(present.shape[1]), int(share * present.shape[1]))] = False
        return present

    def _evidence(self, evidence: list[list[int]], n: int) -> np.ndarray:
        """Which of ``n`` blocks stay, bool ``(rows, n)``: a row's evidence, and 2 to 30 %, every third time at random,
        else evenly in reading order."""
        present = np.zeros((len(evidence), n), bool)
        for b, kept in enumerate(evidence):
            share = self.rng.uniform(0.02, 0.3)
            if self.rng.random() < 1 / 3:
                present[b, self.rng.sample(range(n), math.ceil(share * n))] = True
            else:
                start = min(self.rng.random() / share, n - 1)
                present[b, np.arange(start, n, 1 / share).astype(int)] = True
            present[b, kept] = True
        return present

    def _markers(self, present: np.ndarray) -> np.ndarray:
        """Every other batch leaves one marker at the end of each missing run, as POSPAD does; bool, as ``present``."""
        markers = np.zeros_like(present)
        if not present.all() and self.rng.random() < 0.5:
            markers[:, :-1] = ~present[:, :-1] & present[:, 1:]
            markers[:, -1] = ~present[:, -1]
        return markers


def _under_boxes(rows: list[tuple[list[Shown], list[Question]]]) -> list[list[int]]:
    """Per row the blocks of its last page that the boxes asked for touch, as the oracle keeps them."""
    before = (len(rows[0][0]) - 1) * rows[0][0][0].grid[0] * rows[0][0][0].grid[1]
    return [
        [before + k for _, _, check in row if check[0] == "box" for k in pages[-1].touched(check[1])]
        for pages, row in rows
    ]


def is_icon(check: tuple) -> bool:
    """Whether what is asked for is an icon: it has a box and no words."""
    return check[-1][2] is not None


def is_value(text: str) -> bool:
    """Whether a value is asked for: a number of at most DIGITS digits."""
    return text.isdigit() and len(text) <= DIGITS


def _values(facts: list[dict[str, Any]], least: int) -> list[dict[str, Any]]:
    """Facts whose value is a number, of ``least`` digits or more where there are any."""
    values = [f for f in facts if is_value(f["value"])]
    return [f for f in values if len(f["value"]) >= least] or values


def first(check: tuple) -> float:
    """How much sooner a question is asked than others, of a random order in 0 to 1."""
    return 0.3 if is_icon(check) else 0.6 if check[0] == "text" else 0.0


def questions(page: Shown) -> list[Question]:
    """Questions that occur once on the page; values are numbers of at most DIGITS digits."""
    facts = {"targets": page.targets, "facts": page.facts, "cells": page.cells}
    pairs = [p for p in page_questions(facts, page.size) if p[2][0] == "box" or is_value(p[1])]
    often = Counter(q for q, _, _ in pairs)
    return [p for p in pairs if often[p[0]] == 1]


def _stacked(of: Callable[[Shown], np.ndarray], pages: list[Shown]) -> torch.Tensor:
    return torch.from_numpy(np.stack([of(page) for page in pages]))
