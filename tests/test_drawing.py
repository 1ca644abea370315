"""One module draws: what it puts on a picture, and where."""

import numpy as np
import pytest
from PIL import Image

from vtprune_eval.drawing import ANSWER, FAINT, PAPER, TARGET, draw_answer, draw_marks, stacked, wrapped, write


def extent(picture, colour):
    """(left, top, right, bottom) of the pixels of one colour; None without one."""
    ys, xs = np.nonzero((np.asarray(picture) == colour).all(-1))
    return (xs.min(), ys.min(), xs.max(), ys.max()) if len(xs) else None


@pytest.mark.parametrize(
    ("mark", "colour", "expected"),
    [
        (("box", [20, 40, 80, 100]), TARGET, (9, 19, 41, 51)),  # half the size, a pixel wider on every side
        (("box", [80, 100, 20, 40]), TARGET, (9, 19, 41, 51)),  # corners in any order
        (("faint", [20, 40, 80, 100]), FAINT, (10, 20, 40, 50)),
        (("point", [100, 100]), TARGET, (40, 40, 60, 60)),
        (("polygon", [40, 40, 160, 40, 160, 120]), TARGET, (19, 19, 81, 61)),
        (("arrow", [40, 100, 160, 100]), TARGET, (19, 45, 85, 55)),
    ],
)
def test_a_mark_is_drawn_where_it_is(mark, colour, expected):
    picture = Image.new("RGB", (100, 100), (1, 2, 3))
    draw_marks(picture, [mark], (200, 200))
    assert extent(picture, colour) == pytest.approx(expected, abs=1)


def test_faint_elements_can_be_left_out():
    picture = Image.new("RGB", (100, 100), (1, 2, 3))
    draw_marks(picture, [("faint", [20, 40, 80, 100])], (200, 200), faint=False)
    assert extent(picture, FAINT) is None


def test_a_ring_has_a_light_rim_where_the_screen_has_its_colour():
    picture = Image.new("RGB", (100, 100), TARGET)
    draw_marks(picture, [("point", [50, 50])], (100, 100))
    assert extent(picture, PAPER) is not None


def test_an_answer_is_a_cross_in_fractions():
    picture = Image.new("RGB", (100, 50))
    draw_answer(picture, (0.25, 0.5))
    left, top, right, bottom = extent(picture, ANSWER)
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((25, 25), abs=1)


def test_words_fit_their_width():
    lines = wrapped("some words that do not fit into one line of this width at all", 100, 17, 3)
    assert len(lines) == 3 and lines[-1].endswith("...")
    assert wrapped("short", 100, 17, 3) == ["short"]
    assert "".join(wrapped("x" * 12, 60, 17, 9)) == "x" * 12  # nowhere to break
    picture = Image.new("RGB", (300, 30), PAPER)
    write(picture, (5, 5), lines[0], 17)
    left, *_, right, _ = extent(255 - np.asarray(picture), (235, 235, 235))
    assert left >= 5 and right <= 105


def test_pictures_below_each_other():
    sheet = stacked([Image.new("RGB", (10, 5), TARGET), Image.new("RGB", (20, 7), ANSWER)])
    assert sheet.size == (20, 12)
    assert extent(sheet, TARGET) == (0, 0, 9, 4) and extent(sheet, ANSWER) == (0, 5, 19, 11)
