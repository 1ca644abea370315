"""OpenCUA against what its own code is: the ViT of Qwen2.5-VL, its tokens put into the prompt of a Qwen2 decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.pipeline.doubles import Cache, Layers, Patches
from tests.pipeline.support import Reference
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.full import Full
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.sample import Sample
from vtprune_eval.selftest.small import SIZES, TEXT, draw_weights, tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as OpenCUA publishes it, and the two halves of the model that it was made from."""
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    torch.set_num_threads(1)
    text = {**TEXT, "vocab_size": len(tokenizer()), "tie_word_embeddings": False, "rms_norm_eps": 1e-5}
    vision = SIZES["qwen2_5_vl"][1]
    decoder = Qwen2ForCausalLM(Qwen2Config(**text, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}))
    tower = Qwen2_5_VisionTransformerPretrainedModel(Qwen2_5_VLVisionConfig(**vision))
    for seed, module in enumerate((decoder.eval(), tower.eval())):
        draw_weights(module, seed)
    for weight in decoder.model.layers.parameters():  # with an untied head, weaker layers say the same to all prompts
        weight.mul_(2)
    decoder.generation_config.eos_token_id = tokenizer().eos_token_id
    folder = tmp_path_factory.mktemp("opencua")
    weights = {f"language_model.{k}": v.contiguous() for k, v in decoder.state_dict().items()}
    weights |= {f"vision_tower.{k}": v.contiguous() for k, v in tower.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer().save_pretrained(folder)
    config = {
        "architectures": ["OpenCUAForConditionalGeneration"],
        "model_type": "opencua",
        "auto_map": {"AutoConfig": "configuration_opencua.OpenCUAConfig"},
        "media_placeholder_token_id": tokenizer().convert_tokens_to_ids("<|image_pad|>"),
        "text_config": {**text, "model_type": "qwen2", "rope_theta": 5000.0},
        "vision_config": vision,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"min_pixels": 4096, "max_pixels": 1 << 16}))
    return folder, decoder, tower


@pytest.fixture(scope="module")
def adapter(made):
    return load_model("opencua-7b", path=str(made[0]), trust_remote_code=True)


def a_sample(tmp_path, seed: int, n_images: int) -> Sample:
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(n_images):
        path = tmp_path / f"{seed}-{number}.png"
        Image.fromarray(rng.integers(0, 255, (*rng.integers(60, 170, 2), 3), np.uint8)).save(path)
        paths.append(path)
    return Sample(f"s{seed}", tuple(paths), "click icon " * (seed + 1), {})


@pytest.mark.parametrize("n_images", [1, 3])
def test_full_is_the_decoders_own_generation(made, adapter, n_images, tmp_path):
    _, decoder, tower = made
    answers = set()
    for seed in range(3):
        sample = a_sample(tmp_path, seed, n_images)
        ref = Reference(adapter, sample)
        with torch.no_grad():
            embeds = decoder.model.embed_tokens(ref.ids).clone()
            embeds[0, ref.visual] = tower(ref.patches, grid_thw=ref.thw).pooler_output
            own = decoder.generate(
                inputs_embeds=embeds, attention_mask=torch.ones_like(ref.ids), max_new_tokens=8, do_sample=False
            )[0].tolist()
        outcome = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=8).run(sample)
        assert list(outcome.ids) == own
        assert ref.layout.positions.tolist() == [list(range(ref.layout.n_prompt))] * 3
        answers.add(outcome.ids)
    assert len(answers) > 1


@pytest.mark.parametrize(
    "method", [Patches(), Layers(), Cache(), Cache(heads="query_head")], ids=lambda m: f"{m.name}-{m.kv_granularity}"
)
def test_hooks_run(adapter, method, tmp_path):
    sample = a_sample(tmp_path, 1, 3)
    outcome = Pipeline(adapter, method, Budget.parse("40", "paper"), max_new_tokens=4).run(sample)
    assert outcome.ids and sum(outcome.counts.cache_entries) < outcome.counts.prompt_full * 4


def test_code_of_others_needs_permission(made, monkeypatch):
    import huggingface_hub

    def never(*args, **kwargs):
        raise AssertionError("nothing may be downloaded before permission is given")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", never)
    for path in (str(made[0]), None):
        with pytest.raises(UserError, match="--trust-remote-code"):
            load_model("opencua-7b", path=path)


def test_code_is_downloaded_only_where_it_has_to_run(monkeypatch):
    import huggingface_hub

    asked = {}

    def offline(repo, **kwargs):
        asked[repo] = kwargs["allow_patterns"]
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    for name in ("opencua-7b", "qwen2.5vl-7b"):
        with pytest.raises(UserError, match="neither cached nor reachable"):
            load_model(name, trust_remote_code=True)
    assert "*.py" in asked["xlangai/OpenCUA-7B"] and "*.py" not in asked["Qwen/Qwen2.5-VL-7B-Instruct"]


def test_a_folder_without_the_settings(made, tmp_path):
    import shutil

    folder = shutil.copytree(made[0], tmp_path / "m")
    data = json.loads((folder / "config.json").read_text())
    del data["media_placeholder_token_id"]
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="media_placeholder_token_id"):
        load_model("opencua-7b", path=str(folder), trust_remote_code=True)
