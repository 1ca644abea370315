"""docs/numbers.md holds what its script computes now, and names every FLOP key of a record."""

from __future__ import annotations

import json

import reproduce_flops as reproduce

from tests.conftest import ROOT, SHARED, needs_shared
from vtprune_eval.models.qwen3_vl_sizes import TRUE_DIMS
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.profiling.plan import planned_counts


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "numbers.md").read_text()
    assert page.split(reproduce.MARKS[0])[1].split(reproduce.MARKS[1])[0].strip() == reproduce.page_part()


def test_every_flops_key_is_defined():
    page = (ROOT / "docs" / "numbers.md").read_text()
    dims = TRUE_DIMS["qwen3vl-2b"]
    for key in flops_of(dims, planned_counts(dims, ((4, 4),), 10, 2)):
        assert f"| `{key}` |" in page


def test_claims_of_the_text_about_table_4():
    """The sentences below the tables quote these."""
    rows = {(r["settings"]["benchmark"], r["retain_pct"]): r["metrics"] for r in reproduce.load(4)}
    means = {r["settings"]["benchmark"]: r["metrics"] for r in reproduce.load(9)}
    gaps, cache = [], []
    for benchmark, (name, n, text) in reproduce.PROMPTS.items():
        size = (means[name]["mean_width_px"], means[name]["mean_height_px"])
        for (where, percent), printed in rows.items():
            if where == benchmark:
                c = reproduce.costs([size] * n, text, percent)
                gaps.append(1 - c["authors"] / 1e12 / printed["prefill_tflops"])
                cache.append(printed["kv_cache_gb"] * 1e9 / c["kv"])
                assert 1.005 < c["itemised"] / c["authors"] < 1.03
    assert min(gaps) > 0.205 and max(gaps) < 0.295
    assert min(cache) >= 1.5 and max(cache) < 2.15


@needs_shared("papers/tables")
def test_printed_values_are_the_reference_material_s():
    for n in (4, 9):
        name = f"pixelprune_table{n}.json"
        theirs = json.loads((SHARED / "papers" / "tables" / name).read_text())
        assert json.loads((ROOT / "leaderboards" / "papers" / name).read_text()) == theirs
