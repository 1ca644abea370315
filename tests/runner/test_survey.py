"""What methods keep without a model equals what a run keeps; redundancy against counts by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.models import image_rules, load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method
from vtprune_eval.runner.survey import image_facts, make_cells, survey
from vtprune_eval.sample import Sample


def blocks(rows: list[list[int]], block: int = 32) -> np.ndarray:
    """An image whose blocks are flat grey levels."""
    grey = np.kron(np.array(rows, np.uint8), np.ones((block, block), np.uint8))
    return np.stack([grey] * 3, -1)


def test_redundancy_counts_by_hand():
    facts = image_facts("x.png", blocks([[7, 7, 7, 7], [7, 1, 2, 7], [7, 1, 3, 9]]), 32)
    assert (facts.size, facts.blocks, facts.unique, facts.duplicated) == ((128, 96), 12, 5, 9)  # 7 x7, 1 x2; 2, 3, 9
    # pred-2d predicts from the left, or from above behind a vertical border; by hand: the first block, 1, 2, 7, 3, 9.
    assert facts.retained == {"pred_2d": 6, "raster": 7, "serpentine": 7}


@pytest.mark.parametrize("task", ["mini-grounding", "mini-nav"])
@pytest.mark.parametrize(("name", "budget"), [
    ("pixelprune", "auto"), ("pixelprune", "20"), ("random", "30"), ("stride", "like:pixelprune"), ("resize", "40"),
    ("conncomp", "5tok"),
])  # fmt: skip
def test_a_survey_keeps_what_a_run_keeps(task, name, budget, nano):
    samples = load_task(task, limit=4).samples
    method = make_method(name)
    run = Pipeline(nano, method, nano_budget(budget), max_new_tokens=1)
    cells = make_cells("nano", image_rules("nano"), [(name, (method,))], [budget])
    # One sample at a time: a group draws with the seed of its first.
    for sample in samples:
        [(_, [kept])] = survey([sample], image_rules("nano"), cells, scans=False)
        outcome = run.run(sample)
        assert (kept.tokens, kept.tokens_full) == (sum(outcome.counts.visual), sum(outcome.counts.visual_full))
        assert kept.recall == (outcome.target_recall and pytest.approx(outcome.target_recall["patches"]))


def nano_budget(text):
    from vtprune_eval.budget import Budget

    return Budget.parse(text)


@pytest.fixture(scope="module")
def nano():
    return load_model("nano")


def test_images_are_counted_once_and_questions_of_a_page_share_its_masks(tmp_path):
    Image.fromarray(blocks([[1, 2, 3, 4]] * 3)).save(tmp_path / "a.png")
    Image.fromarray(blocks([[9, 9, 9, 9]] * 3)).save(tmp_path / "b.png")
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    box = {"type": "box", "box_xyxy": [0, 0, 64, 32]}
    samples = [Sample("1", (a,), "", box), Sample("2", (a,), "", {"type": "text", "answers": ["x"]}),
               Sample("3", (a, b), "", box)]  # fmt: skip
    rules = image_rules("nano")
    cells = make_cells("nano", rules, [("full", (make_method("full"),)), ("random", (make_method("random"),))], ["50"])
    first, second = survey(samples, rules, cells)
    assert [[f.name for f in facts] for facts, _ in (first, second)] == [["a.png"], ["b.png"]]
    found = {(k.method, k.sample): k for k in first[1] + second[1]}
    assert found["full", "1"].recall == 1 and found["full", "2"].recall is None
    assert (found["random", "1"].tokens, found["random", "1"].tokens_full) == (6, 12)
    assert found["random", "3"].tokens_full == 24


def test_a_damaged_image_costs_its_group_and_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.fromarray(blocks([[1, 2]] * 3)).save(tmp_path / "b.png")
    failed: list[str] = []
    samples = [Sample("1", (tmp_path / "a.png",), "", {}), Sample("2", (tmp_path / "b.png",), "", {})]
    assert len(list(survey(samples, image_rules("nano"), failed=failed))) == 1
    assert len(failed) == 1 and failed[0].startswith("1: a.png")


@pytest.mark.parametrize("name", ["fastv", "oracle", "guikv", "pixelprune+snapkv"])
def test_methods_that_need_a_model_are_refused(name):
    with pytest.raises(UserError, match="needs a model"):
        make_cells("nano", image_rules("nano"), [(name, tuple(map(make_method, name.split("+"))))], ["10"])


def test_drops_inside_the_vit_are_refused():
    with pytest.raises(UserError, match="inside the ViT"):
        make_cells("nano", image_rules("nano"), [("x", (make_method("pixelprune", {"vit_layer": "2"}),))], ["10"])


def test_the_rules_are_those_of_the_loaded_model(nano):
    assert image_rules("nano") == nano.images
    assert image_rules("qwen3vl-2b").block == 32 and image_rules("qwen2.5vl-7b").block == 28


def test_recall_prints_every_method_before_the_vit(capsys, tmp_path):
    out = tmp_path / "lines.jsonl"
    arguments = [
        "recall",
        "--model",
        "nano",
        "--tasks",
        "mini-grounding,mini-doc",
        "--limit",
        "3",
        "--budget",
        "20,auto",
    ]
    assert cli.main([*arguments, "--format", "json", "--out", str(out)]) == 0
    told = capsys.readouterr()
    data = json.loads(told.out)
    rows = {(r["task"], r["method"], r["budget"]): r for r in data["rows"]}
    assert rows["mini-grounding", "full", "-"]["target_recall_pct"] == 100
    assert rows["mini-grounding", "resize", "20"]["target_recall_pct"] == 100
    assert rows["mini-grounding", "random", "20"]["targets"] == 3
    assert rows["mini-doc", "pixelprune", "auto"]["target_recall_pct"] is None
    assert {"conncomp", "guipruner-tar", "pixelprune", "random", "resize", "stride"} <= {k[1] for k in rows}
    assert [r["task"] for r in data["redundancy"]] == ["mini-grounding", "mini-doc"]
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    n_cells = len([k for k in rows if k[0] == "mini-doc"])
    assert sum(line["kind"] == "kept" for line in lines) == 6 * n_cells
    assert ("mini-doc", "guipruner-tar", "20") not in rows, "a single screen has no history to shrink: no row"
    assert {"task": "mini-doc", "method": "guipruner-tar", "budget": "20", "samples": 3} in data["unmet"]
    assert "mini-doc: guipruner-tar cannot meet its budget on every sample" in told.err and "20 on 3" in told.err
    assert cli.main([*arguments, "--format", "csv", "--method", "full,pixelprune"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("task,method,budget,kept_pct,target_recall_pct")


def test_redundancy_of_a_task(capsys):
    assert cli.main(["redundancy", "--model", "nano", "--tasks", "mini-grounding", "--limit", "5"]) == 0
    head, _, line = capsys.readouterr().out.splitlines()[:3]
    assert "duplicate %" in head and "retain pred-2d %" in head and line.startswith("mini-grounding")


@pytest.mark.parametrize(("arguments", "says"), [
    (["recall", "--method", "pixelprun"], "pixelprune"),
    (["recall", "--budget", "0"], "outside"),
    (["recall", "--budget", "10,flops:50"], "none is loaded here"),
    (["recall", "--budget", ","], "empty name"),
    (["recall", "--method", "random,"], "empty name"),
    (["recall", "--method", ""], "empty name"),
    (["recall", "--tasks", ""], "empty name"),
    (["redundancy", "--tasks", "mini,,web"], "empty name"),
    (["recall", "--method", "tome"], "inside or behind the ViT"),
    (["recall", "--tasks", "mini-x"], "mini-"),
    (["recall", "--set", "tau=1"], "METHOD.KEY"),
    (["redundancy", "--limit", "0", "--tasks", "mini-doc"], "at least 1"),
    (["redundancy", "--data-path", "x", "--tasks", "mini"], "one task"),
    (["redundancy", "--model", "stub"], "no network"),
])  # fmt: skip
def test_mistakes_are_one_sentence(arguments, says, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and "\n" not in error
