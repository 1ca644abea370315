"""VScan's two stages: the published shares and the scores of the second one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.errors import UserError
from vtprune_eval.registry import make_method


def told(asked: str, reading: str, n: int) -> tuple[object, StageBudget]:
    method = make_method("vscan-two-stage", {}, reading)
    return method, method.told(Budget.parse(asked, reading), (n,))


@pytest.mark.parametrize(
    ("asked", "n_layers", "n", "second", "entering", "left"),
    [
        ("11.1", 28, 1000, 0.333, 166, 55),  # released for Qwen2.5-VL-7B: 16.7 %, 33.3 % of these, called 11.1 %
        ("50.1", 28, 1000, 0.67, 600, 402),  # its referring tasks: 60 % and 67 %, called 50 %
        ("64tok", 32, 576, 1 / 3, 96, 32),  # LLaVA: 96 and 32 tokens, called 64
    ],
)
def test_the_published_settings(asked, n_layers, n, second, entering, left):
    method = make_method("vscan-two-stage", {"second": second}, "paper")
    budget = method.told(Budget.parse(asked, "paper"), (n,))
    assert method.layers_of(n_layers) == (n_layers // 2 - 1,)
    assert method.entering(budget, n_layers) == entering
    assert method.stage_counts((entering,), n_layers, budget) == (left,)


@pytest.mark.parametrize("n_layers", [2, 5, 28, 31])
@pytest.mark.parametrize("percent", [1, 20, 66, 80, 99])
def test_the_mean_over_the_layers_is_the_budget(n_layers, percent):
    method, budget = told(str(percent), "equal", 997)
    first = method.entering(budget, n_layers)
    (second,) = method.stage_counts((first,), n_layers, budget)
    before = n_layers // 2
    spent = before * first + (n_layers - before) * second
    assert spent <= budget.n_keep * n_layers < spent + n_layers
    if first < 997:
        assert second / first == pytest.approx(0.333, abs=3 / first)


def test_the_second_stage_is_the_last_tokens_attention_in_the_next_layer():
    """Literal: softmax over all entries that the last token sees, mean over heads, a key head per group."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(6, 9, 8)), rng.normal(size=(2, 9, 8))
    view = SimpleNamespace(
        index=torch.arange(9), next_layer=lambda rows: (torch.tensor(q)[:, rows], torch.tensor(k)[:, rows])
    )
    want = np.zeros(9)
    for head in range(6):
        logits = k[head // 3] @ q[head, -1] / np.sqrt(8)
        weights = np.exp(logits - logits.max())
        want += weights / weights.sum() / 6
    got = make_method("vscan-two-stage").prune_layer(view, None)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)


def test_a_decoder_of_one_layer_is_refused():
    with pytest.raises(UserError, match="this one has 1"):
        make_method("vscan-two-stage").layers_of(1)
