"""The reader heads' targets of a page, per merge block."""

from __future__ import annotations

from collections import Counter

import numpy as np
from mini.design import ICONS
from nano.batches import point

from .characters import CHAR_IDS
from .shown import Shown, Word

ICON_IDS = {name: i + 1 for i, name in enumerate(ICONS)}
DIGITS = 4  # longest number that is asked for
END = 11


def icons(page: Shown) -> np.ndarray:
    """Per block the icon it shows, 0 for none."""
    out = np.zeros(page.grid[0] * page.grid[1], np.int64)
    for t in page.targets:
        if t["kind"] == "icon":
            out[page.box_blocks(t["box"])] = ICON_IDS[t["name"]]
    return out


def points(page: Shown) -> np.ndarray:
    """Per block the centre, in hundredths, of the target it shows or of the value its key stands for; else -100."""
    out = np.full((page.grid[0] * page.grid[1], 2), -100, np.int64)
    places = _places(page)
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


def names(page: Shown) -> np.ndarray:
    """Per block that shows a value the first four characters of its key; 0 for none, -100 where it is not certain."""
    out = np.zeros((page.grid[0] * page.grid[1], 4), np.int64)
    places = _places(page)
    for fact in page.facts:
        found = [w for v in fact["value"].split() for w in places.get(v, [])]
        key = fact["key"].split()[0][:4]
        code = [CHAR_IDS[c] for c in key] + [0] * (4 - len(key))
        for word in found:
            out[page.word_blocks(word)] = code if len(found) == 1 else -100
    return out


def digits(page: Shown) -> np.ndarray:
    """Per block that shows a part of one number which of its digits these are, -100 elsewhere.

    Its first to fourth digit: 1 to 10 where it lies in the block, END behind the last one in the block of that, 0 for
    what the block does not show. So a block need not know what others say, only how far the number reaches to its left.
    A number that the edge cuts off is not asked for.
    """
    out = np.full((page.grid[0] * page.grid[1], DIGITS), -100, np.int64)
    often: Counter[int] = Counter()
    for word in page.words:
        if not word[0].isdigit():
            continue
        blocks = page.word_blocks(word)
        whole = word[1] >= 0 and word[1] + len(word[0]) * page.advance <= page.size[0]
        often.update(blocks * (1 if whole else 2))
        if len(word[0]) > DIGITS:
            continue
        out[blocks] = 0
        for i, digit in enumerate(word[0]):
            out[page.char_block(word, i), i] = int(digit) + 1
        if len(word[0]) < DIGITS:
            out[page.char_block(word, len(word[0]) - 1), len(word[0])] = END
    out[[k for k, times in often.items() if times > 1]] = -100
    return out


def _places(page: Shown) -> dict[str, list[Word]]:
    """Where every word of the page stands."""
    places: dict[str, list[Word]] = {}
    for word in page.words:
        places.setdefault(word[0], []).append(word)
    return places
