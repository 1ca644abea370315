"""Budgets through the pipeline: every registered method at 100, counts, copied counts, compositions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import screen
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.methods.full import Full
from vtprune_eval.pipeline.budgets import budget_of
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method, method_class, method_names
from vtprune_eval.runner.spec import RunSpec
from vtprune_eval.sample import Sample

WORDS = "account save draft 42 7391 the code of island".split()
N_NEW = 10
HALF = Budget.parse("50")


@dataclass(frozen=True)
class KeepRecent(Method):
    """Keeps the first and the last entries of the cache."""

    name: ClassVar[str] = "keep-recent"

    def compress_kv(self, view, budget):
        n = view.keys.shape[1]
        kept = torch.cat([torch.arange(3), torch.arange(n - 12, n)])
        return kept.expand(view.keys.shape[0], -1).contiguous()


def make_sample(tmp_path, number: int) -> Sample:
    """1 to 5 images of odd sizes (some noise, some screens) and a text of 0 to 60 words."""
    rng = random.Random(number)
    paths = []
    for i in range(rng.randint(1, 5)):
        size = rng.randint(20, 230), rng.randint(20, 230)
        pixels = (
            screen(*size, number * 7 + i)
            if rng.random() < 0.5
            else np.random.default_rng(number + i).integers(0, 256, (size[1], size[0], 3), np.uint8)
        )
        paths.append(tmp_path / f"{number}-{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 60)))
    return Sample(str(number), tuple(paths), text, {})


@pytest.mark.parametrize(
    "name", sorted(n for n in method_names() if method_class(n).hooks() and not method_class(n).blind)
)
def test_budget_100_is_full(tiny, tmp_path, name):
    sample = make_sample(tmp_path, 3)
    full = Pipeline(tiny, Full(), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    other = Pipeline(tiny, make_method(name), Budget.parse("100"), max_new_tokens=N_NEW).run(sample)
    assert other.ids == full.ids
    assert other.counts == full.counts


def test_another_order_gives_the_same_outcomes(tiny, tmp_path):
    samples = [make_sample(tmp_path, n) for n in (21, 22, 23)]
    for name in ("random", "conncomp", "pixelprune"):
        pipeline = Pipeline(tiny, make_method(name), Budget.parse("30"), max_new_tokens=4)
        forward = {s.id: (o := pipeline.run(s)).ids + o.kept for s in samples}
        backward = {s.id: (o := pipeline.run(s)).ids + o.kept for s in reversed(samples)}
        assert forward == backward


@pytest.mark.parametrize(("budget", "name"), [("20", "random"), ("7tok", "stride"), ("40", "resize"), ("25", "pool")])
def test_counts_are_what_the_budget_allows(tiny, tmp_path, budget, name):
    sample = make_sample(tmp_path, 24)
    outcome = Pipeline(tiny, make_method(name), Budget.parse(budget), max_new_tokens=2).run(sample)
    allowed = Budget.parse(budget).count(sum(outcome.counts.visual_full))
    assert sum(outcome.counts.visual) <= allowed
    assert tuple(len(k) for k in outcome.kept) == outcome.counts.visual
    assert outcome.counts.layer_tokens[0] == outcome.counts.n_text + sum(outcome.counts.visual)
    if name in {"random", "stride", "resize"}:  # before the ViT: patches shrink with the tokens
        assert sum(outcome.counts.patches) == 4 * sum(outcome.counts.visual)


def test_like_copies_the_count_per_image(tiny, picture):
    sample = Sample("1", (picture("a", 256, 192, 1), picture("b", 320, 128, 2)), "what", {})
    kept = [
        Pipeline(tiny, make_method(n), Budget.parse(b), max_new_tokens=2).run(sample).counts.visual
        for n, b in (("pixelprune", "auto"), ("random", "like:pixelprune"), ("conncomp", "auto"))
    ]
    assert kept[0] == kept[1] == kept[2]
    assert sum(kept[0]) < 48 + 40


def test_the_copied_count_follows_the_copied_method_s_settings(tiny, picture):
    """A run that sets PixelPrune's tau compares everything with that PixelPrune."""
    sample = Sample("1", (picture("a", 256, 192, 1),), "what", {})
    counts = {}
    for tau in ("0", "0.9"):
        spec = RunSpec(
            model="stub",
            methods=("pixelprune", "random"),
            budgets=("auto",),
            params={"pixelprune.tau": tau, "pixelprune.metric": "mae"},
        )
        counts[tau] = [
            Pipeline(tiny, spec.make(c.method), spec.budget(c), max_new_tokens=2, copied=spec.copied)
            .run(sample)
            .counts.visual
            for c in spec.cells()
        ]
    assert counts["0"][0] == counts["0"][1] != counts["0.9"][0] == counts["0.9"][1]
    # The published code has one threshold for both: ConnComp's is PixelPrune's unless it is set.
    params = {"pixelprune.tau": "0.05"}
    spec = RunSpec(model="stub", methods=("pixelprune", "conncomp"), budgets=("auto",), params=params)
    assert spec.make("conncomp")[0].tau == 0.05
    spec = RunSpec(
        model="stub", methods=("pixelprune", "conncomp"), budgets=("auto",), params={**params, "conncomp.tau": "0.1"}
    )
    assert spec.make("conncomp")[0].tau == 0.1
    alone = RunSpec(model="stub", methods=("random",), budgets=("auto",), params={"pixelprune.tau": "0.9"})
    assert alone.copied("pixelprune").tau == 0.9
    with pytest.raises(UserError, match="unknown method in --set"):
        RunSpec(model="stub", methods=("random",), budgets=("10",), params={"pixelprune.tau": "0.9"})


