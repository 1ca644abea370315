"""Token and layer selectors against slow references and worked examples of their papers."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.draws import examples
from tests.methods.test_all_methods import budget_for, layer_view, layout_of
from vtprune_eval.budget import Budget, StageBudget
from vtprune_eval.errors import InfeasibleBudget, UserError
from vtprune_eval.methods.base import TokenView
from vtprune_eval.methods.dart import Dart
from vtprune_eval.methods.focusui import FocusUI, padding
from vtprune_eval.methods.guipruner_ssp import spread
from vtprune_eval.methods.kernels.diversity import greedy_map, max_min, min_max_scaled, thin_out
from vtprune_eval.methods.kernels.labels import block_weights, box_coverage, graph_weights
from vtprune_eval.methods.kernels.merging import density_peaks
from vtprune_eval.methods.kernels.outliers import n_kept, n_outliers, plus_order
from vtprune_eval.methods.kernels.raters import text_raters
from vtprune_eval.methods.kernels.topk import best
from vtprune_eval.methods.kernels.twins import first_equal_row
from vtprune_eval.methods.pyramiddrop import stage_lengths
from vtprune_eval.methods.pyramiddrop import stage_sizes as pyramid_sizes
from vtprune_eval.methods.sparsevlm import listed_shares
from vtprune_eval.methods.sparsevlm import stage_sizes as sparse_sizes
from vtprune_eval.pipeline.budgets import check_budget, check_feasible
from vtprune_eval.profiling.plan import planned_layers
from vtprune_eval.registry import make_method


def check_max_min(x, chosen):
    """Every choice is the farthest in float64, but for rounding of float32; of exact ties the lowest index."""
    unit = torch.nn.functional.normalize(x.double(), dim=-1)
    distance = (1 - unit @ unit.T).triu(1)
    distance = distance + distance.T  # both directions of a pair are one number
    distance.fill_diagonal_(float("inf"))
    far = distance.amin(-1)
    for i, picked in enumerate(chosen):
        assert float(far[picked]) >= float(far.max()) - 1e-5
        assert picked == int((far == far[picked]).nonzero()[0])
        far = distance[chosen[: i + 1]].amin(0)
        far[chosen[: i + 1]] = -1.0


@examples(40)
@example(seed=15, n=7, k=1)  # tokens 3 and 5 are each other's nearest
@given(seed=st.integers(0, 999), n=st.integers(2, 24), k=st.integers(1, 24))
def test_divprune_is_the_greedy_max_min(seed, n, k):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    k = min(k, n - 1)
    check_max_min(x, max_min(x, k).tolist())


@pytest.mark.parametrize("n", [2, 9, 33, 130])
def test_two_tokens_far_from_all_others_tie_and_the_first_wins(n, monkeypatch):
    """The pair is farther from its neighbour than any other token, and both directions are one distance."""
    monkeypatch.setattr("vtprune_eval.methods.kernels.diversity.BLOCK", 16)  # the pair falls into different blocks
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        centre, first, second = torch.linalg.qr(torch.randn(64, 3, generator=generator)).Q.T
        x = centre + 1e-3 * torch.randn(n, 64, generator=generator)
        a, b = torch.randperm(n, generator=generator)[:2].tolist()
        x[a], x[b] = first, 0.5 * first + second  # cosine 0.45 with each other, about 0 with the rest
        assert int(max_min(x, 1)[0]) == min(a, b)


def test_equal_tokens_tie_wherever_they_stand(monkeypatch):
    """Products of equal rows may differ by rounding: of every set of equal tokens the first is chosen first."""
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(1)).repeat(37, 1)
    assert max_min(x, 5).max() < 5 and sorted(max_min(x, 5).tolist()) == [0, 1, 2, 3, 4]
    assert max_min(x, 12).tolist()[5:] == [5, 6, 7, 8, 9, 10, 11]
    monkeypatch.setattr("vtprune_eval.methods.kernels.diversity.MATRIX_TOKENS", 8)
    assert max_min(x, 12).tolist()[5:] == [5, 6, 7, 8, 9, 10, 11]


def test_first_equal_row():
    x = torch.tensor([[1.0, 2], [2, 1], [1, 2], [0, 0], [2, 1], [1, 2]])
    assert first_equal_row(x).tolist() == [0, 1, 0, 3, 1, 0]
    assert first_equal_row(x[:2]) is None


def test_divprune_on_demand_equals_the_matrix(monkeypatch):
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    want = max_min(x, 12), greedy_map(x, torch.ones(40), 12)
    monkeypatch.setattr("vtprune_eval.methods.kernels.diversity.MATRIX_TOKENS", 8)
    assert torch.equal(max_min(x, 12), want[0])
    assert torch.equal(greedy_map(x, torch.ones(40), 12), want[1])


def test_divprune_of_identical_tokens_repeats_none():
    assert sorted(max_min(torch.ones(6, 3), 4).tolist()) == sorted(set(max_min(torch.ones(6, 3), 4).tolist()))


def test_cdpruner_maximises_the_determinant_greedily():
    generator = torch.Generator().manual_seed(3)
    x, q = torch.randn(9, 12, generator=generator).double(), torch.rand(9, generator=generator).double() + 0.2
    unit = torch.nn.functional.normalize(x, dim=-1)
    kernel = q[:, None] * (unit @ unit.T) * q
    chosen: list[int] = []
    for _ in range(5):
        rest = [i for i in range(9) if i not in chosen]
        chosen.append(max(rest, key=lambda i: float(torch.linalg.det(kernel[[*chosen, i]][:, [*chosen, i]]))))
    assert greedy_map(x.float(), q.float(), 5).tolist() == chosen


def test_cdpruner_of_a_low_rank_kernel_fills_up_by_quality():
    x = torch.ones(6, 4)
    q = torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2, 0.7])
    assert greedy_map(x, q, 4).tolist() == [1, 3, 5, 2]
    assert min_max_scaled(torch.ones(3)).tolist() == [1, 1, 1]


@examples(60)
@given(values=st.lists(st.integers(0, 4), min_size=1, max_size=20), k=st.integers(0, 20))
def test_best_breaks_ties_by_position(values, k):
    k = min(k, len(values))
    scores = torch.tensor([values], dtype=torch.float32)
    early = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:k])
    late = sorted(sorted(range(len(values)), key=lambda i: (-values[i], -i))[:k])
    assert best(scores, k)[0].tolist() == early
    assert best(scores, k, ties="late")[0].tolist() == late


def test_pospad_worked_example():
    """A 2 x 3 grid, keep {0, 4}: runs {1, 2, 3} and {5}; markers at 3 and 5 (specification of section 3.3)."""
    layout = layout_of(((2, 3),))
    keep = torch.tensor([True, False, False, False, True, False])
    run, markers = padding(keep, layout, torch.ones(6, dtype=torch.bool))
    assert run.tolist() == [-1, 0, 0, 0, -1, 1]
    assert markers.tolist() == [3, 5]
    assert padding(keep, layout, torch.ones(6, dtype=torch.bool), "run_first")[1].tolist() == [1, 5]
    assert padding(keep, layout, torch.ones(6, dtype=torch.bool), "run_middle")[1].tolist() == [2, 5]
    assert padding(keep, layout, torch.ones(6, dtype=torch.bool), "full")[1].tolist() == [1, 2, 3, 5]


def test_runs_never_cross_images():
    layout = layout_of(((1, 3), (1, 2)))
    keep = torch.tensor([True, False, False, False, True])
    _, markers = padding(keep, layout, torch.ones(5, dtype=torch.bool))
    assert markers.tolist() == [2, 3]


def token_view(n_words: int = 2, model: str = "tiny") -> TokenView:
    generator = torch.Generator().manual_seed(0)
    layout = layout_of(((2, 3),))
    return TokenView(
        layout,
        torch.randn(6, 16, generator=generator),
        torch.randn(4, 16),
        (),
        torch.ones(6, dtype=bool),
        0,
        question_features=torch.randn(n_words, 16, generator=generator),
        model=model,
    )


def test_focusui_without_a_scorer_says_what_to_give():
    with pytest.raises(UserError, match=r"--set focusui.scorer="):
        FocusUI().select_tokens(token_view(), budget_for((6,), 2))
    with pytest.raises(UserError, match="no scorer weights"):
        FocusUI(scorer="no/such/folder").select_tokens(token_view(), budget_for((6,), 2))
    with pytest.raises(UserError, match="instruction"):
        FocusUI().select_tokens(token_view(n_words=0), budget_for((6,), 2))


def test_focusui_with_a_random_scorer_is_the_same_every_time():
    view, budget = token_view(), budget_for((6,), 2)
    first, again = (FocusUI(scorer="random", pad="none").select_tokens(view, budget).keep for _ in range(2))
    assert torch.equal(first, again) and int(first.sum()) == 2


def test_focusui_loads_a_checkpoint_and_checks_it(tmp_path):
    from safetensors.torch import save_file

    from vtprune_eval.methods.kernels.scorer import Scorer

    torch.manual_seed(0)
    scorer = Scorer(16).eval()
    state = {f"model.patch_scorer.{k}": v for k, v in scorer.state_dict().items()}
    save_file({**state, "model.layers.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    view = token_view()
    edit = FocusUI(scorer=str(tmp_path), pad="none").select_tokens(view, budget_for((6,), 2))
    with torch.no_grad():
        want = scorer(view.features, view.question_features).topk(2).indices
    assert set(edit.keep.nonzero()[:, 0].tolist()) == set(want.tolist())
    short = {k: v for k, v in state.items() if "mlp.2.bias" not in k}
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(UserError, match="lacks 2 tensors"):
        FocusUI(scorer=str(tmp_path / "short.safetensors")).select_tokens(view, budget_for((6,), 2))
    save_file({f"patch_scorer.{k}": v for k, v in Scorer(8).state_dict().items()}, tmp_path / "small.safetensors")
    with pytest.raises(UserError, match="another width"):
        FocusUI(scorer=str(tmp_path / "small.safetensors")).select_tokens(view, budget_for((6,), 2))


def test_labels():
    covered = box_coverage((16, 0, 48, 32), 2, 2, 32)
    assert covered.tolist() == [[0.5, 0.5], [0, 0]]
    import numpy as np

    weights = graph_weights(np.array([[0, 1], [1, 1]]))
    assert weights[0, 0] == 1
    assert weights[1, 1] == pytest.approx(1 / np.log(4))


def test_stage_sizes():
    quarters = (8, 8, 8, 8)
    halves = pyramid_sizes(1000, 1000 * 8 + 500 * 8 + 250 * 8 + 125 * 8, quarters)
    assert halves == (500, 250, 125)
    assert pyramid_sizes(1000, 100 * 32, quarters) == (0, 0, 0)  # the first eight layers alone are more
    assert pyramid_sizes(1000, 1000 * 32, quarters) == (1000, 1000, 1000)
    assert listed_shares(Fraction(192, 576)) == (Fraction(300, 576), Fraction(200, 576), Fraction(110, 576))
    assert listed_shares(Fraction(96, 576)) == (Fraction(238, 576), Fraction(48, 576), Fraction(26, 576))
    of_32 = stage_lengths((2, 6, 15), 32)
    assert of_32 == (3, 4, 9, 16)
    assert sparse_sizes(576, 3 * 576 + 4 * 300 + 9 * 200 + 16 * 110, of_32) == (300, 200, 110)
    assert sparse_sizes(576, 576 * 32, of_32) == (576, 576, 576)


@pytest.mark.parametrize("name", ["pyramiddrop", "sparsevlm", "fastv", "dart", "random-layer", "guipruner-ssp"])
@pytest.mark.parametrize("n_layers", [2, 3, 4, 5, 7, 28, 36])
@pytest.mark.parametrize("percent", [5, 15, 25, 50, 75, 90])
def test_a_budget_is_the_mean_over_the_models_own_layers(name, n_layers, percent):
    """2000 visual tokens: never more than asked for, and hardly fewer; what cannot be met is refused with the least."""
    method = make_method(name, {"layer": 1} if name in {"fastv", "dart", "random-layer"} and n_layers == 2 else {})
    n, asked = 2000, Budget.parse(str(percent))
    told = method.told(asked, (n,))
    left = method.stage_counts((n,), n_layers, told)
    if asked.value / 100 <= method.least_share(n_layers):
        with pytest.raises(UserError, match=f"{name} at {percent} cannot be met.* The smallest is ") as refusal:
            check_budget(method, asked, n_layers)
        least = float(re.search(r"The smallest is ([0-9.]+)", str(refusal.value))[1])
        assert least > percent
        check_budget(method, Budget.parse(f"{least}"), n_layers)
        with pytest.raises(UserError):
            check_budget(method, Budget.parse(f"{least - 0.1:.1f}"), n_layers)
        with pytest.raises(InfeasibleBudget):
            check_feasible(method, (n,), left, n_layers, told)
        return
    check_budget(method, asked, n_layers)
    check_feasible(method, (n,), left, n_layers, told)
    assert len(left) == len(method.layers_of(n_layers)) and list(left) == sorted(left, reverse=True)
    spent, allowed = sum(planned_layers(method, (n,), left, n_layers)), told.n_keep * n_layers
    assert allowed - 2 * n_layers < spent <= allowed


def test_the_paper_s_reading_of_a_number_is_its_own():
    """FastV and DART count from layer K on; PyramidDrop's number is lambda, SparseVLM's names a released list."""

    def left(name: str, asked: str, n: int) -> tuple[int, ...]:
        method = make_method(name, reading="paper")
        return method.stage_counts((n,), 32, method.told(Budget.parse(asked, "paper"), (n,)))

    assert left("fastv", "50", 577) == (288,)  # to the nearest, half to even
    assert left("dart", "50", 576) == (4 + 8 * 36,)
    assert left("pyramiddrop", "50", 576) == (288, 144, 72)
    assert left("sparsevlm", "192tok", 576) == (309, 204, 113)
    assert left("sparsevlm", "128tok", 576) == (312, 117, 39)
    assert left("sparsevlm", "64tok", 576) == (82, 32, 18)
    check_budget(make_method("fastv"), Budget.parse("1", "paper"), 28)


def test_clusters_merge_what_is_alike():
    x = torch.tensor([[0.0, 0], [0.1, 0], [10, 10], [10.1, 10], [0, 0.1]])
    found = density_peaks(x, 2)
    assert len(found.centres) == 2
    assert sorted(found.means[:, 0].round().tolist()) == [0, 10]
    assert found.assign[2] == found.assign[3] != found.assign[0] == found.assign[4]


def test_one_text_token_rates_and_text_before_the_image_does_not():
    picture, words = torch.randn(6, 4), torch.randn(1, 4)
    assert text_raters(picture, words).tolist() == [0]
    assert text_raters(picture, words.expand(3, -1)).tolist() == [0, 1, 2]  # none is above the mean
    view = layer_view(((4, 5),), 5, 0, -1)
    first = int(view.layout.spans[0][0])
    loud = view.hidden_in.clone()
    loud[:first] = 100 * view.hidden_in[view.visual].mean(0)  # a template that draws the whole softmax
    seen = make_method("sparsevlm").observe(dataclasses.replace(view, hidden_in=loud))
    assert len(seen) and int(seen.min()) >= view.layout.spans[0][1]


def test_dart_compares_states_behind_the_final_norm():
    """One channel of the norm's weights decides which tokens are alike."""
    view = layer_view(((4, 5),), 5, 1, 1)
    budget = StageBudget(9, (9,), 20, Budget.parse("9tok"))
    weights = torch.zeros(16)
    weights[3] = 1.0
    plain = make_method("dart").prune_layer(view, budget)
    normed = make_method("dart").prune_layer(
        dataclasses.replace(view, final_norm=lambda rows: rows * weights + 1e-3), budget
    )
    assert int(plain.sum()) == int(normed.sum())
    assert not torch.equal(plain, normed)


