"""Region decoding against a literal search, and its growth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scripts.bench.region_decode import by_search
from tests.draws import examples
from tests.sure import cpu_seconds
from vtprune_eval.models.regions import Region, regions

maps = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([0.0, 0.05, 0.3, 0.31, 0.5, 1.0]) | st.floats(0, 1, width=32),
)


def _place(region: Region) -> tuple[float, ...]:
    return region.n_cells, *(round(v, 9) for v in region.point)


@examples(300)
@given(maps, st.sampled_from([0.0, 0.3, 0.6]))
def test_labels_give_the_regions_of_a_search(values, threshold):
    got, want = regions(values, threshold), by_search(values, threshold)
    assert len(got) == len(want)
    for a, b in zip(sorted(got, key=_place), sorted(want, key=_place), strict=True):
        assert a.n_cells == b.n_cells and a.mean == pytest.approx(b.mean) and a.point == pytest.approx(b.point)
    assert [r.mean for r in got] == pytest.approx([r.mean for r in want])  # both from the highest mean down


def test_worked_values():
    values = np.zeros((3, 4))
    values[0, 0] = 0.3  # at the threshold of 0.3 * 1.0: not above it
    values[0, 2], values[0, 3] = 1.0, 0.5
    values[2, 0], values[1, 1] = 0.8, 0.6  # diagonal: two regions
    found = regions(values)
    assert [(r.n_cells, round(r.mean, 6)) for r in found] == [(1, 0.8), (2, 0.75), (1, 0.6)]
    assert found[0].point == pytest.approx((0.5 / 4, 2.5 / 3))
    assert found[1].point == pytest.approx(((1.0 * 2.5 + 0.5 * 3.5) / 1.5 / 4, 0.5 / 3))


def test_ties_go_to_the_region_that_starts_first():
    values = np.zeros((5, 7))
    for y, x in [(4, 0), (0, 6), (2, 3)]:
        values[y, x] = 1.0
    assert [r.point for r in regions(values)] == [
        pytest.approx(((x + 0.5) / 7, (y + 0.5) / 5)) for y, x in [(0, 6), (2, 3), (4, 0)]
    ]


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.full((2, 2), np.nan)])
def test_nothing_to_point_at(values):
    assert regions(values) == []


def test_a_spiral_is_one_region():
    values = np.zeros((9, 9))
    for y, x in [
        *[(0, i) for i in range(9)],
        *[(i, 8) for i in range(9)],
        *[(8, i) for i in range(9)],
        *[(i, 0) for i in range(2, 9)],
        *[(2, i) for i in range(7)],
        *[(i, 6) for i in range(2, 7)],
    ]:
        values[y, x] = 1.0
    found = regions(values)
    assert len(found) == 1 and found[0].n_cells == int(values.sum())


def test_time_is_linear_in_the_cells():
    """A quadratic rule would take 256 times as long on 16 times the cells."""

    def best(side: int) -> float:
        values = np.random.default_rng(0).random((side, side))
        return cpu_seconds(lambda: regions(values), 0.0)

    assert best(1024) < 100 * best(256)
