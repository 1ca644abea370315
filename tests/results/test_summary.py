"""The table's own columns and lines, from records as they are written and as a summary holds them."""

from __future__ import annotations

import csv
import io

import pytest

from vtprune_eval.benchmarks.screenspot import ScreenSpot
from vtprune_eval.results.breakdown import breakdown, breakdown_text
from vtprune_eval.results.costs import costs_of
from vtprune_eval.results.record import light
from vtprune_eval.results.summary import summarise
from vtprune_eval.results.table import footnotes, table

from .test_compare import cell

DEEP = "mean over the decoder layers: 4.5 visual tokens, 2 were asked for"
PER_QUERY = "entries are stored once per query head: 2 times the bytes of grouped entries"


def deep(notes: tuple[str, ...] = ()) -> list[dict]:
    """Records of a method that prunes behind the second of four layers: 8, 8, 1 and 1 of 8 visual tokens."""
    records = cell([1.0] * 6)
    for record in records:
        record["counts"] |= {
            "layer_tokens": [10, 10, 3, 3],
            "cache_entries": [10, 10, 3, 3],
            "visual": [8],
            "layer_visual": [8, 8, 1, 1],
        }
        record["notes"] = list(notes)
    return records


def test_mean_over_the_layers_is_a_cost_and_a_column():
    own = deep()
    assert costs_of(own, None)["layer_visual_pct"] == pytest.approx(100 * 18 / 32)
    assert costs_of(list(map(light, own)), None) == costs_of(own, None)
    early = cell([1.0])  # a record of a version that did not count the layers
    assert costs_of(early, None)["layer_visual_pct"] is None
    lines = table(summarise("m", [("a", "25")], [("t", True)], {("t", "a", "25"): own}, True), "csv").splitlines()
    column = lines[0].split(",").index("mean over layers %")
    assert lines[1].split(",")[column] == "56.2"
    assert table(summarise("m", [("a", "25")], [("t", True)], {("t", "a", "25"): early}, True), "csv")


def test_overspending_stands_below_the_table():
    large = "the cache holds 140 % of the bytes of the full model's"
    notes = {"a": (DEEP,), "b": (PER_QUERY,), "c": (PER_QUERY, large)}
    records = {("t", m, "25"): deep(n) for m, n in notes.items()}
    rows = summarise("m", [(m, "25") for m in notes], [("t", True)], records, True)["rows"]
    assert list(map(str, rows[0]["notes"])) == [
        "a at 25: the decoder layers see 56.2 % of the visual tokens as a mean over the "
        "layers; more than asked for on 6 of 6 samples"
    ]
    assert list(map(str, rows[1]["notes"])) == [f"b at 25: {PER_QUERY}"]
    (more,) = map(str, rows[2]["notes"])
    assert more == f"c at 25: {PER_QUERY}; more than the full model's cache on 6 of 6 samples"


def test_one_episode_gives_no_interval_in_any_table():
    own = cell([1.0, 0.0, 0.0, 0.0], ["episode"] * 4)
    records = {("t", "full", "100"): cell([1.0] * 4, ["episode"] * 4), ("t", "a", "10"): own}
    summary = summarise("m", [("full", "100"), ("a", "10")], [("t", True)], records, True)
    entry = summary["rows"][1]["tasks"]["t"]
    assert entry["accuracy"] == 0.25 and entry["ci95"] is None is entry["vs_full"]["ci95"]
    assert table(summary, "json").count('"ci95": null') == 3
    for form in ("table", "md"):
        text = table(summary, form)
        assert "25.0 (few clusters)" in text and "-75.0 (few clusters)" in text
    row = next(r for r in csv.DictReader(io.StringIO(table(summary, "csv"))) if r["method"] == "a")
    assert (row["t vs full"], row["t vs full low"], row["t vs full high"]) == ("-75.00", "-", "-")
    groups = breakdown(ScreenSpot(), [{**r, "meta": {"platform": "web"}, "parts": {}} for r in own])["breakdown"]
    assert groups["platform"]["web"]["ci95"] is None
    text = breakdown_text({"rows": [{"method": "a", "budget": "10", "tasks": {"t": {"breakdown": groups}}}]})
    assert "25.0 (few clusters) (n=4)" in text


