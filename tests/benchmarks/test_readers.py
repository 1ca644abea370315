"""Original on-disk formats, read one record at a time."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.benchmarks import formats
from tests.conftest import SHARED, needs_shared
from vtprune_eval.benchmarks.definitions import benchmark_of, definition, protocols_of, task_names
from vtprune_eval.benchmarks.formats.spans import CHUNK_BYTES, LineSpans, Spans
from vtprune_eval.benchmarks.grammars import GRAMMARS
from vtprune_eval.benchmarks.prompts import prompt_folders, read_prompt, style_of
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.paths import tasks_dir
from vtprune_eval.turns import readable

STYLES = ("qwen3_vl", "qwen2_5_vl", "qwen2_vl", "ui_tars", "mini")


def build(name, folder):
    writer, n = formats.FORMATS[name]
    writer(folder)
    return n


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_small_data_set_is_read(name, tmp_path):
    n = build(name, tmp_path)
    for style in STYLES:
        task = load_task(name, data_path=str(tmp_path), style=style)
        samples = list(task.samples)
        assert len(samples) == len(task.samples) == n
        assert [s.id for s in samples] == task.samples.ids
        assert task.protocol == protocols_of(definition(name))[0]
        assert task.label == f"{name} ({task.protocol})"
        for sample in samples:
            assert all(p.is_file() for p in sample.images)
            assert 1 <= len(sample.images) <= task.history + 1
            assert sample.question and "$" not in sample.question
            json.dumps([sample.target, sample.meta], allow_nan=False)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_the_fingerprint_follows_data_and_prompt(name, tmp_path):
    build(name, tmp_path)
    first = load_task(name, data_path=str(tmp_path), style="qwen3_vl")
    assert first.fingerprint == load_task(name, data_path=str(tmp_path), style="qwen3_vl").fingerprint
    assert first.fingerprint != load_task(name, data_path=str(tmp_path), style="mini").fingerprint
    first.samples[0].images[-1].write_bytes(b"")
    assert first.fingerprint != load_task(name, data_path=str(tmp_path), style="qwen3_vl").fingerprint


@pytest.mark.parametrize(
    ("name", "default"), [("aitw", 4), ("gui_odyssey", 4), ("agentnetbench", 2), ("androidcontrol", 0), ("mind2web", 0)]
)
def test_history_is_the_number_of_earlier_screens(name, default, tmp_path):
    build(name, tmp_path)
    assert load_task(name, data_path=str(tmp_path)).history == default
    for history in range(6):
        samples = list(load_task(name, data_path=str(tmp_path), history=history).samples)
        shown = [len(s.images) for s in samples]
        assert max(shown) == min(history + 1, max(len(list(g)) for g in _episodes(samples)))
        assert all(
            s.images[-1] == last
            for s, last in zip(
                samples, [s.images[-1] for s in load_task(name, data_path=str(tmp_path)).samples], strict=True
            )
        )
    with pytest.raises(UserError, match="0 to 5"):
        load_task(name, data_path=str(tmp_path), history=6)


def _episodes(samples):
    groups = {}
    for s in samples:
        groups.setdefault(s.cluster, []).append(s)
    return groups.values()


def test_units_and_orders_of_coordinates(tmp_path):
    build("aitw", tmp_path / "a")
    truth = load_task("aitw", data_path=str(tmp_path / "a")).samples[0].target["truth"]
    assert truth["touch"] == [0.5, 0.75] and truth["annot_position"] == [0.70, 0.40, 0.10, 0.20]
    build("ui_vision", tmp_path / "u")
    assert load_task("ui_vision", data_path=str(tmp_path / "u")).samples[0].target["box_xyxy"] == [96, 54, 288, 162]
    build("screenspot", tmp_path / "s")
    sample = load_task("screenspot", data_path=str(tmp_path / "s")).samples[0]
    assert sample.target["box_xyxy"] == [96, 54, 288, 162] and sample.target["truth"]["box_xywh"] == [96, 54, 192, 108]
    build("osworld_g", tmp_path / "o")
    region = load_task("osworld_g", data_path=str(tmp_path / "o")).samples[0].target
    assert region["box_xyxy"] == [96.5, 54.25, 288, 162]


def test_android_in_the_zoo(tmp_path):
    formats.aitz(tmp_path)
    samples = list(load_task("aitw", data_path=str(tmp_path)).samples)
    assert [s.id for s in samples] == ["55-0", "55-1", "55-2"]
    assert [s.meta["action_type"] for s in samples] == ["click", "scroll up", "type"]  # the finger moves down
    assert samples[0].target["truth"]["touch"] == [0.5, 0.25]  # y comes first in the file
    assert samples[0].meta["subset"] == "install" and len(samples[2].images) == 3
    assert "did 0" in samples[1].question


def test_gui_odysseys_strings_and_split(tmp_path):
    build("gui_odyssey", tmp_path)
    samples = list(load_task("gui_odyssey", data_path=str(tmp_path)).samples)
    assert [s.target["truth"]["answer"] for s in samples] == [answer for *_, answer in formats.ODYSSEY_STEPS]
    assert {s.cluster for s in samples} == {"0002"}
    low = load_task("gui_odyssey_low", data_path=str(tmp_path)).samples[3]
    assert "part 3" in low.question and "Share it" in low.question


def test_levels_of_androidcontrol(tmp_path):
    build("androidcontrol", tmp_path)
    high = load_task("androidcontrol", data_path=str(tmp_path), style="qwen3_vl").samples[2].question
    low = load_task("androidcontrol_low", data_path=str(tmp_path), style="qwen3_vl").samples[2].question
    assert "do part 2" not in high and "Order a coffee" in high
    assert "do part 2" in low and "Order a coffee" in low


def test_the_instruction_is_there_without_its_prompt(tmp_path):
    """Methods that score by the instruction must not see the prompt's own words, which are the same for every step."""
    build("androidcontrol", tmp_path)
    for name, instruction in (("androidcontrol", "Order a coffee"), ("androidcontrol_low", "do part 2")):
        sample = load_task(name, data_path=str(tmp_path), style="qwen3_vl").samples[2]
        assert sample.instruction == instruction != sample.question
    embedded = load_task("mini-doc", limit=1).samples[0]
    assert embedded.instruction is None and embedded.question


