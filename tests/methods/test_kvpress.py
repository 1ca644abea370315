"""The bridge to kvpress, with a stand-in package that has the library's interface (and the library, where it is)."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, replace

import pytest
import torch

from tests.methods.test_all_methods import layer_view, layout_of
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.bridges import kvpress as ours
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method

GRIDS = ((4, 5), (3, 3))


def stand_in() -> types.ModuleType:
    """A package with presses as the library writes them: batch first, the module's own projections."""
    package = types.ModuleType("kvpress")

    @dataclass
    class ScorerPress:
        compression_ratio: float = 0.0

        def score(self, module, hidden_states, keys, values, attentions, kwargs):
            raise NotImplementedError

        def compress(self, module, hidden_states, keys, values, attentions, kwargs):
            raise NotImplementedError

    class KnormPress(ScorerPress):
        def score(self, module, hidden_states, keys, values, attentions, kwargs):
            return -keys.norm(dim=-1)

    class TOVAPress(ScorerPress):
        def score(self, module, hidden_states, keys, values, attentions, kwargs):
            cos, sin = (x[:, -1:] for x in kwargs["position_embeddings"])
            q = module.q_proj(hidden_states[:, -1:]).view(1, 1, -1, module.head_dim).transpose(1, 2)
            half = torch.cat([-q[..., module.head_dim // 2 :], q[..., : module.head_dim // 2]], -1)
            q = q * cos[:, None] + half * sin[:, None]
            k = keys.repeat_interleave(module.num_key_value_groups, 1)
            weights = (q @ k.transpose(2, 3) / module.head_dim**0.5).softmax(-1).mean((1, 2))
            weights[:, -1] = weights.max() + 1
            return weights[:, None].expand(-1, module.config.num_key_value_heads, -1)

    class ObservedAttentionPress(ScorerPress):
        def score(self, module, hidden_states, keys, values, attentions, kwargs):
            assert attentions is not None, "needs eager attention"

    class BlockPress(ScorerPress):
        def compress(self, module, hidden_states, keys, values, attentions, kwargs):
            return keys[:, :, ::2], values[:, :, ::2]

    for cls in (ScorerPress, KnormPress, TOVAPress, ObservedAttentionPress, BlockPress):
        setattr(package, cls.__name__, cls)
    return package


@pytest.fixture
def package(monkeypatch):
    monkeypatch.setitem(sys.modules, "kvpress", stand_in())
    ours.press_of.cache_clear()
    yield
    ours.press_of.cache_clear()


def budget(n: int) -> StageBudget:
    return StageBudget(n, None, layout_of(GRIDS).n_visual, Budget.parse("50"))


def view_of(seed: int):
    view = layer_view(GRIDS, seed, 1, 1)
    return replace(view, attention=types.SimpleNamespace(q_proj=torch.nn.Linear(16, 32)))


def test_a_press_keeps_what_our_own_method_of_its_name_keeps(package):
    for seed in range(5):
        theirs = make_method("kvpress:knorm").compress_kv(view_of(seed), budget(20))
        assert torch.equal(theirs, make_method("knorm").compress_kv(view_of(seed), budget(20)))


def test_a_press_runs_through_the_pipeline_as_our_own_method(package, tiny, make_page):
    sample = make_page
    for name in ("knorm", "tova"):
        theirs = Pipeline(tiny, make_method(f"kvpress:{name}"), Budget.parse("50"), max_new_tokens=4).run(sample)
        own = Pipeline(tiny, make_method(name), Budget.parse("50"), max_new_tokens=4).run(sample)
        assert theirs.ids == own.ids
        assert theirs.counts.cache_entries == own.counts.cache_entries
        assert max(own.counts.cache_entries) < own.counts.prompt_full


@pytest.fixture
def make_page(picture):
    from vtprune_eval.sample import Sample

    return Sample("s", (picture("page", 160, 128, 1),), "what is under the icon", {})


def test_a_press_that_cannot_be_shown_is_refused_in_a_sentence(package):
    with pytest.raises(UserError, match="does more than score"):
        make_method("kvpress:block")
    with pytest.raises(UserError, match=r"unknown press 'knrm'.*knorm"):
        make_method("kvpress:knrm")
    with pytest.raises(UserError, match=r"cannot score a layer.*needs eager attention"):
        make_method("kvpress:observed-attention").compress_kv(view_of(0), budget(20))


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "kvpress", None)
    ours.press_of.cache_clear()
    with pytest.raises(UserError, match="pip install --no-deps kvpress"):
        make_method("kvpress:knorm")
    ours.press_of.cache_clear()
