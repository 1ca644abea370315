"""Papers' tables: their data, the runs that fill them, and a table filled by the stand-in."""

from __future__ import annotations

import json
import math
import shlex
import shutil

import pytest

from vtprune_eval import cli
from vtprune_eval.commands.options import run_parser
from vtprune_eval.report import analytic, paper_cells, paper_table
from vtprune_eval.report.paper_cells import ACCURACIES, BENCHMARKS, METHOD_NAMES, MODEL_NAMES, command, plan

PAPERS = paper_table.papers_dir()


@pytest.mark.parametrize("path", sorted(PAPERS.glob("*.json")), ids=lambda p: p.stem)
def test_paper_data_is_whole(path):
    data = json.loads(path.read_text())
    assert data["schema_version"] == 1 and data["source"] and data["source_kind"] in {"primary", "secondary"}
    for row in data["rows"]:
        assert set(row["metrics"]) <= set(data["units"])
        assert all(v is None or math.isfinite(v) for v in row["metrics"].values())


def test_every_table_of_the_papers_is_there():
    wanted = {f"pixelprune-{n}" for n in (1, 2, 4, 6, 8, 10)} | {"focusui-1", "focusui-6", "focusui-7a"}
    assert wanted <= set(paper_table.names())
    assert any(n.startswith("guikv") for n in paper_table.names())
    assert any(n.startswith("guipruner") for n in paper_table.names())


@pytest.fixture
def all_tasks(monkeypatch):
    """Every task that a metric needs, whether its data can be had here or not."""
    known = {t for tasks in [*ACCURACIES.values(), *BENCHMARKS.values()] for t in tasks}
    monkeypatch.setattr(paper_cells, "task_names", lambda: known)


def row(model="Qwen3-VL-2B", method="PixelPrune", retain=None, **settings):
    return {"model": model, "method": method, "retain_pct": retain, "settings": settings, "metrics": {}}


def planned(paper, given, metric, device, root, *others):
    return plan({"paper": paper, "rows": list(others) or [given]}, given, metric, device, root)


def test_rows_that_differ_in_the_method_share_a_run(all_tasks, tmp_path):
    rows = [row(method=m) for m in ("Full", "PixelPrune", "Resize", "ST-Lite")]
    rows.append(row(training="knowledge distillation"))
    plans = [planned("PixelPrune", r, "DocVQA", "cuda", tmp_path, *rows) for r in rows]
    assert plans[0].runs == plans[1].runs == plans[2].runs and not plans[3].runs and not plans[4].runs
    assert plans[0].runs[0]["methods"] == ["full", "pixelprune", "resize"]
    tolerant = row(metric="mae", tau=0.02)
    other = planned("PixelPrune", tolerant, "DocVQA", "cuda", tmp_path, *rows, tolerant)
    assert other.runs[0]["methods"] == ["full", "pixelprune"] and other.runs[0]["out"] != plans[0].runs[0]["out"]


def test_settings_of_a_row_become_options(all_tasks, tmp_path):
    found = planned("PixelPrune", row(predictor="pred-2d", metric="mae", tau=0.02), "DocVQA", "cuda", tmp_path)
    line = command(found.runs[0])
    assert "--set pixelprune.predictor=pred_2d --set pixelprune.metric=mae --set pixelprune.tau=0.02" in line
    assert "--method full,pixelprune --budget auto --tasks DocVQA_VAL" in line
    parsed = vars(run_parser().parse_args(shlex.split(line)[3:]))
    assert parsed["params"] == ["pixelprune.predictor=pred_2d", "pixelprune.metric=mae", "pixelprune.tau=0.02"]
    exact = planned("PixelPrune", row(predictor="pred_2d", metric="exact", tau=0.0), "DocVQA", "cuda", tmp_path)
    assert exact.runs[0]["params"] == {"pixelprune.predictor": "pred_2d"}


def test_baselines_copy_the_count_in_pixelprune_only(all_tasks, tmp_path):
    assert planned("PixelPrune", row(method="Resize"), "DocVQA", "cuda", tmp_path).runs[0]["budgets"] == ["auto"]
    other = planned("FocusUI", row("Qwen3-VL-2B", "Random", 30.0), "SSv2-Avg", "cuda", tmp_path)
    assert len(other.runs) == 3 and all(r["budgets"] == ["30"] for r in other.runs)
    assert "retention" in planned("FocusUI", row(method="Random"), "SSv2-Avg", "cuda", tmp_path).why_not


