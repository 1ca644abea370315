"""Hand-made cases for AITW, AndroidControl and GUI-Odyssey, beside the golden vectors."""

from __future__ import annotations

import json
import math

import pytest

from vtprune_eval.benchmarks.aitw import rule as aitw
from vtprune_eval.benchmarks.androidcontrol import rule as androidcontrol
from vtprune_eval.benchmarks.gui_odyssey import rule as gui_odyssey
from vtprune_eval.benchmarks.rules import RuleUndefined, guievalkit, simpagent

FAR = [[0.0, 0.9, 0.01, 0.01]]


def tap(x, y):
    return f'{{"action_type": 4, "click_point": ({x}, {y})}}'


def step(x=0.5, y=0.5, boxes=(0.0, 0.9, 0.01, 0.01)):
    return {
        "action_type_id": 4,
        "action_type_text": "click",
        "touch": [x, y],
        "lift": [x, y],
        "type_text": "",
        "annot_position": list(boxes),
    }


def test_aitw_uses_float32_at_the_threshold():
    # In float64, 0.64 - 0.5 = 0.14 exactly; in float32 the distance is 0.13999999 and the threshold 0.14000000.
    assert aitw.match_actions((0.5, 0.5), (0.5, 0.5), 4, (0.64, 0.5), (0.64, 0.5), 4, FAR)
    assert not aitw.match_actions((0.5, 0.5), (0.5, 0.5), 4, (0.6401, 0.5), (0.6401, 0.5), 4, FAR)


def test_aitw_box_grows_by_24_and_is_not_moved_back_when_clipped():
    grown = aitw.grow(aitw.np.array([[0.1, 0.0, 0.1, 0.5]]))
    assert grown[0].tolist() == pytest.approx([0.03, 0.0, 0.24, 1.0])
    in_both = aitw.match_actions((0.05, 0.1), (0.05, 0.1), 4, (0.26, 0.9), (0.26, 0.9), 4, [[0.1, 0.0, 0.1, 0.5]])
    assert in_both  # 0.26 < 0.03 + 0.24, and the width reaches over the edge


def test_aitw_two_points_in_two_different_boxes_do_not_match():
    boxes = [[0.1, 0.1, 0.02, 0.02], [0.8, 0.8, 0.02, 0.02]]
    assert not aitw.match_actions((0.11, 0.11), (0.11, 0.11), 4, (0.81, 0.81), (0.81, 0.81), 4, boxes)


def test_aitw_swipes_compare_axes_only_and_a_tie_is_vertical():
    tie, across = ((0.2, 0.2), (0.5, 0.5)), ((0.5, 0.2), (0.5, 0.8))
    up = ((0.8, 0.5), (0.2, 0.5))
    assert aitw.match_actions(*tie, 4, *up, 4, FAR)
    assert not aitw.match_actions(*tie, 4, *across, 4, FAR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"action_type": "4"}',
        '{"action_type": None}',
        tap("True", 1),
        '{"action_type": 3}',
        '{"action_type": 3, "typed_text": 5}',
        tap("'a'", 1),
        '{"action_type": 4, "click_point": ()}',
        "{" * 5000,
        "4" * 9000,
        '{"action_type": 1e999}',
        '{"action_type": 99999999999}',
        None,
        5,
    ],
)
def test_aitw_unreadable_answers_are_wrong_with_a_reason(text):
    verdict = aitw.step(text, step())
    assert verdict.value == 0 and verdict.parts["wrong_format"] == 1
    assert verdict.reason == "format_error" and verdict.why


def test_aitw_score_is_the_plain_mean_over_sub_domains():
    right, wrong = aitw.step(tap(0.5, 0.5), step()), aitw.step(tap(0.1, 0.1), step())
    report = aitw.report([("general", right), ("general", wrong), ("general", wrong), ("install", right)])
    assert report["score"] == pytest.approx((1 / 3 + 1) / 2)
    assert report["subsets"]["general"]["click_accuracy"] == pytest.approx(1 / 3)
    assert report["subsets"]["install"]["scroll_accuracy"] is None


def node(x1, y1, x2, y2, text=None):
    return {
        "bbox_pixels": {"x_min": x1, "y_min": y1, "x_max": x2, "y_max": y2},
        "text": text,
        "content_description": None,
    }


def said(operation, point=None, **more):
    return {"operation": operation, "click_point": point, "direction": "", "content": "", **more}


def test_smallest_node_prefers_the_first_of_equal_ones_and_looks_into_lists():
    first, second, inner = node(0, 0, 10, 10, "a"), node(0, 0, 10, 10, "b"), node(4, 4, 6, 6, "c")
    assert androidcontrol.smallest_node(1, 1, [first, second])["text"] == "a"
    assert androidcontrol.smallest_node(5, 5, [first, [second, [inner]]])["text"] == "c"
    assert androidcontrol.smallest_node(11, 5, [first]) is None


