"""A block's own place: the loss that asks for it, and the weights that carry it without changing the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from micro.folder import start
from micro.forward import WAVES, Reader, waves
from micro.places import SIZE, give_places, record
from PIL import Image
from train_micro import NANO

ROOT = Path(__file__).resolve().parents[2]


def test_waves_count_half_blocks_and_corners():
    code = waves(2, 3)
    assert code.shape == (6, 2 * WAVES)
    assert code[0, 0] == pytest.approx(np.cos(np.pi / 4)), "first wave down the page at a quarter of its height"
    assert code[1, WAVES] == pytest.approx(0, abs=1e-6), "first wave along the page at half of its width"
    assert torch.equal(code[0, :WAVES], code[2, :WAVES])
    assert waves(5, 5, corners=True)[0, 0] == 1.0


def test_the_loss_is_zero_for_the_code_itself_and_half_for_nothing():
    reader = Reader(2 * WAVES, 3)
    with torch.no_grad():
        reader.place.weight.copy_(torch.eye(2 * WAVES))
        reader.place.bias.zero_()
        code = waves(16, 16)[None]
        assert float(reader.places(code, 16, 16)) == pytest.approx(0, abs=1e-9)
        assert float(reader.places(torch.zeros_like(code), 16, 16)) == pytest.approx(0.5, abs=1e-3)


def test_tokens_carry_their_place_and_say_the_rest_as_before():
    visual = start(NANO).model.visual
    folder = ROOT / "tasks" / "mini-large-grounding" / "data" / "images"
    files = sorted(folder.glob("*.png"))[::18][:3]
    pages = [torch.from_numpy(np.array(Image.open(f).convert("RGB"))) for f in files]
    pages = [p[: p.shape[0] // 32 * 32, : p.shape[1] // 32 * 32].contiguous() for p in pages]
    code = torch.cat([waves(p.shape[0] // 32, p.shape[1] // 32) for p in pages])
    before = record(visual, pages)[1]
    weight = give_places(visual, pages)
    after = record(visual, pages)[1]
    explained = 1 - ((after @ weight.T - code) ** 2).mean(0) / code.var(0)
    assert float(explained.min()) > 0.85
    others = torch.eye(after.shape[1]) - SIZE**2 * weight.T @ weight
    changed = ((after - before) @ others).norm() / before.norm()
    assert float(changed) < 0.2, "what else the tokens say"
