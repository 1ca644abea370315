"""Answers to actions to scores; untrusted text never raises, is never evaluated, and is fast."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.draws import examples
from tests.sure import cpu_seconds
from vtprune_eval.benchmarks.answers import first_point, fraction
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.benchmarks.grammars import parse
from vtprune_eval.benchmarks.grammars.mini import parse_action
from vtprune_eval.benchmarks.grammars.pointing import pointed
from vtprune_eval.benchmarks.mini import RULES as EMBEDDED
from vtprune_eval.benchmarks.registry import benchmark
from vtprune_eval.benchmarks.samples import whole_signs
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.benchmarks.untrusted import Unreadable


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
        ('{"bbox_2d": [12, 34, 56, 78]}', (34, 56)),
        ("point_2d: 374 822", (374, 822)),
        ("point_2d 374 822", (374, 822)),
        ("click50,60", (50, 60)),
        ("x=12, y=13", (12, 13)),
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
        ("hundredths", (101, 5), (1.01, 0.05)),
        ("fractions", (-0.1, 0.5), (-0.1, 0.5)),
        ("fractions", (float("inf"), 0.5), None),
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
        ("click 300 20", 0.0, "wrong"),
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


@pytest.mark.parametrize(
    "text",
    [
        "440,220,560,380",
        "(440, 220, 560, 380)",
        "[[440, 220], [560, 380]]",
        "[440,220],[560,380]",
        "<bbox>[440, 220, 560, 380]</bbox>",
        "'bbox': (440, 220, 560, 380)",
        '```json\n[{"bbox_2d": [440, 220, 560, 380], "label": "row 1, 2"}]\n```',
        '{"x1": 440, "y1": 220, "x2": 560, "y2": 380}',
        '{"x": 440, "y": 220, "width": 120, "height": 160}',
        "left=440, top=220, right=560, bottom=380",
        "<|object_ref_start|>item 3, 4<|object_ref_end|><|box_start|>(440,220),(560,380)<|box_end|>",
        "start_box='(440,220,560,380)'",
        "４４０，２２０，５６０，３８０",
    ],
)
def test_a_box_is_its_centre_in_any_spelling(text):
    assert first_point(text) == pytest.approx((500, 300))


@pytest.mark.parametrize(
    "text",
    [
        "5e2, 3.0E+02",
        "<points x1='500' y1='300' x2='1' y2='2' alt='a'>a</points>",
        '<point x="500" y="300" alt="save">save</point>',
        '{"point": {"x": 500, "y": 300}}',
        '{"x": "500", "y": "300"}',
        "x: 500\ny: 300",
        "X=500; Y=300",
        "点击（500、300）",
        '{"points": [[500, 300], [1, 2]]}',
        "not (1, 2)?</think>(500, 300)",
        "<think>(1, 2)</think> again <think>(3, 4)</think>[500, 300]",
        "[500, 300] <think>or (9, 9)",
        "<thinking>7 8</thinking>500 300",
    ],
)
def test_a_point_in_any_spelling(text):
    assert first_point(text) == pytest.approx((500, 300))


@pytest.mark.parametrize("text", ["<think>at (500, 300)", "(1, 2)</think>", "point_2d", "v1.2.3", "x=a, y=b", ""])
def test_what_is_no_answer(text):
    assert first_point(text) is None
    assert rule("point_in_box")(text, BOX, FRAME).reason == "format_error"


SCREEN = {"coordinates": "thousandths", "model_sizes": [[1280, 720]], "file_sizes": [[1280, 720]]}


@pytest.mark.parametrize(
    ("grammar", "text", "kind", "place"),
    [
        ("qwen", '{"name": "m", "arguments": {"action": "click", "coordinate": {"x": 500, "y": 300}}}', "tap", "point"),
        ("qwen", 'So: {"action": "click", "coordinate": [500, 300]}<|im_end|>', "tap", "point"),
        (
            "qwen",
            "<tool_call>\n<function=m>\n<parameter=action>\nclick\n<parameter=coordinate>[500, 300]",
            "tap",
            "point",
        ),
        ("ui_tars", "Action: click(start_box='<|box_start|>(500,300)<|box_end|>')", "tap", "point"),
        ("ui_tars", "Action: long_press(point='<point>500.0 300.0</point>')", "long_press", "point"),
        ("ui_tars", "Action: scroll(start_box='(500,300)', end_box='(500,100)')", "swipe", "point"),
        ("osatlas", "actions:\nCLICK <point>[[440, 220, 560, 380]]</point>", "tap", "point"),
        ("seeclick", '{"action_type": 4, "click_point": (440, 220, 560, 380)}', "tap", "point"),
        ("mini", "tap (50, 30)", "tap", "hundredths"),
        (
            "mini",
            '<tool_call>{"name": "m", "arguments": {"action": "click", "coordinate": [50, 30]}}',
            "tap",
            "hundredths",
        ),
    ],
)
def test_actions_in_the_spellings_of_the_families(grammar, text, kind, place):
    frame = {**SCREEN, "coordinates": "hundredths" if place == "hundredths" else "thousandths"}
    said = parse(grammar, text, frame)
    assert (said.kind, said.point) == (kind, pytest.approx((0.5, 0.3)))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("pyautogui.click(640, 216)", "tap"),
        ("pyautogui.click(x=640, y=216, clicks=3)", "triple_tap"),
        ("pyautogui.click(x=640, y=216, button='right')", "right_tap"),
        ("pyautogui.tripleClick(x=6.4e2, y=216)", "triple_tap"),
        ("computer.triple_click(x=640, y=216)", "triple_tap"),
        ("pyautogui.doubleClick(x=640, y=216)", "double_tap"),
    ],
)
def test_mouse_calls(line, kind):
    said = parse("opencua", f"## Code:\n```python\n{line}\n```", {**SCREEN, "coordinates": "resized_pixels"})
    assert (said.kind, said.point) == (kind, pytest.approx((0.5, 0.3)))


def test_typed_text_is_no_place():
    """A grounding question answered by typing numbers has no point."""
    for grammar, text in (
        ("ui_tars", "Action: type(content='1, 2')"),
        ("qwen", '<tool_call>{"name": "m", "arguments": {"action": "type", "text": "1, 2"}}</tool_call>'),
    ):
        with pytest.raises(Unreadable):
            pointed(grammar, text, SCREEN)


@pytest.mark.parametrize("protocol", ["official", "seeclick", "simpagent", "guievalkit"])
def test_a_gesture_of_ui_tars_is_right_under_every_protocol_of_aitw(protocol):
    text = "Thought: x\nAction: scroll(start_box='(500,800)', end_box='(500,200)')"
    truth = {
        "action_type_id": 4,
        "action_type_text": "scroll down",
        "touch": [0.5, 0.7],
        "lift": [0.5, 0.3],
        "type_text": "",
        "annot_position": [0.1, 0.1, 0.1, 0.1],
    }
    of = benchmark("aitw")
    assert of.rules(definition("aitw"))[protocol].score("ui_tars", text, truth, SCREEN).value == 1


@pytest.mark.parametrize("protocol", ["guikv", "guievalkit", "osatlas", "simpagent"])
def test_a_gesture_of_ui_tars_is_right_under_every_protocol_of_androidcontrol(protocol):
    frame = {**SCREEN, "coordinates": "resized_pixels", "model_sizes": [[1000, 1000]]}
    text = "Thought: x\nAction: scroll(start_point='<point>500 800</point>', end_point='<point>500 200</point>')"
    truth = {"action": {"action_type": "scroll", "direction": "down"}, "accessibility_tree": []}
    of = benchmark("androidcontrol")
    assert of.rules(definition("androidcontrol"))[protocol].score("ui_tars", text, truth, frame).value == 1


@pytest.mark.parametrize("protocol", ["official", "osatlas", "simpagent", "guievalkit"])
def test_a_gesture_of_ui_tars_is_right_under_every_protocol_of_gui_odyssey(protocol):
    text = "Thought: x\nAction: scroll(start_box='(800,500)', end_box='(200,500)')"
    of = benchmark("gui_odyssey")
    truth = {"answer": "SCROLL: LEFT", "sam2_bbox": None}
    assert of.rules(definition("gui_odyssey"))[protocol].score("ui_tars", text, truth, SCREEN).value == 1


def test_an_annotation_that_cannot_be_scored_is_a_record_with_its_reason(tmp_path):
    task = load_task("mini-doc", limit=1)
    sample = dataclasses.replace(task.samples[0], target={"type": "text", "answers": 7})
    score = task.score(sample, "x", FRAME)
    assert (score.value, score.reason) == (0.0, "bad_annotation") and "TypeError" in score.parts["why"]


def test_half_a_sign_in_a_question_reaches_no_tokenizer():
    assert whole_signs("\ud83d find") == "\ufffd find"
    assert whole_signs("\ud83d\ude00") == "\U0001f600" and whole_signs("plain") == "plain"