@pytest.mark.parametrize(("n_timed", "said"), [(2, "from 2 samples per row"), (0, "absent: no sample")])
def test_speed_ups_of_a_sweep_name_their_few_samples(n_timed, said):
    records = {("t", m, "25"): cell([1.0] * 6) for m in ("full", "a")}
    for own in records.values():
        for record in own[n_timed:]:
            record |= {"times": None, "peak_bytes": None}
    summary = summarise("m", [("full", "25"), ("a", "25")], [("t", True)], records, True)
    (line,) = [line for line in map(str, footnotes(summary)) if said in line]
    assert line.startswith("Times, speed-ups, peak memory and energy are ")
    assert (summary["rows"][1]["costs"]["speedup"] is None) == (n_timed == 0)


def test_a_speed_up_stands_with_its_interval_or_says_why_it_has_none():
    def timed(times):
        records = cell([1.0] * len(times))
        for record, ms in zip(records, times, strict=True):
            record["times"] = {**record["times"], "e2e_ms": ms}
        return records

    def shown(n):
        names = {"full": [80.0] * n, "a": [40.0] * n, "b": ([100.0, 60.0] * n)[:n]}
        records = {("t", m, "25"): timed(times) for m, times in names.items()}
        summary = summarise("m", [(m, "25") for m in names], [("t", True)], records, True)
        rows = csv.DictReader(io.StringIO(table(summary, "csv")))
        return [row["speed-up"] for row in rows], list(map(str, footnotes(summary)))

    (full, a, b), notes = shown(6)
    assert (full, a) == ("1.00x", "2.00x [2.00, 2.00]")
    assert b.startswith("1.03x [0.8") and b.endswith("]")
    assert [note[:26] for note in notes if "no speed-up shown" in note] == ["b at 25: no speed-up shown"]
    assert shown(3)[0] == ["1.00x", "2.00x (few clusters)", "0.95x (few clusters)"]


def test_target_recall_is_a_cost_and_a_column_where_a_sample_has_a_box():
    own = cell([1.0, 0.0, 1.0])
    stages = {"patches": 1.0, "tokens": 1.0, "layers": 0.75, "cache": 0.5}
    own[0]["target_recall"], own[1]["target_recall"], own[2]["target_recall"] = stages, None, stages | {"cache": 1.0}
    expected = {"patches": 1.0, "tokens": 1.0, "layers": 0.75, "cache": 0.75, "n": 2}
    assert costs_of(own, None)["target_recall"] == expected
    assert costs_of(list(map(light, own)), None) == costs_of(own, None)
    summary = summarise("m", [("a", "25")], [("t", True)], {("t", "a", "25"): own}, True)
    assert summary["rows"][0]["tasks"]["t"]["target_recall"] == expected
    lines = table(summary, "csv").splitlines()
    assert lines[1].split(",")[lines[0].split(",").index("target recall %")] == "75.0"
    early = cell([1.0])  # of a version that did not count it
    early[0].pop("target_recall", None)
    assert "target_recall" not in costs_of(early, None)
    assert "target recall" not in table(
        summarise("m", [("a", "25")], [("t", True)], {("t", "a", "25"): early}, True), "csv"
    )


def test_tasks_with_samples_of_the_same_names_are_paired_and_timed_on_their_own():
    def timed(times, flops):
        records = cell([1.0] * len(times))
        for record, ms in zip(records, times, strict=True):
            record |= {"times": {**record["times"], "e2e_ms": ms}, "flops": {"total": flops}}
        return records

    records = {
        ("short", "full", "25"): timed([10.0] * 6, 1.0),
        ("short", "a", "25"): timed([5.0] * 6, 0.5),
        ("long", "full", "25"): timed([900.0] * 6, 300.0),
        ("long", "a", "25"): timed([450.0] * 6, 150.0),
    }
    cells, tasks = [("full", "25"), ("a", "25")], [("short", True), ("long", True)]
    costs = summarise("m", cells, tasks, records, True)["rows"][1]["costs"]
    assert costs["speedup"] == pytest.approx(2.0) and costs["flops_ratio"] == pytest.approx(2.0)
    assert costs["drift"] == pytest.approx(1.0), "a FLOP of another task takes another time: no drift"
    records["long", "a", "25"] = timed([450.0, 450.0, 450.0, 450.0, 900.0, 900.0], 150.0)
    costs = summarise("m", cells, tasks, records, True)["rows"][1]["costs"]
    assert costs["drift"] == pytest.approx(2**0.5), "twice as slow in one of two tasks"
