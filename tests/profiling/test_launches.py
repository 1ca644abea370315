"""No hook makes the host wait where a real implementation would not; the counts are a budget per method."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from tests.pipeline.support import tiny_model
from vtprune_eval.commands.listing import cost_of
from vtprune_eval.pipeline.hook_cost import hook_cost
from vtprune_eval.profiling.launches import counted
from vtprune_eval.registry import method_class, method_names
from vtprune_eval.sample import Sample

# Reads from the device in one prefill of the tiny model (all hooks, all layers). A method that is not named has none.
READS = {
    "adakv": 10,
    "cdpruner": 2,
    "dart": 1,
    "divprune": 1,
    "evs": 3,
    "expected-attention": 1,
    "focusui": 7,
    "guipruner": 8,
    "guipruner-ssp": 8,
    "hiprune": 4,
    "holov": 4,
    "kvzip": 5,
    "pool": 1,
    "pyramiddrop": 2,
    "prumerge": 6,
    "prumerge-plus": 8,
    "sparsevlm": 5,
    "sparsevlm-plus": 5,
    "showui": 65,
    "visionzip": 3,
    "vlcache": 1,
    "vscan": 7,
    "vscan-two-stage": 5,
}


def test_reads_and_launches_are_counted():
    x = torch.arange(6.0)
    with counted() as found:
        y = (x + 1).view(2, 3)
        y[y > 2]
        y[0, y.argmax() // 3]
        y.sum().item()
        bool((y > 0).all())
    assert found.reads == 4
    assert found.where == {"__getitem__ by values": 2, "item": 1, "__bool__": 1}
    assert found.launches >= 5


NEVER = sorted(
    name
    for name, source in method_names().items()
    if source == "builtin" and name not in {*READS, "full", "no-image", "oracle"}
)


@pytest.mark.parametrize("method", NEVER)
def test_methods_that_are_not_named_never_wait(adapter, make_sample, method):
    found = hook_cost(adapter, method, "60", make_sample(80, 2))
    assert found.reads == 0, found.where
    early = {"reduce_images", "select_patches", "merge_patches"}  # no tensor yet, or none in the hook
    assert found.launches > 0 or set(method_class(method).hooks()) & early


@pytest.mark.parametrize("method", sorted(READS))
def test_the_others_wait_no_more_often_than_stated(adapter, make_sample, method):
    options = {"scorer": "ui-graph"} if method == "focusui" else {}
    found = hook_cost(adapter, method, "90", make_sample(81, 2), options)
    assert found.reads <= READS[method], found.where


@pytest.mark.parametrize(
    ("method", "behind"), [("snapkv", range(5)), ("fastv", {1}), ("kvzip", range(5)), ("divprune", ())]
)
def test_counts_are_told_per_layer(adapter, make_sample, method, behind):
    found = hook_cost(adapter, method, "60", make_sample(82, 2))
    assert set(found.layers) == set(behind)
    told = sum(one.launches for one in found.layers.values()), sum(one.reads for one in found.layers.values())
    at_the_layers = method in {"snapkv", "fastv"}  # kvzip decides behind the last layer, divprune before the first
    assert (told == (found.launches, found.reads)) is at_the_layers
    assert told <= (found.launches, found.reads)
    if method == "snapkv":
        assert len({(one.launches, one.reads) for one in found.layers.values()}) == 1, "every layer does the same"


@pytest.mark.parametrize(("method", "says"), [("snapkv", "0: "), ("stride", "no hook runs behind one")])
def test_explain_prints_the_counts_of_a_prefill_and_of_its_layers(method, says):
    whole, layers = cost_of(method).splitlines()
    total = [int(n) for n in re.findall(r"(\d+) (?:launches|reads)", whole)]
    assert len(total) == 2 and layers.startswith(f"per decoder layer: {says}")
    if method == "snapkv":
        assert sum(int(n) for n in re.findall(r"(\d+) launches", layers)) == total[0] > 0
        assert sum(int(n) for n in re.findall(r"(\d+) reads", layers)) == total[1]


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
