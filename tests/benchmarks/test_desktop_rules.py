"""Hand-made cases for AgentNetBench and Mind2Web, beside the golden vectors."""

from __future__ import annotations

import copy
import math

import pytest

from vtprune_eval.benchmarks.agentnetbench import rule as agentnetbench
from vtprune_eval.benchmarks.grammars import opencua, qwen
from vtprune_eval.benchmarks.mind2web import rule as mind2web
from vtprune_eval.benchmarks.untrusted import Unreadable

SIZE = (1920, 1080)


def click(x, y, kind="click"):
    return {"type": kind, "params": {"position": {"x": x, "y": y}}}


def write(text):
    return {"type": "write", "params": {"content": text}}


def steps(*actions, options=()):
    return {"ground_truth_actions": list(actions), "alternative_options": list(options)}


def test_distance_score_starts_at_the_threshold():
    near, beyond = 0.01 * math.sqrt(2), 0.03
    assert agentnetbench.official([["click", [near, 0.0]]], steps(click(0, 0))).value == 1
    assert agentnetbench.official([["click", [beyond, 0]]], steps(click(0, 0))).value == pytest.approx(
        math.exp(-120 * (beyond - near))
    )


def test_types_are_averaged_before_the_total():
    truth = steps(click(0, 0), click(0, 0), write("abc"))
    got = agentnetbench.official([["click", [0, 0]], ["click", [1, 1]], ["write", "abc"]], truth)
    assert got.parts["actions"] == {"click": pytest.approx(0.5), "write": 1.0}
    assert got.value == pytest.approx(0.75)


def test_scoring_does_not_change_the_annotation():
    truth = steps(write("a"), {"type": "press", "params": {"keys": ["enter"]}}, options=[[write("b")]])
    before = copy.deepcopy(truth)
    assert agentnetbench.official([["write", "b"]], truth).parts["alternative"] == 0
    agentnetbench.guikv([["write", "b"]], truth)
    assert truth == before


def test_only_one_enter_is_merged_and_hotkeys_only_in_the_annotation():
    enter = {"type": "hotkey", "params": {"keys": ["Return"]}}
    assert agentnetbench.official([["write", "a"]], steps(write("a"), enter)).value == 1
    assert agentnetbench.official([["write", "a"]], steps(write("a"), enter, enter)).value == 0.5
    assert agentnetbench.official([["write", "a"], ["hotkey", ["enter"]]], steps(write("a"), click(0, 0))).value == 0.5


def test_write_partial_score():
    assert agentnetbench.official([["write", "abcdxxxx"]], steps(write("abcdefgh"))).value == pytest.approx(0.5 / 0.8)
    assert agentnetbench.official([["write", "abcdefgx"]], steps(write("abcdefgh"))).value == 1  # 0.875 >= 0.8


@pytest.mark.parametrize(
    "said",
    [
        [],
        [["click", None]],
        [["click", [1]]],
        [["write", 5]],
        [["click"]],
        [["click", ["a", "b"]]],
        [["press", "enter"]],
        [["click", [math.nan, 0]]],
    ],
)
def test_malformed_predictions_score_nothing(said):
    truth = steps(click(0, 0), write("a"), {"type": "press", "params": {"keys": ["x"]}})
    assert agentnetbench.official(said, truth).value == 0
    assert agentnetbench.guikv(said, truth).value == 0


def test_guikv_takes_the_first_alternative_of_the_predicted_type_but_not_after_a_near_miss():
    truth = steps(click(0.5, 0.5), options=[[write("no")], [write("yes")]])
    assert agentnetbench.guikv([["write", "yes"]], truth).value == 1  # the first scores 0, so all are tried
    missed = steps(click(0.5, 0.5), options=[[click(0.9, 0.9)]])
    assert 0 < agentnetbench.guikv([["click", [0.9, 0.9]]], missed).value < 1e-20


def test_report_is_micro_with_types_and_trajectories():
    one = agentnetbench.official([["click", [0, 0]]], steps(click(0, 0)))
    none = agentnetbench.official([], steps(write("a")))
    rows = [
        {"trajectory": "a", "score": one, "milestone": True},
        {"trajectory": "a", "score": none},
        {"trajectory": "b", "score": one},
    ]
    got = agentnetbench.report(rows)
    assert got["score"] == pytest.approx(2 / 3) and got["trajectories"] == 0.75 and got["milestones"] == 1
    assert got["by_action_type"]["click"]["n"] == 2


