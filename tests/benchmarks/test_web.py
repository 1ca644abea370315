"""The ``web`` suite: every family's right answers are right, records and images agree, nothing can be guessed twice."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given
from PIL import Image

from tests.benchmarks.speakers import SPEAKERS
from tests.benchmarks.test_readers_hostile import HOSTILE
from tests.draws import examples
from vtprune_eval.benchmarks.action import Action
from vtprune_eval.benchmarks.data_folders import has_data
from vtprune_eval.benchmarks.definitions import SUITES, definition
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.benchmarks.web import RULES, normal
from vtprune_eval.data.web.words import HELD_OUT
from vtprune_eval.errors import UserError

FRAME = {"file_sizes": [(780, 1688)], "model_sizes": [(768, 1696)]}
BOX = [100, 200, 180, 240]
CENTRE = (140 / 780, 220 / 1688)


def frame(coordinates="resized_pixels"):
    return {**FRAME, "coordinates": coordinates}


def judge(rule, grammar, text, truth, coordinates="resized_pixels"):
    return RULES[rule]["official"].score(grammar, text, truth, frame(coordinates))


def score(rule, grammar, text, truth, coordinates="resized_pixels"):
    return judge(rule, grammar, text, truth, coordinates).value


@pytest.mark.parametrize(("grammar", "coordinates", "text"), [
    ("qwen", "thousandths", '```json\n[{"point_2d": [179, 130], "label": "x"}]\n```'),
    ("qwen", "resized_pixels", '{"point_2d": [138, 221]}'),
    ("qwen", "resized_pixels", '{"bbox_2d": [98, 201, 177, 241]}'),
    ("ui_tars", "resized_pixels", "Action: click(point='<point>138 221</point>')"),
    ("opencua", "resized_pixels", "pyautogui.click(x=138, y=221)"),
    ("mini", "hundredths", "click 18 13"),
    ("mini", "fractions", "click 0.179 0.13"),
])  # fmt: skip
def test_points_of_every_family(grammar, coordinates, text):
    assert score("grounding", grammar, text, {"box_xyxy": BOX}, coordinates) == 1
    assert score("grounding", grammar, text, {"box_xyxy": [500, 900, 600, 950]}, coordinates) == 0
    assert score("grounding", grammar, "nothing", {"box_xyxy": BOX}, coordinates) == 0


@pytest.mark.parametrize(("said", "right"), [
    ("1,204.50", True), ("1204.50", True), ("$1,204.50", True), ("**1,204.50**.", True), ('"1,204.50"', True),
    (" 1,204.50\n", True), ("1,204.5", False), ("204.50", False), ("The value is 1,204.50", False), ("", False),
])  # fmt: skip
def test_values(said, right):
    assert score("document", "mini", said, {"answers": ["1,204.50"]}) == float(right)


def test_texts_keep_their_commas_and_dots():
    assert normal("KR-4821") == "kr-4821"
    assert normal("Maple, harbor") == "maple, harbor"
    assert normal("14 Mar 2026.") == "14 mar 2026"


STEPS = [
    (Action("tap", point=CENTRE), {"type": "tap", "box_xyxy": BOX}),
    (Action("type", text="KR-4821"), {"type": "type", "text": "KR-4821"}),
    (Action("scroll", direction="down"), {"type": "scroll", "direction": "down"}),
    (Action("button", text="back"), {"type": "back"}),
    (Action("finish", status="success"), {"type": "finish"}),
]


@pytest.mark.parametrize("grammar", ["qwen", "ui_tars"])
@pytest.mark.parametrize("said", range(len(STEPS)))
@pytest.mark.parametrize("true", range(len(STEPS)))
def test_steps_of_every_family(grammar, said, true):
    text = SPEAKERS[grammar](STEPS[said][0], FRAME["model_sizes"][0])
    verdict = judge("step", grammar, text, {"action": STEPS[true][1]})
    assert verdict.value == float(said == true)
    assert verdict.parts["type_match"] == float(said == true)


@pytest.mark.parametrize(("grammar", "text", "true"), [
    ("mini", "tap 18 13", 0), ("mini", "type kr-4821", 1), ("mini", "scroll down", 2), ("mini", "back", 3),
    ("mini", "done", 4), ("opencua", "pyautogui.click(x=138, y=221)", 0), ("opencua", "pyautogui.scroll(-5)", 2),
    ("opencua", "pyautogui.hotkey(['alt', 'left'])", 3), ("opencua", "computer.terminate(status='success')", 4),
])  # fmt: skip
def test_steps_in_plain_words_and_code(grammar, text, true):
    block = f"## Code:\n```python\n{text}\n```" if grammar == "opencua" else text
    coordinates = "hundredths" if grammar == "mini" else "resized_pixels"
    for i, (_, action) in enumerate(STEPS):
        assert score("step", grammar, block, {"action": action}, coordinates) == float(i == true)


def test_a_right_kind_in_the_wrong_place_is_wrong():
    far = SPEAKERS["qwen"](Action("tap", point=(0.9, 0.9)), FRAME["model_sizes"][0])
    verdict = judge("step", "qwen", far, {"action": STEPS[0][1]})
    assert (verdict.value, verdict.parts) == (0.0, {"type_match": 1, "grounding": 0})
    other = SPEAKERS["qwen"](Action("type", text="KR-4822"), FRAME["model_sizes"][0])
    assert judge("step", "qwen", other, {"action": STEPS[1][1]}).value == 0


TRUTHS = {"grounding": {"box_xyxy": BOX}, "document": {"answers": ["1,204.50"]}, "step": {"action": STEPS[0][1]}}


@pytest.mark.parametrize("grammar", ["qwen", "ui_tars", "opencua", "mini"])
@pytest.mark.parametrize("rule", RULES)
def test_hostile_answers_score_between_0_and_1(rule, grammar):
    @examples(40, suppress_health_check=list(HealthCheck))
    @given(HOSTILE)
    def never_raises(text):
        for coordinates in ("resized_pixels", "thousandths"):
            assert 0 <= score(rule, grammar, text, TRUTHS[rule], coordinates) <= 1

    never_raises()


def test_a_suite_is_a_name_for_its_tasks():
    assert SUITES["web"] == ("web-grounding", "web-doc", "web-nav")
    assert has_data("mini") and has_data("web") == all(map(has_data, SUITES["web"]))


# --- the released data --------------------------------------------------------------------------------------------

released = pytest.mark.skipif(not has_data("web"), reason="the web suite's data is not there: `data get web` draws it")


@pytest.fixture(scope="module")
def tasks():
    return {name: load_task(name, style="qwen3_vl") for name in SUITES["web"]}


@released
def test_counts_and_sizes(tasks):
    samples = [s for task in tasks.values() for s in task.samples]
    assert len(samples) >= 600 and len({s.id for s in samples}) == len(samples)
    assert len({s.cluster for name in ("web-grounding", "web-doc") for s in tasks[name].samples}) >= 66
    assert len({s.images[-1] for name in ("web-grounding", "web-doc") for s in tasks[name].samples}) >= 120
    assert set(Counter(s.images for s in tasks["web-doc"].samples).values()) == {2}
    assert max(len(s.images) for s in tasks["web-nav"].samples) == 5
    assert any(s.meta["needs_history"] for s in tasks["web-nav"].samples)
    sizes = {s.meta["size"] for s in samples}
    assert sizes == {"1280x720", "1920x1080", "780x1688", "2560x1440"}
    folder = tasks["web-doc"].samples[0].images[0].parents[2].parent
    assert sum(p.stat().st_size for n in SUITES["web"] for p in (folder / n).rglob("*") if p.is_file()) < 40e6


@released
def test_boxes_lie_on_their_images(tasks):
    shapes = {}
    for task in tasks.values():
        for s in task.samples:
            path = s.images[-1]
            if path not in shapes:
                with Image.open(path) as image:
                    shapes[path] = image.size
            width, height = shapes[path]
            assert f"{width}x{height}" == s.meta["size"]
            for x1, y1, x2, y2 in s.boxes((width, height)):
                assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
    assert all(s.boxes((1, 1)) for s in tasks["web-grounding"].samples)
    assert all(s.boxes((1, 1)) for s in tasks["web-doc"].samples)


@released
def test_a_page_is_not_asked_for_one_place_twice(tasks):
    asked = Counter((s.images, s.instruction) for s in tasks["web-grounding"].samples)
    assert set(asked.values()) == {1}
    kinds = Counter(s.meta["target_kind"] for s in tasks["web-grounding"].samples)
    assert kinds["icon"] >= 60 and kinds["text"] >= 150


@released
def test_a_code_is_shown_before_it_is_typed_and_never_told(tasks):
    for s in tasks["web-nav"].samples:
        action = s.target["truth"]["action"]
        if action["type"] == "type":
            assert s.meta["needs_history"] and s.meta["n_history"] >= 2
            assert action["text"] not in s.question
        assert (action["type"] == "tap") == bool(s.boxes((1, 1)))


@released
def test_earlier_screens_can_be_left_out(tasks):
    bare = load_task("web-nav", history=0, style="qwen3_vl").samples
    assert {len(s.images) for s in bare} == {1}
    assert [s.images[-1] for s in bare] == [s.images[-1] for s in tasks["web-nav"].samples]


@released
@pytest.mark.parametrize("style", ["mini", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "ui_tars", "opencua"])
def test_questions_name_what_is_asked(style):
    for name in SUITES["web"]:
        sample = load_task(name, limit=5, style=style).samples[0]
        quoted = re.findall('"([^"]*)"', sample.instruction)
        assert all(word.lower() in sample.question.lower() for word in quoted)
        assert "$" not in re.sub(r"\$\d", "", sample.question)


@released
def test_a_point_head_answers_the_grounding_task_alone():
    with pytest.raises(UserError, match="no prompt"):
        load_task("web-nav", style="focusui")


@released
def test_pixels_are_those_of_the_list():
    for name in SUITES["web"]:
        listed = json.loads((task_folder(name) / "pixels.json").read_text())
        written = (
            json.loads((task_folder(name) / "data" / "pixels.json").read_text())
            if (task_folder(name) / "data" / "pixels.json").is_file()
            else listed
        )
        assert written == listed and len(listed) >= 60


def task_folder(name):
    from pathlib import Path

    return Path(definition(name).folder)


def test_no_training_word_is_a_word_of_the_suite():
    import random

    from mini.vocabulary import training_word

    rng = random.Random(0)
    held = set(HELD_OUT)
    assert not any(training_word(rng) in held for _ in range(20_000))
    assert all(re.fullmatch("[a-z]{3,}", w) for w in held) and len(held) == len(HELD_OUT) > 500
