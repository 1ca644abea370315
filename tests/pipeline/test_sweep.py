"""Cells that share computation give what separate runs give: ids, kept indices, counts, bytes, notes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from tests.models.families import CACHED
from tests.models.families import tiny as tiny_family
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.pipeline.answer import IMAGES, LAYERS, PREFILL, VIT, VIT_BLOCKS
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.registry import make_method, method_class, method_names
from vtprune_eval.selftest.small import NAMES

from .support import tiny_model

BUILTIN = sorted(n for n, source in method_names().items() if source == "builtin")
CACHE = [n for n in BUILTIN if method_class(n).hooks() == ("compress_kv",)]
PLENTY = 1 << 40


def budget(name: str, text: str) -> Budget:
    """The reading ``equal``, but the paper's for methods that this shallow decoder lets meet few numbers."""
    hooks = {hook for part in name.split("+") for hook in method_class(part).hooks()}
    return Budget.parse(text, "paper" if {"prune_layer", "reduce_images"} & hooks else "equal")


def method(name: str) -> tuple[Method, ...]:
    return tuple(make_method(n, {"scorer": "ui-graph"} if n == "focusui" else {}) for n in name.split("+"))


def cells_of(adapter, names, budgets, n_new=4) -> list[Pipeline]:
    """One pipeline per cell, each with method objects of its own, as the run loop makes them."""
    return [
        Pipeline(adapter, method(name), budget(name, b), max_new_tokens=n_new, seed=3)
        for name in names
        for b in (("100",) if name == "full" else budgets)
    ]


def images_of(adapter, sample):
    return load_images(sample, adapter.images, StageClock(adapter.device), keep_files=True)


def answers(sweep: Sweep, adapter, sample, n: int):
    found = {a.cell: a for a in sweep.run(sample, images_of(adapter, sample), range(n))}
    assert sorted(found) == list(range(n))
    return found


def plain(outcome):
    """An outcome without what the clock and the process's memory give."""
    return replace(outcome, times=None, peak_bytes=0)


@pytest.fixture
def watched(monkeypatch):
    """Everything that a cache was told to keep: (layer, indices) in order."""
    calls: list[tuple[int, list]] = []
    real = KVCache.keep

    def keep(self, layer, kept, **how):
        calls.append((layer, kept.tolist()))
        real(self, layer, kept, **how)

    monkeypatch.setattr(KVCache, "keep", keep)
    return calls


def aimed(sample):
    """The sample with a target box, which the upper bound reads."""
    return replace(sample, target={"box_xyxy": [2, 2, 30, 18]})


@pytest.mark.parametrize("n_images", [1, 3])
def test_every_method_gives_in_a_sweep_what_it_gives_alone(adapter, make_sample, n_images, watched):
    names = [*BUILTIN, "pixelprune+snapkv", "fastv+guikv", "divprune+vlcache", "pixelprune+pool"]
    cells = cells_of(adapter, names, ("25", "60"))
    sample = aimed(make_sample(40 + n_images, n_images))
    alone, kept_alone = [], []
    for cell in cells:
        watched.clear()
        alone.append(cell.run(sample))
        kept_alone.append(sorted(watched))
    sweep = Sweep(cells, max_branch_bytes=PLENTY)
    stream = sweep.run(sample, images_of(adapter, sample), range(len(cells)))
    seen = {}
    watched.clear()
    for answer in stream:
        assert plain(answer.outcome) == plain(alone[answer.cell])
        compressed = cells[answer.cell].method_of("compress_kv") and not cells[answer.cell].method_of("prune_layer")
        if compressed:
            assert sorted(watched) == kept_alone[answer.cell]
        watched.clear()
        seen[answer.cell] = answer.shared
    assert not sweep.failures
    assert sorted(seen) == list(range(len(cells)))
    shared = {
        name: {seen[i] for i, c in enumerate(cells) if "+".join(m.name for m in c.methods) == name} for name in names
    }
    assert all(shared[name] == {PREFILL} for name in ("full", *CACHE, "pixelprune+snapkv"))
    assert all(shared[n] == {LAYERS} for n in ("dart", "fastv", "pyramiddrop", "fastv+guikv"))
    assert shared["visionzip"] == {VIT}
    assert shared["divprune+vlcache"] == {PREFILL}  # with divprune at the same budget
    assert shared["stride"] == {IMAGES}


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
def test_eight_budgets_of_four_cache_methods_share_one_prefill(make_sample, attn, monkeypatch):
    adapter = tiny_model(attn)
    sample = make_sample(7, 2)
    cells = cells_of(
        adapter, ["full", "guikv", "snapkv", "pyramidkv", "vlcache"], ("1", "3", "5", "10", "15", "20", "40", "80")
    )
    alone = [plain(cell.run(sample)) for cell in cells]
    layer_calls, encodes = [], []
    real_encode = type(adapter).encode
    monkeypatch.setattr(type(adapter), "encode", lambda self, *a, **k: encodes.append(1) or real_encode(self, *a, **k))
    first = adapter.text.layers[0]
    handle = first.register_forward_pre_hook(lambda module, args: layer_calls.append(args[0].shape[1]))
    try:
        sweep = Sweep(cells, max_branch_bytes=PLENTY)
        found = answers(sweep, adapter, sample, len(cells))
    finally:
        handle.remove()
    assert [plain(found[i].outcome) for i in range(len(cells))] == alone
    assert len({o.ids for o in alone}) > 1  # the budgets make a difference, so equality says something
    assert len(encodes) == 1
    assert sum(n > 1 for n in layer_calls) == 1  # one prefill; the rest are decoding steps
    assert sweep.sharing() == {PREFILL: 33, VIT: 33, VIT_BLOCKS: 0}


