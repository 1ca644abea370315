"""The scripts around training: the starting model of the papers' from-scratch tables, and the pages for nano."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from vtprune_eval.models import NANO, load_model


def test_the_starting_model_has_the_other_decoder(tmp_path):
    import scratch_start
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    vision = json.loads((NANO / "config.json").read_text())["text_config"]
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim")  # fmt: skip
    words = Qwen3ForCausalLM(Qwen3Config(**{k: vision[k] for k in keys}, tie_word_embeddings=True))
    words.save_pretrained(tmp_path / "words")
    AutoTokenizer.from_pretrained(NANO).save_pretrained(tmp_path / "words")
    n = scratch_start.put_together(NANO, tmp_path / "words", tmp_path / "start")
    assert n == len(words.model.state_dict())
    made, nano = load_model("nano", path=str(tmp_path / "start")), load_model("nano")
    assert torch.equal(made.visual.merger.linear_fc1.weight, nano.visual.merger.linear_fc1.weight)
    given = words.model.layers[1].mlp.up_proj.weight.bfloat16().float()
    assert torch.equal(made.text.layers[1].mlp.up_proj.weight, given)
    assert torch.equal(made.lm_head.weight, words.lm_head.weight.bfloat16().float())
    smaller = Qwen3ForCausalLM(Qwen3Config(**{**{k: vision[k] for k in keys}, "num_hidden_layers": 2}))
    smaller.save_pretrained(tmp_path / "smaller")
    with pytest.raises(SystemExit, match="does not fit the decoder"):
        scratch_start.put_together(NANO, tmp_path / "smaller", tmp_path / "other")


def test_training_pages_become_lines_that_train_reads(tmp_path):
    import training_data
    from nano.pool import Pool

    from vtprune_eval.training.examples import grouped, read_lines

    (tmp_path / "pool").mkdir()
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "pool" / "0001-pane-ui.npy", np.zeros((2, 160, 256, 3), np.uint8))
    page = {"targets": [{"name": "zug", "kind": "text", "box": [0, 0, 64, 32]}], "facts": [{"key": "ab", "value": "7"}],
            "cells": []}  # fmt: skip
    (tmp_path / "pool" / "0001-pane-ui.json").write_text(json.dumps([page, {"targets": [], "facts": [], "cells": []}]))
    pool = Pool(tmp_path / "pool")
    pool.refresh()
    records = training_data.lines(pool, tmp_path, 6, 0)
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    examples = read_lines(tmp_path / "pages.jsonl")
    assert {e.answer for e in examples} == {"click 12 10", "7"}
    assert [len(g) for g in grouped(examples, 6)] == [2]
    assert [e.sample.target.get("box_xyxy") for e in examples if e.answer.startswith("click")] == [[0, 0, 64, 32]]


@pytest.fixture
def conversations(tmp_path):
    """Both layouts that the papers' data have, about one image of 200 x 100 pixels."""
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    point = {"from": "gpt", "value": "pyautogui.click(x=0.25, y=0.5)", "bbox_gt": [0.2, 0.4, 0.3, 0.6]}
    flat = {**point, "bbox_gt": [0.2, 0.4, 0.2, 0.6]}
    listed = [
        {"image": "a.png", "conversations": [{"from": "human", "value": "<image> Open it"}, point]},
        {"image": "b.png", "conversations": [{"from": "human", "value": "<image> Open it"}, point]},
        {"image": "a.png", "conversations": [{"from": "human", "value": "x"}, flat]},
    ]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(listed))
    call = '<tool_call>{"action": "left_click", "coordinate": [50, 25]}</tool_call>'
    turns = [{"from": "system", "value": "tools"}, {"from": "human", "value": "<img>a.png</img>\nsave"},
             {"from": "gpt", "value": call}, {"from": "user", "value": "what is this"},
             {"from": "assistant", "value": "a page"}, {"from": "human", "value": "far"},
             {"from": "gpt", "value": "(500, 25)"}]  # fmt: skip
    lines = [json.dumps({"conversations": turns}), "{torn", json.dumps({"images": ["a.png"]})]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    return tmp_path


def converted(folder, monkeypatch, name, *more):
    import training_convert

    out = folder / "out.jsonl"
    monkeypatch.setattr(
        "sys.argv", ["x", str(folder / name), "--images", str(folder), "--out", str(out), *map(str, more)]
    )
    assert training_convert.main() == 0
    return [json.loads(line) for line in out.read_text().splitlines()], out


def test_a_list_with_boxes_in_fractions(conversations, monkeypatch, capsys):
    """FocusUI's data: the box in pixels, the point in the frame of the model, what is broken counted and named."""
    from vtprune_eval.training.examples import read_lines

    found, out = converted(conversations, monkeypatch, "list.json", "--frame", "fractions", "--to", "thousandths")
    assert [r["answer"] for r in found] == ["pyautogui.click(x=250, y=500)"]
    assert found[0]["box_xyxy"] == [40.0, 40.0, 60.0, 60.0]
    assert read_lines(out)[0].sample.instruction == "Open it"
    said = capsys.readouterr().err
    assert "left out 1: an image is missing; first list.json, record 2" in said
    assert "left out 1: bbox_gt has no area; first list.json, record 3" in said


