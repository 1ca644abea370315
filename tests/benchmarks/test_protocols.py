"""One answer under every protocol: right answers of every family are right, wrong ones wrong, broken ones counted."""

from __future__ import annotations

import json
import random
from functools import partial

import pytest
from hypothesis import HealthCheck, given

from tests.benchmarks import formats
from tests.benchmarks.speakers import SPEAKERS
from tests.benchmarks.test_readers_hostile import HOSTILE
from tests.conftest import SHARED, needs_shared
from tests.draws import examples
from tests.sure import cpu_seconds
from vtprune_eval import cli
from vtprune_eval.benchmarks.action import Action
from vtprune_eval.benchmarks.androidcontrol.truth import annotated as androidcontrol_action
from vtprune_eval.benchmarks.definitions import definition, protocols_of
from vtprune_eval.benchmarks.gui_odyssey.truth import annotated as odyssey_action
from vtprune_eval.benchmarks.registry import benchmark, benchmark_names
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.results.breakdown import breakdown
from vtprune_eval.results.record import failed_record

STYLES = {"qwen": "qwen2_5_vl", "ui_tars": "ui_tars"}
# The benchmark ``web`` has a rule per task and a test of its own.
PROTOCOLS = {
    name: tuple(benchmark(name).rules(definition(name)))
    for name in benchmark_names()
    if benchmark(name).prompted and name != "web"
}


def judge(name, protocol, grammar, text, truth, frame):
    """The score of one answer under a protocol."""
    of = benchmark(name)
    return of.score(of.rules(definition(name))[protocol], grammar, text, {"type": "x", "truth": truth}, frame)


# What a family cannot say, or what a protocol never accepts from it (see the protocols' own pages).
NEVER = {
    ("androidcontrol", "guikv", "ui_tars"): {"type", "home"},  # its type has no point, press_home is not mapped
}
# No button for the overview in either grammar; no word for "impossible" in Qwen's.
UNSAID = {"qwen": {"recent", "impossible"}, "ui_tars": {"recent"}}


