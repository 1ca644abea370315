"""Tables of runs: plain numbers in CSV and Parquet, and LaTeX that compiles whatever a name holds."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess

import pytest

from vtprune_eval import cli
from vtprune_eval.commands.export import as_csv
from vtprune_eval.report.gathered import gather
from vtprune_eval.report.latex import CHOICES, escaped, latex
from vtprune_eval.report.tidy import COLUMNS, lines_of

HOSTILE = "a_b%&$#{}~^\\|<>\"'`[x]--éÆÐ中\u200b\n"


@pytest.fixture(scope="module")
def lines(finished):
    data = gather([finished])
    return lines_of(data, data.rows, [*data.tasks, "mean"])


def test_the_numbers_are_those_of_the_summary(finished, capsys):
    assert cli.main(["export", str(finished), "--csv"]) == 0
    found = {(r["label"], r["budget"], r["task"]): r for r in csv.DictReader(capsys.readouterr().out.splitlines())}
    rows = json.loads((finished / "summary.json").read_text())["rows"]
    assert len(found) == len(rows) * 3
    for row in rows:
        budget = "100" if row["method"] == "full" else row["budget"]
        for task, entry in row["tasks"].items():
            line = found[row["label"], budget, task]
            assert float(line["accuracy"]) == entry["accuracy"] and int(line["n"]) == entry["n"] == 12
            assert [float(line["accuracy_low"]), float(line["accuracy_high"])] == entry["ci95"]
            if "vs_full" in entry:
                assert float(line["difference"]) == entry["vs_full"]["difference"]
                assert (float(line["p"]), line["finding"]) == (entry["vs_full"]["p"], entry["vs_full"]["verdict"])
                assert float(line["p_holm"]) == entry["vs_full"]["p_holm"]
        mean = found[row["label"], budget, "mean"]
        accuracies = [e["accuracy"] for e in row["tasks"].values()]
        assert float(mean["accuracy"]) == pytest.approx(sum(accuracies) / 2)
        assert (mean["p"], float(mean["budget_pct"])) == ("", float(budget))


def test_types_are_the_columns(lines):
    for line in lines:
        assert list(line) == list(COLUMNS)
        assert all(v is None or isinstance(v, COLUMNS[k]) for k, v in line.items())
    assert all(line["budget"] for line in lines)


def test_parquet_holds_the_same(finished, tmp_path, lines):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert cli.main(["export", str(finished), "--out", str(tmp_path / "t.parquet")]) == 0
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == lines
    kinds = {str: "string", float: "double", int: "int64"}
    assert [str(f.type) for f in table.schema] == [kinds[kind] for kind in COLUMNS.values()]


def test_no_text_is_a_formula(lines):
    text = as_csv([{**lines[0], "label": "=1+1", "settings": "@x"}])
    (row,) = csv.DictReader(text.splitlines())
    assert (row["label"], row["settings"]) == ("'=1+1", "'@x")


def test_latex_escapes_everything():
    text = escaped(HOSTILE)
    assert text.startswith(r"a\_b\%\&\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textbar{}")
    assert "é" in text and "{[}U+4E2D{]}" in text and "\n" not in text and "--" not in text


def test_latex_has_a_line_per_row(lines):
    text = latex(lines, ("change", "kv"))
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert [line.split(" & ")[0] for line in body] == ["full", "pixelprune", "pixelprune", "resize", "resize"]
    assert all(line.count(" & ") == 6 for line in body) and "llrrrrr" in text
    own = next(line for line in lines if (line["label"], line["budget"], line["task"]) == ("resize", "10", "mean"))
    assert f"${100 * own['difference']:+.1f}$" in body[3] and f"${own['kv_bytes'] / 1e3:.1f}$" in body[3]
    assert "scriptsize" not in latex(lines, intervals=False)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(lines, tmp_path):
    odd = [{**line, "label": line["label"] + HOSTILE, "task": line["task"] + HOSTILE} for line in lines]
    (tmp_path / "t.tex").write_text(latex(odd, tuple(CHOICES), standalone=True, about=HOSTILE), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    assert (tmp_path / "t.pdf").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["RUN"], "say --latex, --csv or --parquet"),
        (["RUN", "--parquet"], "needs --out"),
        (["RUN", "--csv", "--latex"], "not allowed with"),
        (["RUN", "--csv", "--standalone"], "belong to --latex"),
        (["RUN", "--latex", "--columns", "flop"], "unknown column 'flop'"),
        (["RUN", "--csv", "--methods", "x"], "unknown method of these runs 'x'"),
        (["RUN", "--csv", "--out", "RUN/run.json/t.csv"], "name another file with --out"),
        (["nosuch", "--csv"], "is not a run folder"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(run, capsys, arguments, says):
    assert cli.main(["export", *(a.replace("RUN", str(run)) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
