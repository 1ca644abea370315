"""Intervals and paired comparisons; every bootstrap has a fixed seed, so a table is reproducible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

Z95 = 1.959963984540054
N_BOOTSTRAP = 2000
N_FLIPS = 10000
# With fewer a bootstrap has next to nothing to draw from: one episode would give an interval of no width.
MIN_CLUSTERS = 5
EXACT_FLIPS = 12  # up to so many differing clusters, all 2^n sign patterns are counted
# Draws are made in blocks of this many numbers, so that a bootstrap of any number of clusters takes the same memory.
BLOCK = 2_000_000
KEPT_DRAWS = 48_000_000  # resamples of up to so many bytes are kept for the next interval of as many clusters

Values = Sequence[float] | np.ndarray
Clusters = Sequence[str] | np.ndarray  # labels, or integer codes in the order of the labels


def mean_interval(
    values: Sequence[float],
    clusters: Clusters | None = None,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean with its 95 % interval.

    Independent 0/1 values: Wilson's interval. Otherwise a percentile bootstrap over clusters (an episode's steps are
    not independent) or over single values, where there are at least ``MIN_CLUSTERS`` of them.

    Args:
        values: scores in [0, 1].
        clusters: one label per value, or None when values are independent.
        seed: of the bootstrap.

    Returns:
        mean, low, high; NaN three times for no values, and as low and high of too few clusters.
    """
    v = np.asarray(values, float)
    if len(v) == 0:
        return math.nan, math.nan, math.nan
    independent = clusters is None or len(set(clusters)) == len(v)
    if independent and set(np.unique(v)) <= {0.0, 1.0}:
        n, p = len(v), float(v.mean())
        centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
        half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
        return p, max(0.0, centre - half), min(1.0, centre + half)
    return float(v.mean()), *_bootstrap(v, clusters, seed)


