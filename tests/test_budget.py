"""Budget arithmetic: exact, within bounds, and refused with a sentence where it means nothing."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtprune_eval.budget import Budget, split_proportionally
from vtprune_eval.errors import UserError


@pytest.mark.parametrize(
    ("text", "full", "count"),
    [
        ("10", 96, 10),
        ("10", 100, 10),
        ("10", 101, 11),
        ("100", 7, 7),
        ("12.5", 8, 1),
        ("12.5", 9, 2),
        ("0.1", 50, 1),
        ("33.3", 1000, 333),
        ("256tok", 100, 100),
        ("256tok", 300, 256),
        ("5%", 40, 2),
    ],
)
def test_count_is_the_ceiling_of_the_share(text, full, count):
    assert Budget.parse(text).count(full) == count


@pytest.mark.parametrize("text", ["0", "-3", "101", "abc", "", "1/0", "nan", "inf", "0tok", "1.5tok", "-2tok", "like:"])
def test_impossible_budgets_are_refused(text):
    with pytest.raises(UserError, match="budget"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["10", "12.5", "256tok", "auto", "like:pixelprune"])
def test_text_form_round_trips(text):
    assert str(Budget.parse(text)) == text
    assert Budget.parse(str(Budget.parse(text))) == Budget.parse(text)


@given(st.fractions(min_value=Fraction(1, 1000), max_value=100), st.integers(1, 100_000))
def test_count_is_never_below_the_share_and_less_than_one_above(share, full):
    count = Budget("percent", share).count(full)
    assert 1 <= count <= full
    assert share * full / 100 <= count < share * full / 100 + 1 or count in (1, full)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=6), st.integers(1, 20_000))
def test_shares_add_up_and_no_image_vanishes(sizes, total):
    sizes = tuple(sizes)
    shares = split_proportionally(total, sizes)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    if total >= len(sizes):
        assert min(shares) >= 1
