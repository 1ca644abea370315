"""VLMEvalKit's data sets as tasks of ours: loading, prompts and numbers are those of the kit."""

import json
import math
import os

import pytest

from tests.integrations import kit_data
from vtprune_eval.benchmarks.vlmeval import catalogue
from vtprune_eval.errors import UserError

pytest.importorskip("vlmeval", reason="needs the extra [vlmeval]")
from vtprune_eval.benchmarks.vlmeval import reader, rules
from vtprune_eval.integrations.vlmeval import report


@pytest.fixture
def one_process(monkeypatch):
    """The kit starts 16 processes for a question-answering table; how many there are changes no score."""
    import vlmeval.dataset.image_vqa as vqa

    class Pool:
        def __init__(self, n):
            pass

        def map(self, call, items):
            return [call(i) for i in items]

    monkeypatch.setattr(vqa.mp, "Pool", Pool)


def type_of(name):
    from vlmeval.dataset import DATASET_CLASSES

    return next(c for c in DATASET_CLASSES if name in c.supported_datasets())


def load(folder, name, protocol=None):
    spec = catalogue.definition(name)
    table = reader.KitTable(folder, spec.changed(protocol=protocol or spec.protocol))
    return [table.sample(i) for i in range(len(table.ids))]


FRAME = {"coordinates": "thousandths", "model_sizes": [[96, 64]], "file_sizes": [[100, 50]]}


def test_every_name_is_one_that_the_kit_knows():
    from vlmeval.dataset import SUPPORTED_DATASETS

    assert set(catalogue.KIT_TASKS) <= set(SUPPORTED_DATASETS)
    for name in catalogue.KIT_TASKS:
        assert type_of(name).DATASET_MD5[name]


def test_docvqa_prompt_pictures_and_references(data):
    kit_data.docvqa(data)
    samples = load(data, "DocVQA_VAL")
    assert [s.id for s in samples] == ["7", "8", "9"]
    assert samples[0].question == "who signed?\nAnswer the question using a single word or phrase."
    assert all(p.is_file() and p.is_relative_to(data / "images" / "DocVQA_VAL") for s in samples for p in s.images)
    assert samples[0].images[0].read_bytes() == samples[1].images[0].read_bytes() != samples[2].images[0].read_bytes()
    assert samples[0].cluster == samples[1].cluster != samples[2].cluster
    assert "image" not in samples[0].target["row"]
    assert os.environ[catalogue.DATA_ROOT] == str(data / "elsewhere")


