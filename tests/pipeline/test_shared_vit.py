"""Methods that drop patches inside the ViT share the blocks before the drop, and what is answered, kept and counted is
what a run of its own gives."""

from __future__ import annotations

import pytest
import torch

from tests.models.families import tiny as tiny_family
from vtprune_eval.budget import Budget
from vtprune_eval.pipeline.answer import IMAGES, VIT, VIT_BLOCKS
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.sweep import Sweep
from vtprune_eval.pipeline.vit_trunk import VitTrunk
from vtprune_eval.registry import make_method

from .test_sweep import PLENTY, images_of, plain

# Families whose ViT attends over the whole image; the others refuse a drop inside it.
WHOLE = ("qwen2_vl", "qwen3_5", "qwen3_vl")


def dropping(adapter, depth, budget, *more):
    return cell_of(adapter, budget, make_method("pixelprune", {"vit_layer": depth}), *map(make_method, more))


def cell_of(adapter, budget, *methods):
    return Pipeline(adapter, methods, Budget.parse(budget), max_new_tokens=3, seed=3)


def cells_for(adapter):
    """Drops behind every block of the tiny ViT, at two budgets behind one of them, beside one before it and none."""
    return [
        cell_of(adapter, "100", make_method("full")),
        dropping(adapter, 3, "40"),
        dropping(adapter, 1, "40"),
        dropping(adapter, 1, "70"),
        dropping(adapter, 0, "40"),
        dropping(adapter, 4, "60"),
        dropping(adapter, 2, "50", "visionzip"),
        cell_of(adapter, "30", make_method("visionzip")),
    ]


@pytest.fixture
def rows():
    """How many patches every block of a model's ViT saw, call by call."""
    seen: dict[int, list[int]] = {}
    handles = []

    def watch(adapter):
        for number, block in enumerate(adapter.visual.blocks):
            seen[number] = []
            handles.append(block.register_forward_hook(lambda m, a, o, n=number: seen[n].append(a[0].shape[0])))
        return seen

    yield watch
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", WHOLE)
def test_blocks_before_a_drop_run_once(family, make_sample, rows):
    adapter, sample = tiny_family(family), make_sample(91, 2)
    cells = cells_for(adapter)
    alone = [plain(cell.run(sample)) for cell in cells]
    assert len({(outcome.kept, outcome.counts) for outcome in alone}) == len(alone)
    images, seen = images_of(adapter, sample), rows(adapter)
    sweep = Sweep(cells, max_branch_bytes=PLENTY, decode_batch=8)
    found = {a.cell: a for a in [*sweep.run(sample, images, range(len(cells))), *sweep.drain()]}
    assert [plain(found[i].outcome) for i in range(len(cells))] == alone
    whole = max(seen[0])
    # All patches: once, whatever the number of cells; beside them only the one that drops before the ViT.
    assert sorted(n == whole for n in seen[0]) == [False, True]
    # Behind block 2 PixelPrune found nothing to drop in noise, and that branch goes on with all of them.
    assert [sum(n == whole for n in seen[b]) for b in range(4)] == [1, 1, 2, 2]
    assert sweep.sharing()[VIT_BLOCKS] == 7
    assert {i: found[i].shared for i in found} == {
        **dict.fromkeys((1, 2, 3, 5, 6), VIT_BLOCKS), 4: IMAGES, 0: VIT, 7: VIT
    }  # fmt: skip
    assert not sweep.failures


def test_a_branch_is_the_encoder_s_own_output_to_the_last_bit(adapter, make_sample):
    """Tokens, DeepStack and extras, with extras of blocks before and behind the drop."""
    from .support import Reference

    ref = Reference(adapter, make_sample(92, 2))
    grids, n = ref.layout.grids, len(adapter.visual.blocks)
    masks = [torch.arange(h * w) % 3 > 0 for h, w in grids]
    needs = ("encoder_attention:0", "encoder_keys:3")
    half = None
    for depth in range(1, n + 1):
        half = adapter.encode_upto(half or (lambda: ref.patches), grids, depth, (*needs, "encoder_keys:1"))
        own = adapter.encode(ref.patches, grids, masks, needs, depth)
        branch = adapter.encode(half, grids, masks, needs, depth)
        whole = adapter.encode(half, grids, [None] * len(grids), needs)
        for one, other in ((own, branch), (adapter.encode(ref.patches, grids, [None] * len(grids), needs), whole)):
            assert torch.equal(one.tokens, other.tokens)
            assert all(map(torch.equal, one.deepstack, other.deepstack))
            assert sorted(one.extras) == sorted(other.extras) == sorted(needs)
            assert all(torch.equal(one.extras[need], other.extras[need]) for need in needs)


def test_without_room_every_cell_walks_alone(adapter, make_sample, rows):
    cells, sample = [dropping(adapter, d, "40") for d in (1, 2)], make_sample(93, 1)
    alone = [plain(cell.run(sample)) for cell in cells]
    images, seen = images_of(adapter, sample), rows(adapter)
    found = {a.cell: a for a in Sweep(cells, max_branch_bytes=1).run(sample, images, range(2))}
    assert [plain(found[i].outcome) for i in range(2)] == alone
    assert len(seen[0]) == 2 and {a.shared for a in found.values()} == {IMAGES}


def test_the_walk_says_what_it_holds(adapter, make_sample):
    from .support import Reference

    ref = Reference(adapter, make_sample(94, 1))
    trunk = VitTrunk(3, (), PLENTY)
    assert trunk.held_bytes == 0
    half = trunk.at(adapter, lambda: ref.patches, ref.layout.grids, None)
    n, dims = len(ref.patches), adapter.dims
    rope = sum(t.numel() * t.element_size() for t in half.rope)
    # the last state is one that DeepStack reads
    assert trunk.held_bytes == 3 * n * dims.vit_dim * 4 + rope <= trunk._needed(adapter, ref.layout.grids)


def test_a_walk_that_fails_costs_no_answer(adapter, make_sample, monkeypatch):
    cells, sample = [dropping(adapter, d, "40") for d in (1, 2)], make_sample(95, 1)
    alone = [plain(cell.run(sample)) for cell in cells]

    def broken(*args):
        raise RuntimeError("no memory for this walk")

    monkeypatch.setattr(type(adapter), "encode_upto", broken)
    sweep = Sweep(cells, max_branch_bytes=PLENTY)
    found = {a.cell: a for a in sweep.run(sample, images_of(adapter, sample), range(2))}
    assert [plain(found[i].outcome) for i in range(2)] == alone
    assert "no memory for this walk" in sweep.failures[0]
