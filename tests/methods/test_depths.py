"""Settings that name a layer the model does not have are refused when the pipeline is built, with the range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.base import Method
from vtprune_eval.models.vit_extras import read_needs
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method


@dataclass(frozen=True)
class Anywhere(Method):
    name: ClassVar[str] = "t-anywhere"
    at: int = 0

    @property
    def layers(self):
        return (self.at,)

    def prune_layer(self, view, budget):
        return view.keys.norm(dim=(0, 2))


@pytest.mark.parametrize("budget", ["25", "100"])
@pytest.mark.parametrize(
    ("name", "field", "value", "allowed"),
    [
        ("fastv", "layer", 4, "choose 1 to 3"),
        ("dart", "layer", 6, "choose 1 to 3"),
        ("random-layer", "layer", 100, "choose 1 to 3"),
        ("guipruner-ssp", "after_layer", 4, "choose 1 to 3"),
        ("guipruner", "after_layer", 100, "choose 1 to 3"),
        ("visionzip", "layer", "-99", "choose -3 to 2, mid"),
        ("visionzip", "layer", "3", "choose -3 to 2, mid"),
        ("hiprune", "object_layer", "99", "choose -3 to 2, mid"),
        ("hiprune", "object_layer", "top", "choose -3 to 2, mid"),
    ],
)
def test_a_layer_outside_the_model_is_refused_before_any_sample(tiny, name, field, value, allowed, budget):
    with pytest.raises(UserError, match=f"^{name}: .*{allowed}"):  # 4 decoder layers, 3 ViT blocks
        Pipeline(tiny, make_method(name, {field: value}), Budget.parse(budget))


@pytest.mark.parametrize(
    ("name", "field", "value", "layers"),
    [
        ("fastv", "layer", 3, (2,)),
        ("dart", "layer", 1, (0,)),
        ("guipruner-ssp", "after_layer", 3, (2,)),
    ],
)
def test_the_whole_range_is_legal(tiny, name, field, value, layers):
    method = make_method(name, {field: value})
    Pipeline(tiny, method, Budget.parse("80"))
    assert method.layers_of(4) == layers


def test_layers_of_any_method_stay_inside_the_decoder():
    assert Anywhere(-5).layers_of(5) == (0,)
    assert Anywhere(4).layers_of(5) == (4,)
    for outside in (-6, 5):
        with pytest.raises(UserError, match="choose one from -5 to 4"):
            Anywhere(outside).layers_of(5)


def test_named_vit_blocks_have_full_attention():
    def block(text: str, depth: int, full: tuple[int, ...]) -> int:
        return next(iter(read_needs([f"encoder_attention:{text}"], depth, full.__contains__)))

    qwen2_5 = (7, 15, 23, 31)
    names = ("mid", "penultimate", "last")
    assert [block(n, 32, qwen2_5) for n in names] == [15, 31, 31]
    assert [block(n, 32, tuple(range(32))) for n in names] == [15, 30, 31]
    assert [block(n, 32, ()) for n in names] == [15, 30, 31]  # windows everywhere: nothing better is there
    assert [block(n, 1, (0,)) for n in names] == [0, 0, 0]
    assert [block(n, 4, (0, 2)) for n in names] == [2, 2, 2]
    assert [block(n, 32, qwen2_5) for n in ("-2", "30", "-32")] == [30, 30, 0]  # a number is taken as it is


def test_encoder_methods_look_at_full_attention_by_default():
    for name in ("visionzip", "hiprune", "prumerge"):
        needs = make_method(name).needs
        assert set(read_needs(needs, 32, (7, 15, 23, 31).__contains__)) <= {15, 31}
