"""The resize is torch's own; the processors of the models use torchvision's, so the two must agree to the bit."""

import numpy as np
import pytest
import torch

from vtprune_eval.pipeline.prompt import resize


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "target"), [((150, 100), (96, 64)), ((47, 33), (64, 96)), ((900, 500), (32, 320))])
def test_equals_torchvision(size, target, resample):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    theirs = functional.resize(
        torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
        [target[1], target[0]],
        interpolation=functional.InterpolationMode(resample),
        antialias=True,
    )
    ours = resize(pixels, target, resample)
    assert ours.shape == (target[1], target[0], 3)
    assert np.array_equal(ours, theirs.permute(1, 2, 0).numpy())