def test_published_settings_have_names():
    assert [make_method("snapkv", {"preset": p}).window for p in ("guikv", "longbench", "class-default")] == [8, 32, 64]
    assert make_method("snapkv", {"preset": "longbench", "window_size": 16}).window == 16
    with pytest.raises(UserError, match="preset='nothing' is not one of guikv, longbench"):
        make_method("snapkv", {"preset": "nothing"})


def test_dart_keeps_exactly_k_with_its_pivots():
    view = layer_view(((4, 5),), 5, 1, 1)
    method = Dart(image_pivots=2, text_pivots=2)
    keep = method.prune_layer(view, StageBudget(7, (7,), 20, Budget.parse("7tok")))
    assert int(keep[view.visual].sum()) == 7
    norms = view.keys.abs().sum((0, 2))
    top = view.visual.nonzero()[:, 0][norms[view.visual].topk(2).indices]
    assert bool(keep[top].all())


def test_outliers():
    assert n_outliers(torch.tensor([1.0, 1.1, 0.9, 1.0, 9.0])) == 1
    assert n_outliers(torch.ones(5)) == 0
    assert n_kept(torch.tensor([1.0, 1.1, 0.9, 1.0, 9.0])) == 1


def test_prumerge_plus_adds_spaced_tokens_and_never_divides_by_zero():
    scores = torch.ones(12)
    scores[5] = 9.0
    assert plus_order(scores, 1).tolist() == [5, 0, 4, 8]  # every int(int(12 / 1) / 3)-th that is not there yet
    assert plus_order(torch.ones(12), 0).tolist() == [0, 4, 8]
    assert len(plus_order(torch.ones(4), 2)) <= 4