@pytest.mark.parametrize(
    ("branches", "n_prefills", "kind"), [(5, 1, PREFILL), (2, 3, PREFILL), (1, 5, VIT), (None, 5, IMAGES)]
)
def test_less_room_means_fewer_branches_and_the_same_answers(adapter, make_sample, branches, n_prefills, kind):
    sample = make_sample(9, 2)
    cells = cells_of(adapter, ["full", "snapkv", "vlcache"], ("10", "50"))
    alone = [cell.run(sample) for cell in cells]
    n, n_visual = alone[0].counts.prompt_full, sum(alone[0].counts.visual_full)
    encoded = 4 * n_visual * 64 * 4  # tokens and three DeepStack levels, float32
    caches, states, indices = 5 * n * 2 * 2 * 16 * 4, 5 * n * (3 * 64 + 4 * 16) * 4, 5 * 4 * n * 8
    room = 0 if branches is None else encoded + caches + states + branches * indices
    lengths = []
    handle = adapter.text.layers[0].register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    try:
        found = answers(Sweep(cells, max_branch_bytes=room), adapter, sample, len(cells))
    finally:
        handle.remove()
    assert [plain(found[i].outcome) for i in range(5)] == [plain(o) for o in alone]
    assert sum(length == n for length in lengths) == n_prefills
    assert found[0].shared == kind


def test_a_question_without_images_is_shared_too(adapter):
    from vtprune_eval.sample import Sample

    sample = Sample("text", (), "what is this", {})
    cells = cells_of(adapter, ["full", "snapkv", "divprune"], ("20", "50"))
    found = answers(Sweep(cells, max_branch_bytes=PLENTY), adapter, sample, len(cells))
    for number, cell in enumerate(cells):
        assert plain(found[number].outcome) == plain(cell.run(sample))


@pytest.mark.parametrize("family", sorted(NAMES))
def test_every_family_gives_in_a_sweep_what_it_gives_alone(family, make_sample):
    adapter = tiny_family(family)
    sample = make_sample(15, 2)
    cells = cells_of(adapter, ["full", "guikv", "vlcache", "divprune", "snapkv", "stride"], ("10", "50"))
    alone = [plain(cell.run(sample)) for cell in cells]
    sweep = Sweep(cells, max_branch_bytes=PLENTY)
    found = answers(sweep, adapter, sample, len(cells))
    assert [plain(found[i].outcome) for i in range(len(cells))] == alone
    assert not sweep.failures
    assert found[0].shared == (PREFILL if family in CACHED else VIT)  # a fixed state cannot be branched from


@dataclass(frozen=True)
class Broken(Method):
    """Makes a mistake at one budget only."""

    name: ClassVar[str] = "t-broken"

    def compress_kv(self, view, budget):
        if budget.asked.value == 20:
            raise RuntimeError("mistake of one cell")
        n = view.keys.shape[1]
        return torch.arange(n - 3, n).expand(view.keys.shape[0], -1)


