"""Fixtures of the pipeline's tests: the small model, random prompts, a run, a reference."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from tests.lent import shared
from vtprune_eval.budget import Budget
from vtprune_eval.methods.base import Method
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.sample import Sample

from .support import Reference, tiny_model


@pytest.fixture(scope="session")
def adapter():
    torch.set_num_threads(1)
    return shared(tiny_model())


@pytest.fixture(scope="session")
def make_sample(tmp_path_factory):
    """``make_sample(seed, n_images=None)``: noise images of odd sizes and a question of random length."""
    folder = tmp_path_factory.mktemp("images")

    def make(seed: int, n_images: int | None = None) -> Sample:
        rng = random.Random(seed)
        paths = []
        for number in range(n_images or rng.randint(1, 5)):
            noise = np.random.default_rng([seed, number])
            size = (rng.randint(20, 170), rng.randint(20, 210), 3)
            path = folder / f"{seed}-{n_images}-{number}.png"
            Image.fromarray(noise.integers(0, 255, size, np.uint8)).save(path)
            paths.append(path)
        words = " ".join(rng.choice(["click", "icon", "ab", "under 7", "What?"]) for _ in range(rng.randint(1, 30)))
        return Sample(f"s{seed}", tuple(paths), words, {})

    return make


@pytest.fixture
def reference(adapter):
    return lambda sample: Reference(adapter, sample)


@pytest.fixture
def run(adapter):
    def go(sample: Sample, method: Method, budget: str = "50", n_new: int = 8, seed: int = 0, reading="equal"):
        pipeline = Pipeline(adapter, method, Budget.parse(budget, reading), max_new_tokens=n_new, seed=seed)
        return pipeline.run(sample)

    return go
