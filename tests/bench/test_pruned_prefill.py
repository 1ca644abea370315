"""``scripts/bench/pruned_prefill.py`` on a small random model: what it reports follows from what ran."""

from __future__ import annotations

import json

import pytest
import torch

from vtprune_eval.models import load_model

SCRIPT = "pruned_prefill"


def test_predictions_come_from_executed_lengths(bench, tmp_path, capsys):
    code = bench.main(
        [
            "--model",
            "nano",
            "--dtype",
            "float32",
            "--repeats",
            "1",
            "--image",
            "256x192",
            "--large",
            "256x256",
            "--out",
            str(tmp_path),
        ]
    )
    data = json.loads((tmp_path / "pruned_prefill.json").read_text())
    rows = {r["kept_pct"]: r for r in data["prefill"]["rows"]}
    full = rows["100"]
    assert full["off_pct"] == pytest.approx(0.0, abs=1e-6)
    visual = data["stages"]["visual_tokens"]
    for share in (75, 50, 25):
        row = rows[str(share)]
        assert row["tokens"] == full["tokens"] - visual + -(-visual * share // 100)
        assert row["predicted_ms"] == pytest.approx(full["measured_ms"] * row["flops"] / full["flops"])
        assert row["flops"] < full["flops"]
        fixed = data["prefill"]["reading_ms"]
        rest = (full["measured_ms"] - fixed) * row["flops"] / full["flops"]
        assert row["with_reading_ms"] == pytest.approx(fixed + rest)
    assert code == bench.missed(data["prefill"])
    stages = data["stages"]
    assert sum(stages["ms"].values()) + stages["outside_ms"] == pytest.approx(stages["wall_ms"], rel=1e-6)
    assert all(ms > 0 for ms in stages["ms"].values())
    pixel = data["pixelprune"]
    assert pixel["flops_ratio"] > 1 and 0 < pixel["kept_pct"] < 60
    assert pixel["ttft_ratio"] == pixel["ms"]["full"]["ttft_ms"] / pixel["ms"]["pixelprune"]["ttft_ms"]
    said = capsys.readouterr().out
    assert "FLOPs predict" in said and "deepstack" in said


def test_the_promise_is_missed_only_where_the_reading_of_the_weights_does_not_explain_it(bench, capsys):
    found = {"reading_ms": 200.0, "worst_off_pct": 23.0, "worst_off_with_reading_pct": 4.0}
    assert bench.missed(found) == 0
    assert "23.0 % longer" in (said := capsys.readouterr().err) and "reading of 200 ms up to 4.0 %" in said
    assert bench.missed({**found, "worst_off_with_reading_pct": 16.0}) == 1
    capsys.readouterr()
    assert bench.missed({**found, "worst_off_pct": 15.0}) == bench.missed(None) == 0
    assert not capsys.readouterr().err


def test_reading_touches_every_weight_of_the_decoder(bench):
    adapter = load_model("nano")
    seen = []
    linear = [m for p in (adapter.text, adapter.lm_head) for m in p.modules() if isinstance(m, torch.nn.Linear)]
    handles = [m.register_forward_hook(lambda m, x, _: seen.append((m, x[0].shape[0]))) for m in linear]
    try:
        assert len(bench.reading_ms(adapter, 2)) == 2
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [(m, 1) for m in linear] * 3


def test_an_unknown_part_is_refused(bench, capsys):
    with pytest.raises(SystemExit) as left:
        bench.main(["--parts", "vit"])
    assert left.value.code == 2 and "knows stages" in capsys.readouterr().err