def test_cells_with_different_settings_have_different_folders(all_tasks, tmp_path):
    outs = {
        planned("PixelPrune", row(**s), "DocVQA", "cuda", tmp_path).runs[0]["out"]
        for s in ({}, {"predictor": "raster"}, {"tau": 0.1, "metric": "max"})
    }
    assert len(outs) == 3


def test_positions_in_the_vit_are_the_released_code_s(all_tasks, tmp_path):
    """Beside them stand the shares of FLOPs that the text prints, which two of them do not have."""
    data = json.loads((PAPERS / "pixelprune_table7.json").read_text())
    blocks = {}
    for r in data["rows"]:
        params = planned("PixelPrune", r, "DocVQA", "cuda", tmp_path).runs[0]["params"]
        blocks[r["settings"]["prune_position"]] = int(params.get("pixelprune.vit_layer", 0))
    assert blocks == {"Before ViT": 0, "After 0th": 1, "After 4th": 5, "After 17th": 18, "After ViT": 24}
    assert any("1, 4, 17" in note for note in data["notes"])


@pytest.mark.parametrize("table", ["6", "7", "8"])
def test_cells_of_fine_tuned_weights_need_them(all_tasks, tmp_path, table):
    """Section 4.6: the GUI cells of all ablations are of fine-tuned models; the full row repeats Table 2."""
    for r in json.loads((PAPERS / f"pixelprune_table{table}.json").read_text())["rows"]:
        for metric in r["metrics"]:
            found = planned("PixelPrune", r, metric, "cuda", tmp_path)
            if metric.startswith("SS") and r["method"] != "Full":
                assert "trained" in found.why_not and not found.runs
            elif metric in ("DocVQA", "InfoVQA", "ChartQA"):
                assert found.runs


def test_planned_runs_count_as_the_papers_do(all_tasks, tmp_path):
    data = json.loads((PAPERS / "guikv_thirdparty_starkv.json").read_text())
    plans = [plan(data, r, metric, "cuda", tmp_path) for r in data["rows"] for metric in r["metrics"]]
    runs = [r for found in plans for r in found.runs]
    assert runs and all(r["reading"] == "paper" and "--reading paper" in paper_cells.command(r) for r in runs)


@pytest.mark.parametrize(
    ("given", "metric", "says"),
    [
        (row(model="Jedi-3B"), "DocVQA", "no adapter for Jedi-3B"),
        (row(), "MMMU", "no task"),
        (row(method="ST-Lite"), "DocVQA", "no method ST-Lite"),
        (row("FocusUI-3B", "FocusUI", 50.0, train_data="30 percent"), "SSPro-Avg", "trained"),
        (row(training="knowledge distillation"), "DocVQA", "trained"),
        (row(gui_training="x"), "SSv2-Web", "trained"),
        (row(method="Random", model="Qwen3-VL-2B"), "ttft_ms", "no task"),
    ],
)
def test_what_cannot_be_measured_says_why(all_tasks, tmp_path, given, metric, says):
    found = planned("PixelPrune", given, metric, "cuda", tmp_path)
    assert says in found.why_not and not found.runs


def test_names_that_are_mapped_exist():
    from vtprune_eval.models import MODELS
    from vtprune_eval.registry import method_names

    assert set(MODEL_NAMES.values()) <= set(MODELS)
    single = {t[0] for t in ACCURACIES.values() if len(t) == 1}
    assert single - {"OSWorld_G"} == set(paper_cells.QUESTIONS)
    assert {METHOD_NAMES[m] for m in ("Full", "PixelPrune", "Resize", "Random", "ConnComp")} <= set(method_names())


