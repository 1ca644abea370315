"""What layers and heads hold, as records keep it: against the counts, the shared run, and damaged text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vtprune_eval import cli
from vtprune_eval.errors import UserError
from vtprune_eval.report.check_costs import Measured, fault
from vtprune_eval.results.inside import inside_of, packed, unpacked
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.folder import read_run

METHODS = "full,guikv,adakv,pyramiddrop,pixelprune+snapkv"


def run_into(folder, *more):
    command = ["--model", "nano", "--method", METHODS, "--budget", "45", "--tasks", "mini-nav", "--limit", "3"]
    assert cli.main([*command, "--out", str(folder), "--timings", "0", *more]) == 0
    return read_run(folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return run_into(tmp_path_factory.mktemp("inside") / "run", "--record-kept", "full")


def blocks_of(record):
    return tuple((w // 32) * (h // 32) for w, h in record["frame"]["model_sizes"])


def cells(run):
    return {m: list(own.values()) for (_, m, _), own in run.records.items()}


def test_the_bits_are_the_counted_entries(recorded):
    model = Measured.of(recorded.settings)
    for method, own in cells(recorded).items():
        made = () if method == "full" else recorded.spec.make(method)
        for record in own:
            assert fault(record, made, model) is None
            found = inside_of(record, blocks_of(record))
            c = record["counts"]
            total = sum(c["cache_visual"]) / sum(c["cache_heads"])
            assert found.held.sum() == pytest.approx(total)
            assert found.depth.sum() == pytest.approx(np.mean(c["layer_visual"]))
            # The share of the target that is held is the recorded target recall, computed elsewhere from the cache.
            assert (found.held <= found.depth + 1e-9).all() and found.by_layer.shape[0] == len(c["layer_visual"])
    assert "kept_inside" not in cells(recorded)["full"][0]
    assert len(cells(recorded)["pyramiddrop"][0]["kept_inside"]["layers"]) > 1


def test_a_shared_run_says_what_a_run_alone_says(recorded, tmp_path):
    alone = run_into(tmp_path / "alone", "--record-kept", "full", "--share", "off")
    for key, own in recorded.records.items():
        assert [r.get("kept_inside") for r in own.values()] == [
            r.get("kept_inside") for r in alone.records[key].values()
        ]


def test_it_is_part_of_a_runs_identity_only_where_it_is_asked_for():
    plain, full = from_mapping({}), from_mapping({"record-kept": "full"})
    assert "record_kept" not in plain.canonical() and full.canonical()["record_kept"] == "full"
    assert plain.identity != full.identity
    with pytest.raises(UserError, match="--record-kept"):
        from_mapping({"record_kept": "all"})


def test_a_folder_without_it_is_not_continued_with_it(recorded, capsys):
    command = ["--model", "nano", "--method", METHODS, "--budget", "45", "--tasks", "mini-nav", "--limit", "3"]
    assert cli.main([*command, "--out", str(recorded.path), "--timings", "0"]) == 2
    assert "record_kept" in capsys.readouterr().err


def test_a_stopped_run_goes_on_to_the_same_records(recorded, tmp_path):
    first = run_into(tmp_path / "run", "--record-kept", "full")
    name = first.path / "records" / "mini-nav--guikv@45.jsonl"
    lines = name.read_text().splitlines(keepends=True)
    name.write_text("".join(lines[:1]))
    again = run_into(tmp_path / "run", "--record-kept", "full")
    for key, own in recorded.records.items():
        assert [r.get("kept_inside") for r in own.values()] == [
            r.get("kept_inside") for r in again.records[key].values()
        ]


def test_records_without_it_tell_what_their_counts_leave_no_doubt_of(recorded):
    for method, told in (("full", True), ("pyramiddrop", False), ("guikv", False)):
        record = {k: v for k, v in cells(recorded)[method][0].items() if k != "kept_inside"}
        assert (inside_of(record, blocks_of(record)) is not None) == told
    once = json.loads(json.dumps(cells(recorded)["pyramiddrop"][0]))
    del once["kept_inside"]
    once["counts"]["layer_visual"] = [20, 20, 5, 5, 5]
    once["kept"], once["kept_last"] = [f"{2**10 - 1:x}"] * 2, ["1f", "0"]
    found = inside_of(once, (10, 10))
    assert found.depth.tolist() == [1.0] * 5 + [0.4] * 15


@pytest.mark.parametrize("text", ["", "no base64!", packed(b"abc"), "AAAA"])
def test_damaged_bits_are_one_sentence(text):
    with pytest.raises(UserError, match="bits"):
        unpacked(text, 2, 80)


def test_packing_is_reversible():
    rows = np.random.default_rng(0).random((7, 13)) < 0.3
    assert (unpacked(packed(np.packbits(rows).tobytes()), 7, 13) == rows).all()


def test_a_forged_map_is_found(recorded):
    model = Measured.of(recorded.settings)
    record = json.loads(json.dumps(cells(recorded)["guikv"][0]))
    n_rows, n = sum(record["kept_inside"]["heads"]), sum(blocks_of(record))
    bits = unpacked(record["kept_inside"]["bits"], n_rows, n)
    bits[0, np.flatnonzero(~bits[0])[0]] = True
    record["kept_inside"]["bits"] = packed(np.packbits(bits).tobytes())
    assert "visual entries in layer 0" in fault(record, recorded.spec.make("guikv"), model)
    record["kept_inside"]["bits"] = "AAAA"
    assert "bits" in fault(record, recorded.spec.make("guikv"), model)
    layered = json.loads(json.dumps(cells(recorded)["pyramiddrop"][0]))
    layered["kept_inside"]["layers"].pop()
    assert "visual tokens per layer" in fault(layered, recorded.spec.make("pyramiddrop"), model)
