"""Intervals against closed forms and by simulated coverage; tests against hand-computed values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.draws import examples
from vtprune_eval.results.stats import MIN_CLUSTERS, holm, mcnemar, mean_interval, paired_difference, shown, stated


def test_wilson_interval_of_independent_binary_scores():
    mean, low, high = mean_interval([1.0] * 8 + [0.0] * 2)
    assert mean == 0.8
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_extremes_stay_inside_zero_and_one():
    assert mean_interval([1.0] * 5)[2] == 1.0
    assert mean_interval([0.0] * 5)[1] == 0.0
    assert math.isnan(mean_interval([])[0])


def test_clusters_widen_the_interval():
    """20 episodes of 10 equal steps hold the information of 20 samples, not of 200."""
    values = [float(i % 2) for i in range(20) for _ in range(10)]
    clusters = [str(i) for i in range(20) for _ in range(10)]
    alone, together = mean_interval(values), mean_interval(values, clusters)
    assert together[2] - together[1] > 2 * (alone[2] - alone[1])


def test_cluster_bootstrap_covers_about_95_percent():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        rates = rng.beta(2, 2, 40)
        values = [float(rng.random() < p) for p in rates for _ in range(5)]
        _, low, high = mean_interval(values, [str(i) for i in range(40) for _ in range(5)], seed=trial)
        hits += low <= 0.5 <= high
    assert 0.90 <= hits / 200 <= 0.99


@examples(50)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=MIN_CLUSTERS, max_size=60))
def test_paired_difference_is_antisymmetric_and_zero_with_itself(values):
    assert paired_difference(values, values) == (0.0, 0.0, 0.0)
    other = values[::-1]
    forward, backward = paired_difference(values, other), paired_difference(other, values)
    assert forward[0] == pytest.approx(-backward[0])
    assert forward[1] <= forward[0] <= forward[2]


def test_pairing_needs_equal_lengths():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([1.0], [1.0, 0.0])


def test_mcnemar_exact():
    a, b = [1.0] * 6 + [0.0] * 4, [0.0] * 6 + [0.0] * 4
    assert mcnemar(a, b) == pytest.approx(2 * 0.5**6)
    assert mcnemar(a, a) == 1.0


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("n_clusters", [1, MIN_CLUSTERS - 1, MIN_CLUSTERS])
def test_few_clusters_have_a_mean_and_no_interval(n_clusters):
    """One episode would be drawn again and again: an interval of no width around a number that is hardly known."""
    values = [1.0, 0.0, 0.0, 0.0] * n_clusters
    clusters = [str(i // 4) for i in range(len(values))]
    for mean, low, high in (mean_interval(values, clusters), paired_difference(values, [0.0] * len(values), clusters)):
        assert mean == 0.25
        assert math.isnan(low) == math.isnan(high) == (n_clusters < MIN_CLUSTERS)
        assert stated(low, high) == (None if n_clusters < MIN_CLUSTERS else [low, high])
    assert not math.isnan(mean_interval([1.0, 0.0], ["a", "b"])[1])  # independent 0/1 scores need no bootstrap
    assert shown(None) == "(few clusters)" and shown([0.1, 0.25]) == "[10.0, 25.0]"
    assert shown([-0.1, 0.25], "+.1f") == "[-10.0, +25.0]"
