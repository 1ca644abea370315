"""A model over several devices: the placement, and that nothing meets a tensor of another device on the way."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.dart import Dart
from vtprune_eval.methods.fastv import FastV
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.guikv import GuiKV
from vtprune_eval.methods.guipruner_ssp import GuiPrunerSSP
from vtprune_eval.methods.snapkv import SnapKV
from vtprune_eval.methods.sparsevlm import SparseVLM
from vtprune_eval.methods.stride import Stride
from vtprune_eval.methods.vlcache import VLCache
from vtprune_eval.models import MODELS, family_of, load_model
from vtprune_eval.models.memory import GIB
from vtprune_eval.models.sharding import device_map, follow
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.profiling.gpu import open_gpu
from vtprune_eval.sample import Sample
from vtprune_eval.selftest.small import LAYERS, small_config

from .families import tiny
from .pointing import save_checkpoint
from .pretend import Elsewhere, PretendDevices

SPREAD = ("qwen2vl-2b", "qwen2.5vl-7b", "qwen3vl-8b", "qwen3.5-9b", "opencua-7b", "focusui-7b")


def places_of(name: str, free: dict[int, int], dtype=torch.bfloat16) -> dict[str, str]:
    family = family_of(name)
    return device_map(name, family.classes()[0], family.true_config(name), dtype, free)


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("n_gpus", [1, 2, 8])
def test_every_weight_has_one_place_and_layers_stay_in_order(name, n_gpus):
    places = places_of(name, {n: int(24 * GIB) for n in range(n_gpus)})
    family = family_of(name)
    with torch.device("meta"):
        model = family.classes()[0](family.true_config(name))
    covered = [f"{part}.{key}" for part in places for key, _ in model.get_submodule(part).named_parameters()]
    assert sorted(covered) == sorted(key for key, _ in model.named_parameters(remove_duplicate=False))
    layers = [
        int(places[f"model.language_model.layers.{i}"].removeprefix("cuda:"))
        for i in range(len(model.model.language_model.layers))
    ]
    assert layers[0] == 0 and all(b in (a, a + 1) for a, b in pairwise(layers))
    assert layers[-1] >= min(n_gpus - 1, 1)  # more than one GPU is used where there is more than one
    for part in ("model.visual", "model.language_model.embed_tokens", "model.language_model.rotary_emb"):
        assert places[part] == "cuda:0"
    if model.config.tie_word_embeddings:
        assert places["lm_head"] == "cuda:0"


def test_a_model_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"15\.4 GiB.* 2 GPUs \(16\.0 GiB\); use a smaller model\.$"):
        places_of("qwen2.5vl-7b", {0: int(8 * GIB), 1: int(8 * GIB)})
    with pytest.raises(UserError, match="--dtype bfloat16"):
        places_of("qwen2.5vl-7b", {0: int(8 * GIB), 1: int(8 * GIB)}, torch.float32)


def test_auto_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device spread: this machine has no usable CUDA device"):
        load_model("nano", device="spread")
    gpu = open_gpu("spread", "full")
    assert gpu.state() is None and "several GPUs" in gpu.reason


def test_auto_fits_no_model_into_memory_that_is_not_there(monkeypatch):
    """The way from the command to the placement, with GPUs that are full."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda n: (1 << 20, 1 << 30))
    with pytest.raises(UserError, match=r"nano: the weights .* do not fit .* 2 GPUs"):
        load_model("nano", device="spread")


def spread(plain, first: int):
    """A copy of a small model whose layers from ``first`` on, norm and heads lie on a second, pretended device."""
    model = copy.deepcopy(plain.model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone(), requires_grad=False)
    text = model.model.language_model
    text.config._attn_implementation = "eager"
    there = {f"model.language_model.layers.{i}": "cpu:1" for i in range(first, LAYERS)}
    there |= {"model.language_model.norm": "cpu:1"}
    there |= dict.fromkeys((part for part, _ in model.named_children() if part != "model"), "cpu:1")
    here = {f"model.language_model.layers.{i}": "cpu" for i in range(first)}
    for part in there:
        for module in model.get_submodule(part).modules():
            for key, weight in list(module.named_parameters(recurse=False)):
                moved = Elsewhere(weight.data, torch.device("cpu:1"))
                setattr(module, key, torch.nn.Parameter(moved, requires_grad=False))
    follow(model, {**here, "model.language_model.embed_tokens": "cpu", "model.visual": "cpu", **there})
    return type(plain)("spread", model, plain.tokenizer, plain.images, {})


