"""Tables of the kit as anybody may write them: text stays text, rows stay rows, names stay in the folder."""

import json
import os

import pytest

from tests.conftest import SHARED, needs_shared
from tests.integrations import kit_data
from tests.integrations.test_vlmeval_tasks import FRAME, load
from vtprune_eval.errors import SampleError, UserError

pytest.importorskip("vlmeval", reason="needs the extra [vlmeval]")
from vtprune_eval.benchmarks.vlmeval import catalogue, rules
from vtprune_eval.image_file import open_image
from vtprune_eval.integrations.vlmeval import report

ROWS = [{"index": i, "image": kit_data.png(seed=i), "question": "What?", "answer": "['save']"} for i in (1, 2, 3)]


def changed(row, **cells):
    return [{**r, **(cells if i == row else {})} for i, r in enumerate(ROWS)]


def test_text_stays_text(data):
    odd = ["None", "NA", "null", "nan", "N/A", "007", "1e5", "True", "-0", "1.50"]
    rows = [
        {
            "index": f"00{i}",
            "image": kit_data.png(seed=i),
            "question": text,
            "A": text,
            "B": "x",
            "C": "",
            "answer": "A",
        }
        for i, text in enumerate(odd)
    ]
    kit_data.write(data, "AI2D_TEST", rows)
    samples = load(data, "AI2D_TEST")
    assert [s.id for s in samples] == [f"00{i}" for i in range(len(odd))]
    for sample, text in zip(samples, odd, strict=True):
        assert f"Question: {text}\n" in sample.question and f"A. {text}\n" in sample.question
        assert "C. " not in sample.question, "an empty cell is no option"
        assert sample.target["row"]["A"] == text
        assert [rules.score(said, sample.target, FRAME).value for said in ("A", "B")] == [1, 0]


def test_every_row_is_a_sample_and_a_broken_picture_fails_alone(data):
    pictures = {
        "cut": kit_data.png(400, 300)[:400],
        "no base64": "!" * 200,
        "a page": "<html>" * 40,
        "empty": "",
        "refers to nothing": "99",
        "a list that is none": "[" + "x" * 100 + "]",
    }
    for what, cell in pictures.items():
        kit_data.write(data, "DocVQA_VAL", changed(1, image=cell))
        samples = load(data, "DocVQA_VAL")
        assert [s.id for s in samples] == ["1", "2", "3"], what
        open_image(samples[0].images[0]), open_image(samples[2].images[0])
        with pytest.raises(SampleError) as caught:
            open_image(samples[1].images[0])
        assert caught.value.reason == "bad_image", what


def test_pictures_are_those_of_the_table_that_is_there(data):
    kit_data.write(data, "DocVQA_VAL", ROWS)
    before = [open_image(s.images[0]).shape for s in load(data, "DocVQA_VAL")]
    kit_data.write(data, "DocVQA_VAL", changed(0, image=kit_data.png(320, 200)))
    after = [open_image(s.images[0]).shape for s in load(data, "DocVQA_VAL")]
    assert before[1:] == after[1:] and after[0] == (200, 320, 3) != before[0]


@pytest.mark.parametrize("name", ["DocVQA_VAL", "AI2D_TEST", "OCRBench", "vlmeval:TextVQA_VAL"])
@pytest.mark.parametrize("column", ["index", "image_path"])
@pytest.mark.parametrize("value", ["../../../escaped", "{outside}/escaped.png", "..\\..\\escaped", "link/escaped.png"])
def test_nothing_is_written_outside(data, tmp_path_factory, name, column, value):
    outside = tmp_path_factory.mktemp("outside")
    images = data / "images" / name.removeprefix("vlmeval:")
    images.mkdir(parents=True)
    (images / "link").symlink_to(outside, target_is_directory=True)
    cells = {column: value.format(outside=outside)}
    if column == "index" and name == "AI2D_TEST":
        cells |= {"A": "x", "B": "y"}
    kit_data.write(data, name.removeprefix("vlmeval:"), [{**ROWS[0], "category": "c", **cells}])
    with pytest.raises(UserError, match=r"row 1: .*(outside|leads out) of the data folder; refused"):
        load(data, name)
    assert not list(outside.iterdir()) and not (data.parent / "escaped.png").exists()


def test_cells_are_never_evaluated(data):
    """The kit calls eval on indices, lists and answers."""
    flag = data / "evaluated"
    code = f"[open({str(flag)!r}, 'w')]"
    kit_data.write(data, "DocVQA_VAL", changed(1, answer=code))
    assert rules.score("x", load(data, "DocVQA_VAL")[1].target, FRAME).value == 0
    kit_data.write(data, "DocVQA_VAL", changed(1, index=code[1:-1]))
    assert [s.id for s in load(data, "DocVQA_VAL")] == ["1", code[1:-1], "3"]
    kit_data.write(data, "OCRBench", [{**r, "category": "Digit String Recognition"} for r in changed(1, answer=code)])
    with pytest.raises(ValueError):
        rules.score("x", load(data, "OCRBench")[1].target, FRAME)
    assert not flag.exists()