def test_divprune_gives_a_tied_first_step_to_the_lower_index():
    """Rows 1 and 3 are each other's nearest and the most isolated: an exact tie, whichever way rounding falls."""
    x = torch.tensor([[1.0, 0, 0, 0], [0, 0.3, 0.7, 0.6], [1, 0.1, 0, 0], [0, 0.9, -0.2, 0.4], [1, 0, 0.1, 0]])
    assert max_min(x, 2)[0] == 1
    assert max_min(x[[0, 3, 2, 1, 4]], 2)[0] == 1


def test_hiprune_has_no_anchor_at_small_budgets():
    """round(K alpha / 5) is 0 up to 25 tokens: the registers alone, as published."""
    n = 36
    middle, last = torch.arange(n).flip(0).float(), torch.arange(n).float()
    view = dataclasses.replace(
        token_view(),
        layout=layout_of(((6, 6),)),
        features=torch.randn(n, 4),
        present=torch.ones(n, dtype=torch.bool),
        extras={"encoder_attention:mid": middle, "encoder_attention:last": last},
    )
    method = make_method("hiprune")
    assert method.select_tokens(view, budget_for((n,), 8)).nonzero()[:, 0].tolist() == list(range(28, 36))
    wider = make_method("hiprune", {"alpha": 1.0}).select_tokens(view, budget_for((n,), 8))
    assert bool(wider[:2].all())  # two anchors
    wrapped = make_method("hiprune", {"alpha": 1.0, "neighbours": "index"})
    assert bool(wrapped.select_tokens(view, budget_for((n,), 5))[0])


