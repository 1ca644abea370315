"""Figures: what is drawn is what the rows say, names never overlap, and files that a submission system takes."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from PIL import Image

from vtprune_eval import cli
from vtprune_eval.api import Result
from vtprune_eval.errors import UserError
from vtprune_eval.report.gathered import chosen, gather
from vtprune_eval.report.measures import COSTS, cost_named, value_of

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
from vtprune_eval.report.figures import curves, draw, stages, style


@pytest.fixture(scope="module")
def data(finished):
    return gather([finished])


def panels(data, tasks=("mini-doc",), measure="accuracy", x="flops-all"):
    return curves.panel_of(data, data.rows, "t", tasks, measure, cost_named(x))


def test_points_and_intervals_are_the_summary(finished, data):
    rows = {(r["label"], r["budget"]): r for r in json.loads((finished / "summary.json").read_text())["rows"]}
    panel = panels(data, x="tokens-in")
    assert [s.name for s in panel.series] == ["pixelprune", "resize"]
    for series in panel.series:
        assert [p.text for p in series.points] == ["10%", "50%"]
        for point in series.points:
            row = rows[series.name, point.text[:-1]]
            entry = row["tasks"]["mini-doc"]
            assert point.y == pytest.approx(100 * entry["accuracy"])
            assert [point.low, point.high] == pytest.approx([100 * v for v in entry["ci95"]])
            of_task = [c["target_recall"] for c in row["costs"].values() if isinstance(c, dict) and "x" in c]
            assert not of_task
    assert panel.full.y == pytest.approx(100 * rows["full", "-"]["tasks"]["mini-doc"]["accuracy"])


def test_the_mean_over_tasks_weighs_tasks_alike(data):
    row = data.rows[1]
    single = [value_of(row, [t], "accuracy")[0] for t in data.tasks]
    mean, low, high = value_of(row, data.tasks, "accuracy")
    assert mean == pytest.approx(sum(single) / 2) and low <= mean <= high
    share, *_ = value_of(row, data.tasks, "retention", data.full)
    assert share == pytest.approx(mean / value_of(data.full, data.tasks, "accuracy")[0])
    assert value_of(data.full, data.tasks, "retention", data.full) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_never_overlap_and_stay_in_order(seed):
    rng = random.Random(seed)
    heights = [rng.uniform(1, 3) for _ in range(12)]
    places = [rng.uniform(0, 20) for _ in heights]
    at = style.apart(places, heights, 0.0, 40.0)
    boxes = sorted((c - h / 2, c + h / 2) for c, h in zip(at, heights, strict=True))
    assert all(a[1] <= b[0] + 1e-6 for a, b in itertools.pairwise(boxes))
    assert boxes[0][0] >= -1e-6 and boxes[-1][1] <= 40 + 1e-6
    order = sorted(range(12), key=lambda i: places[i])
    assert [at[i] for i in order] == sorted(at)


def test_boxes_that_do_not_touch_stay_where_they_are():
    assert style.apart([1.0, 9.0, 5.0], [1, 1, 1], 0, 10) == [1.0, 9.0, 5.0]


@pytest.mark.parametrize("columns", [1, 2])
def test_names_in_a_figure_do_not_overlap(columns):
    points = [curves.Point(x, y, y - 5, y + 5, f"{x}%") for x, y in ((10, 50.0), (20, 60.0))]
    names = [f"method-{i}[setting=0.{i},another={i}]+with-a-long-name-{i}" for i in range(20)]
    panel = curves.Panel("t", [curves.Series(name, points) for name in names], curves.Point(100, 90, 85, 95, ""))
    look = style.Look(columns)
    with style.look_of(look):
        figure, _ = curves.figure_of([panel], "accuracy", COSTS["tokens"], look)
        figure.canvas.draw()
        boxes = [t.get_window_extent(figure.canvas.get_renderer()) for t in figure.texts]
    assert len(boxes) == 21
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    width, height = figure.get_size_inches() * figure.dpi
    assert all(b.x0 >= 0 and b.x1 <= width and b.y0 >= 0 and b.y1 <= height for b in boxes)
    assert figure.get_size_inches()[0] == pytest.approx(style.WIDTHS[columns])


def test_curves_differ_in_colour_or_marker():
    looks = [style.mark(i) for i in range(56)]
    assert len({(m["color"], m["marker"]) for m in looks}) == 56


def test_a_sweep_becomes_one_curve(tmp_path):
    run = ["--model", "stub", "--method", "pixelprune", "--budget", "auto", "--tasks", "mini-doc", "--limit", "6"]
    assert cli.main([*run, "--set", "pixelprune.tau=0,0.1,0.2", "--out", str(tmp_path / "r")]) == 0
    swept = gather([tmp_path / "r"])
    panel = curves.panel_of(swept, swept.rows, "t", ["mini-doc"], "accuracy", cost_named("tokens-in"))
    (series,) = panel.series
    assert series.name == "pixelprune" and sorted(p.text for p in series.points) == ["tau=0", "tau=0.1", "tau=0.2"]


def test_files_of_a_run(run, capsys):
    assert cli.main(["plot", str(run), "--font", "serif", "--x", "kv"]) == 0
    out = capsys.readouterr().out
    assert "caption: Accuracy against KV cache after prefill (kB), stub, mean over 2 tasks, mini-doc: 12 samples" in out
    stem = run / "plots" / "accuracy-kv-mean"
    assert {p.name for p in (run / "plots").iterdir()} == {f"{stem.name}.{e}" for e in ("pdf", "svg", "png")}
    pdf = stem.with_suffix(".pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf
    with Image.open(stem.with_suffix(".png")) as picture:
        assert abs(picture.width - 300 * style.WIDTHS[1]) <= 1
    before = {p: p.read_bytes() for p in (run / "plots").iterdir()}
    assert cli.main(["plot", str(run), "--font", "serif", "--x", "kv"]) == 0
    assert {p: p.read_bytes() for p in (run / "plots").iterdir()} == before


def test_the_stages_add_up(data, monkeypatch):
    times = [{stage: float(k + i) for k, (stage, *_) in enumerate(stages.STAGES)} for i in range(3)]
    monkeypatch.setattr(stages, "stage_times", lambda row, tasks: times)
    with style.look_of(style.Look()):
        figure = stages.figure_of(data.rows, data.tasks, style.Look())
    (axes,) = figure.axes
    bars = [b for c in axes.containers for b in c]
    assert len(bars) == len(stages.STAGES) * len(data.rows)
    assert max(b.get_x() + b.get_width() for b in bars) == pytest.approx(sum(range(6)) + 6)
    whiskers = [line for line in axes.lines if len(set(line.get_ydata())) == 1]
    assert [list(w.get_xdata()) for w in whiskers] == [[18.0, 24.0]] * len(data.rows)
    assert len({b.get_hatch() for b in bars}) == 4 and len({b.get_facecolor() for b in bars}) == len(stages.STAGES)


def test_the_python_api_draws_the_same(finished, tmp_path):
    (path,) = Result(finished).plot(tmp_path / "a.svg", x="kv", tasks="mini-doc", methods="resize", columns=2)
    arguments = ["--x", "kv", "--tasks", "mini-doc", "--methods", "resize", "--columns", "2"]
    assert cli.main(["plot", str(finished), *arguments, "--out", str(tmp_path / "b.svg")]) == 0
    assert path.read_text() == (tmp_path / "b.svg").read_text()
    with pytest.raises(UserError, match="unknown option of a figure 'colour'"):
        Result(finished).plot(tmp_path, colour="red")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "see `python -m vtprune_eval plot --help`"),
        (["RUN", "--methods", "resise"], "unknown method of these runs 'resise': did you mean 'resize'"),
        (["RUN", "--budgets", "11"], "unknown budget of these runs '11'"),
        (["RUN", "--tasks", "mini-dock"], "unknown task of these runs 'mini-dock'"),
        (["RUN", "--x", "flop"], "unknown cost 'flop': did you mean 'flops'"),
        (["RUN", "--y", "precision"], "unknown value of --y 'precision'"),
        (["RUN", "--y", "recall"], "no sample has a target box"),
        (["RUN", "--x", "energy"], "no row has both accuracy and energy"),
        (["RUN", "--kind", "pie"], "unknown value of --kind 'pie'"),
        (["RUN", "--intervals", "box"], "unknown value of --intervals 'box'"),
        (["RUN", "--formats", "gif"], "unknown format 'gif'"),
        (["RUN", "--formats", ","], "--formats names none"),
        (["RUN", "--out", "a.jpeg"], "is written as pdf, svg, png"),
        (["RUN", "--out", "RUN/run.json/x"], "cannot be made"),
        (["RUN", "--width", "0"], "--width 0 is outside"),
        (["RUN", "--columns", "3"], "invalid choice"),
        (["RUN", "--kind", "stages", "--tasks", "all"], "draws one task"),
        (["nosuch"], "is not a run folder"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(run, capsys, arguments, says):
    assert cli.main(["plot", *(a.replace("RUN", str(run)) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


OTHER = [
    "--model",
    "stub",
    "--method",
    "full,stride",
    "--budget",
    "10",
    "--limit",
    "12",
    "--tasks",
    "mini-doc,mini-nav",
]


def test_two_runs_stand_in_one_figure(finished, tmp_path):
    assert cli.main([*OTHER, "--out", str(tmp_path / "b")]) == 0
    both = gather([finished, tmp_path / "b"])
    assert [r.name for r in both.rows if r.method != "pixelprune"] == [
        "full",
        "resize at 10",
        "resize at 50",
        "stride at 10",
    ]
    assert [r.name for r in chosen(both, "stride,resize", "10")] == ["full", "stride at 10", "resize at 10"]
    drawn = draw.draw([finished, tmp_path / "b"], x="kv", out=tmp_path, formats=["svg"])
    assert drawn.files[0].name == "accuracy-kv-mean.svg"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--limit", "11"], "differ in the samples of mini-doc (12; 11)"),
        (["--max-new-tokens", "3"], "differ in the limit of an answer (none; 3)"),
        (["--reading", "paper"], "differ in the reading of budgets (equal; paper)"),
    ],
)
def test_runs_that_may_not_stand_together_are_one_sentence(finished, tmp_path, capsys, change, says):
    assert cli.main([*OTHER, *change, "--out", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert cli.main(["plot", str(finished), str(tmp_path / "b")]) == 2
    error = capsys.readouterr().err
    assert "cannot stand together" in error and says in error and error.count("\n") == 1
