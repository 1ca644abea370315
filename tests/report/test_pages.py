"""Pages: what is ranked with what, what is dominated, and that text of others stays text."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re

import pytest

from tests.report.conftest import HOSTILE, edit_records
from vtprune_eval import cli
from vtprune_eval.notes import Note
from vtprune_eval.report.board import details_of, page
from vtprune_eval.report.pages import as_csv, as_markdown
from vtprune_eval.report.result_file import from_run, read
from vtprune_eval.report.rows import AXES, drop_repeated_full, mark_dominated, merge_draws, rows_of, settings_of_row
from vtprune_eval.runner.folder import read_run


def row(method, accuracy, cost, **more):
    return {
        "method": method,
        "accuracy": accuracy,
        "ranked": True,
        "group": "embedded",
        "set": "t",
        "model": "m",
        "weights": "w",
        "machine": "cpu",
        **dict.fromkeys(AXES, cost),
        **more,
    }


def dominated(rows, axis="flops"):
    mark_dominated(rows)
    return [r["dominated"][axis] for r in rows]


def test_dominated_rows():
    rows = [row("full", 0.9, 10), row("good", 0.9, 5), row("cheap", 0.5, 1), row("bad", 0.4, 5), row("twin", 0.5, 1)]
    assert dominated(rows) == [True, False, False, True, False]


@pytest.mark.parametrize("other", [{"group": "full-scale"}, {"set": "u"}, {"model": "n"}, {"weights": "v"}])
def test_rows_that_cannot_be_compared_never_dominate(other):
    assert dominated([row("a", 0.9, 1), row("b", 0.1, 9, **other)]) == [False, False]


def test_only_costs_of_the_machine_need_one_machine():
    rows = [row("a", 0.9, 1), row("b", 0.1, 9, machine="gpu")]
    assert dominated(rows) == [False, True]
    assert dominated(rows, "ttft_ms") == [False, False]


def test_unranked_and_incomplete_rows_take_no_part():
    rows = [row("oracle", 1.0, 1, ranked=False), row("a", 0.5, 5), row("b", None, 1), row("c", 0.9, None)]
    assert dominated(rows) == [None, False, None, None]


def test_one_command_writes_the_three_pages(run, board, capsys):
    assert cli.main(["leaderboard", "build", str(run), "--dir", str(board)]) == 0
    assert capsys.readouterr().out.count("page:") == 3
    first = {p.name: p.read_bytes() for p in board.iterdir() if p.is_file()}
    assert set(first) == {"index.html", "leaderboard.md", "leaderboard.csv"}
    assert cli.main(["leaderboard", "build", "--dir", str(board)]) == 0
    assert {p.name: p.read_bytes() for p in board.iterdir() if p.is_file()} == first
    rows = list(csv.DictReader(io.StringIO(first["leaderboard.csv"].decode())))
    assert len(rows) == 10 and {r["group"] for r in rows} == {"scripted"}
    assert float(rows[0]["ci95_low"]) <= float(rows[0]["accuracy"]) <= float(rows[0]["ci95_high"])


def test_markdown_has_one_table_per_group_and_sample_set(result):
    rows = rows_of(*read(result))
    for extra in rows_of(*read(result)):
        rows.append({**extra, "group": "random", "accuracy": None, "ci95": None, "difference": None})
    mark_dominated(rows)
    text = as_markdown(rows)
    assert text.count("\n### ") == 4 and text.count("\n## ") == 2
    random_part = text.split("## Random weights")[1]
    assert all(
        line.split("|")[6].strip() in {"-", "accuracy % [95 %]"}
        for line in random_part.splitlines()
        if line.startswith("| ")
    )


def test_hostile_text_stays_text(run):
    edit_records(run, "mini-doc--pixelprune@10.jsonl", lambda i, r: r.update(answer=HOSTILE, score=0.0))
    environment = json.loads((run / "environment.json").read_text())
    environment["processor"] = "=HYPERLINK(1) " + HOSTILE
    (run / "environment.json").write_text(json.dumps(environment))
    found = read_run(run)
    result, _ = from_run(found)
    rows = rows_of(result, {k: list(v.values()) for k, v in found.records.items()})
    mark_dominated(rows)
    records = {k: list(v.values()) for k, v in found.records.items()}
    text = page(rows, {result["name"]: details_of(result, records, None)}, "note")
    assert text.count("</script>") == 3 and "<img" not in text
    embedded = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert any(HOSTILE in r["machine"] for r in embedded["rows"])
    packed = re.search(rf'id="details-{re.escape(result["name"])}">(.*?)</script>', text, re.S)[1]
    details = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert set(details["tasks"]["mini-doc"]["cells"]["pixelprune@10"]["answers"]) == {HOSTILE}
    assert "<img" not in as_markdown(rows) and "[b]" not in as_markdown(rows)
    assert not any(c.startswith("=") for line in csv.reader(io.StringIO(as_csv(rows))) for c in line)


def test_pages_refer_to_nothing_outside(result):
    text = page(rows_of_marked(result), {}, "note")
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//|@import|url\(""", text)
    assert "default-src 'none'" in text