def test_a_mistake_of_one_cell_fails_that_cell_alone_and_is_said(adapter, make_sample):
    sample = make_sample(11, 1)
    cells = [
        Pipeline(adapter, m, Budget.parse(b, "paper"), max_new_tokens=3)
        for m, b in ((Broken(), "10"), (Broken(), "20"), (make_method("snapkv"), "20"), (make_method("full"), "100"))
    ]
    sweep = Sweep(cells, max_branch_bytes=PLENTY)
    found = answers(sweep, adapter, sample, 4)
    assert isinstance(found[1].outcome, RuntimeError)
    assert str(found[1].outcome) == "mistake of one cell"
    for number in (0, 2, 3):
        assert plain(found[number].outcome) == plain(cells[number].run(sample))
    assert "mistake of one cell" in sweep.failures[0]


@dataclass(frozen=True)
class Hungry(Method):
    """Runs out of memory at one budget only."""

    name: ClassVar[str] = "t-hungry"

    def compress_kv(self, view, budget):
        if budget.asked.value == 20:
            raise MemoryError
        return torch.arange(view.keys.shape[1]).expand(view.keys.shape[0], -1)


def test_memory_that_one_cell_lacks_is_that_cells_failed_sample(adapter, make_sample):
    sample = make_sample(12, 1)
    cells = [Pipeline(adapter, Hungry(), Budget.parse(b), max_new_tokens=3) for b in ("10", "20", "30")]
    found = answers(Sweep(cells, max_branch_bytes=PLENTY), adapter, sample, 3)
    assert isinstance(found[1].outcome, SampleError)
    assert found[1].outcome.reason == "out_of_memory"
    assert not isinstance(found[0].outcome, Exception)
    assert not isinstance(found[2].outcome, Exception)


def test_a_users_mistake_found_by_a_hook_ends_the_run(adapter, make_sample):
    sample = make_sample(13, 1)
    cells = [Pipeline(adapter, make_method("focusui", {}), Budget.parse(b), max_new_tokens=3) for b in ("10", "20")]
    with pytest.raises(UserError, match="scorer"):
        list(Sweep(cells, max_branch_bytes=PLENTY).run(sample, images_of(adapter, sample), range(2)))


def test_branches_share_entries_and_never_write_them():
    cache = KVCache(n_layers=2, room=3)
    for layer in range(2):
        cache.update(torch.arange(5.0).view(1, 1, 5, 1), torch.arange(5.0).view(1, 1, 5, 1), layer)
    first, second = cache.fork(), cache.fork()
    first.keep(0, torch.tensor([[1, 3]]))
    first.update(torch.full((1, 1, 1, 1), 9.0), torch.full((1, 1, 1, 1), 9.0), 0)
    second.update(torch.full((1, 1, 1, 1), 7.0), torch.full((1, 1, 1, 1), 7.0), 0)
    assert first.entries(0)[0].flatten().tolist() == [1, 3, 9]
    assert second.entries(0)[0].flatten().tolist() == [0, 1, 2, 3, 4, 7]
    assert cache.entries(0)[0].flatten().tolist() == [0, 1, 2, 3, 4]
    assert cache.lengths() == (5, 5)
    assert first.entries(1)[0].data_ptr() == cache.entries(1)[0].data_ptr()  # nothing copied where all is kept


def test_keys_differ_where_anything_differs_that_changes_the_state(adapter):
    def key(name, budget="20", upto="prune_layer", seed=0, **params):
        made = tuple(make_method(n, params if i == 0 else {}) for i, n in enumerate(name.split("+")))
        return Pipeline(adapter, made, Budget.parse(budget, "paper"), seed=seed).key(upto)

    assert key("snapkv") == key("guikv", "40") == key("full", "100") == key("snapkv", "100")
    assert key("fastv") != key("fastv", "30")
    assert key("fastv", upto="select_patches") == key("divprune", upto="select_patches")
    assert key("pixelprune+snapkv", "20") == key("pixelprune+snapkv", "30")
    assert key("pixelprune", "20") != key("pixelprune", "30")
    assert key("pixelprune+snapkv", "20", tau=0.05) != key("pixelprune+snapkv", "20")
    assert key("full", seed=1) != key("full")
    assert key("fastv+snapkv") != key("fastv+guikv")


def test_outcome_fields_are_all_compared():
    from vtprune_eval.outcome import Outcome

    assert {f.name for f in dataclasses.fields(Outcome) if not f.compare} == set()
