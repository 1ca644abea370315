"""Folders of every family, what the hub may answer, memory, and devices that cannot do what is asked."""

from __future__ import annotations

import json

import pytest
import torch

from vtprune_eval.errors import UserError
from vtprune_eval.models import MODELS, family_of, load_model, memory
from vtprune_eval.selftest.small import NAMES, SIZES, tokenizer

from .families import tiny


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The small model of a family, saved as a hub folder."""
    made = {}

    def folder(family: str):
        if family not in made:
            path = tmp_path_factory.mktemp(family)
            tiny(family).model.save_pretrained(path)
            tokenizer().save_pretrained(path)
            settings = {"min_pixels": 4096, "max_pixels": 1 << 16, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
            (path / "preprocessor_config.json").write_text(json.dumps(settings))
            made[family] = path
        return made[family]

    return folder


def refused(name: str, **kwargs) -> str:
    with pytest.raises(UserError) as caught:
        load_model(name, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("family", tuple(NAMES))
def test_a_saved_folder_gives_the_same_model(family, folders):
    adapter = load_model(NAMES[family], path=str(folders(family)))
    original = tiny(family)
    assert type(adapter) is type(original) and adapter.dims == original.dims
    ours, theirs = adapter.model.state_dict(), original.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert (adapter.images.min_pixels, adapter.images.max_pixels, adapter.images.std) == (4096, 1 << 16, (0.25,) * 3)
    assert adapter.folder == folders(family) and adapter.coordinates == MODELS[NAMES[family]].coordinates
    identity = adapter.identity
    assert identity["architecture"] == family_of(NAMES[family]).architecture and identity["revision"] is None
    assert identity["weights"] == "trained" and len(identity["fingerprint"]) == 16


@pytest.mark.parametrize("family", tuple(NAMES))
def test_random_weights_in_the_shape_of_a_folder(family, folders):
    adapter = load_model(NAMES[family], path=str(folders(family)), weights="random", seed=4)
    assert adapter.identity["fingerprint"] == "random:4" and not adapter.identity["trained"]
    assert all(torch.isfinite(w).all() for w in adapter.model.parameters())
    fresh = family_of(NAMES[family]).classes()[0](adapter.model.config)
    for (name, ours), (_, theirs) in zip(adapter.model.named_buffers(), fresh.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


@pytest.mark.parametrize("family", tuple(NAMES))
def test_a_folder_of_another_family(family, folders):
    families = list(NAMES)
    other = families[(families.index(family) + 1) % len(families)]
    message = refused(NAMES[family], path=str(folders(other)))
    assert family_of(NAMES[family]).architecture in message and family_of(NAMES[other]).architecture in message


def test_settings_that_the_class_does_not_take(folders, tmp_path):
    import shutil

    folder = shutil.copytree(folders("qwen2_vl"), tmp_path / "m")
    data = json.loads((folder / "config.json").read_text())
    data["text_config"]["hidden_size"] = "wide"
    (folder / "config.json").write_text(json.dumps(data))
    assert "config.json" in refused("qwen2vl-2b", path=str(folder))


def test_weights_in_pickle_files_are_not_read(folders, tmp_path):
    import shutil

    folder = shutil.copytree(folders("qwen2_vl"), tmp_path / "m")
    (folder / "model.safetensors").unlink()
    torch.save(tiny("qwen2_vl").model.state_dict(), folder / "pytorch_model.bin")
    assert "weights" in refused("qwen2vl-2b", path=str(folder))


def test_the_processors_template_goes_before_the_tokenizers(folders, tmp_path):
    import shutil

    folder = shutil.copytree(folders("qwen2_vl"), tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    template = (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<|image_pad|>"
        "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}!"
    )
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    ids, spans = load_model("qwen2vl-2b", path=str(folder)).prompt_ids([3], "ab")
    assert spans == [(0, 3)] and tokenizer().decode(ids[3:]) == "ab!"
    (folder / "chat_template.json").write_text("[]")
    assert "chat_template.json" in refused("qwen2vl-2b", path=str(folder))


def hub_error(kind: str) -> Exception:
    """An error of the hub's client without the web answer that it is normally made from."""
    from huggingface_hub import errors

    error_class = getattr(errors, kind)
    error = error_class.__new__(error_class)
    Exception.__init__(error, "no")
    return error


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("GatedRepoError", "licence"),
        ("RepositoryNotFoundError", "no repository"),
        ("RevisionNotFoundError", MODELS["qwen2vl-2b"].revision),
        ("LocalEntryNotFoundError", "--weights random"),
    ],
)
def test_what_the_hub_may_answer(kind, remedy, monkeypatch):
    import huggingface_hub

    asked = {}

    def answer(repo, **kwargs):
        asked.update(kwargs, repo=repo)
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    message = refused("qwen2vl-2b")
    assert remedy in message and "Qwen/Qwen2-VL-2B-Instruct" in message
    assert asked["revision"] == MODELS["qwen2vl-2b"].revision