def test_guikv_needs_a_tree_and_the_right_app():
    truth = {"action": {"action_type": "click", "x": 5, "y": 5}, "image_size": [100, 100]}
    assert androidcontrol.guikv(said("click", (0.05, 0.05)), truth).value == 0
    truth["accessibility_tree"] = [node(0, 0, 10, 10)]
    assert androidcontrol.guikv(said("click", (0.1, 0.1)), truth).value == 1  # borders are inside
    app = {
        "action": {"action_type": "open_app", "app_name": "Maps"},
        "image_size": [100, 100],
        "accessibility_tree": [node(0, 0, 10, 10, "Google MAPS")],
    }
    assert androidcontrol.guikv(said("click", (0.05, 0.05)), app).value == 1
    app["action"]["app_name"] = ""
    assert androidcontrol.guikv(said("click", (0.05, 0.05)), app).value == 0
    assert androidcontrol.guikv(said("open_app"), app).value == 1


def test_guikv_home_is_never_right_and_statuses_must_agree():
    home = {"action": {"action_type": "navigate_home"}, "image_size": [1, 1]}
    assert androidcontrol.guikv(said("press_home"), home).value == 0
    status = {"action": {"action_type": "status", "goal_status": "infeasible"}, "image_size": [1, 1]}
    assert androidcontrol.guikv(said("finished", content=androidcontrol.goal_status("I FAILED")), status).value == 1
    assert androidcontrol.guikv(said("finished", content=androidcontrol.goal_status("")), status).value == 0


def test_guikv_scales_with_the_size_that_the_model_saw():
    text = "Thought: a\nAction: click(start_box='(100,100)')"
    assert androidcontrol.understand("ui_tars", text, (1080, 2400), (200, 400))["click_point"] == (0.5, 0.25)


@pytest.mark.parametrize(
    ("prediction", "ok"),
    [
        ({"POINT": [0, 1000]}, True),
        ({"POINT": [0, 1001]}, False),
        ({"POINT": [5.0, 5]}, True),
        ({"POINT": [True, 5]}, False),
        ({"POINT": [1, 2], "to": "Up"}, False),
        ({"to": "up"}, False),
        ({"POINT": [1, 2], "to": [3, 4]}, True),
        ({"duration": -1}, False),
        ({"duration": 0}, True),
        ({"PRESS": "back"}, False),
        ({"TYPE": 5}, False),
        ({"STATUS": "finish"}, True),
        ({"STATUS": "done"}, False),
        ({}, False),
        ({"thought": "x"}, False),
        ({"POINT": [1, 2], "x": 1}, False),
        ({"CLEAR": None}, True),
        ({"INPUT": {"point": [1, 2], "text": "a"}}, True),
        ({"INPUT": {"point": [1, 2]}}, False),
        ([], False),
        (None, False),
        ({"POINT": [1, 2], "OPEN_APP": "a"}, True),
        ({"TYPE": "a", "PRESS": "BACK"}, False),
        ({"POINT": [float("nan"), 1]}, False),
    ],
)
def test_guievalkit_schema(prediction, ok):
    assert guievalkit.valid(prediction) is ok


def truth(kind=4, touch=(0.5, 0.5), lift=None, boxes=(), **more):
    return {
        "result_action_type": kind,
        "result_touch_yx": json.dumps(touch),
        "result_lift_yx": json.dumps(lift or touch),
        "ui_positions": json.dumps(list(boxes)),
        **more,
    }


def test_guievalkit_short_press_is_a_wait_and_input_follows_the_annotation():
    assert guievalkit.step({"POINT": [500, 500], "duration": 100}, truth()).parts["pred_type"] == "wait"
    assert guievalkit.step({"DEEP_LINK": None}, truth(1)).value == 1
    both = {"INPUT": {"point": [500, 500], "text": "Pizza "}}
    assert guievalkit.step(both, truth()).value == 1
    assert guievalkit.step(both, truth(3, result_action_text="pizza")).value == 1


def test_guievalkit_rules_differ_on_boxes_that_do_not_hold_the_annotation():
    elsewhere = [[0.2, 0.2, 0.1, 0.1]]
    prediction = {"POINT": [250, 250]}
    assert guievalkit.step(prediction, truth(boxes=elsewhere)).value == 1
    assert guievalkit.step(prediction, truth(boxes=elsewhere), rule="common").value == 0


def test_guievalkit_looks_at_the_five_nearest_boxes_only():
    near = [[0.5 + i / 100, 0.5, 0.01, 0.01] for i in range(5)]
    assert guievalkit.step({"POINT": [105, 105]}, truth(boxes=[*near, [0.1, 0.1, 0.01, 0.01]])).value == 0
    assert guievalkit.step({"POINT": [105, 105]}, truth(boxes=[*near[:4], [0.1, 0.1, 0.01, 0.01]])).value == 1


