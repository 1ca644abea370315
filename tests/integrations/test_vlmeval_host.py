"""Our methods and tasks inside VLMEvalKit: really run through its own entry, and equal to our own scores."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integrations import kit_data
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.integrations.engine import Engine, cell_name, parse_name

pytest.importorskip("vlmeval", reason="needs the extra [vlmeval]")

MODELS = ("nano@full@100", "nano@random@20", "nano@pixelprune@auto")
LIMIT = 4


def entry(*args, cwd, env):
    return subprocess.run(
        [sys.executable, "-m", "vtprune_eval.integrations.vlmeval", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **env},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of the kit: three models of ours, a task of ours and a table of its own."""
    folder = tmp_path_factory.mktemp("kit")
    data = folder / "LMUData"
    data.mkdir()
    kit_data.ai2d(data)
    done = entry(
        "--model",
        *MODELS,
        "--data",
        "mini-grounding",
        "AI2D_TEST",
        "--limit",
        str(LIMIT),
        "--judge",
        "exact_matching",
        "--work-dir",
        "out",
        cwd=folder,
        env={"LMUData": str(data), "VTPRUNE_EVAL_LOCAL_TSV": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def predictions(folder: Path, model: str, data: str) -> list[dict[str, str]]:
    from vtprune_eval.integrations.vlmeval.datasets import read_predictions

    return read_predictions(str(only(folder, model, f"{model}_{data}.xlsx")))


def side_file(folder: Path, model: str, data: str) -> dict[str, list[dict]]:
    from vtprune_eval.integrations.vlmeval.side_file import records_of

    found = records_of(str(only(folder, model, f"{model}_{data}.xlsx")))
    assert found is not None
    return found


def only(folder: Path, model: str, name: str) -> Path:
    """The file of the run; the kit keeps a folder per evaluation below that of the model."""
    found = [p for p in sorted((folder / "out" / model).rglob(name)) if not p.is_symlink()]
    assert found, sorted(str(p) for p in (folder / "out").rglob("*"))
    return found[0]


@pytest.mark.parametrize("model", MODELS)
def test_our_task_has_equal_answers_and_scores_there(finished, model):
    task = load_task("mini-grounding")
    engine = Engine(*parse_name(model))
    rows = predictions(finished, model, "mini-grounding")
    assert [r["index"] for r in rows] == [s.id for s in task.samples[:LIMIT]]
    scores = []
    for row, sample in zip(rows, task.samples, strict=False):
        answer = engine.answer(sample.images, sample.question, sample_id=sample.id, max_new_tokens=task.max_new_tokens)
        assert row["prediction"] == answer.text
        (extra,) = side_file(finished, model, "mini-grounding")[row["index"]]
        assert extra["prediction"] == answer.text and extra["frame"] == answer.frame
        assert extra["counts"] == json.loads(json.dumps(answer.costs["counts"]))
        scores.append(task.score(sample, answer.text, answer.frame).value)
    report = json.loads(only(finished, model, f"{model}_mini-grounding_score.json").read_text())
    assert report["Overall"] == pytest.approx(100 * sum(scores) / LIMIT)


@pytest.mark.parametrize("model", MODELS)
def test_a_table_of_the_kit_has_equal_answers_and_scores_here(finished, model, monkeypatch):
    from vlmeval.dataset.image_mcq import ImageMCQDataset

    from vtprune_eval.benchmarks.vlmeval import catalogue, reader, rules

    monkeypatch.setattr(ImageMCQDataset, "DATASET_MD5", dict(ImageMCQDataset.DATASET_MD5))
    monkeypatch.setenv(reader.LOCAL_TSV, "1")
    spec = catalogue.definition("AI2D_TEST")
    table = reader.KitTable(finished / "LMUData", spec)
    samples = [table.sample(i) for i in range(len(table.ids))]
    engine = Engine(*parse_name(model))
    rows = predictions(finished, model, "AI2D_TEST")
    scores = []
    for row, sample in zip(rows, samples, strict=True):
        answer = engine.answer(sample.images, sample.question, sample_id=sample.id, max_new_tokens=spec.max_new_tokens)
        assert row["prediction"] == answer.text
        scores.append(rules.score(answer.text, sample.target, answer.frame).value)
    with only(finished, model, f"{model}_AI2D_TEST_acc.csv").open() as stream:
        report = next(csv.DictReader(stream))
    assert float(report["Overall"]) == pytest.approx(sum(scores) / len(scores))


def test_pruning_really_happened_there(finished):
    full, pruned = ([r["counts"] for (r,) in side_file(finished, m, "mini-grounding").values()] for m in MODELS[:2])
    assert all(sum(p["visual"]) < sum(f["visual"]) for f, p in zip(full, pruned, strict=True))


def test_mistakes_are_one_sentence_before_anything_runs(tmp_path):
    for args, sentence in (
        (["--model", "nano@pixelprun@10"], "unknown method 'pixelprun': did you mean 'pixelprune'"),
        (["--model", "nanoo@full@100"], "unknown model 'nanoo'"),
        (["--model", "nano@random@auto", "--vtprune", "dtype"], "--vtprune 'dtype': write KEY=VALUE"),
        (["--model", "nano@full@100", "--vtprune", "colour=red"], "unknown option of a model 'colour'"),
    ):
        done = entry(*args, "--data", "mini-grounding", cwd=tmp_path, env={})
        assert done.returncode == 2
        assert sentence in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_loaded_is_the_last_word(tmp_path):
    """The kit itself logs the exception, skips the model and ends with success."""
    done = entry(
        "--model",
        "nano@stride@20",
        "--data",
        "mini-grounding",
        "--limit",
        "1",
        "--work-dir",
        "out",
        "--vtprune",
        f"model_path={tmp_path}",
        cwd=tmp_path,
        env={},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("vtprune_eval: nano: ")
    assert "config.json" in done.stderr.splitlines()[-1]


def test_names():
    assert cell_name("qwen3vl-2b", "guikv", "10") == "Qwen3-VL-2B-Instruct@guikv@10"
    assert parse_name("Qwen3-VL-2B-Instruct@guikv@10") == ("qwen3vl-2b", "guikv", "10")
    assert parse_name("qwen3vl-2b@random@like-pixelprune") == ("qwen3vl-2b", "random", "like:pixelprune")
    assert parse_name("nano@full") == ("nano", "full", "100")
    assert cell_name(*parse_name("nano@random@like-pixelprune")) == "nano@random@like-pixelprune"
    for name in ("nano", "nano@full@", "nano@a@b@c"):
        with pytest.raises(UserError, match="MODEL@METHOD@BUDGET"):
            parse_name(name)


def test_everything_is_registered_under_a_predictable_name():
    import vlmeval.config
    import vlmeval.dataset

    from vtprune_eval.integrations.vlmeval.registry import default_names, register
    from vtprune_eval.models import MODELS as CARDS
    from vtprune_eval.registry import method_names

    classes, own = list(vlmeval.dataset.DATASET_CLASSES), dict(vlmeval.config.supported_VLM)
    try:
        register(["nano@resize+random@7"])
        names = set(default_names())
        assert {(parse_name(n)[0], parse_name(n)[1]) for n in names} == {
            (m, k) for m in CARDS if m != "stub" for k in method_names()
        }
        assert {"Qwen3-VL-2B-Instruct@random@10", "nano@pixelprune@auto"} <= names
        assert names | {"nano@resize+random@7"} <= set(vlmeval.config.supported_VLM)
        assert not names & set(own), "no name of the kit is taken"
        from vlmeval.run import build_model_from_config

        config = {"m": {"class": "VtpruneModel", "model": "nano", "method": "stride", "budget": "20"}}
        assert build_model_from_config(config, "m").engine.name == "nano@stride@20"
        assert type(vlmeval.dataset.build_dataset("mini-doc")).__name__ == "VtpruneTask"
    finally:
        vlmeval.dataset.DATASET_CLASSES[:] = classes
        for name in set(vlmeval.config.supported_VLM) - set(own):
            del vlmeval.config.supported_VLM[name]


def test_answers_come_back_as_they_were_written(tmp_path):
    import pandas as pd

    from vtprune_eval.integrations.vlmeval.datasets import read_predictions

    said = ["007", "NA", "", "1e3", 'a\tb\n"c"']
    for suffix in ("xlsx", "tsv"):
        from vlmeval.smp import dump

        path = str(tmp_path / f"p.{suffix}")
        dump(pd.DataFrame({"index": range(len(said)), "prediction": said}), path)
        assert [r["prediction"] for r in read_predictions(path)] == said


def test_answers_of_models_that_are_not_ours(tmp_path):
    """No frame is stored with them: it is named, or the answers are taken for hundredths."""
    import pandas as pd
    from PIL import Image
    from vlmeval.smp import dump

    from vtprune_eval.integrations.vlmeval.datasets import VtpruneTask

    dataset = VtpruneTask("mini-grounding")
    samples = load_task("mini-grounding").samples[:2]
    said = []
    for sample in samples:
        x1, y1, x2, y2 = sample.target["box_xyxy"]
        width, height = Image.open(sample.images[-1]).size
        said.append(f"click {500 * (x1 + x2) / width:.0f} {500 * (y1 + y2) / height:.0f}")
    said.append("no idea")
    path = str(tmp_path / "gpt_mini-grounding.xlsx")
    ids = [*(s.id for s in samples), load_task("mini-grounding").samples[2].id]
    dump(pd.DataFrame({"index": ids, "category": ["text", "icon", "icon"], "prediction": said}), path)
    report = dataset.evaluate(path, coordinates="thousandths")
    assert report["Overall"] == pytest.approx(200 / 3) and report["format_error_rate"] == pytest.approx(100 / 3)
    assert (report["text"], report["icon"]) == (100, 50)
    assert dataset.evaluate(path)["Overall"] == 0
    with pytest.raises(UserError, match="unknown frame of coordinates 'pixels'"):
        dataset.evaluate(path, coordinates="pixels")


def test_a_failed_sample_is_wrong_and_marked(tmp_path):
    from vlmeval.inference import FAIL_MSG
    from vlmeval.smp.file import INFER_FAIL_MSG

    from vtprune_eval.integrations.vlmeval.model import VtpruneModel

    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    message = [{"type": "image", "value": str(tmp_path / "broken.png")}, {"type": "text", "value": "where"}]
    model = VtpruneModel("nano")
    said = model.generate_inner(message, "mini-grounding")
    assert said == "Failed to obtain answer via API. (bad_image)"
    assert FAIL_MSG in said and INFER_FAIL_MSG in said, "retried by the kit, and counted by it as failed"
    with pytest.raises(UserError, match="a question without an image"):
        model.generate_inner(message[1:], "text-only")
    with pytest.raises(UserError, match="vLLM hides the stages"):
        VtpruneModel("nano", use_vllm=True)
