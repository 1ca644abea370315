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
    # Hybrid decoders refuse methods that need the cache of a layer that has none.
    assert found.equal + found.refused == len(method_names()) and found.equal >= 25


def test_numbers_from_python_are_made_where_they_are_asked_for():
    with PretendDevices():
        made = torch.tensor([1, 2], device=THERE)
        assert isinstance(made, Elsewhere) and str(made.device) == THERE
        with pytest.raises(RuntimeError, match="tensors on"):
            made + torch.tensor([1, 2])
