"""Hostile text: nothing raises, nothing runs, work is bounded. Plus the common action form."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.draws import examples
from tests.sure import cpu_seconds
from vtprune_eval.benchmarks import grammars as parsers
from vtprune_eval.benchmarks import osworld_g
from vtprune_eval.benchmarks.agentnetbench import rule as agentnetbench
from vtprune_eval.benchmarks.aitw import rule as aitw
from vtprune_eval.benchmarks.androidcontrol import rule as androidcontrol
from vtprune_eval.benchmarks.grammars import opencua, qwen, ui_tars
from vtprune_eval.benchmarks.gui_odyssey import rule as gui_odyssey
from vtprune_eval.benchmarks.mind2web import rule as mind2web
from vtprune_eval.benchmarks.rules import documents, guievalkit, pointed, simpagent
from vtprune_eval.benchmarks.untrusted import MAX_CHARS, Unreadable, literal

SIZE = (1920, 1080)
FRAME = {"file_sizes": [SIZE], "model_sizes": [(1932, 1092)], "coordinates": "resized_pixels"}
AITW_STEP = {
    "action_type_id": 3,
    "action_type_text": "type",
    "touch": [-1, -1],
    "lift": [-1, -1],
    "type_text": "x",
    "annot_position": [0.1, 0.1, 0.1, 0.1],
}
M2W_STEP = {
    "operation": {"original_op": "TYPE", "value": "new york"},
    "bbox": {"x": 1, "y": 1, "width": 5, "height": 5},
}
ITEM = {"image_size": list(SIZE), "box_type": "polygon", "box_coordinates": [1, 2, 300, 4, 5, 600]}


def readable(reader):
    def read(text):
        try:
            return reader(text, SIZE)
        except Unreadable as error:
            return {"refused": error.reason}

    return read


READERS = {
    "aitw": lambda t: aitw.step(t, AITW_STEP),
    "androidcontrol ui_tars": lambda t: androidcontrol.understand("ui_tars", t, SIZE),
    "androidcontrol opencua": lambda t: androidcontrol.understand("opencua", t, SIZE),
    "androidcontrol osatlas": lambda t: androidcontrol.osatlas(t, "TYPE [hello]"),
    "agentnetbench ui_tars": lambda t: agentnetbench.from_ui_tars(t, SIZE),
    "opencua agent": readable(opencua.agent),
    "opencua guikv": readable(opencua.guikv),
    "opencua grounding": readable(opencua.grounding),
    "qwen": readable(qwen.agentnetbench),
    "ui_tars": readable(ui_tars.parse),
    "box token": ui_tars.add_box_token,
    "mind2web seeclick": lambda t: mind2web.seeclick_step(t, M2W_STEP, (100, 100)),
    "mind2web guikv": lambda t: mind2web.guikv_understand(t, (1280, 1000)),
    "odyssey official": lambda t: gui_odyssey.official(t, "CLICK: (1, 2)", [0, 0, 5, 5], upstream=True),
    "odyssey type": lambda t: gui_odyssey.official(t, "TYPE: hello", None),
    "odyssey simpagent": lambda t: simpagent.simpagent(t, '{"action_type": 4, "click_point": (1,2)}'),
    "odyssey osatlas": lambda t: gui_odyssey.osatlas(t, "CLICK <point>[[1,2]]</point>"),
    "screenspot seeclick": lambda t: pointed.seeclick(t, [1, 2, 3, 4], SIZE),
    "screenspot guikv": lambda t: pointed.guikv(t, [1, 2, 3, 4], SIZE),
    "screenspot opencua": lambda t: pointed.guikv(t, [1, 2, 3, 4], SIZE, model="opencua"),
    "screenspot vlmeval": lambda t: pointed.vlmeval(t, [1, 2, 3, 4], SIZE),
    "osworld_g": lambda t: osworld_g.official(t, ITEM),
    "osworld_g vlmeval": lambda t: osworld_g.vlmeval(t, ITEM),
    "anls": lambda t: documents.anls(t, ["42 Main Street"]),
    "relaxed": lambda t: documents.relaxed_accuracy(t, ["14"]),
    "ocrbench": lambda t: documents.ocrbench(t, ["no"], "Doc-oriented VQA"),
    "mcq": lambda t: documents.mcq(t, {"A": "leaf", "B": "root"}, "A"),
    **{f"mmlongbench {k}": lambda t, k=k: documents.mmlongbench(t, "12", k) for k in ("Int", "Float", "Str", "List")},
    **{f"parse {g}": lambda t, g=g: parsers.parse(g, t, FRAME) for g in parsers.GRAMMARS},
}
PIECES = st.sampled_from(
    [
        "Thought: ",
        "Action: ",
        "Reflection: ",
        "Action_Summary: ",
        "click(start_box='(",
        ",",
        ")')",
        "type(content='",
        "')",
        ")\n\n",
        "<point>",
        "</point>",
        "scroll(",
        "direction='down'",
        "finished(",
        "pyautogui.click(x=",
        ", y=",
        "keys=['",
        "pyautogui.write(message='",
        "computer.terminate(status='success')",
        "<tool_call>",
        "</tool_call>",
        '{"name": ',
        '"computer_use"',
        '"arguments": {',
        '"action": "left_click"',
        '"coordinate": [',
        "actions:\n",
        "CLICK <point>[[",
        '{"action_type": ',
        '"click_point": (',
        "4",
        "3",
        "}",
        "]",
        "TYPE: ",
        "CLICK: (",
        "<box>(1,1),(2,2)</box>",
        "<bbox>",
        "x=",
        "y: ",
        "1e999",
        "nan",
        "-",
        ".5",
        "9" * 400,
        "\u202e\u05d0",
        "\x00",
        "'",
        '"',
        "\\",
        "\n",
        " ",
        "%",
        "<b>",
        "é",
        "__import__('os')",
        "[[[[",
        "((",
        "{{",
        "**{}",
        "lambda: 0",
    ]
)
SHORT = st.text(max_size=5)
NESTED = st.recursive(
    st.one_of(st.none(), st.floats(), st.integers(), SHORT),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(SHORT, x, max_size=3),
    max_leaves=12,
)
HOSTILE = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=14).map("".join), NESTED.map(str))


@pytest.mark.parametrize("name", READERS)
def test_fuzzed_text_never_raises(name):
    @examples(300, suppress_health_check=list(HealthCheck))
    @given(HOSTILE)
    def never_raises(text):
        READERS[name](text)

    never_raises()


@pytest.mark.parametrize(
    "unit",
    [
        " ",
        "(",
        "[",
        "'",
        "\\",
        "9",
        "-",
        "x=1 ",
        "<bbox>",
        "Action: ",
        "type(content='",
        "pyautogui.write('",
        "keys=[",
        "not ",
        "(1 ",
        "{1:",
        "é",
        "\u0663",
        "<tool_call>",
    ],
)
@pytest.mark.parametrize("length", [8_000, MAX_CHARS, 1_000_000])
def test_long_repetitions_are_read_quickly(unit, length):
    text = (unit * (length // len(unit) + 1))[:length]
    for name, reader in READERS.items():
        # 50 ms on an idle machine; work that grows with the square of the length would take minutes.
        assert cpu_seconds(lambda reader=reader: reader(text), 1.0) < 1.0, name


@pytest.mark.parametrize("value", [None, 5, 1.5, [], {}, b"x"])
def test_no_text_at_all(value):
    for name, reader in READERS.items():
        if not name.startswith(("anls", "ocrbench", "mcq", "box token", "parse")):
            reader(value)
    for grammar in parsers.GRAMMARS:
        assert parsers.parse(grammar, value, FRAME).kind == "invalid"


def test_nothing_is_executed(tmp_path):
    target = tmp_path / "made"
    payload = f"__import__('pathlib').Path({str(target)!r}).touch()"
    for text in (
        payload,
        f"CLICK: {payload}",
        f"Action: {payload}",
        f"Action: click(start_box={payload})",
        f'{{"action_type": {payload}}}',
        f"[{payload}]",
        f"pyautogui.write({payload})",
    ):
        for reader in READERS.values():
            reader(text)
    assert not target.exists()


def test_no_source_of_the_package_evaluates_text():
    for path in (ROOT / "vtprune_eval" / "scoring").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, path


@pytest.mark.parametrize(
    "text", ["((((((((((((((((((1", "f'{1}'", "1+1", "x", "[" * 40, "{**{}}", "-" * 9000 + "1", ""]
)
def test_only_literals_are_literals(text):
    with pytest.raises(Unreadable):
        literal(text)


def test_brackets_inside_a_text_are_not_nesting():
    assert literal("{'typed_text': '" + "(" * 40 + "'}")["typed_text"] == "(" * 40


def test_unreadable_predictions_of_guievalkit_are_wrong():
    for value in (None, "x", {"POINT": "x"}, {"POINT": [1]}, {"to": {}}, json.loads('{"duration": 1e400}')):
        step = guievalkit.step(value, {"result_action_type": 5})
        assert step.value == 0 and step.parts["valid"] is False


def resized(grammar, text, **frame):
    return parsers.parse(grammar, text, {**FRAME, **frame})


def test_families_agree_on_one_action():
    tap = parsers.Action("tap", point=(0.5, 0.5))
    assert resized("ui_tars", "Action: click(point='<point>966 546</point>')") == tap
    assert resized("opencua", "pyautogui.click(x=966, y=546)") == tap
    call = '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [500, 500]}}'
    assert resized("qwen", f"<tool_call>{call}</tool_call>", coordinates="thousandths") == tap
    assert resized("osatlas", "actions:\nCLICK <point>[[500,500]]</point>") == tap
    assert resized("seeclick", '{"action_type": 4, "click_point": (0.5, 0.5)}', coordinates="fractions") == tap


def test_common_form_of_other_actions():
    drag = resized("opencua", "pyautogui.moveTo(x=0, y=0)\npyautogui.dragTo(x=966, y=546)")
    assert drag == parsers.Action("drag", point=(0.0, 0.0), end=(0.5, 0.5))
    assert resized("ui_tars", "Action: finished(content='unsuccessful')").status == "failure"
    assert resized("ui_tars", "no").reason == "no_action"
    assert resized("qwen", "no").reason == "no_tool_call"
    assert resized("seeclick", '{"action_type": 8}') == parsers.Action("scroll", direction="left")
    assert resized("osatlas", "actions:\nTYPE [a b]") == parsers.Action("type", text="a b")
    swipe = '{"name": "mobile_use", "arguments": {"action": "swipe", "coordinate": [0, 0], "coordinate2": [0, 1000]}}'
    assert resized("qwen", swipe, coordinates="thousandths").end == (0.0, 1.0)