def test_seeclicks_history_is_its_dictionaries(tmp_path):
    build("aitw", tmp_path)
    question = load_task("aitw", data_path=str(tmp_path), protocol="seeclick", style="seeclick").samples[3].question
    assert question.endswith(
        'Previous actions: Step0: {"action_type": 4, "click_point": (0.50,0.75)}. '
        'Step1: {"action_type": 3, "typed_text": \'Pizza\'}. Step2: {"action_type": 0}. '
    )


def test_a_limit_takes_the_same_samples_of_a_lazy_task(tmp_path):
    build("androidcontrol", tmp_path)
    few = load_task("androidcontrol", limit=4, data_path=str(tmp_path)).samples
    assert len(few) == 4 and few.ids == [s.id for s in few]
    assert [i for i in load_task("androidcontrol", data_path=str(tmp_path)).samples.ids if i in few.ids] == few.ids
    assert few.without({few.ids[0]: 1}).ids == few.ids[1:]
    assert [s.id for s in few[:2]] == few.ids[:2] and few[-1].id == few.ids[-1]


# --- bad input ----------------------------------------------------------------------------------------------------


def test_absent_data_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("VTPRUNE_DATA", str(tmp_path / "none"))
    with pytest.raises(UserError, match="data get screenspot_pro"):
        load_task("screenspot_pro")
    for name in formats.FORMATS:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r"--data-path|is missing"):
            load_task(name, data_path=str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("name", "file", "field", "value"),
    [
        ("aitw", "aitw_data_test.json", "touch", "middle"),
        ("androidcontrol", "500_steps.json", "action", None),
        ("gui_odyssey", "annotations/0002.json", "info", 7),
        ("agentnetbench", "s_1.json", "ground_truth_actions", "x"),
        ("mind2web", "mind2web_data_test_task.json", "original_op", "DANCE"),
        ("screenspot", "screenspot_web.json", "bbox", [1]),
        ("screenspot_pro", "annotations/word_windows.json", "img_size", [1, "b"]),
        ("osworld_g", "OSWorld-G.json", "box_coordinates", [1, 2, 3]),
        ("ui_vision", "annotations/element_grounding/element_grounding_basic.json", "prompt_to_evaluate", 5),
    ],
)
def test_changed_fields_are_named(name, file, field, value, tmp_path):
    build(name, tmp_path)
    path = tmp_path / file

    def change(node, make):
        if isinstance(node, dict):
            return {
                k: (make() if k == field else change(v, make))
                for k, v in node.items()
                if not (k == field and make() is _GONE)
            }
        return [change(v, make) for v in node] if isinstance(node, list) else node

    data = json.loads(path.read_text())
    for make in (lambda: value, lambda: _GONE):
        path.write_text(json.dumps(change(data, make)))
        with pytest.raises(UserError) as caught:
            load_task(name, data_path=str(tmp_path))
        if name not in ("gui_odyssey", "mind2web"):
            assert field in str(caught.value)
        assert path.name in str(caught.value) or "mind2web" in str(caught.value)


_GONE = object()


def test_ids_that_occur_twice_are_refused(tmp_path):
    build("screenspot_pro", tmp_path)
    path = tmp_path / "annotations" / "word_windows.json"
    path.write_text(json.dumps(json.loads(path.read_text()) * 2))
    with pytest.raises(UserError, match=r"word_windows_0.*twice"):
        load_task("screenspot_pro", data_path=str(tmp_path))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname"])
def test_image_names_stay_in_the_folder(name, tmp_path):
    build("screenspot", tmp_path / "d")
    path = tmp_path / "d" / "screenspot_web.json"
    rows = json.loads(path.read_text())
    rows[0]["img_filename"] = name
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match="outside"):
        load_task("screenspot", data_path=str(tmp_path / "d"))


def test_damaged_json_names_the_file(tmp_path):
    build("screenspot", tmp_path)
    path = tmp_path / "screenspot_web.json"
    for text in ("", "[1, 2", '{"a": 3}', '[{"a": }]', "[1] 2", "nonsense", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UserError, match=r"screenspot_web\.json"):
            load_task("screenspot", data_path=str(tmp_path))