METHODS = [
    Full(),
    Stride(),
    FastV(),
    SnapKV(),
    SnapKV(granularity="query_head"),
    GuiKV(),
    VLCache(),
    SparseVLM(),
    Dart(),
    GuiPrunerSSP(),
]


CASES = [("qwen3_vl", method, first) for method in METHODS for first in (1, 3)]
CASES += [(family, method, 2) for family in ("qwen2_vl", "qwen2_5_vl") for method in METHODS[:4]]


@pytest.mark.parametrize(
    ("family", "method", "first"), CASES, ids=lambda v: f"{v.name}-{v.kv_granularity}" if hasattr(v, "name") else str(v)
)
def test_a_spread_model_answers_as_on_one_device(family, method, first, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (130, 150, 3), np.uint8)).save(path)
    sample, budget = (
        Sample("s", (path, path), "click icon", {}),
        Budget.parse("100" if method.name == "full" else "40", "paper"),
    )
    alone = Pipeline(tiny(family, "eager"), method, budget, max_new_tokens=4).run(sample)
    with PretendDevices():
        adapter = spread(tiny(family, "eager"), first)
        assert [str(d) for d in adapter.devices] == ["cpu", "cpu:1"]
        outcome = Pipeline(adapter, method, budget, max_new_tokens=4).run(sample)
    assert (outcome.ids, outcome.counts, outcome.kv_bytes) == (alone.ids, alone.counts, alone.kv_bytes)


def test_a_spread_model_points_as_on_one_device(tmp_path):
    """The action head on one device, the visual tokens that it chooses from on another."""
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (130, 150, 3), np.uint8)).save(path)
    sample, budget = Sample("s", (path,), "click icon", {}), Budget.parse("40")
    alone = load_model("focusui-qwen3vl-2b", path=str(save_checkpoint("focusui-qwen3vl-2b", tmp_path)), attn="eager")
    with PretendDevices():
        outcome = Pipeline(spread(alone, 2), Stride(), budget).run(sample)
    assert outcome.text.startswith("click") and outcome.text == Pipeline(alone, Stride(), budget).run(sample).text


def test_pretended_devices_do_not_mix():
    """What the test above relies on."""
    with PretendDevices():
        a = torch.ones(2, 2)
        b, c = a.to("cpu:1"), a.to("cpu:2")
        assert str((b @ b).device) == "cpu:1" and torch.equal((b + b).cpu(), a + a)
        for other in (a, c):
            with pytest.raises(RuntimeError, match="tensors on"):
                b @ other


def test_random_weights_are_drawn_in_place():
    """Parts placed apart hold the numbers of a model built in one place."""
    from vtprune_eval.models.random_init import random_model

    config = small_config("qwen2_5_vl")
    build = {"dtype": torch.float32, "device": "cpu", "seed": 5}
    model_class = family_of("qwen2.5vl-3b").classes()[0]
    whole = random_model(model_class, config, **build)
    with torch.device("meta"):
        skeleton = model_class(config)
    parts = [
        "model.visual",
        "lm_head",
        *(f"model.language_model.{p}" for p, _ in skeleton.model.language_model.named_children()),
    ]
    apart = random_model(model_class, config, **build, places=dict.fromkeys(parts, "cpu"))
    for (key, a), (other, b) in zip(whole.state_dict().items(), apart.state_dict().items(), strict=True):
        assert key == other and torch.equal(a, b)


def test_models_that_are_spread_are_published_ones():
    assert set(SPREAD) <= set(MODELS)