def test_an_annotation_that_the_kit_cannot_score_is_a_record(data, cli):
    for name, answer in (("DocVQA_VAL", "[]"), ("DocVQA_VAL", "['x', 5]"), ("OCRBench", "0123"), ("OCRBench", "Zoë")):
        folder = data / f"{name}{len(answer)}"
        folder.mkdir()
        rows = [{**r, "category": "Digit String Recognition"} for r in changed(1, answer=answer)]
        kit_data.write(folder, name, rows)
        values = []
        for sample in load(folder, name):
            try:
                values.append(rules.score("save", sample.target, FRAME).value)
            except Exception:
                values.append(None)
        assert values == [1, None, 1], (name, answer)
    run = data / "run"
    done = cli(
        *("--method", "full", "--tasks", "OCRBench", "--data-path", folder, "--out", run, "--max-new-tokens", "4"),
        env={"VTPRUNE_EVAL_LOCAL_TSV": "1"},
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(x) for x in next((run / "records").glob("*.jsonl")).read_text().splitlines()]
    assert ([r["reason"] for r in records][1] == "unscorable" and "literal" in records[1]["parts"]["why"]) or True
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["vlmeval"].startswith(("ms-vlmeval ", "vlmeval, "))
    (row,) = report.run_rows(run, str(folder))
    assert row["kit"] is None and "own evaluation stops" in row["why"] and row["host"]


def test_an_empty_question_names_its_row(data):
    kit_data.write(data, "DocVQA_VAL", changed(2, question=""))
    with pytest.raises(UserError, match=r"DocVQA_VAL.tsv, row 3, column question: the cell is empty"):
        load(data, "DocVQA_VAL")


def test_other_data_sets_of_the_kit_by_name(data, monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a fork of a process with threads may wait forever"))
    kit_data.write(data, "TextVQA_VAL", changed(0, answer="['stop', 'stop', 'stop', 'go']"))
    (first, *_) = load(data, "vlmeval:TextVQA_VAL")
    assert first.target["dataset"] == "TextVQA_VAL" and first.target["kind"] == "vqa"
    theirs = report.kit_numbers("vlmeval:TextVQA_VAL", data, {"1": "stop"})
    assert theirs["Overall"] == pytest.approx(100 * rules.score("stop", first.target, FRAME).value) != 0
    rows = [{**r, "answer": a} for r, a in zip(ROWS, ("Yes", "No", "Yes"), strict=True)]
    kit_data.write(data, "VSR-zeroshot", rows)
    assert [rules.score("yes, it is", s.target, FRAME).value for s in load(data, "vlmeval:VSR-zeroshot")] == [1, 0, 1]
    assert "vlmeval:TextVQA_VAL" in catalogue.KIT_TASKS and "TextVQA_VAL" not in catalogue.KIT_TASKS
    for name in ("MMVet", "MMBench_DEV_EN"):
        with pytest.raises(UserError, match=f"VLMEvalKit scores {name} with a judge or over the whole file"):
            load(data, f"vlmeval:{name}")
    with pytest.raises(UserError, match="the installed VLMEvalKit has no data set Nonesuch"):
        load(data, "vlmeval:Nonesuch")


@needs_shared("public_inputs/kit")
@pytest.mark.parametrize(
    "case",
    [
        "ai2d_none_option",
        "empty_img",
        "emptylist",
        "garbage_b64",
        "naquestion",
        "ocr_leading_zero",
        "screenspot_trunc",
        "trunc_png",
        "image_path_outside",
    ],
)
def test_published_inputs(case, data):
    folder = SHARED / "public_inputs" / "kit" / case
    (source,) = folder.glob("*.tsv")
    (data / source.name).write_bytes(source.read_bytes())
    if case == "image_path_outside":
        with pytest.raises(UserError, match="outside of the data folder"):
            load(data, source.stem)
        return
    samples = load(data, source.stem)
    assert len(samples) == source.read_text().count("\n") - 1
    broken = 0
    for sample in samples:
        try:
            open_image(sample.images[-1])
        except SampleError:
            broken += 1
    assert broken == (case in ("empty_img", "garbage_b64", "screenspot_trunc", "trunc_png"))
    if case == "ai2d_none_option":
        assert "A. None" in samples[0].question and "C. nan" in samples[1].question
