"""Tables and sentences that fit the terminal's line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

# A column of names is never made narrower than this, however narrow the terminal is.
NARROWEST = 12
GAP = 2  # characters between two columns
HEAD = 2  # characters that tabulate adds to the name of a column


def in_lines(sentences: Sequence[str], width: int | None) -> list[str]:
    """Sentences broken between words where they are longer than a line; as they are where ``width`` is None."""
    if width is None:
        return list(sentences)
    return [
        textwrap.fill(s, max(width, NARROWEST), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for s in sentences
    ]


def folded(heads: Sequence[str], lines: Sequence[Sequence[str]], width: int) -> list[str]:
    """A table as several that are no wider than the terminal: method and budget stand in each, columns are shared out.

    Args:
        heads: names of the columns; the first two are in every part.
        lines: their cells as text.
        width: characters of a line.
    """
    from tabulate import tabulate

    widest = max((_size(heads, lines, c) for c in range(2, len(heads))), default=0)
    room = max(2 * NARROWEST, width - widest - 2 * GAP)
    sizes = [_size(heads, lines, c) for c in (0, 1)]
    if sum(sizes) > room:  # the names leave no room for a column
        small = min((0, 1), key=lambda c: sizes[c])
        own = min(sizes[small], room // 2)
        lines = _broken(lines, {small: own, 1 - small: room - own})

    def size(column: int) -> int:
        return _size(heads, lines, column) + GAP

    parts: list[list[int]] = [[0, 1]]
    for column in range(2, len(heads)):
        if len(parts[-1]) > 2 and sum(map(size, [*parts[-1], column])) - GAP > width:
            parts.append([0, 1])
        parts[-1].append(column)
    out: list[str] = []
    for part in parts:
        rows = [[line[column] for column in part] for line in lines]
        out += ["", tabulate(rows, headers=[heads[c] for c in part], tablefmt="simple", disable_numparse=True)]
    return out[1:]


def narrowed(
    heads: Sequence[str], lines: Sequence[Sequence[str]], width: int, column: int = 1, spare: Sequence[int] = ()
) -> tuple[list[str], list[list[str]]]:
    """A table no wider than ``width``, if it can be: names are broken into lines, then columns are left out, and
    the last one is broken, too.

    Args:
        heads: names of the columns.
        lines: their cells as text.
        width: characters of a line.
        column: the one of names.
        spare: columns that may be left out, the first one first.

    Returns:
        Heads and rows.
    """
    kept = list(range(len(heads)))
    left = list(spare)

    def room() -> int:
        return width - sum(_size(heads, lines, c) + GAP for c in kept if c != column)

    while left and room() < min(NARROWEST, _size(heads, lines, column)):
        kept.remove(left.pop(0))
    rows = [list(line) for line in lines]
    if room() < min(NARROWEST, _size(heads, lines, column)):
        lines = rows = _broken(rows, {kept[-1]: max(HEAD + len(heads[kept[-1]]), 15)})
    if _size(heads, lines, column) > room():
        rows = _broken(rows, {column: max(NARROWEST, room())})
    return [heads[c] for c in kept], [[row[c] for c in kept] for row in rows]


def _size(heads: Sequence[str], lines: Sequence[Sequence[str]], column: int) -> int:
    cells = [part for line in lines for part in str(line[column]).split("\n")]
    return max(len(heads[column]) + HEAD, *map(len, cells), 0)


def _broken(lines: Sequence[Sequence[str]], rooms: dict[int, int]) -> list[list[str]]:
    """Rows with the cells of some columns broken between their parts."""
    out = [list(line) for line in lines]
    for line in out:
        for column, room in rooms.items():
            line[column] = _name_in_lines(line[column], room)
    return out


def _name_in_lines(text: str, room: int) -> str:
    done, line = [], ""
    for piece in re.findall(r"\[?[^,+\[ ]*[,+ ]?", text):
        if line and len(line + piece.rstrip()) > room:
            done.append(line.rstrip())
            line = ""
        line += piece
        while len(line.rstrip()) > room:  # one part alone is longer than the line
            done.append(line[:room])
            line = line[room:]
    return "\n".join([*done, line.rstrip()] if line.strip() else done)