def paired_difference(
    a: Values,
    b: Values,
    clusters: Clusters | None = None,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean of a - b over the same samples, with a 95 % percentile interval of a (cluster) bootstrap.

    The interval of fewer than ``MIN_CLUSTERS`` clusters (or single values) is NaN twice.

    Raises:
        ValueError: the two are not of one length.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    d = np.asarray(a, float) - np.asarray(b, float)
    if len(d) == 0:
        return math.nan, math.nan, math.nan
    return float(d.mean()), *_bootstrap(d, clusters, seed)


def paired_ratio(
    base: Sequence[float], own: Sequence[float], clusters: Clusters | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """Geometric mean of base / own over the same samples, with a 95 % percentile interval of a (cluster) bootstrap.

    A ratio of two medians compares one sample's time with another's; here every sample is compared with itself.

    Args:
        base: times of the full model, positive.
        own: times of the method, positive, in the same order.
        clusters: one label per sample, None for independent ones.
        seed: of the bootstrap.

    Returns:
        ratio, low, high; NaN three times for no samples, and as low and high of too few clusters.
    """
    ratio, low, high = paired_difference(np.log(base).tolist(), np.log(own).tolist(), clusters, seed)
    return math.exp(ratio), math.exp(low), math.exp(high)


def mean_over_groups(
    groups: Sequence[tuple[Sequence[float], Sequence[str]]], bases: Sequence[Sequence[float]] | None = None
) -> tuple[float, float, float]:
    """Mean of the groups' means, each of one weight, with a 95 % percentile interval; or its ratio to another mean.

    The groups are resampled independently of each other, whole clusters at a time. With ``bases`` the result is the
    mean of the groups over that of the bases, and every resample draws the same samples for both.

    Args:
        groups: values and cluster labels of every group (task).
        bases: values on the same samples, per group in the same order.

    Returns:
        mean (or ratio), low, high; NaN as low and high where a group has fewer than ``MIN_CLUSTERS`` clusters.
    """

    def resampled(lists: Sequence[Sequence[float]]) -> tuple[float, np.ndarray | None]:
        draws: list[np.ndarray] = []
        for seed, (values, (_, clusters)) in enumerate(zip(lists, groups, strict=True)):
            sums, counts = _by_cluster(np.asarray(values, float), clusters)
            if len(sums) >= MIN_CLUSTERS:
                draws.append(_resampled_means(sums, counts, seed))
        mean = float(np.mean([np.mean(v) for v in lists]))
        return mean, np.mean(draws, 0) if len(draws) == len(lists) else None

    mean, draws = resampled([values for values, _ in groups])
    if bases is not None:
        base, of_base = resampled(bases)
        mean /= base
        draws = None if draws is None or of_base is None or not of_base.all() else draws / of_base
    if draws is None:
        return mean, math.nan, math.nan
    low, high = np.quantile(draws, (0.025, 0.975))
    return mean, float(low), float(high)


def stated(low: float, high: float) -> list[float] | None:
    """An interval as results hold it: its two ends, None where there is none."""
    return None if math.isnan(low) or math.isnan(high) else [low, high]


def shown(ci95: Sequence[float] | None, form: str = ".1f") -> str:
    """An interval of shares for tables, in %: its ends, or why there is none; ``form``: of one number."""
    return "(few clusters)" if ci95 is None else f"[{100 * ci95[0]:{form}}, {100 * ci95[1]:{form}}]"


def shown_ratio(ratio: float, ci95: Sequence[float] | None) -> str:
    """A ratio for tables: with the ends of its interval, or why there is none."""
    return f"{ratio:.2f}x " + ("(few clusters)" if ci95 is None else f"[{ci95[0]:.2f}, {ci95[1]:.2f}]")


def mcnemar(a: Values, b: Values) -> float:
    """Exact two-sided McNemar test of two 0/1 series over the same samples; returns p.

    Raises:
        ValueError: the two are not of one length.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    d = np.asarray(a, float) - np.asarray(b, float)
    only_a, only_b = int((d > 0).sum()), int((d < 0).sum())
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    total = ways = 1  # whole numbers of any size: exact
    for i in range(k):
        ways = ways * (n - i) // (i + 1)
        total += ways
    return float(min(1.0, 2 * (total / 2**n)))


def sign_flip(a: Values, b: Values, clusters: Clusters | None = None, seed: int = 0) -> float:
    """Two-sided permutation test of a paired difference: under the null, the sign of each cluster's sum is a coin.

    Exact for up to ``EXACT_FLIPS`` clusters that differ; otherwise ``N_FLIPS`` random patterns, counted as
    (hits + 1) / (N + 1) so that p is never zero.

    Raises:
        ValueError: the two are not of one length.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    sums, _ = _by_cluster(np.asarray(a, float) - np.asarray(b, float), clusters)
    sums = sums[sums != 0]
    n = len(sums)
    if n == 0:
        return 1.0
    seen = abs(sums.sum()) - 1e-9 * abs(sums).sum()  # rounding must not part patterns of one size
    if n <= EXACT_FLIPS:
        signs = 1 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((abs(signs @ sums) >= seen).mean())
    rng = np.random.default_rng(seed)
    hits = sum(
        int((abs((1 - 2.0 * rng.integers(0, 2, (rows, n))) @ sums) >= seen).sum())
        for _ in range(N_FLIPS // 1000)
        for rows in _blocks(1000, n)
    )
    return (hits + 1) / (N_FLIPS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values, in the order given."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    out, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = highest
    return out


def _by_cluster(values: np.ndarray, clusters: Clusters | None) -> tuple[np.ndarray, np.ndarray]:
    if clusters is None:
        return values, np.ones(len(values))
    labels = clusters if isinstance(clusters, np.ndarray) else np.asarray(clusters, dtype=object).astype(str)
    _, index = np.unique(labels, return_inverse=True)
    return np.bincount(index, values), np.bincount(index).astype(float)


def _bootstrap(values: np.ndarray, clusters: Clusters | None, seed: int) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of the mean; NaN twice for fewer than ``MIN_CLUSTERS`` clusters."""
    sums, counts = _by_cluster(values, clusters)
    if len(sums) < MIN_CLUSTERS:
        return math.nan, math.nan
    low, high = np.quantile(_resampled_means(sums, counts, seed), (0.025, 0.975))
    return float(low), float(high)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Means of ``N_BOOTSTRAP`` resamples of whole clusters."""
    means = []
    for drawn in _draws(len(sums), seed):
        weights = drawn.astype(float)
        means.append((weights @ sums) / (weights @ counts))
    return np.concatenate(means)


def _draws(n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of ``n`` clusters is drawn, ``(rows, n)`` blocks of ``N_BOOTSTRAP`` rows together."""
    return iter(_kept_draws(n, seed)) if n * N_BOOTSTRAP <= KEPT_DRAWS else _drawn(n, seed)


@lru_cache(maxsize=4)  # a task has one number of clusters, and few tasks take turns
def _kept_draws(n: int, seed: int) -> tuple[np.ndarray, ...]:
    return tuple(block.astype(np.uint16 if block.max() > 255 else np.uint8) for block in _drawn(n, seed))


def _drawn(n: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for rows in _blocks(N_BOOTSTRAP, n):
        yield rng.multinomial(n, np.full(n, 1 / n), size=rows)


def _blocks(rows: int, n: int) -> Iterator[int]:
    """``rows`` in parts of at most ``BLOCK`` numbers, ``n`` to a row; in one where they are few."""
    most = max(1, BLOCK // n)
    while rows > 0:
        yield min(rows, most)
        rows -= most