def test_table_4_prints_paper_and_formula_side_by_side(capsys, tmp_path):
    assert cli.main(["table", "pixelprune-4", "--runs", str(tmp_path), "--format", "json"]) == 0
    cells = {(c["row"], c["metric"]): c for c in json.loads(capsys.readouterr().out)["cells"]}
    cell = cells[3, "prefill_tflops"]
    assert cell["paper"] == 11 and cell["analytic"] == pytest.approx(8.47, abs=0.01) and cell["measured"] is None
    assert cells[3, "flops_speedup"]["analytic"] == pytest.approx(6.6, rel=0.02)
    assert cells[0, "ttft_ms"]["analytic"] is None
    assert cli.main(["table", "pixelprune-4", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "11 / - = 8.471" in out and "arXiv 2604.00886" in out


def test_guipruners_ratio_follows_from_formulas(capsys, tmp_path):
    """One frame size is fitted to the printed 11.5 TFLOPs; the printed ratio of 3.4 is not fitted."""
    assert cli.main(["table", "guipruner-efficiency-secondary", "--runs", str(tmp_path), "--format", "json"]) == 0
    cells = {(c["row"], c["metric"]): c for c in json.loads(capsys.readouterr().out)["cells"]}
    assert cells[0, "tflops"]["analytic"] == pytest.approx(11.5, rel=0.01)
    assert cells[1, "flops_speedup"]["analytic"] == pytest.approx(3.4, rel=0.04)
    assert cells[1, "vision_encoder_ms"]["analytic"] is None


def test_a_step_counts_what_each_layer_sees():
    dims = analytic.DIMS
    whole = analytic.step_flops(dims, 100, [50], 20, 1.0, 2)
    cut = analytic.step_flops(dims, 100, [50], 20, 0.5, 2)
    layer = [dims.layer_linear(n) + dims.layer_attention(n * n) for n in (170, 120)]
    assert whole - cut == pytest.approx((dims.layers - 2) * (layer[0] - layer[1]))


def test_guikvs_printed_saving_is_beyond_the_formula(capsys, tmp_path):
    """With linear layers counted, a 40 % cache saves less than a fifth per token; the table says why."""
    assert cli.main(["table", "guikv-abstract", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "38.9 / - = 17.02" in out and "accounting is not stated" in out


@pytest.mark.parametrize(
    ("given", "metric", "says"),
    [
        (row("Qwen3.5-2B"), "DocVQA", ["--model qwen3.5-2b --method full,pixelprune --budget auto --tasks DocVQA_VAL"]),
        (row("FocusUI-3B", "FocusUI", 30.0), "OSWorld-G-Avg", ["--model focusui-3b --method full,focusui --budget 30"]),
        (row("OpenCUA-7B", "SnapKV", 20.0), "SSPro-Avg", ["--model opencua-7b --method full,snapkv --budget 20"] * 6),
        (row(), "olmOCRBench", ["--tasks olmOCRBench"]),
        (
            row(),
            "Avg",
            [
                f"--tasks {t} "
                for t in (
                    "OCRBench",
                    "DocVQA_VAL",
                    "InfoVQA_VAL",
                    "ChartQA_TEST",
                    "AI2D_TEST",
                    "MMLongBench_DOC",
                    "olmOCRBench",
                )
            ],
        ),
    ],
)
def test_missing_cells_name_their_commands(all_tasks, tmp_path, given, metric, says):
    lines = [
        command(r)
        for r in planned(
            "PixelPrune" if given["retain_pct"] is None else "FocusUI", given, metric, "cuda", tmp_path
        ).runs
    ]
    assert len(lines) == len(says) and all(s in line for s, line in zip(says, lines, strict=True))
    assert all(("--trust-remote-code" in line) == ("opencua" in line) for line in lines)
    for line in lines:
        run_parser().parse_args(shlex.split(line)[3:])


def test_flops_of_a_run_are_counted_per_question(all_tasks, tmp_path):
    data = json.loads((PAPERS / "pixelprune_table1.json").read_text())
    full = next(r for r in data["rows"] if r["method"] == "Full" and r["model"] == "Qwen3-VL-2B")
    sizes = paper_table._mean_sizes()
    for metric, questions, images in (("DocVQA", 5349, 1), ("MMLongBench-Doc", 1082, 43)):
        found = plan({**data, "rows": [full]}, full, metric, "cuda", tmp_path)
        cost = paper_table.run_flops(found.runs[0], {**data, "rows": [full]}, {(0, metric): found})
        each = analytic.costs([sizes[metric][0]] * images, 120, 100.0)["ours"]
        assert cost == pytest.approx(each * questions)


def test_dry_run_counts_flops(all_tasks, capsys, tmp_path):
    assert cli.main(["table", "pixelprune-1", "--runs", str(tmp_path), "--dry-run", "--device", "cuda"]) == 0
    out = capsys.readouterr().out
    rows = [
        r for r in json.loads((PAPERS / "pixelprune_table1.json").read_text())["rows"] if r["model"] == "Qwen3-VL-2B"
    ]
    shares = {r["method"]: (r.get("retain_pct_by_metric") or {}).get("OCRBench", r["retain_pct"]) for r in rows}
    # OCRBench: 1000 images of the mean size, through five cells
    one = sum(analytic.costs([(615, 732)], 120, share)["ours"] * 1000 for share in shares.values())
    lines = out.splitlines()
    asked = "--model qwen3vl-2b --method full,resize,random,conncomp,pixelprune --budget auto --tasks OCRBench"
    at = next(i for i, line in enumerate(lines) if asked in line)
    assert f"{one / 1e15:,.1f} PFLOPs" in lines[at + 1]
    assert "h at an assumed 100 TFLOP/s" in lines[-1]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A paper with one table that the stand-in can fill in seconds."""
    papers = tmp_path / "board" / "papers"
    papers.mkdir(parents=True)
    rows = [
        {**row("Tiny", m, 100.0 if m == "Full" else None), "metrics": {"Doc": v, "Other": 1.0}}
        for m, v in (("Full", 70.0), ("Resize", 60.0))
    ]
    (papers / "small_table1.json").write_text(
        json.dumps(
            {
                "schema_version": 1,
                "paper": "PixelPrune",
                "arxiv": "0",
                "table": "1",
                "caption": "c",
                "source": "s",
                "source_kind": "primary",
                "retain_meaning": "visual_tokens",
                "units": {"Doc": "percent", "Other": "percent"},
                "rows": rows,
            }
        )
    )
    shutil.copy(PAPERS / "pixelprune_table9.json", papers)
    monkeypatch.setattr(paper_table, "papers_dir", lambda: papers)
    monkeypatch.setitem(paper_cells.MODEL_NAMES, "Tiny", "stub")
    monkeypatch.setitem(paper_cells.ACCURACIES, "Doc", ("mini-doc",))
    return tmp_path / "runs"


def interrupted(*args):
    raise KeyboardInterrupt


def test_missing_cells_are_named_filled_and_resumed(small, capsys, monkeypatch):
    args = ["table", "small-1", "--runs", str(small), "--device", "cpu"]
    assert cli.main(args) == 0
    out = capsys.readouterr().out
    assert "1 runs are missing" in out and "70 / -" in out and "not measurable here: 2 cells: no task" in out
    assert cli.main([*args, "--dry-run"]) == 0
    assert "1 runs missing" in capsys.readouterr().out
    line = next(line.strip() for line in out.splitlines() if line.startswith("  python -m"))
    with monkeypatch.context() as patch:  # killed on the way: half a run fills nothing, and is gone on with
        patch.setattr("vtprune_eval.runner.execute.report", interrupted)
        assert cli.main(shlex.split(line)[3:]) == 130
    capsys.readouterr()
    assert cli.main(args) == 0
    assert "1 runs are missing" in capsys.readouterr().out
    assert cli.main([*args, "--run"]) == 0
    assert "480 of 480 records are there" in capsys.readouterr().err
    assert cli.main([*args, "--format", "json"]) == 0
    cells = [c for c in json.loads(capsys.readouterr().out)["cells"] if c["metric"] == "Doc"]
    assert all(c["commands"] == [] for c in cells)
    for cell, method in zip(cells, ("full", "resize"), strict=True):
        (folder,) = small.glob("stub--mini-doc-*")
        rows = {r["method"]: r for r in json.loads((folder / "summary.json").read_text())["rows"]}
        assert cell["measured"] == pytest.approx(100 * rows[method]["tasks"]["mini-doc"]["accuracy"])


def test_listing_and_unknown_names(capsys):
    assert cli.main(["table"]) == 0
    assert "pixelprune-4" in capsys.readouterr().out
    assert cli.main(["table", "pixelprune-44"]) == 2
    assert "unknown table 'pixelprune-44'" in capsys.readouterr().err
