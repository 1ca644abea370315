"""The evaluation of micro: pages at a factor, and cells that are measured once."""

from __future__ import annotations

import json

import evaluate_micro
import pytest
from micro import accept
from PIL import Image

from vtprune_eval.benchmarks.tasks import load_task


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_page_at_a_factor_keeps_its_target(factor, tmp_path):
    sample = load_task("mini-large-grounding", 1).samples[0]
    shown = evaluate_micro.at_factor(factor)(sample, tmp_path)
    with Image.open(sample.images[0]) as old, Image.open(shown.images[0]) as new:
        assert new.width % 32 == new.height % 32 == 0
        x, y = new.width / old.width, new.height / old.height
        assert abs(x - factor) * old.width <= 16 and abs(y - factor) * old.height <= 16
    true, box = sample.target["box_xyxy"], shown.target["box_xyxy"]
    assert box == pytest.approx([true[0] * x, true[1] * y, true[2] * x, true[3] * y])
    assert sample.target["box_xyxy"] == true  # the original is left alone


def test_a_step_at_a_factor_keeps_its_target(tmp_path):
    sample = next(s for s in load_task("mini-nav", None).samples if "box_xyxy" in s.target["action"])
    shown = evaluate_micro.at_factor(2.0)(sample, tmp_path)
    assert shown.target["action"]["box_xyxy"] == [2 * v for v in sample.target["action"]["box_xyxy"]]
    assert shown.target["action"]["point"] == sample.target["action"]["point"]  # a share of the screen's sides