ANSWERS = {
    "DocVQA_VAL": (kit_data.docvqa, ["ann lee", "1989", "Berne  "], ["Overall"], 100),
    "InfoVQA_VAL": (lambda d: kit_data.docvqa(d, "InfoVQA_VAL"), ["Ann L", "", "nothing"], ["Overall"], 100),
    "ChartQA_TEST": (kit_data.chartqa, ["20.9", "peru", "14"], ["Overall"], 100),
    "OCRBench": (kit_data.ocrbench, ["a stop sign", "$X^2$"], ["Final Score"], None),
    "AI2D_TEST": (kit_data.ai2d, ["B", "it is the leaf", "I do not know"], ["Overall"], 1),
    "ScreenSpot_v2_Mobile": (
        kit_data.screenspot,
        ["pyautogui.click(x=30, y=15)", "pyautogui.click(x=0.55, y=0.5)", "x=1.2.3, y=4"],
        ["Overall_Accuracy"],
        100,
    ),
    "ScreenSpot_Pro_CAD": (kit_data.screenspot_pro, ["click(x=30, y=20)", "nothing"], ["Overall_Accuracy"], 100),
    "OSWorld_G": (kit_data.osworld_g, ["click(x=700, y=500)", "no idea"], ["Overall_Accuracy"], 100),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_protocol_vlmeval_is_the_number_of_the_kit(name, data, one_process):
    make, answers, keys, scale = ANSWERS[name]
    make(data)
    samples = load(data, name, "vlmeval")
    frame = {**FRAME, "file_sizes": [[100, 50]]}
    ours = [rules.score(a, s.target, frame) for a, s in zip(answers, samples, strict=True)]
    theirs = report.kit_numbers(name, data, {s.id: a for s, a in zip(samples, answers, strict=True)})
    total = sum(s.value for s in ours)
    expected = total if scale is None else scale * total / len(ours)
    assert 0 < total < len(ours), "the case tells right from wrong"
    assert theirs[keys[0]] == pytest.approx(expected, abs=1e-9)


def test_official_differs_where_the_kit_departs(data):
    kit_data.screenspot(data)
    kit_data.osworld_g(data)
    official, kit = (load(data, "ScreenSpot_v2_Mobile", p)[0].target for p in ("official", "vlmeval"))
    edge = "pyautogui.click(x=300, y=400)"  # thousandths: the right and bottom border of the box (10, 10, 20, 10)
    assert rules.score(edge, official, FRAME).value == 1
    edge_pixels = "pyautogui.click(x=30, y=20)"  # the kit reads pixels and takes the last one off
    assert rules.score(edge_pixels, kit, FRAME).value == 0
    assert rules.score("pyautogui.click(x=29, y=19)", kit, FRAME).value == 1
    # An answer that cannot be read: a format error, for the kit the point (0, 0), which lies in the second box.
    corner = load(data, "OSWorld_G", "official")[1].target
    assert rules.score("no idea", corner, FRAME).reason == "format_error"
    assert rules.score("no idea", {**corner, "protocol": "vlmeval"}, FRAME).value == 1


def test_frames_of_the_official_rule(data):
    kit_data.osworld_g(data)
    target = load(data, "OSWorld_G", "official")[0].target  # box 40..60, 20..30 of 100 x 50
    assert rules.score("click(x=0.5, y=0.5)", target, FRAME).parsed == {"point": [0.5, 0.5]}
    assert rules.score("[500, 500]", target, FRAME).value == 1
    assert rules.score("[50, 50]", target, {**FRAME, "coordinates": "hundredths"}).value == 1
    assert rules.score("[48, 32]", target, {**FRAME, "coordinates": "resized_pixels"}).value == 1
    assert rules.score("[5000, 20]", target, FRAME).reason == "wrong"  # beside the image


def test_pro_boxes_are_corners(data):
    kit_data.screenspot_pro(data)
    target = load(data, "ScreenSpot_Pro_CAD", "official")[0].target
    assert rules.score("[300, 400]", target, FRAME).value == 1
    assert rules.score("[310, 400]", target, FRAME).value == 0


def test_system_prompt_comes_first(data):
    kit_data.screenspot_pro(data)
    question = load(data, "ScreenSpot_Pro_CAD")[0].question
    assert question.index("GUI agent") < question.index("find 0")


def test_a_box_outside_the_picture_is_one_failed_sample(data):
    kit_data.screenspot(data)
    target = load(data, "ScreenSpot_v2_Mobile", "vlmeval")[0].target
    bad = {**target, "row": {**target["row"], "bbox": "[90, 10, 30, 10]"}}
    assert rules.score("x=1, y=2", bad, FRAME).reason == "box_outside_image"


@pytest.mark.parametrize("text", ["", "[" * 5000, "x=" + "9" * 5000 + ", y=1", "nan", "\x00\ud800", "exit(1)"])
def test_hostile_answers_are_scores(text, data):
    for name in ("DocVQA_VAL", "ChartQA_TEST", "AI2D_TEST", "OCRBench", "OSWorld_G"):
        ANSWERS[name][0](data)
        for protocol in catalogue.KIT_TASKS[name].protocols:
            score = rules.score(text, load(data, name, protocol)[0].target, FRAME)
            assert score.value is None or (0 <= score.value <= 1 and math.isfinite(score.value))


def test_an_altered_file_is_refused_and_kept(data, monkeypatch):
    kit_data.docvqa(data)
    before = (data / "DocVQA_VAL.tsv").read_bytes()
    monkeypatch.delenv(reader.LOCAL_TSV)
    with pytest.raises(UserError, match=r"not the published file .*move it away.*VTPRUNE_EVAL_LOCAL_TSV=1"):
        load(data, "DocVQA_VAL")
    assert (data / "DocVQA_VAL.tsv").read_bytes() == before


def test_the_published_md5_is_accepted(data, monkeypatch):
    import hashlib

    kit_data.docvqa(data)
    monkeypatch.delenv(reader.LOCAL_TSV)
    digest = hashlib.md5((data / "DocVQA_VAL.tsv").read_bytes()).hexdigest()
    monkeypatch.setitem(type_of("DocVQA_VAL").DATASET_MD5, "DocVQA_VAL", digest)
    assert len(load(data, "DocVQA_VAL")) == 3


def test_a_missing_file_says_where_it_should_be(data):
    with pytest.raises(UserError, match=r"OCRBench.tsv is missing and cannot be downloaded"):
        load(data, "OCRBench")


def test_another_format_is_one_sentence(data):
    kit_data.write(data, "AI2D_TEST", [{"number": 1, "text": "x"}])
    with pytest.raises(UserError, match="not in the format of VLMEvalKit"):
        load(data, "AI2D_TEST")


def test_mmlongbench_pages_and_comparison(data):
    pytest.importorskip("pypdfium2")
    from PIL import Image

    kit_data.mmlongbench(data)
    samples = load(data, "MMLongBench_DOC")
    assert [len(s.images) for s in samples] == [2, 2, 2]
    assert Image.open(samples[0].images[0]).size == (288, 144), "144 points wide at 144 dpi"
    assert {s.cluster for s in samples} == {"d.pdf"}
    values = [
        rules.score(text, s.target, FRAME).value
        for text, s in zip(["12.0", "['b', 'a']", "Not answerable"], samples, strict=True)
    ]
    assert values == [1, 1, 1]
    assert rules.score("about 12", samples[0].target, FRAME).value == 0
    assert rules.score("[__import__('os').getcwd()]", samples[1].target, FRAME).reason == "format_error"


def test_mmlongbench_refuses_what_is_no_pdf(data):
    pytest.importorskip("pypdfium2")
    kit_data.mmlongbench(data)
    path = data / "MMLongBench_DOC.tsv"
    path.write_text(path.read_text().replace(kit_data.pdf(2)[:400], "QUJD" * 100))
    with pytest.raises(UserError, match=r"d.pdf is not a readable PDF"):
        load(data, "MMLongBench_DOC")


OLMOCR = ("bs4", "fuzzysearch", "playwright")


def test_olmocr_is_the_number_of_the_kit(data):
    for module in OLMOCR:
        pytest.importorskip(module)
    kit_data.olmocr(data)
    samples = load(data, "olmOCRBench")
    answers = ["first part: gradient descent. page 7 of 9. second part.", "| width | 42 |\n|---|---|\n| height | 7 |"]
    ours = [rules.score(a, s.target, FRAME) for a, s in zip(answers, samples, strict=True)]
    assert ours[0].parts == {"passed": {"multi_column": 2, "baseline": 1}, "tests": {"multi_column": 3, "baseline": 1}}
    assert [s.value for s in ours] == [3 / 4, 1]
    theirs = report.kit_numbers("olmOCRBench", data, {s.id: a for s, a in zip(samples, answers, strict=True)})
    rates = {}
    for score in ours:
        for group, n in score.parts["tests"].items():
            rates.setdefault(group, []).append((score.parts["passed"][group], n))
    mine = {g: 100 * sum(p for p, _ in v) / sum(n for _, n in v) for g, v in rates.items()}
    for group, rate in mine.items():
        assert theirs[group] == pytest.approx(rate, abs=0.051), "the kit prints one decimal"
    assert theirs["overall"] == pytest.approx(sum(mine.values()) / len(mine), abs=0.051)


def test_olmocr_empty_and_damaged(data):
    for module in OLMOCR:
        pytest.importorskip(module)
    kit_data.olmocr(data)
    target = load(data, "olmOCRBench")[1].target
    assert rules.score("", target, FRAME).value == 0
    for bad in ("[]", "[{", '[{"type": "other", "pdf": "a/b.pdf", "page": 1, "id": "x"}]'):
        with pytest.raises(UserError, match=r"olmOCRBench: .*row 1.*fetch the TSV again"):
            rules.score("text", {**target, "row": {**target["row"], "answer": bad}}, FRAME)


@pytest.mark.parametrize("protocol", ["official", "vlmeval"])
def test_a_run_of_ours_on_a_table_of_the_kit(protocol, data, cli):
    """The command line to the records: the protocol's name, its scores, and the kit's number for the same answers."""
    kit_data.osworld_g(data)
    done = cli(
        "--model",
        "nano",
        "--method",
        "full,stride",
        "--budget",
        "20",
        "--tasks",
        "OSWorld_G",
        "--data-path",
        data,
        "--protocol",
        protocol,
        "--out",
        data / "run",
        "--max-new-tokens",
        "8",
    )
    assert done.returncode == 0, done.stderr
    spec = catalogue.definition("OSWorld_G").changed(protocol=protocol)
    table = reader.KitTable(data, spec)
    files = sorted((data / "run" / "records").rglob("*.jsonl"))
    assert len(files) == 2
    rows = {f"{r['task']}--{r['method']}@{r['budget']}": r for r in report.run_rows(data / "run", str(data))}
    for path in files:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        assert [r["protocol"] for r in records] == [protocol] * 2
        scores = [rules.score(r["answer"], table.sample(i).target, r["frame"]).value for i, r in enumerate(records)]
        assert [r["score"] for r in records] == scores
        if protocol == "vlmeval":
            kit = report.kit_numbers("OSWorld_G", data, {r["id"]: r["answer"] for r in records})
            assert kit["Overall_Accuracy"] == pytest.approx(100 * sum(scores) / 2)
            assert rows[path.stem]["mean_score"] == pytest.approx(kit["Overall_Accuracy"])
            assert rows[path.stem]["kit"] == kit


def test_a_run_without_a_table_of_the_kit_has_no_number_of_the_kit(data, cli, capsys):
    from vtprune_eval.integrations.vlmeval.__main__ import main

    done = cli("--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "2", "--out", data / "run")
    assert done.returncode == 0, done.stderr
    assert main(["score", "--run", str(data / "run")]) == 2
    assert "has no records of a data set of VLMEvalKit" in capsys.readouterr().err


def test_an_unknown_protocol_names_the_known(data, cli):
    done = cli("--tasks", "DocVQA_VAL", "--data-path", data, "--protocol", "kit")
    assert done.returncode == 2
    assert "unknown protocol of DocVQA_VAL 'kit': known: vlmeval" in done.stderr


def test_a_missing_folder_is_not_replaced_by_another(data):
    with pytest.raises(UserError, match=r"the folder .*nowhere does not exist"):
        load(data / "nowhere", "DocVQA_VAL")


def test_core_needs_no_kit(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"task DocVQA_VAL needs the package ms-vlmeval: pip install .*\[vlmeval\]"):
        reader.KitTable(None, catalogue.definition("DocVQA_VAL"))
