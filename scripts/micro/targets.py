"""The reader heads' targets of a page, per merge block."""

from __future__ import annotations

from collections import Counter

import numpy as np
from mini.design import ICONS
from nano.batches import point

from .shown import Shown, Word
from .windows import CHAR_IDS

ICON_IDS = {name: i + 1 for i, name in enumerate(ICONS)}
DIGITS = 4  # longest number that is asked for


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


def _places(page: Shown) -> dict[str, list[Word]]:
    """Where every word of the page stands."""
    places: dict[str, list[Word]] = {}
    for word in page.words:
        places.setdefault(word[0], []).append(word)
    return places