def test_guievalkit_invalid_predictions_are_counted():
    rows = [
        ("e1", guievalkit.step({"POINT": [500, 500]}, truth())),
        ("e1", guievalkit.step({}, truth())),
        ("e2", guievalkit.step({"OPEN_APP": "x"}, truth(12, result_action_app_name="x"))),
    ]
    report = guievalkit.report(rows)
    assert report["exact_accuracy"] == pytest.approx(2 / 3) and report["valid_share"] == pytest.approx(2 / 3)
    assert report["exact_accuracy_without_open"] == 0.5 and report["episode_success"] == 0.5


def test_direction_is_vertical_on_a_tie():
    assert [guievalkit.direction((0, 0), end) for end in ((1, 1), (2, 1), (-2, 1), (0, -1), (0, 0))] == [
        "down",
        "right",
        "left",
        "up",
        "no direction",
    ]


@pytest.mark.parametrize(
    ("text", "answer", "info"),
    [
        ("CLICK: 500, 500", "CLICK: (500, 500)", "click_correct"),
        ("CLICK: '(500, 500)'", "CLICK: (500, 500)", "click_correct"),
        ("CLICK: __import__('os')", "CLICK: (500, 500)", "invalid"),
        ("CLICK: (500,)", "CLICK: (500, 500)", "invalid"),
        ("CLICK: nonsense", "TYPE: x", "invalid"),
        ("SCROLL: up", "SCROLL:  UP ", "scroll_correct"),
        ("TYPE:", "TYPE: anything", "type_correct"),
        ("TYPE: ABCD", "TYPE: abcd", "type_fail"),
        ("PRESS_HOME: now", "PRESS_HOME", "action_correct"),
        (" COMPLETE ", "COMPLETE", "action_correct"),
    ],
)
def test_odyssey_official(text, answer, info):
    assert gui_odyssey.official(text, answer, None).parts["info"] == info


def test_odyssey_accidents_need_to_be_asked_for():
    for text in ("CLICK: 500", "CLICK: ((450, 450), (550, 550))", "CLICK: [500]"):
        assert gui_odyssey.official(text, "CLICK: (500, 500)", None).parts["info"] == "invalid"
        assert gui_odyssey.official(text, "CLICK: (500, 500)", None, upstream=True).value == 1


def odyssey_rows(categories):
    return [
        {
            "episode": f"e{i}_0",
            "category": c,
            "step_length": 1,
            "score": gui_odyssey.official("TYPE: a", "TYPE: a", None),
        }
        for i, c in enumerate(categories)
    ]


def test_odyssey_report_refuses_what_the_reference_refuses_only_when_asked():
    rows = odyssey_rows(["General_Tool", "Multi_Apps"])
    assert gui_odyssey.official_report(rows, "micro")["AMS"] == 100.0
    with pytest.raises(RuleUndefined):
        gui_odyssey.official_report(rows, "micro", upstream=True)
    with pytest.raises(RuleUndefined):
        gui_odyssey.official_report(rows, "mean")
    assert gui_odyssey.official_report([], "macro")["AMS"] is None


def test_odyssey_incomplete_episodes_leave_the_success_rate():
    rows = odyssey_rows(["a", "a"])
    rows[1]["step_length"] = 3
    assert gui_odyssey.official_report(rows, "macro")["SR"] == 100.0
    rows[0]["step_length"] = 2
    assert gui_odyssey.official_report(rows, "macro")["SR"] == 0.0


def test_simpagent_reads_points_as_whole_numbers_only():
    answer = '{"action_type": 4, "click_point": (500,500)}'
    assert simpagent.simpagent('{"action_type": 4, "click_point": "(500, 500)"}', answer).value == 1
    decimals = simpagent.simpagent('{"action_type": 4, "click_point": (500.0,500)}', answer)
    assert decimals.parts["format_wrong"] == 1
    assert simpagent.simpagent("[1]", answer).error == "AttributeError"
    assert simpagent.simpagent('{"action_type": 4, "click_point": [1]}', answer).value == 0
    assert simpagent.simpagent('{"action_type": 4, "click_point": "(500,500)}', answer).parts["format_wrong"] == 1


def test_osatlas_rules_of_the_two_data_sets_differ():
    heading = "thoughts:\nx\nactions:\n"
    assert androidcontrol.osatlas(heading + "TYPE [new york]", "TYPE [new delhi]").value == 1  # second word only
    assert gui_odyssey.osatlas(heading + "TYPE [new york]", "TYPE [new delhi]").value == 1  # action name counts
    assert gui_odyssey.osatlas(heading + "TYPE [a]", "TYPE [b]").value == 0  # F1 of exactly one half
    assert androidcontrol.osatlas(heading + "WAIT\n", "WAIT").value == 0
    assert gui_odyssey.osatlas(heading + "WAIT\n", "WAIT").value == 1
    assert gui_odyssey.osatlas(heading + "CLICK", "CLICK <point>[[50,60]]</point>").value == 1  # read as (0, 0)
    assert androidcontrol.osatlas(heading, "WAIT").error == "IndexError"
    assert math.isclose(gui_odyssey.plain_f1("a b", "a c"), 0.5)