def test_what_is_asked_of_a_task():
    assert evaluate_micro.asked("oracle 20 %", "mini-large-grounding")
    assert not evaluate_micro.asked("oracle 20 %", "mini-large-doc")
    assert evaluate_micro.asked("no history", "mini-nav")
    assert not evaluate_micro.asked("no history", "mini-large-doc")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks", "nope"], "nope"),
        (["--path", "nowhere"], "nowhere"),
        (["--limit", "0"], "--limit: at least 1, not 0"),
        (["--limit", "-1"], "--limit: at least 1, not -1"),
        (["--limit", "few"], "--limit: a whole number of at least 1, not few"),
    ],
)
def test_mistakes_end_in_one_sentence(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evaluate_micro.py", *arguments])
    with pytest.raises(SystemExit) as left:
        evaluate_micro.main()
    error = capsys.readouterr().err
    assert left.value.code == 2 and said in error and "Traceback" not in error and "--model-path" not in error


def test_cells_that_are_there_are_not_measured_again(tmp_path, monkeypatch, capsys):
    measured = []

    def fake(adapter, task, cell, scratch):
        measured.append((task.name, cell))
        return {"task": task.name, "cell": cell, "n": 2, "accuracy": 50.0, "ci95": [0.0, 100.0], "kept": 100.0}

    monkeypatch.setattr(evaluate_micro, "load_model", lambda name, path: None)
    monkeypatch.setattr(evaluate_micro, "folder_of", lambda name, path: (tmp_path, None))
    monkeypatch.setattr(evaluate_micro, "measure", fake)
    out = tmp_path / "cells.jsonl"
    arguments = ["x", "--limit", "2", "--cells", "full;oracle 20 %", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert evaluate_micro.main() == 0
    # The oracle needs boxes, which documents have none of.
    wanted = [("mini-large-grounding", "full"), ("mini-large-grounding", "oracle 20 %"), ("mini-large-doc", "full")]
    assert measured == wanted
    assert evaluate_micro.main() == 0 and measured == wanted
    assert [json.loads(line)["cell"] for line in out.read_text().splitlines()] == [cell for _, cell in wanted]
    assert capsys.readouterr().out.count("| mini-large-doc | full | 2 | 100.0 % | 50.0 [0.0, 100.0] |") == 2
    # Another checkpoint, and another number of samples, are other questions: no old answer stands for theirs.
    (tmp_path / "model.safetensors").write_bytes(b"of a later step")
    assert evaluate_micro.main() == 0 and measured == wanted * 2
    assert capsys.readouterr().out.count("| mini-large-doc | full |") == 1
    monkeypatch.setattr("sys.argv", ["x", "--limit", "3", *arguments[3:]])
    assert evaluate_micro.main() == 0 and measured == wanted * 3
    monkeypatch.setattr("sys.argv", ["x", "--cells", "ful"])
    with pytest.raises(SystemExit):
        evaluate_micro.main()
    assert "--cells: ful: none of full;" in capsys.readouterr().err


def rows(task: str = "mini-large-grounding", **accuracies: tuple[int, int]):
    """Cells of 40 pages with a question each: right on pages ``first`` to ``last`` (exclusive)."""
    names = {
        "full": "full",
        "small": "full, factor 0.7",
        "large": "full, factor 1.4",
        "half": "resize 50 %",
        "quarter": "resize 25 %",
        "pruned": "pixelprune",
        "drawn": "random, as many",
        "shrunk": "resize, as many",
        "oracle": "oracle 20 %",
        "blind": "no image",
    }
    pages = [f"page-{i}" for i in range(40)]
    return [
        {
            "task": task,
            "cell": names[name],
            "scores": [float(first <= i < last) for i in range(40)],
            "clusters": pages,
        }
        for name, (first, last) in accuracies.items()
    ]


GOOD = {
    "full": (0, 36),
    "small": (0, 30),
    "large": (0, 36),
    "half": (0, 28),
    "quarter": (0, 12),
    "pruned": (0, 34),
    "drawn": (0, 16),
    "shrunk": (0, 28),
    "oracle": (0, 36),
    "blind": (0, 3),
}


def verdicts(**changed):
    lines, whole = accept.accepted(rows(**{**GOOD, **changed}))
    return {rule: verdict for _, rule, _, verdict in lines}, whole


def test_an_instrument_passes_every_rule():
    found, whole = verdicts()
    assert set(found.values()) == {accept.PASSED} and whole


@pytest.mark.parametrize(
    ("changed", "rule", "verdict"),
    [
        ({"half": (0, 40), "full": (0, 20)}, "accuracy does not fall with tokens: 50 % to all", accept.FAILED),
        ({"large": (0, 20)}, "accuracy does not fall with tokens: factor 1 to 1.4", accept.FAILED),
        ({"large": (2, 36)}, "accuracy does not fall with tokens: factor 1 to 1.4", accept.OPEN),
        ({"shrunk": (0, 39)}, "resize does not beat full at PixelPrune's count", accept.OPEN),
        ({"shrunk": (0, 40), "full": (0, 28)}, "resize does not beat full at PixelPrune's count", accept.FAILED),
        ({"pruned": (0, 16)}, "PixelPrune beats random at equal tokens", accept.FAILED),
        ({"pruned": (0, 18)}, "PixelPrune beats random at equal tokens", accept.OPEN),
        ({"oracle": (0, 20)}, "the oracle at 20 % is near full", accept.FAILED),
        ({"blind": (0, 30)}, "without an image at most half is left", accept.FAILED),
    ],
)
def test_each_rule_can_fail(changed, rule, verdict):
    found, whole = verdicts(**changed)
    assert found[rule] == verdict and not whole


def test_a_model_that_answers_nothing_is_no_instrument():
    lines, whole = accept.accepted(rows(**dict.fromkeys(GOOD, (0, 0))))
    assert not whole
    assert {rule for _, rule, _, verdict in lines if verdict == accept.FAILED} >= {
        "PixelPrune beats random at equal tokens",
        "without an image at most half is left",
    }


def test_what_was_not_measured_is_not_accepted_and_documents_need_no_oracle():
    most = {k: v for k, v in GOOD.items() if k != "oracle"}
    lines, whole = accept.accepted(rows(**most))
    assert not whole and accept.MISSING in {verdict for *_, verdict in lines}
    lines, whole = accept.accepted([*rows(**GOOD), *rows("mini-large-doc", **most)])
    assert whole and {task for task, *_ in lines} == {"mini-large-grounding", "mini-large-doc"}
