"""Target recall against counts by hand, and against what every stage says that it kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vtprune_eval.methods.full import Full
from vtprune_eval.methods.random import Random
from vtprune_eval.methods.random_kv import RandomKV
from vtprune_eval.methods.random_layer import RandomLayer
from vtprune_eval.methods.random_tokens import RandomTokens
from vtprune_eval.methods.resize import Resize
from vtprune_eval.pipeline.recall import STAGES, blocks_of
from vtprune_eval.registry import make_method


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ((0, 0, 64, 32), [0, 1]),  # ends on a border: the next block is not touched
        ((0, 0, 65, 32), [0, 1, 2]),
        ((31, 31, 33, 33), [0, 1, 4, 5]),
        ((40, 40, 40, 40), [5]),  # a point
        ((128, 96, 128, 96), [11]),  # in the corner of the image
        ((-50, -50, 10, 10), [0]),
        ((200, 0, 300, 20), []),  # outside
    ],
)
def test_blocks_that_a_box_touches(box, cells):
    assert blocks_of([box], (128, 96), (3, 4)).tolist() == cells


def test_a_file_of_another_size_is_scaled_to_the_grid():
    assert blocks_of([(0, 0, 500, 500)], (1000, 1000), (4, 4)).tolist() == [0, 1, 4, 5]
    both = blocks_of([(0, 0, 10, 10), (990, 990, 1000, 1000)], (1000, 1000), (4, 4))
    assert both.tolist() == [0, 15]


@pytest.fixture
def boxed(make_sample):
    """A sample with a box over the middle of its last image, and the blocks that it touches."""
    from PIL import Image

    def make(seed: int):
        sample = make_sample(seed, 2)
        width, height = Image.open(sample.images[-1]).size
        box = [width * 0.3, height * 0.3, width * 0.8, height * 0.8]
        return replace(sample, target={"type": "box", "box_xyxy": box}), box, (width, height)

    return make


def _share(places, kept) -> float:
    return len(set(places.tolist()) & set(kept)) / len(places)


@pytest.mark.parametrize("seed", range(3))
def test_each_stage_counts_what_it_kept(seed, boxed, reference, run, adapter):
    sample, box, size = boxed(seed)
    layout = reference(sample).layout
    places = blocks_of([box], size, layout.grids[-1])
    assert run(sample, Full(), "100").target_recall == dict.fromkeys(STAGES, 1.0)
    assert run(sample, Resize(), "40").target_recall == dict.fromkeys(STAGES, 1.0)
    outcome = run(sample, Random(), "40")
    assert outcome.target_recall == pytest.approx(dict.fromkeys(STAGES, _share(places, outcome.kept[-1])))
    outcome = run(sample, RandomTokens(), "40")
    share = _share(places, outcome.kept[-1])
    assert outcome.target_recall == pytest.approx({"patches": 1, "tokens": share, "layers": share, "cache": share})
    method = RandomLayer(layer=2)
    outcome = run(sample, method, "60")
    share = _share(places, outcome.kept_last[-1])
    n = len(adapter.text.layers)
    mean = (2 + (n - 2) * share) / n
    assert outcome.target_recall == pytest.approx({"patches": 1, "tokens": 1, "layers": mean, "cache": mean})


@pytest.mark.parametrize("name", ["random-kv", "snapkv", "guikv", "h2o"])
def test_a_cache_counts_heads_and_layers(name, boxed, reference, run, monkeypatch):
    sample, box, size = boxed(1)
    layout = reference(sample).layout
    places = layout.spans[-1][0] + blocks_of([box], size, layout.grids[-1])
    method, shares = make_method(name), []
    hook = type(method).compress_kv

    def spy(self, view, budget):
        kept = hook(self, view, budget)
        shares.append(np.mean([_share(places, view.index[row].tolist()) for row in kept]))
        return kept

    monkeypatch.setattr(type(method), "compress_kv", spy)
    found = run(sample, method, "30").target_recall
    assert 0 < np.mean(shares) < 1
    assert found == pytest.approx({"patches": 1, "tokens": 1, "layers": 1, "cache": np.mean(shares)})


def test_what_a_layer_dropped_is_not_in_its_cache(boxed, run):
    sample, _, _ = boxed(1)
    both = run(sample, (RandomLayer(layer=2), RandomKV()), "60").target_recall
    assert both["cache"] < both["layers"] < both["tokens"] == both["patches"] == 1


def test_the_oracle_keeps_the_target_and_a_sample_without_a_box_says_nothing(boxed, run, make_sample):
    sample, _, _ = boxed(0)
    assert run(sample, make_method("oracle"), "60").target_recall["cache"] == 1
    assert run(make_sample(3), Full(), "100").target_recall is None


def test_a_marker_in_place_of_a_block_is_a_loss(boxed, run, reference):
    """POSPAD leaves a marker for a dropped run: its place is in the prompt, what was there is not."""
    import torch

    from vtprune_eval.methods.base import Method, TokenEdit

    class Marked(Method):
        name = "marked"

        def select_tokens(self, view, budget):
            return TokenEdit(
                torch.ones(len(view.features), dtype=torch.bool),
                has_visual=torch.zeros(len(view.features), dtype=torch.bool),
            )

    sample, _, _ = boxed(0)
    assert run(sample, Marked(), "50").target_recall == {"patches": 1, "tokens": 0, "layers": 0, "cache": 0}