def test_what_is_most_like_another_is_thinned_out_first():
    x = torch.tensor([[1.0, 0], [1, 0.01], [0, 1], [-1, 0.2], [0.02, -1], [0.5, 0.9]])
    left = thin_out(x, torch.arange(6), 5, per_round=1)
    assert 0 not in left.tolist() and len(left) == 5  # row 0 is nearly row 1
    assert len(thin_out(x, torch.arange(5), 2)) == 2  # odd lists and short ones do not raise
    assert thin_out(x, torch.arange(1), 0).tolist() == []


def test_oracle_without_a_box_is_an_even_grid():
    """A refusal of OSWorld-G among samples with boxes; a task without any is refused before the run."""
    keep = make_method("oracle").select_tokens(token_view(), budget_for((6,), 2))
    assert keep.nonzero()[:, 0].tolist() == spread(6, 2).tolist()


def test_the_ui_graph_of_the_paper_has_patches_for_nodes_and_plain_distances():
    """Two blocks of 4 x 4 patches that differ by 0.02 per value: one region by plain distance, two by the doubled."""
    import numpy as np

    image = np.full((32, 64, 3), 100, np.uint8)
    image[:, 32:] = 105  # L2 over a block: 0.0196 sqrt(3072) = 1.087, doubled copies 1.537; over a patch 0.543
    far = image.copy()
    far[:, 32:] = 110  # 2.17 a block, 3.07 doubled; 1.09 a patch
    n_patches = 8
    whole = 1 / np.log(n_patches + 1)
    assert block_weights(image, 32, 16) == pytest.approx(np.full((1, 2), whole))
    assert block_weights(far, 32, 16) == pytest.approx(np.full((1, 2), whole))  # joined as patches
    assert block_weights(far, 32, 32) == pytest.approx(np.ones((1, 2)))  # apart as blocks
    assert block_weights(image, 32, 32) == pytest.approx(np.full((1, 2), 1 / np.log(3)))
