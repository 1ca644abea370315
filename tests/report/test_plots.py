"""Plots: what is drawn is what the cells say; files of a run."""

from __future__ import annotations

import pytest
from PIL import Image

from vtprune_eval import cli
from vtprune_eval.report.result_file import cells_of
from vtprune_eval.runner.folder import read_run

plots = pytest.importorskip("vtprune_eval.report.plots")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture(scope="module")
def cells(finished):
    run = read_run(finished)
    return [
        c
        for c in cells_of(run.settings, {k: list(v.values()) for k, v in run.records.items()})
        if c["task"] == "mini-doc"
    ]


def test_points_and_bars_are_the_cells(cells):
    axes = plots.accuracy_figure(cells, "t").axes[0]
    drawn = {c.get_label(): c for c in axes.containers}
    assert set(drawn) == {"full", "pixelprune", "resize"}
    own = sorted((c for c in cells if c["method"] == "resize"), key=lambda c: c["costs"]["visual_tokens"])
    line, _, (bars,) = drawn["resize"]
    assert list(line.get_xdata()) == [c["costs"]["visual_tokens"] for c in own]
    assert list(line.get_ydata()) == [100 * c["accuracy"] for c in own]
    ends = [tuple(segment[:, 1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx((100 * c["ci95"][0], 100 * c["ci95"][1])) for c in own]


def test_no_interval_is_no_bar(cells):
    axes = plots.accuracy_figure([{**c, "ci95": None} for c in cells], "t").axes[0]
    for container in axes.containers:
        assert all(low == high for (_, low), (_, high) in container[2][0].get_segments())


def test_methods_differ_in_shape_and_colour(cells):
    axes = plots.accuracy_figure(cells, "t").axes[0]
    looks = [(c[0].get_color(), c[0].get_marker(), c[0].get_linestyle()) for c in axes.containers]
    assert all(len(set(column)) == 3 for column in zip(*looks, strict=True))


def test_stacked_stages_add_up(cells):
    for i, cell in enumerate(cells):
        cell["costs"] |= {stage: 10.0 * i + k for k, (stage, _, _) in enumerate(plots.STAGES)}
    axes = plots.stage_figure(cells, "t").axes[0]
    ends = [
        max(bar.get_x() + bar.get_width() for bar in (stack[i] for stack in axes.containers)) for i in range(len(cells))
    ]
    assert ends == pytest.approx([60.0 * i + 15 for i in range(len(cells))])
    assert len({stack[0].get_hatch() for stack in axes.containers}) == len(plots.STAGES)


def test_files_of_a_run(run, capsys):
    assert cli.main(["leaderboard", "plot", str(run)]) == 0
    names = {p.name for p in (run / "plots").iterdir()}
    assert names == {
        f"{t}-{kind}.{form}"
        for t in ("mini-doc", "mini-nav")
        for kind in ("accuracy", "stages")
        for form in ("png", "svg")
    }
    with Image.open(run / "plots" / "mini-doc-accuracy.png") as picture:
        assert picture.width > 1000
    assert cli.main(["leaderboard", "plot"]) == 2