def test_lines_of_conversations(conversations, monkeypatch, capsys):
    """PixelPrune's layout of Jedi: pixels into relative places; a pair of turns is a record."""
    found, _ = converted(
        conversations, monkeypatch, "lines.jsonl", "--frame", "pixels", "--to", "thousandths", "--only-coordinates"
    )
    assert [(r["question"], r["answer"]) for r in found] == [
        ("save", '<tool_call>{"action": "left_click", "coordinate": [250, 250]}</tool_call>')
    ]
    said = capsys.readouterr().err
    assert "left out 1: a point lies outside of the image (is --frame pixels right?); first lines.jsonl, line 1" in said
    assert "left out 1: an answer without a point (--only-coordinates)" in said
    assert "left out 2: no conversation; first lines.jsonl, line 2" in said
    everything, _ = converted(conversations, monkeypatch, "lines.jsonl", "--frame", "pixels", "--to", "hundredths")
    assert [r["answer"] for r in everything][1] == "a page"
    assert "[25, 25]" in everything[0]["answer"]


def test_a_frame_that_cannot_be_right_writes_nothing(conversations, monkeypatch):
    with pytest.raises(SystemExit, match="nothing could be converted"):
        converted(conversations, monkeypatch, "lines.jsonl", "--frame", "fractions", "--only-coordinates")
    assert not (conversations / "out.jsonl").exists()


@pytest.mark.parametrize(("what", "count"), [("merger", 6), ("joint", 18)])
def test_a_start_with_weights_drawn_anew(tmp_path, what, count):
    """What is named is drawn, everything else stays, and the folder is a model; the same seed draws the same."""
    from nano_start import redraw, write_start

    assert write_start(tmp_path, what, 3) == count
    made, nano = load_model("nano", path=str(tmp_path)), load_model("nano")
    changed = {k for k, v in made.model.state_dict().items() if not torch.equal(v, nano.model.state_dict()[k])}
    parts = ("visual.merger.",) if what == "merger" else ("visual.merger.", "visual.deepstack_merger_list.")
    assert changed
    assert all(any(part in k for part in parts) for k in changed)
    again = load_model("nano", path=str(tmp_path), dtype="float32")
    redraw(again.model, what, 3)
    assert torch.equal(again.model.bfloat16().state_dict()[sorted(changed)[0]],
                       made.model.bfloat16().state_dict()[sorted(changed)[0]])  # fmt: skip


def test_measured_tables_stand_in_their_places():
    """Means over seeds with their range, paired differences over samples, and a page that keeps its other tables."""
    import training_results

    own, base = (np.tile(x, 3) for x in ([[1.0, 1, 0, 1], [1, 1, 1, 1]], [[1.0, 1, 0, 0], [1, 1, 1, 0]]))
    assert training_results.percent(own) == "87.5 [75.0 to 100.0]"
    assert training_results.percent(own[:1]) == "75.0"
    assert training_results.difference(own, own) == "+0.0; +0.0 to +0.0"
    assert training_results.difference(own, base).startswith("+25.0; +")
    page = "a\n<!-- table x -->\nold\n<!-- end -->\nb\n<!-- table y -->\nkept\n<!-- end -->\n"
    assert training_results.placed(page, "x", "new") == page.replace("old", "new")
    with pytest.raises(SystemExit, match="no place for the table z"):
        training_results.placed(page, "z", "new")
    written = (ROOT / "docs" / "training.md").read_text()
    for name in training_results.TABLES:
        assert training_results.placed(written, name, "|") != written, name


def test_losses_and_speed_come_from_the_logs(tmp_path):
    import training_results

    def line(step: int, seconds: float) -> dict:
        times = {"forward_s": seconds, "backward_s": 2 * seconds, "prepare_s": seconds / 10, "peak_bytes": 90,
                 "flops_forward": 1e9 * seconds, "flops_backward": 2e9 * seconds, "tokens": 10 * seconds}  # fmt: skip
        return {"step": step, **times, "optimizer_s": 1.0, "visual": 5, "answer": 1.0 / step}

    for arm in ("full", "pixelprune"):
        folder = tmp_path / f"{arm}-0" / "training"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text("{}")
        lines = [{**line(n, 1.0), "full": {**line(n, 2.0), "peak_bytes": 100}} for n in range(1, 21)]
        (folder / "steps.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    table = training_results.efficiency(tmp_path)
    assert "| 19 steps |" in table
    assert "| both passes | 2.00 | 2.00 to 2.00 |" in table
    assert "| whole step (with preparation and optimizer) | 1.76 |" in table  # (6.2 + 1) / (3.1 + 1)
    assert "| peak memory of the process | 10.0 % less | - |" in table
    first, last = (np.mean([1 / n for n in part]) for part in (range(1, 11), range(11, 21)))
    assert f"| all tokens | 5.0 | 3.0 | {first:.3f} | {last:.3f} |" in training_results.matched(tmp_path)