def test_unknown_protocols_offer_the_known(tmp_path):
    build("aitw", tmp_path)
    with pytest.raises(UserError, match=r"known|did you mean"):
        load_task("aitw", data_path=str(tmp_path), protocol="osatlas")
    with pytest.raises(UserError, match="aitw has official, seeclick"):  # also where one is close
        load_task("aitw", data_path=str(tmp_path), protocol="guikv")
    assert load_task("screenspot", data_path=_screenspot(tmp_path), protocol="official").protocol == "seeclick"
    with pytest.raises(UserError, match="no screenshot history"):
        load_task("screenspot", data_path=_screenspot(tmp_path), history=1)


def _screenspot(tmp_path):
    formats.screenspot(tmp_path / "s")
    return str(tmp_path / "s")


# --- parts --------------------------------------------------------------------------------------------------------


def test_spans_agree_with_the_whole_file(tmp_path):
    values = [{"a": "é" * n, "b": [1.5, None, {"c": ']}"\\'}]} for n in (0, 1, 50, CHUNK_BYTES)] + [7, "x", [], {}]
    path = tmp_path / "list.json"
    for text in (json.dumps(values), json.dumps(values, ensure_ascii=False, indent=3)):
        path.write_text(text, encoding="utf-8")
        spans = Spans(path, note=lambda v: v)
        assert [spans[i] for i in range(len(spans))] == values == spans.notes
    grouped = {"é": values, "empty": [], "z": values[:2]}
    path.write_text(json.dumps(grouped, ensure_ascii=False), encoding="utf-8")
    spans = Spans(path)
    assert [spans[i] for i in range(len(spans))] == values + values[:2]
    assert len(spans) == len(spans.groups) and spans.groups[-1] == "z"
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n\n".join(json.dumps(v) for v in values) + "\n")
    assert list(LineSpans(lines)) == values


def test_every_prompt_file_is_sound():
    seen = 0
    for name in task_names():
        spec = definition(name)
        if not benchmark_of(spec).prompted:
            continue
        for path in sorted(p for folder in prompt_folders(spec) for p in folder.glob("*.yaml")):
            prompt = read_prompt(path)
            assert prompt.grammar in {*GRAMMARS, "simpagent", "unified", "odyssey", "pyautogui", "lmms"}
            own = "$question" if path.parent.parent.name.startswith("web-") and path.stem == "mini" else "$instruction"
            assert own in prompt.prompt and len(prompt.source) > 10
            seen += 1
    assert seen > 60


def test_line_breaks_of_prompt_files_reach_the_model(tmp_path):
    """YAML folds a line break within quotes to a blank; only a block may spread over lines."""
    for path in sorted([*tasks_dir().glob("*/prompts/*.yaml"), *tasks_dir().glob("prompts/*/*.yaml")]):
        for key, value in yaml.compose(path.read_text(encoding="utf-8")).value:
            if key.value != "source":  # it is not shown to a model
                assert value.style == "|" or value.start_mark.line == value.end_mark.line, (path, key.value)
    build("agentnetbench", tmp_path)
    task = load_task("agentnetbench", data_path=str(tmp_path), style="opencua")
    told = next(s.question for s in task.samples if "# Step 2" in s.question)
    lines = readable(told).splitlines()
    assert lines[lines.index("# Step 1:") + 1 :][:2] == ["## Action:", "do 0"] and "# Step 2:" in lines


def test_styles_of_models():
    assert style_of("uitars-1.5-7b", "qwen2_5_vl") == "ui_tars"
    assert style_of("qwen2.5vl-7b", "qwen2_5_vl") == "qwen2_5_vl"
    assert style_of("stub", "stub") == style_of("nano", "qwen3_vl") == "mini"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grammar: qwen\nsource: x\n", "prompt"),
        ("grammar: qwen\nsource: x\nprompt: $nothing\n", "nothing"),
        ("grammar: qwen\nsource: x\nprompt: p\nfont: big\n", "font"),
        ("grammar: qwen\nsource: x\nprompt: p\nconversation: yes please\n", "conversation is true or false"),
        ("a: [\n", "YAML"),
    ],
)
def test_a_damaged_prompt_file_is_refused(text, message, tmp_path):
    path = tmp_path / "t" / "prompts" / "x.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_prompt(path)


@needs_shared("samples/aitw")
@pytest.mark.parametrize(("name", "n"), [("aitw", 4), ("agentnetbench", 28), ("screenspot_v2", 1272), ("osworld_g", 3)])
def test_real_samples_are_read(name, n):
    task = load_task(name, data_path=str(SHARED / "samples" / name), style="qwen3_vl")
    assert len(task.samples) == n
    if name != "screenspot_v2":
        assert all(p.is_file() for s in task.samples for p in s.images)
    else:
        kinds = [(s.meta["platform"], s.meta["target_kind"]) for s in task.samples]
        assert kinds.count(("desktop", "text")) == 194 and kinds.count(("mobile", "icon")) == 211
