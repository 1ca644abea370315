"""The one reader of places in what a model said. The text is untrusted: it is searched, never evaluated.

A place is a point, or the centre of a box, in any of the spellings that models use: bare or bracketed numbers, JSON
fields, ``x=.., y=..``, attributes of a tag, full-width signs, exponents. Only what follows a thought counts. Rules
whose authors read their own models otherwise keep that (``Rule.readers``) and say so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

# Nothing useful of a grounding or navigation answer lies behind this; it bounds the work on hostile text.
MAX_CHARS = 4096
Pair = tuple[float, float]

_NUMBER = r"[-+]?(?:\d{1,7}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,2})?"
# Digits of a key such as "point_2d", of a name such as "x1" and of a longer number are no numbers of their own.
_END = r"(?![\w.]*\w)"
_SEP = r"[\s,;]{1,4}"
_OPEN, _CLOSE = r"[\[({<]", r"[\])}>]"
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("◁think▷", "◁/think▷"),
)
_WIDE = {
    **{0xFF10 + i: str(i) for i in range(10)},
    **{ord(a): b for a, b in zip("（）［］｛｝，、；：．－＋＝“”", '()[]{},,;:.-+=""', strict=True)},
}
_REFERENCE = re.compile(r"<\|object_ref_start\|>.{0,400}?<\|object_ref_end\|>", re.DOTALL)
_TOKEN = re.compile(r"<\|[a-z_]{1,30}\|>")
_RUN = re.compile(rf"(?<!\d\.)({_NUMBER})((?:{_SEP}{_NUMBER}){{1,7}}){_END}")
_EACH = re.compile(_NUMBER)
# A group in brackets of its own, and a second one that follows it directly.
_GROUP = rf"{_OPEN}\s{{0,4}}({_NUMBER}){_SEP}({_NUMBER})\s{{0,4}}{_CLOSE}"
_CORNERS = re.compile(rf"{_GROUP}\s{{0,2}}(?:,|;|-|to|and)?\s{{0,2}}{_GROUP}")
_VALUE = r"""["']?\s{0,4}[:=]\s{0,4}["']?\s{0,4}"""
_POINT_KEY = re.compile(
    rf"""["']?\b(?:point(?:_2d)?|points|coordinates?|click_point|position|center|centre){_VALUE}(?=[\[({{])""",
    re.IGNORECASE,
)
_BOX_KEY = re.compile(
    rf"""["']?\b(?:bbox(?:_2d)?|box(?:_2d)?|bounding_box|start_box|rect(?:angle)?){_VALUE}(?=[\[({{])""", re.IGNORECASE
)
_SIDES = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_NAMED = {
    names: re.compile(rf"{_SEP}".join(rf"""["']?\b{n}{_VALUE}({_NUMBER}){_END}["']?""" for n in names), re.IGNORECASE)
    for names in (*_SIDES, ("x_min", "y_min", "x_max", "y_max"), ("x", "y", "width", "height"), ("x", "y", "w", "h"))
}
_XY = re.compile(rf"""\bx{_VALUE}({_NUMBER}){_END}["']?[\s,;]{{0,4}}["']?\by{_VALUE}({_NUMBER}){_END}""", re.IGNORECASE)
_TAGGED = re.compile(
    rf"""<points?\b[^<>]{{0,80}}?\bx1?\s?=\s?["']?({_NUMBER})["']?[^<>]{{0,40}}?\by1?\s?=\s?["']?({_NUMBER})["']?""",
    re.IGNORECASE,
)


def final(text: str) -> str:
    """What a model says after thinking: the text behind the last closing tag, and nothing of a thought that is not
    closed."""
    if "<" not in text and "◁" not in text:
        return text
    for start, end in _THOUGHTS:
        text = text[text.rfind(end) + len(end) :] if end in text else text
        at = text.find(start)
        text = text if at < 0 else text[:at]
    return text


def plain_signs(text: str) -> str:
    """Full-width digits, brackets and commas as their ASCII forms; tokens of boxes and references without what they
    name."""
    text = text.translate(_WIDE)
    return _TOKEN.sub("", _REFERENCE.sub("", text)) if "<|" in text else text


def first_point(text: str) -> Pair | None:
    """The first place of an answer, e.g. of ``click 37 82``, ``{"point_2d": [374, 822]}`` or
    ``(440,220),(560,380)``, whose centre it is.

    Returns:
        (x, y) in the model's own frame, or None.
    """
    text = plain_signs(final(text)[:MAX_CHARS])
    found = _TAGGED.search(text)
    if found:
        return _pair(found[1], found[2])
    for key in (_POINT_KEY, _BOX_KEY):
        found = key.search(text)
        if found:
            at = place(_literal(text, found.end()), corners=key is _BOX_KEY)
            if at:
                return at
    for names, pattern in _NAMED.items():
        found = pattern.search(text)
        if found:
            a, b, c, d = (float(found[i]) for i in range(1, 5))
            return _finite((a + c / 2, b + d / 2) if names[2] in ("width", "w") else ((a + c) / 2, (b + d) / 2))
    found = _XY.search(text)
    if found:
        return _pair(found[1], found[2])
    return _numbers(text)


def place(value: Any, *, corners: bool = True) -> Pair | None:
    """A JSON value as a place: two numbers, four (the centre of a box), nested corners, ``{"x": .., "y": ..}``, or any
    of them as text.

    Args:
        value: of an argument or a field.
        corners: two points in a list are corners of a box; else the first one counts.
    """
    if isinstance(value, str):
        return first_point(value) if len(value) <= MAX_CHARS else None
    if isinstance(value, Mapping):
        return first_point(json.dumps({str(k): v for k, v in value.items() if isinstance(v, (int, float))}))
    if not isinstance(value, (list, tuple)) or not value:
        return None
    if isinstance(value[0], (list, tuple)):
        inner = [place(v) for v in value[:2]]
        if len(value) == 2 and corners and len(value[0]) == 2 and inner[0] and inner[1]:
            return _finite(((inner[0][0] + inner[1][0]) / 2, (inner[0][1] + inner[1][1]) / 2))
        return inner[0]
    if isinstance(value[0], Mapping):
        return place(value[0])
    numbers = [float(v) for v in value[:4] if _is_number(v)]
    if len(value) == 4 and len(numbers) == 4:
        return _finite(((numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2))
    return _finite((numbers[0], numbers[1])) if len(numbers) >= 2 and all(map(_is_number, value[:2])) else None


def fraction(point: Pair, frame: Mapping[str, Any], image: int = -1) -> Pair | None:
    """A point of the model's frame as fractions of the image; outside of [0, 1] it lies beside the image.

    Args:
        point: as read from the answer.
        frame: ``coordinates`` (``hundredths``, ``thousandths``, ``fractions`` or ``resized_pixels``), and
            ``model_sizes``: (width, height) of every image as the model really saw it.
        image: which image the point is on.

    Returns:
        (x, y), or None for numbers without an end.
    """
    kind = frame["coordinates"]
    if kind == "resized_pixels":
        width, height = frame["model_sizes"][image]
    else:
        width = height = {"hundredths": 100, "thousandths": 1000, "fractions": 1}[kind]
    return _finite((point[0] / width, point[1] / height))


def _numbers(text: str) -> Pair | None:
    """The first numbers that stand together: two are a point, four a box, as are two bracketed pairs in a row."""
    run, corners = _RUN.search(text), _CORNERS.search(text)
    if corners and (run is None or corners.start(1) <= run.start()):
        a, b, c, d = (float(v) for v in corners.groups())
        return _finite(((a + c) / 2, (b + d) / 2))
    if run is None:
        return None
    numbers = [float(n) for n in _EACH.findall(run[0])]
    if len(numbers) == 4:
        return _finite(((numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2))
    return _finite((numbers[0], numbers[1]))


def _literal(text: str, at: int) -> Any:
    """The list or object that starts at ``at``; brackets of any kind, keys with or without quotes are no matter."""
    depth, end = 0, at
    for end in range(at, min(len(text), at + 400)):
        depth += (text[end] in "[({") - (text[end] in "])}")
        if depth == 0:
            break
    inside = text[at : end + 1]
    if inside.startswith("{"):
        return inside[1:-1]
    try:
        return json.loads(inside.replace("(", "[").replace(")", "]"))
    except (ValueError, RecursionError):
        return inside


def _pair(x: str, y: str) -> Pair | None:
    return _finite((float(x), float(y)))


def _finite(pair: Pair) -> Pair | None:
    return pair if math.isfinite(pair[0]) and math.isfinite(pair[1]) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
