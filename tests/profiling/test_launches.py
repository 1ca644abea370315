"""No hook makes the host wait where a real implementation would not; the counts are a budget per method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pipeline.support import tiny_model
from vtprune_eval.pipeline.hook_cost import hook_cost
from vtprune_eval.profiling.launches import counted
from vtprune_eval.sample import Sample

# Reads from the device in one prefill of the tiny model (all hooks, all layers). A method that is not named has none.
READS = {
    "cdpruner": 80,
    "dart": 16,
    "divprune": 80,
    "focusui": 40,
    "guikv": 40,
    "guipruner": 12,
    "guipruner-ssp": 12,
    "hiprune": 6,
    "pool": 3,
    "prumerge": 8,
    "pyramiddrop": 4,
    "pyramidkv": 6,
    "random-tokens": 1,
    "sparsevlm": 24,
    "visionzip": 5,
    "vlcache": 8,
}


def test_reads_and_launches_are_counted():
    x = torch.arange(6.0)
    with counted() as found:
        y = (x + 1).view(2, 3)
        y[y > 2]
        y.sum().item()
        bool((y > 0).all())
    assert found.reads == 3
    assert found.where == {"__getitem__ by a mask": 1, "item": 1, "__bool__": 1}
    assert found.launches >= 5


@pytest.mark.parametrize("method", ["snapkv", "h2o", "streamingllm", "random-kv", "fastv", "random-layer"])
def test_methods_that_are_a_score_never_wait(adapter, make_sample, method):
    found = hook_cost(adapter, method, "60", make_sample(80, 2))
    assert found.reads == 0, found.where
    assert found.launches > 0


@pytest.mark.parametrize("method", sorted(READS))
def test_the_others_wait_no_more_often_than_stated(adapter, make_sample, method):
    options = {"scorer": "ui-graph"} if method == "focusui" else {}
    found = hook_cost(adapter, method, "90", make_sample(81, 2), options)
    assert found.reads <= READS[method], found.where


@pytest.fixture(scope="module")
def adapter():
    return tiny_model()


@pytest.fixture(scope="module")
def make_sample(tmp_path_factory):
    """``make_sample(seed, n_images)``: noise images of odd sizes and a short question."""
    folder = tmp_path_factory.mktemp("images")

    def make(seed: int, n_images: int) -> Sample:
        paths = []
        for number in range(n_images):
            noise = np.random.default_rng([seed, number]).integers(0, 255, (97 + 32 * number, 161, 3), np.uint8)
            paths.append(folder / f"{seed}-{number}.png")
            Image.fromarray(noise).save(paths[-1])
        return Sample(f"s{seed}", tuple(paths), "click the icon under 7", {"type": "none"})

    return make
