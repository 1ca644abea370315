"""Damaged folders, tied and random weights, true sizes, the processor's rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from vtprune_eval.errors import UserError
from vtprune_eval.models import MODELS, NANO, check_model_name, family_of, load_model, model_names
from vtprune_eval.models.random_init import random_model
from vtprune_eval.models.vit_extras import read_needs
from vtprune_eval.pipeline.prompt import full_size, patch_rows, resize


@pytest.fixture
def folder(tmp_path):
    """A copy of nano's folder to damage."""
    return shutil.copytree(NANO, tmp_path / "model")


def refused(folder, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        load_model("nano", path=str(folder), **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_names_need_no_torch():
    code = "import sys, vtprune_eval.models as m; assert m.model_names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert {"nano", "qwen3vl-2b", "qwen3vl-4b", "qwen3vl-8b"} <= set(model_names())


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UserError, match="qwen3vl-2b"):
        check_model_name("qwen3-vl-2b")


def test_nano_loads_and_says_what_it_is(folder):
    adapter = load_model("nano", path=str(folder))
    assert adapter.identity["trained"] and adapter.identity["weights"] == "trained"
    assert adapter.coordinates == "hundredths" and adapter.eos_ids
    again = load_model("nano", path=str(folder)).identity["fingerprint"]
    assert adapter.identity["fingerprint"] == again
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert load_model("nano", path=str(folder)).identity["fingerprint"] != again


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "--model-path" in refused(folder)


def test_weights_that_lack_a_tensor_are_not_filled_with_random_numbers(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.language_model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "layers.1.mlp.up_proj" in refused(folder)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert "weights" in refused(folder)


def test_another_architecture(folder):
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlavaForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(config))
    message = refused(folder)
    assert "LlavaForConditionalGeneration" in message and "Qwen3VLForConditionalGeneration" in message


def test_not_a_model_folder(tmp_path):
    assert "config.json" in refused(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    assert "JSON" in refused(tmp_path)


def test_missing_tokenizer_template_and_processor(folder):
    (folder / "preprocessor_config.json").rename(folder / "kept")
    assert "preprocessor_config.json" in refused(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": json.loads((folder / "kept").read_text())})
    )
    nested = load_model("nano", path=str(folder)).images
    assert nested == load_model("nano").images  # transformers 5 writes the processor into one file
    (folder / "chat_template.jinja").unlink()
    assert "chat template" in refused(folder)
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(folder)


def test_missing_weights_without_a_network(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UserError) as caught:
        load_model("qwen3vl-2b")
    assert "Qwen/Qwen3-VL-2B-Instruct" in str(caught.value) and "--model-path" in str(caught.value)


def test_unknown_device_dtype_and_attention():
    with pytest.raises(UserError, match="float32"):
        load_model("nano", dtype="float23")
    with pytest.raises(UserError, match="sdpa"):
        load_model("nano", attn="spda")
    with pytest.raises(UserError, match="device"):
        load_model("nano", device="gpu0")


@pytest.mark.parametrize("name", sorted(n for n, card in MODELS.items() if card.weights))
def test_true_sizes(name):
    """Numbers of weights, to the last one, of the published checkpoints (half the bytes of their bfloat16 files).

    Those of Qwen3.5 hold a head for multi-token prediction besides, which the class does not have.
    """
    from vtprune_eval.models.memory import n_weights

    family, card = family_of(name), MODELS[name]
    pinned = card.revision is not None and re.fullmatch("[0-9a-f]{40}", card.revision)
    assert card.hub_id and (pinned or (card.revision is None and name.startswith("focusui")))
    config = family.true_config(name)
    assert n_weights(family.classes()[0], config) == card.weights
    text = config.text_config
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    rotated = width * text.rope_parameters.get("partial_rotary_factor", 1)
    assert 2 * sum(text.rope_parameters["mrope_section"]) == rotated


def test_every_published_model_has_a_size():
    assert {n for n, card in MODELS.items() if card.hub_id} == {n for n, card in MODELS.items() if card.weights}


def test_random_weights_keep_the_tie_and_the_scale():
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig.from_pretrained(NANO)
    build = {"dtype": torch.float32, "device": "cpu"}
    model = random_model(Qwen3VLForConditionalGeneration, config, seed=0, **build)
    same = random_model(Qwen3VLForConditionalGeneration, config, seed=0, **build)
    other = random_model(Qwen3VLForConditionalGeneration, config, seed=1, **build)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    a, b, c = (dict(m.named_parameters()) for m in (model, same, other))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)
    assert all(torch.isfinite(w).all() for w in a.values())
    weight = a["model.language_model.layers.0.mlp.down_proj.weight"]
    assert float(weight.detach().std()) == pytest.approx(weight.shape[1] ** -0.5, rel=0.05)
    # Buffers that no weight file holds are what an ordinary construction computes.
    ordinary = dict(Qwen3VLForConditionalGeneration(config).named_buffers())
    for key, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, ordinary[key])


def test_random_nano_is_marked_untrained():
    adapter = load_model("nano", weights="random", seed=3)
    assert not adapter.identity["trained"] and adapter.identity["fingerprint"] == "random:3"


def test_patches_are_the_processors():
    """Resize, normalisation and patch order against the class's own image processor."""
    from transformers import Qwen2VLImageProcessor

    adapter = load_model("nano")
    rules = adapter.images
    processor = Qwen2VLImageProcessor(
        patch_size=rules.patch_size,
        temporal_patch_size=rules.temporal,
        merge_size=rules.merge_size,
        size={"shortest_edge": rules.min_pixels, "longest_edge": rules.max_pixels},
        image_mean=list(rules.mean),
        image_std=list(rules.std),
    )
    rng = np.random.default_rng(0)
    for height, width in [(64, 96), (75, 131), (500, 333), (31, 400)]:
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        out = processor(images=[torch.from_numpy(image).permute(2, 0, 1)], return_tensors="pt")
        size = full_size((width, height), rules, "x")
        assert out["image_grid_thw"].tolist() == [[1, size[1] // rules.patch_size, size[0] // rules.patch_size]]
        torch.testing.assert_close(patch_rows(resize(image, size), rules, None), out["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "limits", "block"),
    [
        ("qwen3vl-2b", (256 * 256, 4096 * 4096), 32),
        ("qwen2vl-2b", (3136, 12_845_056), 28),
        ("qwen2.5vl-3b", (3136, 12_845_056), 28),
        ("uitars-1.5-7b", (3136, 12_845_056), 28),
    ],
)
def test_published_pixel_limits_are_the_default(name, limits, block):
    family = family_of(name)
    rules = family.image_rules(family.true_config(name), None)
    assert (rules.min_pixels, rules.max_pixels, rules.block) == (*limits, block)


def test_needs_are_checked():
    assert read_needs(("encoder_attention:-2", "encoder_keys:3"), 5) == {
        3: [("encoder_attention:-2", "encoder_attention"), ("encoder_keys:3", "encoder_keys")]
    }
    assert set(read_needs(("encoder_attention:mid",), 24)) == {11}
    with pytest.raises(ValueError, match="unknown need"):
        read_needs(("encoder_values:1",), 5)
    for bad in ("encoder_attention:5", "encoder_attention:-6", "encoder_keys:x", "encoder_keys"):
        with pytest.raises(UserError, match="choose -5 to 4"):
            read_needs((bad,), 5)
