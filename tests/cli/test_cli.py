"""The real command line: summaries, lists, errors, and what is imported when."""

from __future__ import annotations

import csv
import io
import json

import pytest
from PIL import Image

STUB = ("--model", "stub", "--limit", "12")


def test_json_summary_on_stdout_and_progress_on_stderr(cli, tmp_path):
    done = cli(*STUB, "--method", "full,pixelprune", "--budget", "10,50", "--format", "json", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [(r["method"], r["budget"]) for r in data["rows"]] == [
        ("full", "-"),
        ("pixelprune", "10"),
        ("pixelprune", "50"),
    ]
    row = data["rows"][1]
    assert set(row["tasks"]) == {"mini-grounding", "mini-doc", "mini-nav"}
    entry = row["tasks"]["mini-doc"]
    assert entry["n"] == 12
    assert 0 <= entry["ci95"][0] <= entry["accuracy"] <= entry["ci95"][1] <= 1
    assert 0 <= entry["format_error_rate"] <= 1
    assert row["costs"]["visual_kept_pct"] == pytest.approx(10, abs=1)
    assert "sample/s" in done.stderr or "sample" in done.stderr
    assert json.loads((tmp_path / "r" / "summary.json").read_text()) == data


def test_table_names_the_run_folder_and_the_report(cli, tmp_path):
    done = cli(*STUB, "--method", "full,random", "--budget", "10", "--tasks", "mini-doc", "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    for word in (
        "visual kept %",
        "mini-doc",
        "TTFT ms",
        "KV kB",
        "speed-up",
        "acc. change",
        str(tmp_path / "r"),
        "report.md",
    ):
        assert word in done.stdout
    assert "random" in (tmp_path / "r" / "report.md").read_text()


def test_csv_and_markdown(cli, tmp_path):
    done = cli(*STUB, "--method", "full", "--tasks", "mini-doc", "--format", "csv", "--out", tmp_path / "a")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows[0]["method"] == "full"
    done = cli(*STUB, "--method", "full", "--tasks", "mini-doc", "--format", "md", "--out", tmp_path / "b")
    assert done.stdout.startswith("| method")


@pytest.mark.parametrize("what", ["models", "methods", "tasks"])
def test_lists(cli, what):
    data = json.loads(cli("list", what, "--format", "json").stdout)
    assert {"models": "nano", "methods": "pixelprune", "tasks": "mini-nav"}[what] in {d["name"] for d in data}
    assert "pixelprune" in cli("list", "methods").stdout


def test_explain_names_hyper_parameters_paper_and_deviations(cli):
    text = cli("explain", "--method", "pixelprune").stdout
    for word in ("select_patches", "tau = 0.0 (0.0 to 1.0)", "2604.00886", "differs from the published code"):
        assert word in text


BAD = {
    "model": (["--model", "qwen3vl-3b"], "did you mean 'qwen3vl-8b'"),
    "method": (["--method", "pixelprun"], "did you mean 'pixelprune'"),
    "task": (["--tasks", "mini-docs"], "did you mean 'mini-doc'"),
    "budget zero": (["--budget", "0"], "outside (0, 100]"),
    "budget word": (["--budget", "some"], "not a percentage"),
    "budget like": (["--method", "random", "--budget", "like:random"], "does not decide a count"),
    "hyper-parameter": (["--set", "pixelprune.tua=1"], "did you mean 'tau'"),
    "range": (["--set", "pixelprune.tau=2"], "outside [0.0, 1.0]"),
    "number": (["--set", "pixelprune.tau=x"], "not a number"),
    "ambiguous": (["--method", "pixelprune,random", "--set", "tau=0"], "ambiguous"),
    "set form": (["--set", "tau"], "KEY=VALUE"),
    "collision": (["--method", "pixelprune+random"], "cannot be combined"),
    "limit": (["--limit", "0"], "at least 1"),
    "option": (["--modle", "nano"], "unrecognized"),
    "config missing": (["--config", "none.yaml"], "cannot be read"),
    "format": (["--format", "xml"], "unknown value of --format"),
    "data": (["--tasks", "aitw"], "--data-path"),
    "empty": (["--method", ","], "at least one method"),
}


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_one_sentence_and_exit_2(cli, case):
    args, sentence = BAD[case]
    done = cli(*args)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: [", "not valid YAML"),
        ("- a", "a mapping of settings"),
        ("modell: nano", "did you mean 'model'"),
        ("budget: 0", "outside (0, 100]"),
        ("limit: many", "whole number"),
        ("set: 3", "must map"),
    ],
)
def test_bad_config_files(cli, tmp_path, text, sentence):
    (tmp_path / "run.yaml").write_text(text)
    done = cli("--config", "run.yaml")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_config_file_with_overrides(cli, tmp_path):
    (tmp_path / "run.yaml").write_text(
        "model: stub\nmethod: [full, pixelprune]\nbudget: [10, 20]\n"
        "tasks: mini-doc\nlimit: 5\nset: {pixelprune.tau: 0.1}\n"
    )
    done = cli("--config", "run.yaml", "--budget", "30", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [r["budget"] for r in json.loads(done.stdout)["rows"]] == ["-", "30"]


def test_failed_samples_are_counted_as_wrong(cli, tmp_path):
    """A broken and a missing image: records with a reason, wrong in the accuracy, told in the summary."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(data / "images" / "ok.png")
    (data / "images" / "broken.png").write_bytes(b"junk")
    lines = [
        json.dumps(
            {
                "id": n,
                "images": [f"images/{n}.png"],
                "question": "what is that",
                "target": {"type": "text", "answers": ["x"]},
            }
        )
        for n in ("ok", "broken", "gone")
    ]
    (data / "samples.jsonl").write_text("\n".join(lines))
    done = cli(
        "--model",
        "nano",
        "--method",
        "full",
        "--tasks",
        "mini-doc",
        "--data-path",
        data,
        "--format",
        "json",
        "--out",
        tmp_path / "r",
    )
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)["rows"][0]["tasks"]["mini-doc"]
    assert entry["n"] == 3
    assert entry["failures"] == {"bad_image": 2}
    records = [
        json.loads(x) for x in (tmp_path / "r" / "records" / "mini-doc--full@100.jsonl").read_text().splitlines()
    ]
    assert [r["reason"] for r in records if r["status"] == "failed"] == ["bad_image", "bad_image"]
    assert all(r["score"] == 0 and r["answer"] == "" for r in records if r["status"] == "failed")


def test_random_weights_have_costs_and_no_accuracy(cli, tmp_path):
    done = cli(
        "--model",
        "nano",
        "--weights",
        "random",
        "--method",
        "full,pixelprune",
        "--limit",
        "2",
        "--tasks",
        "mini-grounding",
        "--format",
        "json",
        "--out",
        tmp_path / "r",
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["trained"] is False
    assert all("accuracy" not in r["tasks"]["mini-grounding"] for r in data["rows"])
    assert data["rows"][1]["costs"]["flops"] < data["rows"][0]["costs"]["flops"]


def test_hostile_sample_ids_and_answers_stay_text(cli, tmp_path):
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(data / "images" / "a.png")
    (data / "samples.jsonl").write_text(
        json.dumps(
            {
                "id": "../../<script>alert(1)</script>",
                "images": ["images/a.png"],
                "question": "<|image_pad|> <b>",
                "target": {"type": "text", "answers": ["x"]},
            }
        )
    )
    done = cli(
        "--model", "nano", "--method", "full", "--tasks", "mini-doc", "--data-path", data, "--out", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "r" / "records").iterdir()) == ["mini-doc--full@100.jsonl"]


def test_a_method_that_reads_the_target_is_refused_before_anything_runs(cli, tmp_path):
    done = cli(
        "--model",
        "stub",
        "--method",
        "full,oracle+snapkv",
        "--tasks",
        "mini-grounding,mini-doc",
        "--budget",
        "20",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 2
    assert "oracle+snapkv keeps the blocks under the target box, and mini-doc has none" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_sanity_floor_speaks_when_chance_cannot_explain_it(cli, tmp_path):
    """The stand-in is below the floor of mini-doc; two samples do not show that, sixty do."""
    for limit, warned in ((2, False), (60, True)):
        done = cli(
            "--model",
            "stub",
            "--method",
            "full",
            "--tasks",
            "mini-doc",
            "--limit",
            limit,
            "--out",
            tmp_path / str(limit),
        )
        assert done.returncode == 0, done.stderr
        assert ("below the sanity floor of 80" in done.stdout) is warned, done.stdout
