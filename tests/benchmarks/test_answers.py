"""Answers to actions to scores; untrusted text never raises, is never evaluated, and is fast."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.draws import examples
from tests.sure import cpu_seconds
from vtprune_eval.benchmarks.answers import first_point, fraction
from vtprune_eval.benchmarks.grammars.mini import parse_action
from vtprune_eval.benchmarks.mini import RULES as EMBEDDED


def rule(name):
    """A rule of the embedded suite as a function of an answer, a target and a frame."""
    return lambda text, target, frame: EMBEDDED[name]["official"].score("mini", text, target, frame)


FRAME = {"coordinates": "hundredths", "model_sizes": [[320, 320]], "file_sizes": [[200, 100]]}
BOX = {"type": "box", "box_xyxy": [20, 10, 40, 30]}


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("click 37 82", (37, 82)),
        ("(0.3, 0.8)", (0.3, 0.8)),
        ('{"point_2d": [374, 822]}', (374, 822)),
        ('{"bbox_2d": [12, 34, 56, 78]}', (12, 34)),
        ("point_2d: 374 822", (374, 822)),
        ("point_2d 374 822", (374, 822)),
        ("click50,60", (50, 60)),
        ("x=12, y=13", None),
        ("x374, y822", None),
        ("no numbers", None),
        ("5", None),
        ("12;13", (12, 13)),
        ("-3 4", (-3, 4)),
    ],
)
def test_first_point(text, point):
    assert first_point(text) == point


@pytest.mark.parametrize(
    ("kind", "point", "expected"),
    [
        ("hundredths", (37, 82), (0.37, 0.82)),
        ("thousandths", (370, 820), (0.37, 0.82)),
        ("fractions", (0.37, 0.82), (0.37, 0.82)),
        ("resized_pixels", (160, 80), (0.5, 0.25)),
        ("hundredths", (101, 5), None),
        ("fractions", (-0.1, 0.5), None),
    ],
)
def test_frames(kind, point, expected):
    assert fraction(point, {**FRAME, "coordinates": kind}) == expected


@given(
    st.sampled_from([("hundredths", 100), ("thousandths", 1000), ("fractions", 1)]), st.floats(0, 1), st.floats(0, 1)
)
def test_frames_round_trip(kind, x, y):
    name, scale = kind
    back = fraction((x * scale, y * scale), {**FRAME, "coordinates": name})
    assert back == (pytest.approx(x), pytest.approx(y))


def test_a_shrunken_image_is_scored_in_the_frame_the_model_saw():
    """A method that halves the image halves the pixels of the answer, not the score."""
    scored = rule("point_in_box")
    for size, answer in (([200, 100], "30 20"), ([100, 50], "15 10")):
        frame = {"coordinates": "resized_pixels", "model_sizes": [size], "file_sizes": [[200, 100]]}
        assert scored(answer, BOX, frame).value == 1.0
    frame = {"coordinates": "resized_pixels", "model_sizes": [[100, 50]], "file_sizes": [[200, 100]]}
    assert scored("30 20", BOX, frame).value == 0.0


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("click 10 10", 1.0, "ok"),
        ("click 20 30", 1.0, "ok"),
        ("click 21 20", 0.0, "wrong"),
        ("", 0.0, "format_error"),
        ("click", 0.0, "format_error"),
        ("click 300 20", 0.0, "format_error"),
    ],
)
def test_point_in_box_borders_are_inside(text, value, reason):
    score = rule("point_in_box")(text, BOX, FRAME)
    assert (score.value, score.reason) == (value, reason)


@pytest.mark.parametrize(
    ("text", "action", "value"),
    [
        ("tap 15 20", {"type": "tap", "box_xyxy": [20, 10, 40, 30]}, 1.0),
        ("tap 50 20", {"type": "tap", "box_xyxy": [20, 10, 40, 30]}, 0.0),
        ("type 4821", {"type": "type", "text": "4821"}, 1.0),
        ("type AB", {"type": "type", "text": "ab"}, 1.0),
        ("type 4822", {"type": "type", "text": "4821"}, 0.0),
        ("scroll down", {"type": "scroll", "direction": "down"}, 1.0),
        ("scroll up", {"type": "scroll", "direction": "down"}, 0.0),
        ("back", {"type": "back"}, 1.0),
        ("done", {"type": "finish"}, 1.0),
        ("done", {"type": "back"}, 0.0),
        ("scroll", {"type": "back"}, 0.0),
    ],
)
def test_step_rule(text, action, value):
    assert rule("step")(text, {"type": "action", "action": action}, FRAME).value == value


def test_exact_match_ignores_case_and_white_space():
    scored = rule("exact_match")
    assert scored("  Save   Draft ", {"answers": ["save draft"]}, FRAME).value == 1.0
    assert scored("save", {"answers": ["save draft"]}, FRAME).value == 0.0
    assert scored(" ", {"answers": ["x"]}, FRAME).reason == "format_error"


HOSTILE = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="0123456789.,-+ e[](){}\"'<>tapclick\n", max_size=400),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "__import__('os').system('true')",
            "click nan nan",
            "click 1e999 2",
            "tap " + "9" * 5000,
            "\u202eclick 5 5",
            "[" * 3000,
            "1 " * 500_000,
            "click " * 200_000,
            "a" * 4096,
            "terminate" * 100_000,
            "a_" * 500_000,
        ]
    ),
)


@examples(400)
@given(HOSTILE)
@example("click 12 " + "1" * 1_000_000)
@example("tap" + " " * 1_000_000 + "5 5")
def test_hostile_text_never_raises_and_is_fast(text):
    def read():
        first_point(text)
        parse_action(text, FRAME)
        for name, target in (
            ("point_in_box", BOX),
            ("exact_match", {"answers": ["x"]}),
            ("step", {"type": "action", "action": {"type": "back"}}),
        ):
            score = rule(name)(text, target, FRAME)
            assert score.value in (0.0, 1.0)

    assert cpu_seconds(read, 1.0) < 1.0  # milliseconds; a catastrophic pattern would take minutes
