"""``scripts/bench/gpu.py`` rehearsed on a CPU with a small random model: the code path of a GPU, end to end."""

from __future__ import annotations

import importlib
import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT

SMALL = (
    "--device",
    "cpu",
    "--models",
    "nano",
    "--image",
    "160x96",
    "--frame",
    "96x96",
    "--dtype",
    "float32",
    "--seconds",
    "9999",
)


@pytest.fixture(scope="module")
def bench():
    """The modules of the bench, imported as the script imports them."""
    sys.path.insert(0, str(ROOT / "scripts" / "bench"))
    try:
        yield SimpleNamespace(**{n: importlib.import_module(n) for n in ("gpu", "gpu_cells", "gpu_report", "screens")})
    finally:
        sys.path.remove(str(ROOT / "scripts" / "bench"))


def run(bench, folder, *args: str) -> tuple[int, dict, str]:
    """Exit code, the JSON and the Markdown of one run of the bench."""
    code = bench.gpu.main([*SMALL, "--out", str(folder), *args], started=time.monotonic())
    return code, json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()


@pytest.fixture(scope="module")
def whole(bench, tmp_path_factory):
    """A run with a method of every hook, at one budget."""
    return run(
        bench,
        tmp_path_factory.mktemp("bench"),
        "--methods",
        "pixelprune,guipruner,guikv,focusui,fastv",
        "--budgets",
        "50",  # fastv meets no 25 on nano: it keeps every token of two of its five layers
        "--window",
        "0.01",
    )


def test_every_cell_is_measured(whole):
    code, data, _ = whole
    assert code == 0
    assert [m["attention"] for m in data["not_measured"]] == ["flash_attention_2"]
    found = [(r["workload"], r["method"], r["budget"]) for r in data["rows"]]
    assert found == [
        ("screen", "full", "100"),
        ("screen", "pixelprune", "auto"),
        ("history", "full", "100"),
        ("history", "guipruner", "auto"),
        ("history", "guikv", "40"),
        ("screen", "focusui", "30"),
        ("screen", "pixelprune", "50"),
        ("history", "guipruner", "50"),
        ("screen", "guikv", "50"),
        ("screen", "focusui", "50"),
        ("screen", "fastv", "50"),
    ]
    for row in data["rows"]:
        assert row["n_calls"] >= 1 and row["n_warm_up"] >= 1 and row["new_tokens"] == bench_tokens(data)
        assert 0 < row["times"]["ttft_ms"]["min"] <= row["times"]["ttft_ms"]["median"] <= row["times"]["ttft_ms"]["max"]
        assert row["peak_bytes"] > row["weights_bytes"] > 0
        assert row["energy_j"] is None  # there is no GPU to read it from, and none is made up


def bench_tokens(data: dict) -> int:
    """Tokens that every call has to generate: no end token may shorten a latency run."""
    return data["settings"]["new_tokens"]


def test_ratios_follow_from_the_rows(whole):
    _, data, _ = whole
    full = {r["workload"]: r for r in data["rows"] if r["method"] == "full"}
    for row in data["rows"]:
        if row["method"] == "full":
            assert row["n_pooled"] > row["n_calls"]  # it was called again between the cells
            continue
        base = full[row["workload"]]
        assert row["ratios"]["flops_prefill"] == base["flops"]["total_prefill"] / row["flops"]["total_prefill"]
        ratio, low, high = row["ratios"]["ttft_ms"]
        assert low <= ratio <= high or len(row["samples_ms"]["ttft_ms"]) < 3
    kv = next(r for r in data["rows"] if r["method"] == "guikv" and r["headline"])
    assert kv["ratios"]["flops_prefill"] == 1.0 and kv["ratios"]["flops_decode"] > 1.0


