"""The scripts around training: the starting model of the papers' from-scratch tables, and the pages for nano."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

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