def test_colliding_hooks_are_refused(tiny):
    with pytest.raises(UserError, match="both use select_patches"):
        Pipeline(tiny, (make_method("random"), make_method("pixelprune")), HALF)


def test_a_composition_runs_both_hooks(tiny, tmp_path):
    sample = make_sample(tmp_path, 25)
    outcome = Pipeline(
        tiny, (make_method("pixelprune"), KeepRecent()), Budget.parse("50", "paper"), max_new_tokens=3
    ).run(sample)
    alone = Pipeline(tiny, make_method("pixelprune"), Budget.parse("auto"), max_new_tokens=3).run(sample)
    assert outcome.counts.visual == alone.counts.visual
    assert set(outcome.counts.cache_entries) == {15}


@pytest.mark.parametrize(("first", "last"), [("pixelprune", "prumerge"), ("pixelprune", "guipruner-ssp")])
def test_the_last_of_two_adaptive_methods_takes_the_budget(tiny, picture, first, last):
    """The earlier one decides itself; otherwise all rows of a sweep would be one."""
    sample = Sample("1", (picture("a", 256, 192, 1), picture("b", 320, 192, 2)), "what", {})
    own = Pipeline(tiny, make_method(first), Budget.parse("auto"), max_new_tokens=1).run(sample).counts.patches
    left = []
    for budget in ("30", "60"):
        methods = (make_method(last), make_method(first))  # the order of the data flow counts, not that of the name
        counts = Pipeline(tiny, methods, Budget.parse(budget), max_new_tokens=1).run(sample).counts
        assert counts.patches == own
        left.append(counts.layer_visual[-1])
    assert left[0] < left[1]


def test_parts_of_one_method_share_its_budget(tiny, picture):
    sample = Sample("1", (picture("a", 256, 192, 1), picture("b", 320, 192, 2)), "what", {})
    parts = make_method("guipruner-tar"), make_method("guipruner-ssp")
    counts = {}
    for budget in ("5", "20", "auto"):
        whole, composed = (
            Pipeline(tiny, m, Budget.parse(budget, "paper"), max_new_tokens=2).run(sample)
            for m in (make_method("guipruner"), parts)
        )
        assert (composed.counts, composed.ids) == (whole.counts, whole.ids)
        counts[budget] = whole.counts.layer_visual
    assert len(set(counts.values())) == 3


def test_an_adaptive_method_beside_another_decides_itself():
    prune, cache = make_method("pixelprune"), make_method("snapkv")
    assert budget_of(prune, (prune, cache), HALF) == Budget("auto")
    assert budget_of(cache, (prune, cache), HALF) == HALF == budget_of(prune, (prune, Full()), HALF)
    with pytest.raises(UserError, match="nothing"):
        RunSpec(model="stub", methods=("pixelprune+prumerge",), budgets=("like:nothing",))


def test_what_an_image_does_not_need_goes_to_the_others(tiny, picture, tmp_path):
    """PixelPrune keeps one block of a blank screenshot; the other gets what the budget leaves."""
    blank, dense = tmp_path / "blank.png", tmp_path / "dense.png"
    Image.new("RGB", (256, 160), (9, 9, 9)).save(blank)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (160, 256, 3), np.uint8)).save(dense)
    sample = Sample("1", (blank, dense), "what", {})
    kept = Pipeline(tiny, make_method("pixelprune"), HALF, max_new_tokens=1).run(sample).counts.visual
    assert kept == (1, 39)
    wide = tmp_path / "wide.png"
    Image.new("RGB", (512, 64)).save(wide)
    for name in ("resize", "pool"):
        outcome = Pipeline(tiny, make_method(name), Budget.parse("45"), max_new_tokens=1).run(
            Sample("2", (wide, dense), "what", {})
        )
        allowed = Budget.parse("45").count(sum(outcome.counts.visual_full))
        assert allowed - 3 <= sum(outcome.counts.visual) <= allowed


def test_vscan_drops_behind_the_vit_and_in_the_middle_of_the_decoder_with_vscans_first_stage(adapter, make_sample):
    sample, n_layers = make_sample(3, 2), len(adapter.text.layers)
    outcome = Pipeline(adapter, make_method("vscan-two-stage"), Budget.parse("40"), max_new_tokens=2).run(sample)
    seen = outcome.counts.layer_visual
    assert len(set(seen)) == 2 and seen[n_layers // 2 - 1] > seen[n_layers // 2]
    first = Pipeline(adapter, make_method("vscan"), Budget.parse(f"{seen[0]}tok"), max_new_tokens=1).run(sample)
    assert outcome.kept == first.kept
    assert not {"over", "under", "over_layers"} & {note.code for note in outcome.notes}