def test_headlines_stand_beside_the_measured_cells(whole):
    _, data, text = whole
    printed = {(h["paper"], h["claim"]): (h["printed"], h["unit"]) for h in data["headlines"]}
    assert printed == {
        ("pixelprune", "TTFT"): (4.2, "x"),
        ("pixelprune", "FLOPs to the first token"): (6.6, "x"),
        ("guipruner", "FLOPs to the first token"): (3.4, "x"),
        ("guipruner", "time of the vision encoder"): (3.3, "x"),
        ("guikv", "FLOPs of decoding"): (38.9, "% less"),
        ("focusui", "time per sample (TTFT here)"): (1.44, "x"),
        ("focusui", "peak memory"): (17.0, "% less"),
    }
    assert all(len(h["measured"]) == 1 for h in data["headlines"])
    saved = next(h for h in data["headlines"] if h["paper"] == "guikv")["measured"][0]["value"]
    row = next(r for r in data["rows"] if r["headline"] == "guikv")
    assert saved == pytest.approx(100 * (1 - 1 / row["ratios"]["flops_decode"]))
    assert "Rehearsal on a CPU" in text and "No energy or GPU state" in text


def test_what_the_time_does_not_allow_is_listed_in_order(bench, tmp_path, monkeypatch):
    """Nine cells of a second each by a clock that only they turn, and five seconds."""
    now, measure = [1000.0], bench.gpu_cells.measure

    def slowly(group, cell, gpu, window_s):
        now[0] += 1.0
        return measure(group, cell, gpu, window_s)

    monkeypatch.setattr(bench.gpu, "measure", slowly)
    monkeypatch.setattr(bench.gpu, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(bench.gpu_cells.Group, "least_seconds", lambda self, workload: 1.0)
    folder, few = tmp_path / "r", ("--methods", "random,stride,pool,resize", "--budgets", "10,25", "--window", "0.01")
    code = bench.gpu.main([*SMALL, "--out", str(folder), *few, "--seconds", "5"], started=now[0])
    data, text = json.loads((folder / "gpu.json").read_text()), (folder / "gpu.md").read_text()
    left_out = [m["what"] for m in data["not_measured"] if m["reason"] == "no time was left"]
    done = [f"{r['method']}@{r['budget']} on {r['workload']}" for r in data["rows"]]
    plan = [
        "full@100 on screen",
        *(f"{m}@{b} on screen" for b in (10, 25) for m in ("random", "stride", "pool", "resize")),
    ]
    assert done == plan[:4] and left_out == plan[4:]  # less than a second is left of the 4.9 that count
    assert code == 0
    assert "no time was left" in text


def test_a_cell_that_fails_does_not_cost_the_others(bench, tmp_path, monkeypatch):
    from vtprune_eval.pipeline.generate import Pipeline

    real = Pipeline.run

    def run_or_break(self, sample):
        if self.methods[0].name == "stride":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, sample)

    monkeypatch.setattr(Pipeline, "run", run_or_break)
    code, data, text = run(bench, tmp_path, "--methods", "stride,random", "--budgets", "25", "--window", "0.01")
    assert code == 0
    assert [r["method"] for r in data["rows"]] == ["full", "random"]
    assert [(m["what"], m["reason"]) for m in data["not_measured"] if m["model"] == "nano"] == [
        ("stride@25 on screen", "crash: OutOfMemoryError: CUDA out of memory")
    ]
    assert "crash: OutOfMemoryError" in text