@pytest.mark.parametrize(
    ("free_gib", "dtype", "needed", "fits"),
    [
        (20, "float32", "30.9 GiB", "--dtype bfloat16 would fit (15.4 GiB)"),
        (8, "bfloat16", "15.4 GiB", "qwen2.5vl-3b (7.0 GiB)"),
        (1, "float16", "15.4 GiB", "no model fits"),
    ],
)
def test_memory_is_asked_for_before_loading(free_gib, dtype, needed, fits, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free_gib << 30)
    message = refused("qwen2.5vl-7b", weights="random", dtype=dtype)
    assert needed in message and f"{free_gib}.0 GiB free" in message and fits in message


def test_free_memory_is_the_least_of_system_and_container(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  999 kB\nMemAvailable:     8000 kB\n")
    assert memory._system_bytes(tmp_path / "meminfo") == 8000 * 1024
    assert memory._system_bytes(tmp_path / "none") is None and memory._container_bytes(tmp_path) is None
    for name, text in (("max", "9000\n"), ("current", "5000\n"), ("stat", "anon 1\ninactive_file 600\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory._container_bytes(tmp_path) == 4600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container_bytes(tmp_path) is None
    for system, container, free in ((7, 5, 5), (7, None, 7), (None, None, None)):
        monkeypatch.setattr(memory, "_system_bytes", lambda value=system: value)
        monkeypatch.setattr(memory, "_container_bytes", lambda value=container: value)
        assert memory.free_bytes("cpu") == free


def test_what_a_device_cannot_do(monkeypatch):
    import importlib.util

    assert "not a device" in refused("nano", device="meta")
    real, flash = importlib.util.find_spec, [None]

    def found(name, *args):
        """Only the answer about flash_attn is made up: the model's own package is looked up, too."""
        return flash[0] if name == "flash_attn" else real(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert "pip install" in refused("nano", attn="flash_attention_2")
    flash[0] = object()
    assert "--dtype bfloat16" in refused("nano", attn="flash_attention_2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert "cuda:0 to cuda:1" in refused("nano", device="cuda:2")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    assert "an old card" in refused("nano", device="cuda:0", dtype="bfloat16")


def test_the_stand_in_has_no_network():
    assert "no network" in refused("stub")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", tuple(NAMES))
def test_half_precision_runs(family, dtype, folders, tmp_path):
    from PIL import Image

    from vtprune_eval.budget import Budget
    from vtprune_eval.methods.full import Full
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.sample import Sample

    adapter = load_model(NAMES[family], path=str(folders(family)), dtype=dtype)
    assert adapter.dtype == getattr(torch, dtype)
    Image.new("RGB", (90, 70), (200, 30, 10)).save(tmp_path / "x.png")
    outcome = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=3).run(
        Sample("a", (tmp_path / "x.png",), "click", {})
    )
    assert len(outcome.ids) >= 1
    assert outcome.kv_bytes == 2 * adapter.dims.head_dim * adapter.dims.kv_heads * 2 * sum(outcome.counts.cache_entries)


@pytest.mark.parametrize("name", sorted(name for name, card in MODELS.items() if card.weights))
def test_random_weights_without_a_folder(name, monkeypatch, tmp_path):
    """The way of --weights random, with the family's sizes made small: nano's tokenizer, a run, no download."""
    import dataclasses
    import importlib

    from PIL import Image

    from vtprune_eval.budget import Budget
    from vtprune_eval.methods.full import Full
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.sample import Sample

    family = family_of(name)
    base = MODELS[name].family.removeprefix("focusui_")
    text, vision = SIZES[{"opencua": "qwen2_5_vl"}.get(base, base)]
    tied = family.sizes[name]["tie_word_embeddings"]
    vocabulary = len(tokenizer()) + 6  # FocusUI adds six tokens
    small = {
        "text_config": {**text, "vocab_size": vocabulary, "tie_word_embeddings": tied},
        "vision_config": vision,
        "tie_word_embeddings": tied,
    }
    module = importlib.import_module(family.adapter.__module__)
    monkeypatch.setattr(module, "FAMILY", dataclasses.replace(family, sizes={name: small}))
    # Without the extra that brings the published vocabulary, which a small model has no room for.
    monkeypatch.setattr("vtprune_eval.models.rank_file", lambda family: None)
    monkeypatch.setattr("vtprune_eval.models.vocabulary.rank_file", lambda family: None)
    adapter = load_model(name, weights="random", seed=2)
    head, words = adapter.lm_head.weight, adapter.text.embed_tokens.weight
    assert (head is words) == tied
    assert adapter.folder is None and adapter.identity["fingerprint"] == "random:2" and adapter.identity["note"]
    Image.new("RGB", (90, 70), (200, 30, 10)).save(tmp_path / "x.png")
    outcome = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=3).run(
        Sample("a", (tmp_path / "x.png",), "click", {})
    )
    assert bool(outcome.ids) != adapter.points and outcome.text
    assert outcome.counts.visual[0] > 1 and outcome.flops["total"] > 0
