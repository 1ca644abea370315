"""Tables that fit a terminal, and reports that are Markdown everywhere."""

from __future__ import annotations

from vtprune_eval import cli
from vtprune_eval.results.folding import folded, in_lines, narrowed

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


def test_long_names_and_sentences_are_broken_between_their_parts():
    lines = [["pixelprune[metric=mae,tau=0.02]+guikv[alpha=3]", "like:pixelprune[tau=0.02]", *LINES[0][2:]]]
    text = "\n".join(folded(HEADS, lines, 60))
    assert max(map(len, text.splitlines())) <= 60 and "[metric=mae," in text
    rows = [["mini-doc", "pixelprune[tau=0.02] at auto - random at like:pixelprune[tau=0.02]", "12", "0.5", "better"]]
    columns = ("task", "cell", "samples", "p", "finding")
    heads, narrow = narrowed(columns, rows, 60, spare=(3, 2))
    assert tuple(heads) == columns and max(map(len, narrow[0][1].split("\n"))) <= 23
    assert narrowed(columns, rows, 45, spare=(3, 2))[0] == ["task", "cell", "samples", "finding"]
    assert narrowed(heads, rows, 200) == (heads, rows)
    assert in_lines(["one two three"], None) == ["one two three"]
    assert max(map(len, in_lines(["word " * 30], 40)[0].splitlines())) <= 40


def test_quiet_is_the_main_table_and_warnings(tmp_path, capsys):
    run = ["--model", "stub", "--method", "full,stride,resize", "--budget", "20", "--tasks", "mini-doc", "--limit", "6"]
    assert cli.main([*run, "--out", str(tmp_path / "r")]) == 0
    loud, err = capsys.readouterr()
    assert "Against full" in loud and "run: stub" in err
    assert "none of 1 pair is distinguishable, so none is shown here" in loud or "1 of 1 pair" in loud
    assert cli.main([*run, "--out", str(tmp_path / "r"), "-q"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("method ") and "stride" in out and "Against full" not in out and "reading equal" not in out
    assert "sample/s" not in err and "run: stub" not in err


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