def rows_of_marked(result):
    rows = rows_of(*read(result))
    mark_dominated(rows)
    return rows


def test_an_empty_leaderboard_says_so(board, capsys):
    assert cli.main(["leaderboard", "build", "--dir", str(board)]) == 0
    assert "No result is committed yet" in (board / "leaderboard.md").read_text()
    assert cli.main(["leaderboard", "build", "--dir", str(board / "absent")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_cell_of_few_episodes_has_no_interval(run):
    loaded = read_run(run)
    rows = rows_of(from_run(loaded)[0], {k: list(v.values()) for k, v in loaded.records.items()})[:1]
    rows[0]["ci95"] = None
    mark_dominated(rows)
    assert f"{100 * rows[0]['accuracy']:.1f} (few clusters)" in as_markdown(rows)
    (line,) = csv.DictReader(io.StringIO(as_csv(rows)))
    assert line["accuracy"] and line["ci95_low"] == line["ci95_high"] == ""
    assert '"ci95"' not in page(rows, {}, "note")


def test_target_recall_and_the_speed_up_with_its_interval_are_columns(result):
    rows = [r for r in rows_of(*read(result)) if r["task"] == "mini-doc"]
    shown = {
        ("full", "100"): (1.0, 1.0, [1.0, 1.0], "| 100.0 ", "| 1.00x "),
        ("pixelprune", "10"): (0.254, 1.184, [1.0512, 1.306], "| 25.4 ", "| 1.18x [1.05, 1.31] "),
        ("pixelprune", "50"): (None, 1.5, None, "| - ", "| 1.50x (few clusters) "),
        ("resize", "10"): (0.0, None, None, "| 0.0 ", "| - "),
    }
    rows = [r for r in rows if (r["method"], r["budget"]) in shown]
    for r in rows:
        r["target_recall"], r["speedup"], r["speedup_ci95"] = shown[r["method"], r["budget"]][:3]
    mark_dominated(rows)
    table = as_markdown(rows).splitlines()
    heads = next([c.strip() for c in t.split("|")] for t in table if t.startswith("| model"))
    lines = {
        (c[2].strip(), c[3].strip()): c for t in table if len(c := t.split("|")) == len(heads) and "[records]" in t
    }
    assert set(lines) == set(shown)
    for key, (*_, recall, speedup) in shown.items():
        assert f"|{lines[key][heads.index('target recall %')]}".startswith(recall)
        assert f"|{lines[key][heads.index('speed-up [95 %]')]}".startswith(speedup)
    for line in csv.DictReader(io.StringIO(as_csv(rows))):
        recall, speedup, interval, *_ = shown[line["method"], line["budget"]]
        told = [line[k] for k in ("target_recall", "speedup", "speedup_low", "speedup_high")]
        assert told == ["" if v is None else str(v) for v in (recall, speedup, *(interval or (None, None)))]


def test_several_draws_have_the_mean_of_their_target_recalls():
    draws = [
        row("random", accuracy, 1, result="a", notes=[], budget=f"10#{n}" if n else "10", target_recall=recall)
        for n, (accuracy, recall) in enumerate(((0.5, 0.2), (0.7, 0.4)))
    ]
    (merged,) = merge_draws(draws)
    assert merged["target_recall"] == pytest.approx(0.3) and merged["accuracy"] == pytest.approx(0.6)
    (without,) = merge_draws([{**d, "target_recall": None} for d in draws])
    assert without["target_recall"] is None


def test_rows_say_what_was_set():
    settings = {
        "params": {"pixelprune.tau": "0.3", "pixelprune.metric": "max", "snapkv.window_size": ["8", "16"]},
        "budget_of": "prompt",
        "seed": 0,
        "history": 2,
    }
    assert settings_of_row(settings, "pixelprune") == "tau=0.3, history=2"
    assert settings_of_row(settings, "full") == "history=2"
    assert settings_of_row(settings, "pixelprune[metric=max]+snapkv[window_size=16]") == (
        "pixelprune.metric=max, pixelprune.tau=0.3, snapkv.window_size=16, budget of the prompt, history=2"
    )
    assert settings_of_row({"params": {}, "seed": 1}, "resize") == "seed=1"


def test_two_runs_that_differ_in_a_setting_are_told_apart(board, tmp_path):
    """Their rows name it on all pages, and ``full``, which both measured, stands there once and says so."""
    runs = []
    for tau in ("0", "0.3"):
        runs.append(str(tmp_path / f"tau{tau}"))
        assert (
            cli.main(
                [
                    "--model",
                    "stub",
                    "--method",
                    "full,pixelprune",
                    "--set",
                    f"pixelprune.tau={tau}",
                    "--limit",
                    "4",
                    "--tasks",
                    "mini-doc",
                    "--out",
                    runs[-1],
                ]
            )
            == 0
        )
    assert cli.main(["leaderboard", "build", *runs, "--dir", str(board)]) == 0
    rows = list(csv.DictReader(io.StringIO((board / "leaderboard.csv").read_text())))
    assert sorted(r["settings"] for r in rows if r["method"] == "pixelprune") == [
        "",
        "tau=0.3",
    ]
    (full,) = [r for r in rows if r["method"] == "full"]
    assert full["settings"] == "" and full["notes"].startswith("measured in stub-") and full["timed_samples"] == "4"
    assert "| tau=0.3 " in (board / "leaderboard.md").read_text()
    assert "measured in stub-" in (board / "index.html").read_text()


@pytest.mark.parametrize(
    "other",
    [{"set": "u"}, {"model": "n"}, {"weights": "v"}, {"machine": "gpu"}, {"set_to": "seed=1"}, {"method": "resize"}],
)
def test_only_the_same_full_row_is_dropped(other):
    rows = [
        row("full", 0.9, 1, **{"set_to": "", "notes": [], "timed": 8, "result": "a"}),
        row(
            **{"method": "full", "accuracy": 0.9, "cost": 1, "set_to": "", "notes": [], "timed": 9, "result": "b"}
            | other
        ),
    ]
    assert len(drop_repeated_full(rows)) == 2
    twin = {**rows[0], "result": "b", "timed": 9, "notes": []}
    (kept,) = drop_repeated_full([rows[0], twin])
    assert kept["result"] == "b" and kept["notes"] == ["measured in a, too"]


def test_timed_samples_and_the_size_of_a_cache_are_told(run):
    note = Note("per_query_head", {"times": 2})
    found = read_run(run)
    records = {k: list(v.values()) for k, v in found.records.items()}
    for key, own in records.items():
        if key[0] == "mini-doc" and key[1] != "full":
            for i, r in enumerate(own):
                r.update(times=r["times"] if i < 3 else None, notes=[note.data()])
                r["kv_bytes"] *= 100 if key[1] == "resize" else 1
    rows = rows_of(from_run(found)[0], records)
    assert {r["method"]: r["notes"] for r in rows if r["task"] == "mini-doc"} == {
        "full": [],
        "pixelprune": [],
        "resize": [str(note)],
    }
    assert {r["timed"] for r in rows if r["task"] == "mini-doc"} == {3, 12}
    mark_dominated(rows)
    assert "0.0 (3)" in as_markdown(rows) and "0.0 (12)" in as_markdown(rows) and str(note) in as_markdown(rows)
    assert {line["timed_samples"] for line in csv.DictReader(io.StringIO(as_csv(rows)))} == {"3", "12"}