def test_opencua_agent_rescales_pixels_only_and_guikv_always():
    assert opencua.agent("pyautogui.click(x=0.5, y=0.25)", SIZE) == [("click", (0.5, 0.25))]
    assert opencua.agent("pyautogui.click(x=966, y=0.5)", SIZE) == [("click", (966.0, 0.5))]
    assert opencua.guikv("pyautogui.click(x=966, y=546)", SIZE) == [("click", (0.5, 0.5))]
    assert opencua.agent("computer.triple_click(x=966, y=546)", SIZE) == [("triple_click", (966.0, 546.0))]
    assert opencua.guikv("computer.triple_click(x=966, y=546)", SIZE) == [("triple_click", (0.5, 0.5))]
    assert opencua.guikv("now pyautogui.click(x=966, y=546)", SIZE) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pyautogui.press(['ctrl', 'c'])", [("hotkey", ["ctrl", "c"])]),
        ("pyautogui.press('enter')", [("press", ["enter"])]),
        ("pyautogui.hotkey('Cmd', 'v')", [("hotkey", ["ctrl", "v"])]),
        ("pyautogui.press(keys=['command'])", [("press", ["ctrl"])]),
        ("pyautogui.press(keys=[])", [("press", [])]),
        ("pyautogui.write('a\"b')", [("write", 'a"b')]),
        ('pyautogui.write("it\'s")', [("write", "it's")]),
        ("pyautogui.write(message='')", []),
        ("pyautogui.middleClick(x=5, y=5)", []),
        ("pyautogui.scroll(5, 1)", []),
        ("pyautogui.hotkey()", []),
        ("computer.terminate()", []),
        ("computer.wait(2)", []),
        ("pyautogui.", []),
    ],
)
def test_opencua_lines(line, expected):
    assert opencua.guikv(line, SIZE) == expected


@pytest.mark.parametrize("text", ["pyautogui.click(x=1.2.3, y=4)", "pyautogui.scroll(--5)", None, "a" * 20_000])
def test_opencua_refuses(text):
    with pytest.raises(Unreadable):
        opencua.guikv(text, SIZE)


def call(**arguments):
    return '<tool_call>{"name": "computer_use", "arguments": ' + str(arguments).replace("'", '"') + "}</tool_call>"


def test_qwen_actions():
    # 1920x1080 is shown as 1876x1036.
    assert qwen.agentnetbench(call(action="left_click_drag", coordinate=[938, 518]), SIZE) == [("dragTo", (0.5, 0.5))]
    assert qwen.agentnetbench(call(action="key", keys=["ctrl", "c"]), SIZE) == [("hotkey", ["ctrl", "c"])]
    moved = call(action="mouse_move", coordinate=[0, 0]) + call(action="scroll", pixels=-5)
    assert qwen.agentnetbench(moved, SIZE) == [("moveTo", (0.0, 0.0)), ("scroll", -5)]
    assert qwen.agentnetbench(call(action="left_click", coordinate="here"), SIZE) == []
    assert qwen.agentnetbench(call(action=5), SIZE) == []
    assert qwen.tool_calls("<tool_call>{}</tool_call>") == []


def m2w(op="TYPE", value="new york", **box):
    return {
        "operation": {"original_op": op, "value": value},
        "bbox": {"x": 128, "y": 72, "width": 128, "height": 72, **box},
    }


def test_seeclick_truth_that_cannot_be_read_back_is_skipped_upstream_only():
    text = '{"action_type": 3, "click_point": (0.15,0.15), "value": "say \\"hi\\""}'
    step = m2w(value='say "hi"')
    assert mind2web.seeclick_step(text, step, (1280, 720)).value == 1
    assert mind2web.seeclick_step(text, step, (1280, 720), upstream=True).skipped


def test_seeclick_missing_value_leaves_the_element_hit():
    got = mind2web.seeclick_step('{"action_type": 3, "click_point": (0.15,0.15)}', m2w(), (1280, 720))
    assert got.parts["element_match"] and got.parts["op_match"] and got.parts["op_f1"] == 0
    floating = mind2web.seeclick_step('{"action_type": 4.0, "click_point": (0.15,0.15)}', m2w("CLICK", ""), (1280, 720))
    assert floating.parts["op_match"] and floating.parts["op_f1"] == 0  # "4.0" is another token than "4"


def test_f1_tokens():
    assert mind2web.guikv_f1("type ()", "type") == 1  # "()" is a substring of the punctuation list
    assert mind2web.guikv_f1("type )(", "type") < 1
    assert mind2web.seeclick_f1("a", "") == 0


def test_guikv_reads_arguments_by_position():
    text = "Thought: x\nAction: select(start_box='(644,504)', content='Large')"
    got = mind2web.guikv_understand(text, (1280, 1000))
    assert got["content"] == "Large" and got["click_point"] == (0.5, 0.5)
    assert mind2web.guikv_understand("Action: select(start_box='(1,1)')", (1280, 1000))["reason"] == "argument_missing"
    assert mind2web.guikv_understand("Action: wait()", (1280, 1000))["reason"] == "operation_not_supported"


def test_reports_say_undefined_instead_of_dividing_by_zero():
    assert mind2web.seeclick_report([])["step_success"] is None
    one = {"element": True, "op_f1": 1.0, "category": 4, "op_match": True}
    got = mind2web.seeclick_report([[one]])
    assert got["op_f1_over_categories"] is None and got["op_f1_by_category"][4] == 1
    assert mind2web.guikv_report([])["total_tasks"] == 0
    assert mind2web.guikv_report([{"total_steps": 2, "steps": []}])["error_ratio"] == {"2": 1.0}
