"""Qwen2.5-VL (windows) and Qwen2-VL: folders of small random models, answered by vLLM and by the pipeline."""

import json
import shutil

import pytest
import torch

from vtprune_eval.integrations.vllm.engine import VllmEngine
from vtprune_eval.models import NANO, family_of, load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import Cell
from vtprune_eval.sample import Sample

TEXT = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
}
VISION = {
    # Windows of 2 x 2 merge blocks; two blocks attend over the image.
    "qwen2.5vl-3b": {
        "depth": 4,
        "num_heads": 2,
        "hidden_size": 64,
        "intermediate_size": 96,
        "out_hidden_size": 128,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1, 3],
    },
    "qwen2vl-2b": {"depth": 4, "num_heads": 2, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2, "patch_size": 14},
}
CELLS = [
    ("full", "100"),
    ("stride", "30"),
    ("pixelprune", "auto"),
    ("resize", "40"),
    ("divprune", "25"),
    ("visionzip", "30"),
    ("hiprune", "30"),
    ("cdpruner", "20"),
    ("stride+divprune", "30"),
]
# Of all answers, those that a tie between two tokens may turn.
TIES = 0


def folder_of(name, path):
    """A hub folder of a small random model of the family of ``name``, with nano's tokenizer."""
    family = family_of(name)
    model_class, config_class = family.classes()
    special = json.loads((NANO / "config.json").read_text())
    config = config_class(
        text_config={**TEXT, "vocab_size": special["text_config"]["vocab_size"]},
        vision_config=VISION[name],
        tie_word_embeddings=True,
        image_token_id=special["image_token_id"],
        video_token_id=special["video_token_id"],
        vision_start_token_id=special["vision_start_token_id"],
        vision_end_token_id=special["vision_end_token_id"],
    )
    torch.manual_seed(0)
    model = model_class(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5 * 1.5)
    model.generation_config.eos_token_id = special["text_config"]["eos_token_id"]
    model.save_pretrained(path)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(NANO / file, path / file)
    settings = json.loads((NANO / "preprocessor_config.json").read_text())
    settings |= {"patch_size": 14, "size": {"shortest_edge": 784, "longest_edge": 200704}}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("name", list(VISION))
def test_answers_are_those_of_the_pipeline(name, tmp_path, picture):
    folder = folder_of(name, tmp_path)
    given = {"model": name, "model_path": str(folder), "methods": "full", "budgets": "100"}
    engine = VllmEngine(from_mapping({**given, "engine": "vllm"}))
    adapter = load_model(name, path=str(folder))
    samples = [
        Sample("one", (picture("a", 300, 200, 1),), "tap user icon", {"type": "none"}),
        Sample("two", (picture("b", 200, 330, 2), picture("c", 170, 90, 3)), "where is total", {"type": "none"}),
    ]
    differ, n = [], 0
    for method, budget in CELLS:
        spec = from_mapping({**given, "methods": method, "budgets": budget})
        cell = Cell(method, budget)
        pipeline = Pipeline(adapter, spec.make(method), spec.budget(cell), max_new_tokens=8, copied=spec.copied)
        for sample, outcome in engine.answer(cell, samples, 8):
            ours, n = pipeline.run(sample), n + 1
            assert outcome.kept == ours.kept and outcome.counts.prompt == ours.counts.prompt, (method, sample.id)
            differ += [(method, sample.id)] if outcome.ids != ours.ids else []
    assert n == 2 * len(CELLS) and len(differ) <= TIES, differ