def test_without_a_gpu_one_sentence(bench, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.gpu.main(["--out", str(tmp_path / "never")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "never estimated" in said.err
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--models", "nanoo"), "unknown model"),
        (("--methods", "pixelprun"), "unknown method"),
        (("--budgets", "200"), "outside"),
        (("--models", "stub"), "no network"),
        (("--device", "mps"), "use cuda"),
        (("--budgets", ""), "not a percentage"),
    ],
)
def test_bad_names_are_refused(bench, tmp_path, capsys, args, said):
    assert bench.gpu.main([*SMALL, *args, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_ratio_above_its_flops_is_marked(bench):
    def row(method: str, flops: float) -> dict:
        parts = {
            "patch_embed": flops,
            "vit_linear": flops,
            "vit_attention": flops,
            "merger": flops,
            "deepstack": flops,
            "decode": flops,
            "total_prefill": flops,
        }
        return {
            "workload": "screen",
            "method": method,
            "flops": parts,
            "peak_bytes": 2,
            "kv_bytes": 2,
            "energy_j": None,
            "full_call": 2,
            "samples_ms": {"ttft_ms": [10.0, 10.0, 10.0]},
        }

    times = [SimpleNamespace(times=SimpleNamespace(ttft_ms=40.0))] * 5
    rows = [row("full", 4.0), row("honest", 1.0), row("too fast", 2.0)]
    bench.gpu_report.add_ratios(rows, {"screen": times})
    assert [r.get("above_flops_bound") for r in rows] == [None, False, True]
    assert rows[1]["ratios"]["ttft_ms"] == [4.0, 4.0, 4.0]


def test_ratios_use_the_calls_of_full_nearest_in_time(bench):
    slowing = [SimpleNamespace(times=SimpleNamespace(ttft_ms=float(ms))) for ms in (10,) * 10 + (100,) * 10]
    parts = dict.fromkeys(("patch_embed", "decode", "total_prefill"), 1.0)
    rows = [
        {
            "workload": "screen",
            "method": m,
            "flops": parts,
            "peak_bytes": 2,
            "kv_bytes": 2,
            "energy_j": None,
            "full_call": at,
            "samples_ms": {"ttft_ms": [own] * 3},
        }
        for m, at, own in (("full", 0, 10.0), ("early", 3, 10.0), ("late", 16, 100.0))
    ]
    bench.gpu_report.add_ratios(rows, {"screen": slowing})
    assert [r["ratios"]["ttft_ms"][0] for r in rows[1:]] == [1.0, 1.0]
    assert rows[0]["drift_ttft_ms"] == [10.0, 100.0]


def test_screens_keep_the_share_that_is_asked_for(bench):
    from vtprune_eval.models.base import ImageRules

    rules = ImageRules(16, 2, 2, 65536, 16777216, (0.5,) * 3, (0.5,) * 3)
    image, kept = bench.screens.screen_keeping(1366, 801, 0.262, rules, seed=3)
    assert image.shape == (801, 1366, 3) and kept == bench.screens.kept_share(image, rules)
    assert kept == pytest.approx(0.262, abs=0.01)


def test_a_scorer_does_not_stay_in_the_peaks_of_later_cells(whole):
    from vtprune_eval.methods.kernels.scorer import random_scorer

    assert random_scorer.cache_info().currsize == 0


@pytest.mark.parametrize("coarse", [True, False])
def test_energy_and_state_of_a_gpu_are_reported(bench, tmp_path, monkeypatch, coarse):
    """The meter of a GPU, played by a stand-in; the times are still those of the CPU.

    Energy over a short window is marked: every window is short, or none.
    """
    monkeypatch.setattr(bench.gpu_report, "COARSE_SECONDS", float("inf") if coarse else 0.0)

    class Meter:
        reason = ""
        windows = 0

        def start(self) -> None:
            self.windows += 1

        def stop(self) -> float:
            return 30.0

        def process_bytes(self) -> int:
            return 5_000_000

        def state(self) -> dict:
            return {"name": "Stand-in", "driver": "1.2", "warnings": ["throttled: software power cap"]}

        def close(self) -> None:
            pass

    meter = Meter()
    monkeypatch.setattr("vtprune_eval.profiling.gpu.open_gpu", lambda device, profile: meter)
    code, data, text = run(bench, tmp_path, "--methods", "random", "--budgets", "25", "--window", "0.01")
    assert code == 0 and meter.windows == 2  # one window per cell, over all of its timed calls
    assert [r["energy_j"] for r in data["rows"]] == [30.0 / r["n_calls"] for r in data["rows"]]
    full, cut = data["rows"]
    assert cut["ratios"]["energy_j"] == full["energy_j"] / cut["energy_j"]
    assert "**Disturbed: throttled: software power cap.**" in text and "driver 1.2" in text
    assert f"| {'~' if coarse else ''}{cut['energy_j']:.1f}" in text
    assert ("energy over less than a second" in text) == coarse
