"""Costs have one table: what figures, LaTeX tables, summaries and pages show of one agrees."""

import pytest

from vtprune_eval.report import board, latex, pages
from vtprune_eval.report.measures import COSTS
from vtprune_eval.results.quantities import QUANTITIES


def test_every_user_takes_its_numbers_from_one_table():
    for axis in board.AXES:
        found = QUANTITIES[axis["key"]]
        assert axis == {
            "key": found.key,
            "label": found.name,
            "unit": found.unit,
            "factor": found.factor,
            "machine": found.machine,
        }
    assert all(QUANTITIES[c.key] is c for c in COSTS.values())
    assert set(pages.AXES) <= QUANTITIES.keys()
    for name, (key, _, digits, factor) in latex.CHOICES.items():
        if key in QUANTITIES:
            assert (digits, factor) == (QUANTITIES[key].digits, QUANTITIES[key].factor), name
            assert name not in COSTS or COSTS[name].key == key


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("kv_bytes", 12250, "12.2"),  # a tie between two digits goes to the even one
        ("flops", 1.23456e9, "1.23"),
        ("peak_bytes", 2_600_000, "3"),
        ("ttft_ms", 3.14159, "3.1"),
        ("visual_tokens", 17, "17.0"),
        ("energy_j", None, "-"),
        ("achieved_pct", float("nan"), "-"),
    ],
)
def test_a_value_in_its_unit(key, value, shown):
    assert QUANTITIES[key].text(value) == shown


def test_factors_are_exact():
    """A page multiplies, a table divides: both by the same number."""
    assert (QUANTITIES["flops"].factor, QUANTITIES["kv_bytes"].factor, QUANTITIES["peak_bytes"].factor) == (
        1e-9,
        1e-3,
        1e-6,
    )
    assert repr(QUANTITIES["ttft_ms"].factor) == "1"  # pages hold it as JSON
    assert QUANTITIES["ttft_ms"].label == "time to first token (ms)"
    assert QUANTITIES["visual_tokens"].label == "visual tokens into the decoder"
