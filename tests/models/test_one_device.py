"""Every method of every family with all weights on one device that is not the CPU: nothing stays behind.

The device is pretended (:mod:`.pretend`): it computes on the CPU, so its answers must be the CPU's, and it refuses a
tensor of another device. The comparison is that of ``selftest``.
"""

from __future__ import annotations

import pytest
import torch

from vtprune_eval.registry import method_names
from vtprune_eval.selftest import samples, small
from vtprune_eval.selftest.compare import Sides, compare

from .pretend import Elsewhere, PretendDevices, placed

THERE = "cpu:1"
# A ViT that attends in windows cannot merge inside them, and a hybrid decoder has neither the queries of its layers of
# linear attention nor a state that a second pass leaves alone.
WINDOWS = {"tome": "attends in windows"}
LINEAR = dict.fromkeys(
    ("kvzip", "pyramiddrop", "showui", "sparsevlm", "sparsevlm-plus", "vscan-two-stage"), "linear attention"
)
REFUSED = {"qwen2_5_vl": WINDOWS, "opencua": WINDOWS, "focusui_qwen2_5_vl": WINDOWS, "qwen3_5": LINEAR}


@pytest.mark.parametrize("family", small.FAMILIES)
def test_all_methods_with_all_weights_on_one_device(family, tmp_path, monkeypatch):
    monkeypatch.setattr(small, "placed", placed)
    # A pretended device is slow, and the second new token passes through what the first has passed.
    monkeypatch.setattr("vtprune_eval.selftest.compare.N_NEW", 2)
    sides = Sides(family, THERE, "float32", "eager")
    assert sides.here.device == torch.device("cpu")
    with PretendDevices():
        assert sides.there.device == torch.device(THERE)
        found = compare(sides, samples.make_sample(tmp_path), budgets=("40",))
    assert found.wrong == []
    expected = REFUSED.get(family, {})
    assert found.refused.keys() == {f"{method}@40" for method in expected}
    assert all(reason in found.refused[f"{method}@40"] for method, reason in expected.items())
    assert found.equal == len(method_names()) - len(expected)


def test_numbers_from_python_are_made_where_they_are_asked_for():
    with PretendDevices():
        made = torch.tensor([1, 2], device=THERE)
        assert isinstance(made, Elsewhere) and str(made.device) == THERE
        with pytest.raises(RuntimeError, match="tensors on"):
            made + torch.tensor([1, 2])
