"""Tables that fit a terminal, and reports that are Markdown everywhere."""

from __future__ import annotations

from vtprune_eval import cli
from vtprune_eval.results.summary import folded

HEADS = ["method", "budget", "visual kept %", "mini-doc", "mini-nav", "GFLOPs"]
LINES = [
    ["full", "-", "100.0", "96.0 [90.0, 99.0]", "81.0 [70.0, 90.0]", "1.53"],
    ["stride", "20", "20.1", "-", "-", "0.5"],
]


def test_parts_fit_and_lose_nothing():
    text = "\n".join(folded(HEADS, LINES, 60))
    assert max(map(len, text.splitlines())) <= 60
    for cell in (*HEADS, *LINES[0], *LINES[1]):
        assert cell in text
    assert text.count("stride") == text.count("budget") == 2


def test_a_column_wider_than_the_terminal_stands_alone():
    parts = folded(HEADS, LINES, 10)
    assert sum("method" in p for p in parts) == 4


def test_a_wide_terminal_needs_one_table():
    assert len(folded(HEADS, LINES, 200)) == 1


def test_notes_of_a_report_are_no_rows_of_its_table(tmp_path):
    out = tmp_path / "r"
    assert (
        cli.main(
            [
                "--model",
                "stub",
                "--method",
                "full,stride",
                "--budget",
                "20",
                "--tasks",
                "mini-doc",
                "--limit",
                "4",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    lines = (out / "report.md").read_text().splitlines()
    notes = [i for i, line in enumerate(lines) if "not distinguishable" in line and line.startswith("- ")]
    assert notes
    before = lines[: notes[0]]
    assert before[-1] == "" or before[-1].startswith("- ")
    assert not any(line.startswith("|") and "differences to full" in line for line in lines)


def test_a_preview_changes_no_leaderboard(tmp_path, capsys):
    out = tmp_path / "r"
    assert (
        cli.main(["--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "4", "--out", str(out)]) == 0
    )
    assert cli.main(["leaderboard", "build", str(out)]) == 0
    assert (out / "board" / "index.html").is_file()
    assert "a preview" in capsys.readouterr().out
