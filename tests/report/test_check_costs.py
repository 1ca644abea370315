"""Costs that cannot be: each forged field is found by name, and what the pipeline wrote passes."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json

import pytest

from tests.conftest import ROOT
from tests.report.conftest import forge
from vtprune_eval import cli
from vtprune_eval.errors import UserError
from vtprune_eval.outcome import Counts
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.profiling.plan import model_dims
from vtprune_eval.registry import make_method
from vtprune_eval.report.check_costs import Measured, fault
from vtprune_eval.report.result_file import ENDING, cells_of, from_run, read, write
from vtprune_eval.report.validate import validate
from vtprune_eval.runner.folder import read_run, spec_of

METHODS = {
    "full": "100",
    "pixelprune": "60",
    "resize": "60",
    "fastv": "60",
    "guipruner": "60",
    "snapkv": "60",
    "no-image": "60",
}


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """A run of the embedded model: each stage cut once, one sample with earlier screenshots."""
    folder = tmp_path_factory.mktemp("runs") / "nano"
    assert (
        cli.main(
            [
                "--model",
                "nano",
                "--method",
                ",".join(METHODS),
                "--budget",
                "60",
                "--limit",
                "1",
                "--set",
                "fastv.trim=true",
                "--tasks",
                "mini-nav",
                "--timings",
                "1",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return read_run(folder)


def record_of(nano, method):
    (record,) = nano.records["mini-nav", method, METHODS[method]].values()
    return copy.deepcopy(record)


def why(nano, method, record, sizes=None):
    made = make_method(method, {"trim": True} if method == "fastv" else {})
    return fault(record, () if method == "full" else (made,), Measured.of(nano.settings), sizes)


@pytest.mark.parametrize("method", METHODS)
def test_what_the_pipeline_wrote_is_possible(nano, method):
    record = record_of(nano, method)
    assert why(nano, method, record, [tuple(s) for s in record["frame"]["file_sizes"]]) is None


def _counts(**values):
    return lambda r: r["counts"].update({k: v(r["counts"]) if callable(v) else v for k, v in values.items()})


def _shorter(c):
    return [n - 5 for n in c["layer_tokens"]]


@pytest.mark.parametrize(
    ("method", "change", "says"),
    [
        ("full", lambda r: r.update(kv_bytes=r["kv_bytes"] // 10), "kv_bytes is"),
        ("snapkv", lambda r: r.update(kv_bytes=r["kv_bytes"] // 10), "kv_bytes is"),
        ("full", _counts(visual=lambda c: [1] * len(c["visual"])), "visual is"),
        ("full", _counts(visual_full=lambda c: [1000] * len(c["visual"])), "visual_full is"),
        ("full", _counts(patches_full=lambda c: [1] * len(c["visual"])), "patches_full is"),
        ("full", _counts(cache_heads=lambda c: [1] * len(c["cache_heads"])), "cache_heads is"),
        ("resize", _counts(cache_heads=lambda c: [1]), "of 5 and 1 layers"),
        ("full", _counts(layer_tokens=_shorter, cache_entries=_shorter), "layer_tokens is not"),
        (
            "pixelprune",
            _counts(
                layer_visual=lambda c: [*c["layer_visual"][:-1], 1],
                layer_tokens=lambda c: [*c["layer_tokens"][:-1], c["n_text"] + 1],
            ),
            "after layers none",
        ),
        ("fastv", _counts(cache_entries=lambda c: [1] * len(c["cache_entries"])), "cache_entries is"),
        ("snapkv", _counts(cache_entries=lambda c: [9999] * len(c["cache_entries"])), "cache_entries is"),
        ("snapkv", _counts(cache_visual=lambda c: [9999] * len(c["cache_visual"])), "cache_visual is"),
        ("full", _counts(cache_visual=lambda c: [0] * len(c["cache_visual"])), "cache_visual is"),
        ("fastv", lambda r: r["spent"].update(achieved_pct=1.0), "achieved_pct is 1.0"),
        ("pixelprune", lambda r: r["spent"].update(asked="5"), "were asked for"),
        ("fastv", lambda r: r["spent"].update(asked="5"), "were asked for"),
        ("snapkv", lambda r: r["spent"].update(asked="5"), "were asked for"),
        ("full", _counts(prompt=3), "prompt_full and prompt"),
        ("full", _counts(n_new=1000), "n_new is 1000"),
        ("pixelprune", _counts(vit_depth=1), "vit_depth is 1"),
        ("pixelprune", lambda r: r.update(kept=["00"] * len(r["kept"])), "kept marks"),
        ("full", lambda r: r.update(kept=["f" * 99] * len(r["kept"])), "outside its image"),
        ("full", lambda r: r.update(kept=["00"]), "different numbers of images"),
        ("full", lambda r: r["frame"].update(model_sizes=[[32, 32] for _ in r["kept"]]), "what the processor makes"),
        ("full", lambda r: r["times"].update(ttft_ms=-5), "not positive"),
        ("full", lambda r: r["times"].update(ttft_ms=0.5), "ttft_ms is 0.5"),
        ("full", lambda r: r["times"].update(e2e_ms=0.5), "e2e_ms is 0.5"),
        ("full", lambda r: r["times"].update(tpot_ms=0.0), "tpot_ms is 0.0"),
        ("full", lambda r: r.update(peak_bytes=1), "peak_bytes is 1"),
        ("full", lambda r: r.update(energy_j=-1.0), "energy_j is"),
        ("full", lambda r: r.update(kept=None), "cannot be read"),
        ("full", lambda r: r.update(counts={}), "cannot be read"),
    ],
)
def test_each_impossible_cost_is_named(nano, method, change, says):
    record = record_of(nano, method)
    change(record)
    assert says in why(nano, method, record)


def test_a_peak_on_a_gpu_holds_the_weights(nano):
    model = Measured.of({**nano.settings, "device": "cuda"})
    record = record_of(nano, "full")
    record["peak_bytes"] = model.weight_bytes
    assert fault(record, (), model) is None
    record["peak_bytes"] -= 1
    assert "weights" in fault(record, (), model)


def test_a_consistent_forgery_does_not_validate(nano, tmp_path):
    """Fewer visual tokens for full everywhere, FLOPs, bytes, aggregates and hashes made to fit."""
    path = write(*from_run(nano), tmp_path / "results")
    assert f"mini-nav: lengths, bytes and times of {len(METHODS)} records fit together and to the model" in validate(
        path
    )
    packed = path.with_name(path.stem + ENDING)
    lines = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
    for r in (r for r in lines if r["method"] == "full"):
        c = r["counts"]
        c["layer_tokens"] = c["cache_entries"] = [9] * 5
        r["flops"], r["kv_bytes"] = flops_of(model_dims("nano")[0], Counts(**c)), r["kv_bytes"] // 20
    text = "".join(json.dumps(r) + "\n" for r in lines)
    packed.write_bytes(gzip.compress(text.encode()))
    grouped: dict = {}
    for r in lines:
        grouped.setdefault((r["task"], r["method"], r["budget"]), []).append(r)
    forge(
        path,
        lambda d: (
            d["records"].update(sha256=hashlib.sha256(text.encode()).hexdigest()),
            d.update(cells=cells_of(d["settings"], grouped)),
        ),
    )
    read(path)
    with pytest.raises(UserError, match=r"full at 100 on mini-nav.*layer_tokens is not"):
        validate(path)


def test_files_of_other_sizes_are_found(nano):
    record = record_of(nano, "full")
    assert "the image files have" in why(nano, "full", record, [(1, 1)] * len(record["kept"]))


COMMITTED = sorted((ROOT / "leaderboards" / "results").glob("*.json"))


def first_records(path):
    """The first answered record of every cell; the others' lines are not parsed, because they are many."""
    found = {}
    with gzip.open(path.with_name(path.stem + ENDING), "rt") as lines:
        for line in lines:
            cell = line[: line.index(',"schema"')]
            if cell not in found and '"status":"ok"' in line:
                found[cell] = json.loads(line)
    return found


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_record_of_every_committed_cell_is_possible(path):
    """`validate` looks at all of them; the board must never hold a result that it refuses."""
    result = json.loads(path.read_text())
    spec, model = spec_of(result["settings"]), Measured.of(result["settings"])
    answered = {(r["method"], r["budget"], r["task"]): r for r in first_records(path).values()}
    assert {(c.method, c.budget, task) for c in spec.cells() for task in spec.tasks} >= answered.keys()
    wrong = {key: why for key, record in answered.items() if (why := fault(record, spec.make(key[0]), model))}
    assert answered and wrong == {}
