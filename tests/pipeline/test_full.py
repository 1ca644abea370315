"""``full`` is the class's own greedy generation, token for token."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import screen
from vtprune_eval.budget import Budget
from vtprune_eval.methods.full import Full
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.prompt import build_prompt, full_size, open_image, patch_rows, resize
from vtprune_eval.registry import make_method, method_class, method_names
from vtprune_eval.sample import Sample

WORDS = "account save draft 42 7391 the code of island".split()
N_NEW = 10


def make_sample(tmp_path, number: int) -> Sample:
    """1 to 5 images of odd sizes (some noise, some screens) and a text of 0 to 60 words."""
    rng = random.Random(number)
    paths = []
    for i in range(rng.randint(1, 5)):
        size = rng.randint(20, 230), rng.randint(20, 230)
        pixels = screen(*size, number * 7 + i) if rng.random() < 0.5 else \
            np.random.default_rng(number + i).integers(0, 256, (size[1], size[0], 3), np.uint8)
        paths.append(tmp_path / f"{number}-{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 60)))
    return Sample(str(number), tuple(paths), text, {})


def reference(adapter, sample: Sample) -> list[int]:
    """The class's own ``generate`` on the same prompt."""
    rules, config = adapter.images, adapter.model.config
    pixels = [open_image(p) for p in sample.images]
    pixels = [resize(p, full_size((p.shape[1], p.shape[0]), rules, "image")) for p in pixels]
    prompt = build_prompt(adapter, pixels, sample.question)
    grids = torch.tensor([[1, h * 2, w * 2] for h, w in prompt.layout.grids])
    ids = prompt.ids[None]
    kinds = (ids == config.image_token_id).int()
    positions, _ = adapter.model.model.get_rope_index(ids, kinds, image_grid_thw=grids)
    assert (positions[:, 0] == prompt.layout.positions).all()
    out = adapter.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, image_grid_thw=grids,
        pixel_values=torch.cat([patch_rows(p, rules, None) for p in pixels]), max_new_tokens=N_NEW, do_sample=False)
    return out[0, ids.shape[1]:].tolist()


@pytest.mark.parametrize("block", range(5))
def test_full_equals_generate_on_fifty_prompts(tiny, tmp_path, block):
    lengths = set()
    for number in range(block * 10, block * 10 + 10):
        sample = make_sample(tmp_path, number)
        outcome = Pipeline(tiny, Full(), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
        assert list(outcome.ids) == reference(tiny, sample), number
        lengths.add(outcome.counts.prompt)
        assert outcome.counts.prompt == outcome.counts.prompt_full
    assert len(lengths) > 5


@pytest.mark.parametrize("name", sorted(n for n in method_names() if method_class(n).hooks()))
def test_budget_100_is_full(tiny, tmp_path, name):
    sample = make_sample(tmp_path, 3)
    full = Pipeline(tiny, Full(), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    other = Pipeline(tiny, make_method(name), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    assert other.ids == full.ids
    assert other.counts == full.counts


def test_pixels_are_those_of_the_class_own_processor(tiny, tmp_path):
    from transformers import Qwen2VLImageProcessor

    rules = tiny.images
    processor = Qwen2VLImageProcessor(
        patch_size=16, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        size={"shortest_edge": rules.min_pixels, "longest_edge": rules.max_pixels})
    for size in ((100, 75), (64, 64), (333, 111)):
        pixels = screen(*size, 5)
        theirs = processor(images=[Image.fromarray(pixels)], return_tensors="pt")
        mine = resize(pixels, full_size(size, rules, "image"))
        assert theirs["image_grid_thw"].tolist() == [[1, mine.shape[0] // 16, mine.shape[1] // 16]]
        torch.testing.assert_close(patch_rows(mine, rules, None), theirs["pixel_values"], atol=1e-5, rtol=0)