def frames(size):
    """The same screen as three models saw it: resized a little, and by half as a shrinking method does."""
    width, height = size
    return [
        {"file_sizes": [size], "model_sizes": [seen], "coordinates": "resized_pixels"}
        for seen in (size, (width // 28 * 28, height // 28 * 28), (width // 2, height // 2))
    ]


def task_of(name, folder, **options):
    formats.FORMATS[name][0](folder)
    return load_task(name, data_path=str(folder), **options)


def right_action(name, truth, size):
    """The annotation as an action; None where there is nothing to say in a single common action."""
    if name == "aitw":
        kind = truth["action_type_text"]
        if kind == "click":
            return Action("tap", point=tuple(truth["touch"]))
        return {
            "type": Action("type", text=truth["type_text"]),
            "press home": Action("button", text="home"),
            "status task complete": Action("finish", status="success"),
        }.get(kind) or Action("scroll", direction=kind.removeprefix("scroll "))
    if name == "androidcontrol":
        return androidcontrol_action(truth["action"], size)
    return odyssey_action(truth["answer"])


@pytest.mark.parametrize("grammar", SPEAKERS)
@pytest.mark.parametrize(
    ("name", "protocol"), [(n, p) for n in ("aitw", "androidcontrol", "gui_odyssey") for p in PROTOCOLS[n]]
)
def test_the_annotation_itself_is_right_in_every_frame(name, protocol, grammar, tmp_path):
    task = task_of(name, tmp_path, protocol=protocol, style=STYLES[grammar])
    assert task.grammar == grammar
    judged = 0
    for sample in task.samples:
        truth = sample.target["truth"]
        for frame in frames(formats.PHONE):
            action = right_action(name, truth, formats.PHONE)
            text = SPEAKERS[grammar](action, frame["model_sizes"][-1])
            score = task.score(sample, text, frame)
            word = action.text if action.kind == "button" else action.kind
            words = {word, action.status if name == "gui_odyssey" else ""}
            boxless = name == "aitw" and protocol in ("seeclick", "simpagent") and not truth["annot_position"]
            if boxless or words & (NEVER.get((name, protocol, grammar), set()) | UNSAID[grammar]):
                continue
            assert score.value == 1, (sample.id, text, score)
            assert score.reason == "ok" and score.parts["type_match"] == 1
            assert score.parsed is not None
            judged += 1
            wrong = task.score(sample, SPEAKERS[grammar](Action("wait"), frame["model_sizes"][-1]), frame)
            assert action.kind == "wait" or wrong.value == 0
    assert judged >= 9


def test_grounding_follows_the_frame_that_the_model_saw(tmp_path):
    for name in ("screenspot", "screenspot_v2", "screenspot_pro", "osworld_g", "ui_vision"):
        for protocol in protocols_of(definition(name)):
            for grammar, style in STYLES.items():
                task = task_of(name, tmp_path / name, protocol=protocol, style=style)
                sample = task.samples[0]
                for frame in frames(formats.DESK):
                    width, height = frame["model_sizes"][-1]
                    for (x, y), hit in (((0.2, 0.2), 1), ((0.2, 0.45), 0)):
                        tap = Action("tap", point=(x, y))
                        score = task.score(sample, SPEAKERS[grammar](tap, (width, height)), frame)
                        assert score.value == hit, (name, protocol, grammar, frame)
                    text = f'{{"point_2d": [{0.2 * width}, {0.2 * height}]}}'
                    if grammar == "qwen":
                        assert task.score(sample, text, frame).value == 1


def test_simpagents_setting_of_aitw(tmp_path):
    """SeeClick's rule, four earlier screens, points in thousandths that count to two decimals."""
    formats.aitw_seeclick(tmp_path)
    task = load_task("aitw", data_path=str(tmp_path), protocol="simpagent", style="simpagent")
    assert (task.grammar, task.history, task.protocol) == ("simpagent", 4, "simpagent")
    assert 'Step_1: {"action_type": 4, "click_point": [500, 750]} .\n' in task.samples[1].question + "\n"
    frame = {"file_sizes": [formats.PHONE], "model_sizes": [formats.PHONE], "coordinates": "thousandths"}
    x, y = task.samples[0].target["truth"]["touch"]

    def value(left, **changes):
        said = f'{{"action_type": 4, "click_point": ({left}, {1000 * y:.0f})}}'
        truth = {**task.samples[0].target["truth"], **changes}
        return judge("aitw", "simpagent", "simpagent", said, truth, frame).value

    assert [value(left) for left in (500, 300, 100, x)] == [1, 1, 0, 0]  # the last is a fraction
    elsewhere = [2, 2, 0.1, 0.1]
    assert [value(left, annot_position=elsewhere) for left in (639, 644, 646)] == [1, 1, 0]  # 0.144 counts as 0.14
    assert task.score(task.samples[0], "click", frame).reason == "format_error"
    assert task.score(task.samples[0], '{"action_type": 4}', frame).reason == "format_error"


def test_regions_of_osworld_g(tmp_path):
    for protocol, scores in (("official", [1, 1, 0]), ("focusui", [1, 1, 0])):
        task = task_of("osworld_g", tmp_path, protocol=protocol, style="qwen3_vl")
        frame = {"file_sizes": [formats.DESK], "model_sizes": [(960, 544)], "coordinates": "thousandths"}
        said = '{"point_2d": [200, 200]}'
        assert [task.score(s, said, frame).value for s in task.samples] == scores
        assert [task.score(s, '{"point_2d": [-1, -1]}', frame).value for s in task.samples] == [0, 0, 1]
        assert task.score(task.samples[2], "there is no such element", frame).reason == "format_error"


def test_agentnetbench_and_mind2web(tmp_path):
    frame = {"file_sizes": [formats.DESK], "model_sizes": [(952, 532)], "coordinates": "resized_pixels"}

    def calls(**arguments):
        return f"<tool_call>{json.dumps({'name': 'computer_use', 'arguments': arguments})}</tool_call>"

    answers = [
        calls(action="left_click", coordinate=[476, 239]),
        calls(action="type", text="george orwell"),
        calls(action="key", keys=["c", "CTRL"]),
        calls(action="scroll", pixels=-3),
        calls(action="terminate", status="success"),
    ]
    for protocol, expected in (("official", [1, 1, 1, 1, 1]), ("guikv", [1, 1, 1, None, 1])):
        task = task_of("agentnetbench", tmp_path / "a", protocol=protocol, style="qwen2_5_vl")
        scores = [task.score(s, a, frame) for s, a in zip(task.samples, answers, strict=True)]
        for score, value in zip(scores, expected, strict=True):
            assert value is None or score.value == value, (protocol, score)
        assert scores[0].parts["grounding"] == 1 and scores[1].parts["grounding"] is None
        alternative = task.score(task.samples[2], answers[0], frame)
        assert alternative.value == 1 and alternative.parts["type_match"] == 0

    web = {"file_sizes": [(1280, 720)], "model_sizes": [(1260, 700)], "coordinates": "resized_pixels"}
    at = {"coordinate": [0.15 * 1260, 0.15 * 700]}
    said = [
        calls(action="left_click", **at),
        calls(action="type", text="New York", **at),
        calls(action="select", text="2 adults", **at),
    ]
    task = task_of("mind2web", tmp_path / "m", style="qwen2_5_vl")
    assert [task.score(s, a, web).value for s, a in zip(task.samples, said, strict=True)] == [1, 1, 1]
    off = task.score(task.samples[1], calls(action="type", text="new york", coordinate=[5, 5]), web)
    assert (off.value, off.parts["op_f1"], off.parts["grounding"]) == (0, 1, 0)
    assert task.score(task.samples[1], calls(action="type", text="new york"), web).value == 0  # no point

    blocks = {"file_sizes": [(1280, 1000)], "model_sizes": [(1260, 1000)], "coordinates": "resized_pixels"}
    task = task_of("mind2web_website", tmp_path / "u", protocol="guikv", style="qwen2_5_vl")
    at = {"coordinate": [190, 150]}
    said = [calls(action="left_click", **at), calls(action="type", text="new york", **at)]
    assert [task.score(s, a, blocks).value for s, a in zip(task.samples, said, strict=True)] == [1, 1]


@needs_shared("samples/agentnetbench")
def test_annotated_actions_of_real_trajectories_are_right():
    """OpenCUA's own code lines, answered as OpenCUA writes them."""
    task = load_task("agentnetbench", data_path=str(SHARED / "samples" / "agentnetbench"), style="opencua")
    codes = {}
    for path in (SHARED / "samples" / "agentnetbench").glob("*.json"):
        data = json.loads(path.read_text())
        codes |= {f"{data['task_id']}-{s['step_num']}": s["action"] for s in data["steps"]}
    frame = {"file_sizes": [(1280, 720)], "model_sizes": [(1288, 728)], "coordinates": "resized_pixels"}
    values = [task.score(s, f"## Code:\n```python\n{codes[s.id]}\n```", frame).value for s in task.samples]
    assert sum(values) / len(values) > 0.9, values  # a few lines use forms that the reader does not know


@needs_shared("samples/osworld_g")
def test_real_boxes_are_hit_in_their_middle():
    for name in ("osworld_g", "screenspot_v2"):
        task = load_task(name, data_path=str(SHARED / "samples" / name), style="qwen3_vl")
        sizes = {"web": (2560, 1440), "mobile": (1170, 2532), "desktop": (960, 540)}
        checked = 0
        for sample in task.samples:
            if "box_xyxy" not in sample.target:
                continue
            size = sizes.get(sample.meta.get("platform"), (1920, 1080))
            x1, y1, x2, y2 = sample.target["box_xyxy"]
            point = [500 * (x1 + x2) / size[0], 500 * (y1 + y2) / size[1]]
            frame = {"file_sizes": [size], "model_sizes": [size], "coordinates": "thousandths"}
            assert task.score(sample, json.dumps({"point_2d": point}), frame).value == 1
            checked += 1
        assert checked == {"osworld_g": 1, "screenspot_v2": 1272}[name]


# --- hostile text -------------------------------------------------------------------------------------------------

TRUTHS = {
    "aitw": {
        "action_type_id": 4,
        "action_type_text": "click",
        "touch": [0.5, 0.5],
        "lift": [0.5, 0.5],
        "type_text": "",
        "annot_position": [0.1, 0.1, 0.1, 0.1],
    },
    "androidcontrol": {"action": formats.ACTIONS[2], "accessibility_tree": []},
    "gui_odyssey": {"answer": "TYPE: hello", "sam2_bbox": None},
    "agentnetbench": {"ground_truth_actions": [{"type": "write", "params": {"content": "x"}}]},
    "mind2web": {"operation": "TYPE", "value": "new york", "boxes": [[1, 1, 5, 5]]},
    "screenspot": {"box_xywh": [1, 2, 3, 4]},
    "screenspot_v2": {"box_xywh": [1, 2, 3, 4]},
    "screenspot_pro": {"corners": [1, 2, 3, 4], "image_size": [960, 540]},
    "osworld_g": {"box_type": "polygon", "box_coordinates": [1, 2, 300, 4, 5, 600], "image_size": [960, 540]},
    "ui_vision": {"corners": [1, 2, 3, 4], "image_size": [960, 540]},
}
STEPS = ("aitw", "androidcontrol", "gui_odyssey", "agentnetbench", "mind2web")
OWN = {"simpagent": "simpagent", "guievalkit": "unified", "official": "odyssey", "vlmeval": "pyautogui"}


def grammars(benchmark, protocol):
    """Every grammar that can meet a protocol."""
    if benchmark in STEPS:
        own = [OWN[protocol]] if protocol in OWN and (protocol != "official" or benchmark == "gui_odyssey") else []
        return ["qwen", "ui_tars", "opencua", "seeclick", "osatlas", "mini", *own]
    return ["qwen", "ui_tars", "opencua", "seeclick", "mini", "pyautogui", "lmms"]


EVERY = [(b, p, g) for b in PROTOCOLS for p in PROTOCOLS[b] for g in grammars(b, p)]


@pytest.mark.parametrize(("name", "protocol", "grammar"), EVERY)
def test_hostile_answers_score_between_0_and_1(name, protocol, grammar):
    @examples(80, suppress_health_check=list(HealthCheck))
    @given(HOSTILE)
    def never_raises(text):
        for coordinates in ("resized_pixels", "thousandths"):
            frame = {"file_sizes": [formats.DESK], "model_sizes": [(952, 532)], "coordinates": coordinates}
            verdict = judge(name, protocol, grammar, text, TRUTHS[name], frame)
            assert 0 <= verdict.value <= 1

    never_raises()


def test_there_are_ten_thousand_hostile_answers():
    assert len(EVERY) * 80 >= 10_000


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_megabyte_is_judged_at_once(name):
    frame = {"file_sizes": [formats.DESK], "model_sizes": [(952, 532)], "coordinates": "resized_pixels"}
    for text in (
        "9" * 1_000_000,
        "(" * 1_000_000,
        "\u202e" * 1_000_000,
        '{"a":' * 200_000,
        "Action: " * 125_000,
        "a" * 1_000_000,
        "terminate" * 100_000,
        "a_" * 500_000,
    ):
        for protocol in PROTOCOLS[name]:
            for grammar in grammars(name, protocol):
                # A millisecond or so; work that grows with the square of the length would take minutes.
                read = partial(judge, name, protocol, grammar, text, TRUTHS[name], frame)
                assert cpu_seconds(read, 1.0) < 1.0, (protocol, grammar, text[:10])


def test_parts_of_hostile_answers_fit_into_a_record(tmp_path):
    task = task_of("screenspot", tmp_path, style="seeclick")
    frame = {"file_sizes": [formats.DESK], "model_sizes": [formats.DESK], "coordinates": "fractions"}
    score = task.score(task.samples[0], f"({'9' * 400}, 0.5)", frame)
    assert score.value == 0
    json.dumps([score.parsed, score.parts], allow_nan=False)


# --- breakdowns ---------------------------------------------------------------------------------------------------


def records_of(task, answer, frame):
    out = []
    for sample in task.samples:
        score = task.score(sample, answer(sample), frame)
        out.append(
            {
                **failed_record("k", sample, "", "", True, task.protocol),
                "status": "ok",
                "score": score.value,
                "reason": score.reason,
                "parts": score.parts,
            }
        )
    return out


def numbers_of(value):
    return json.loads(json.dumps(value, sort_keys=True))


@pytest.mark.parametrize("name", formats.FORMATS)
def test_breakdowns_count_every_sample_in_any_order(name, tmp_path):
    task = task_of(name, tmp_path, style="qwen2_5_vl")
    assert task.of.groups
    frame = {"file_sizes": [formats.DESK], "model_sizes": [formats.DESK], "coordinates": "resized_pixels"}
    records = records_of(task, lambda s: SPEAKERS["qwen"](Action("tap", point=(0.2, 0.2)), formats.DESK), frame)
    records[0] = failed_record("k", task.samples[0], "bad_image", "the file is missing", True, task.protocol)
    whole = breakdown(task.of, records)
    n = len(records)
    for key, groups in whole["breakdown"].items():
        if key != "categories":
            assert sum(g["n"] for g in groups.values()) == n
            total = sum(r["score"] for r in records)
            assert sum(g["n"] * g["accuracy"] for g in groups.values()) == pytest.approx(total)
        assert all(g["ci95"] is None or g["ci95"][0] <= g["accuracy"] <= g["ci95"][1] for g in groups.values())
    assert whole["authors"]
    for seed in range(3):
        shuffled = random.Random(seed).sample(records, n)
        assert numbers_of(breakdown(task.of, shuffled)) == numbers_of(whole)


def test_grounding_given_the_right_type(tmp_path):
    task = task_of("androidcontrol", tmp_path, style="qwen2_5_vl")
    frame = {"file_sizes": [formats.PHONE], "model_sizes": [formats.PHONE], "coordinates": "resized_pixels"}
    records = records_of(task, lambda s: SPEAKERS["qwen"](Action("tap", point=(0.5, 0.5)), formats.PHONE), frame)
    measures = breakdown(task.of, records)["measures"]
    assert measures["type_match"]["accuracy"] == pytest.approx(0.1)  # one click among ten steps
    pointed = measures["grounding_given_type"]
    assert (pointed["n"], pointed["accuracy"]) == (1, 1.0)


def test_failed_samples_are_wrong_in_the_authors_aggregates(tmp_path):
    for name in formats.FORMATS:
        task = task_of(name, tmp_path / name)
        records = [failed_record("k", s, "bad_image", "missing", True, task.protocol) for s in task.samples]
        result = breakdown(task.of, records)
        assert all(g["accuracy"] == 0 for groups in result["breakdown"].values() for g in groups.values()), name


# --- the command --------------------------------------------------------------------------------------------------


def test_a_run_carries_the_protocol_everywhere(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    formats.gui_odyssey(tmp_path / "data")
    (tmp_path / "data" / "screenshots" / "0002_3.png").unlink()
    for protocol in ("official", "osatlas"):
        assert (
            cli.main(
                [
                    "--model",
                    "stub",
                    "--method",
                    "full",
                    "--tasks",
                    "gui_odyssey",
                    "--protocol",
                    protocol,
                    "--data-path",
                    "data",
                    "--history",
                    "0",
                    "--out",
                    protocol,
                ]
            )
            == 0
        )
        assert f"gui_odyssey ({protocol})" in capsys.readouterr().out
        lines = [
            json.loads(x) for p in (tmp_path / protocol / "records").glob("*.jsonl") for x in p.read_text().splitlines()
        ]
        assert len(lines) == 10 and {r["protocol"] for r in lines} == {protocol}
        assert all("type_match" in r["parts"] for r in lines)
        entry = json.loads((tmp_path / protocol / "summary.json").read_text())["rows"][0]["tasks"]
        assert set(entry) == {f"gui_odyssey ({protocol})"}
        assert entry[f"gui_odyssey ({protocol})"]["breakdown"]["category"]["Multi_Apps"]["n"] == 10
        assert "by action_type" in (tmp_path / protocol / "report.md").read_text()
    # One folder, two protocols: refused, not mixed.
    assert (
        cli.main(
            [
                "--model",
                "stub",
                "--method",
                "full",
                "--tasks",
                "gui_odyssey",
                "--protocol",
                "simpagent",
                "--data-path",
                "data",
                "--history",
                "0",
                "--out",
                "osatlas",
            ]
        )
        == 2
    )
