"""The estimate on paper: its FLOPs are the harness's, its arithmetic is what it says, its page is up to date."""

from __future__ import annotations

import json

import pytest
from scaling_cost import BUDGETS, TASKS, Speeds, cost, main, rows_of, samples_of, sizes, sweep

from tests.conftest import ROOT
from vtprune_eval.cli import main as command_line
from vtprune_eval.runner.cells import TIMED_SAMPLES

MODEL, TASK = "qwen3vl-2b", "screenspot_pro"


def test_flops_are_those_of_the_command(capsys):
    s = Speeds(peak_flops_s=1.0, mfu=1.0, image_s_per_mpixel=1e-12)  # seconds are FLOPs
    for method, budget in (
        ("full", "100"),
        ("pixelprune", "20"),
        ("visionzip", "10"),
        ("guikv", "10"),
        ("fastv", "40"),
    ):
        own = cost(MODEL, TASK, method, budget, s)
        _, width, height, _, n_text, n_new = TASKS[TASK]
        assert (
            command_line(
                [
                    "flops",
                    "--model",
                    MODEL,
                    "--image",
                    f"{width}x{height}",
                    "--text-tokens",
                    str(n_text),
                    "--new-tokens",
                    str(n_new),
                    "--method",
                    method,
                    "--retain",
                    budget,
                    "--format",
                    "json",
                ]
            )
            == 0
        )
        flops = json.loads(capsys.readouterr().out)["flops"]
        assert own.encode_s + own.prefill_s == pytest.approx(flops["total_prefill"])


def test_decoding_is_bound_by_launches_or_by_bytes():
    slow, fast = (cost(MODEL, TASK, "full", "100", Speeds(launch_s=x)) for x in (0.02, 1e-9))
    assert slow.decode_s == pytest.approx(0.02 * TASKS[TASK][5])
    dims, _, _, weights = sizes(MODEL)
    assert weights == pytest.approx(4.3e9, rel=0.02)
    tokens = (3840 // 32) * (2176 // 32) + 60  # 2160 is rounded to 2176
    read = weights + 2 * 2 * tokens * dims.layers * dims.kv_heads * dims.head_dim
    assert fast.decode_s == pytest.approx(24 * read / (3.35e12 * 0.6), rel=0.01)


def test_a_step_of_many_branches_launches_and_reads_the_weights_once():
    weights, s = sizes(MODEL)[3], Speeds(again=0.0)
    n, bandwidth = TASKS[TASK][5], s.bytes_s * s.bandwidth_share
    full = cost(MODEL, TASK, "full", "100", s)
    cache = (fast := cost(MODEL, TASK, "full", "100", Speeds(launch_s=1e-9))).decode_s / n - weights / bandwidth
    assert fast.decode_s > n * weights / bandwidth
    assert full.together_s == pytest.approx(n * max(0.02 / 32, weights / bandwidth / 32 + cache))
    one = cost(MODEL, TASK, "full", "100", Speeds(slots=1, again=0.0))
    assert one.together_s == pytest.approx(one.decode_s)
    again = cost(MODEL, TASK, "full", "100", Speeds(again=0.1))
    assert again.together_s == pytest.approx(full.together_s + 0.1 * full.decode_s)
    own = sweep(MODEL, TASK, ["guikv", "visionzip"], ["10"], s)
    cells = [full, *(cost(MODEL, TASK, m, "10", s) for m in ("guikv", "visionzip"))]
    saved = sum(c.decode_s - c.together_s for c in cells)
    assert own.shared_s - own.together_s == pytest.approx(saved)


def test_sharing_keeps_what_a_method_cannot_share():
    s = Speeds()
    full, cache, after, before, smaller = (
        cost(MODEL, TASK, m, b, s)
        for m, b in (("full", "100"), ("guikv", "10"), ("visionzip", "10"), ("pixelprune", "10"), ("resize", "10"))
    )
    own = sweep(MODEL, TASK, ["guikv", "visionzip", "pixelprune", "resize"], ["10"], s)
    assert own.shared_s == pytest.approx(
        full.alone_s
        + cache.decode_s
        + after.decode_s
        + after.prefill_s
        + before.alone_s
        - before.image_s  # the screen is read once
        + smaller.alone_s
        - smaller.image_s
        + smaller.resize_s  # and made smaller anew
    )
    assert own.alone_s == pytest.approx(sum(c.alone_s for c in (full, cache, after, before, smaller)))
    assert own.on(TIMED_SAMPLES) == pytest.approx(TIMED_SAMPLES * own.alone_s)  # a small shard shares nothing
    assert own.on(100) < 100 * own.alone_s
    rows = {r[0]: [float(v.replace(",", "")) for v in r[1:]] for r in rows_of({MODEL: [own]}, s)}
    alone = rows["answers, every cell alone"]
    assert alone[0] == pytest.approx(samples_of(TASK) * own.alone_s / 8 / 3600, abs=0.01)
    assert alone[1] == pytest.approx(alone[0] / 8, abs=0.01)


def test_a_budget_that_cannot_be_met_costs_nothing_unless_it_is_charged():
    s = Speeds()
    full, tar, early = (
        cost(MODEL, TASK, m, b, s) for m, b in (("full", "100"), ("guipruner-tar", "10"), ("fastv", "1"))
    )
    assert tar.alone_s == early.alone_s == 0  # one screenshot, and two layers that see all of it
    own = sweep(MODEL, TASK, ["guipruner-tar", "fastv"], ["1"], s)
    assert own.refused == 2 and own.alone_s == pytest.approx(full.alone_s)
    charged = sweep(MODEL, TASK, ["guipruner-tar", "fastv"], ["1"], s, charge_refused=True)
    assert charged.refused == 0 and charged.alone_s > 2 * full.alone_s


def flops_of_head(dims) -> float:
    """Logits of the prompt's last position."""
    return 2.0 * dims.dim * dims.vocab


def test_the_first_layers_run_once_for_those_who_drop_inside_the_decoder():
    s = Speeds(peak_flops_s=1.0, mfu=1.0)  # seconds are FLOPs
    dims = sizes(MODEL)[0]
    full, early, late = (
        cost(MODEL, TASK, m, b, s) for m, b in (("full", "100"), ("fastv", "60"), ("pyramiddrop", "80"))
    )
    assert dims.layers == 28
    assert early.layers_s / late.layers_s == pytest.approx(2 / 7)  # behind layer 2, and behind a quarter of them
    assert late.layers_s == pytest.approx((full.prefill_s - flops_of_head(dims)) / 4)
    own = sweep(MODEL, TASK, ["fastv", "pyramiddrop"], ["60", "80"], s)
    cells = [cost(MODEL, TASK, m, b, s) for m in ("fastv", "pyramiddrop") for b in ("60", "80")]
    decode = full.decode_s + sum(c.decode_s for c in cells)
    apart = sum(c.prefill_s - c.layers_s for c in cells)
    assert own.shared_s == pytest.approx(full.image_s + full.encode_s + full.prefill_s + late.layers_s + apart + decode)


def test_the_page_states_the_assumptions_of_the_script_and_the_counts_of_the_tasks(capsys):
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert main(["--models", MODEL, "--methods", "guikv", "--budgets", BUDGETS]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if line.startswith("Assumed: ")) in page
    assert f"{len(TASKS)} tasks ({sum(map(samples_of, TASKS)):,} samples)" in page
    assert samples_of("screenspot") == 1272 and samples_of("androidcontrol_low") == 500
    with pytest.raises(SystemExit):
        main(["--mfu", "0"])
