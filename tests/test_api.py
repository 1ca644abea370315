"""The Python API, and the notebook that shows it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

import vtprune_eval
from tests.conftest import ROOT
from vtprune_eval import Method, UserError, load_model, load_result, run
from vtprune_eval.methods.stride import Stride


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run(
        "stub", ["full", Stride()], [20, "50"], ["mini-doc", "mini-nav"], limit=4, out=str(tmp_path_factory.mktemp("r"))
    )


def test_rows_hold_plain_numbers(result):
    rows = result.rows
    assert list(zip(rows["method"], rows["budget"], strict=True)) == [("full", "-"), ("stride", "20"), ("stride", "50")]
    full = rows.iloc[0]
    assert full["accuracy"] == (full["mini-doc accuracy"] + full["mini-nav accuracy"]) / 2
    assert 0 <= full["mini-doc low"] <= full["mini-doc accuracy"] <= full["mini-doc high"] <= 1.0
    scores = result.records.query("method == 'full' and task == 'mini-doc'")["score"]
    assert full["mini-doc accuracy"] == scores.mean()
    assert full["mini-doc n"] == 4


def test_records_and_comparisons_are_frames(result):
    assert len(result.records) == 3 * 2 * 4
    assert set(result.records["task"]) == {"mini-doc", "mini-nav"}
    assert (result.records["counts.n_text"] >= 0).all()
    against = result.comparisons.query("other == 'full' and method == 'stride'")
    assert len(against) == 4
    assert set(against["n"]) == {4}


def test_nothing_is_printed_and_the_folder_can_be_read_again(result, capsys):
    again = load_result(result.folder)
    assert again.rows.equals(result.rows)
    run("stub", ["full", "stride"], [20, 50], ["mini-doc", "mini-nav"], limit=4, out=str(result.folder))
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="not a run folder"):
        load_result(result.folder / "records")


@dataclass(frozen=True)
class Upper(Method):
    """Keeps the upper blocks; defined here, in no package."""

    name: ClassVar[str] = "upper-of-a-test"

    def select_patches(self, view, budget):
        masks = [
            np.arange(rows * cols).reshape(rows, cols) < n
            for (rows, cols), n in zip(view.grids, budget.per_image, strict=True)
        ]
        return tuple(masks)


def test_a_method_object_and_a_loaded_model(tmp_path):
    model = load_model("nano")
    found = run(model, Upper(), 25, "mini-doc", limit=2, timings=1, out=str(tmp_path / "a"))
    kept = found.rows.set_index("method").loc["upper-of-a-test", "visual_kept_pct"]
    assert 20 < kept <= 27.5
    record = found.records.query("method == 'upper-of-a-test'").iloc[0]
    assert record["counts.visual"][0] == int(0.25 * record["counts.visual_full"][0] + 0.999)
    alone = run("nano", ["upper-of-a-test"], ["25"], ["mini-doc"], limit=2, timings=1, out=str(tmp_path / "b"))
    columns = ["method", "id", "answer", "score"]
    assert alone.records[columns].equals(found.records[columns])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"methods": [Stride]}, "write Stride\\(\\), not Stride"),
        ({"methods": ["strid"]}, "did you mean 'stride'"),
        ({"tasks": ["nowhere"]}, "unknown task"),
        ({"budgets": [-3]}, "budget"),
        ({"limmit": 3}, "did you mean 'limit'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        run("stub", **arguments)


def test_only_settings_of_a_model_load_it():
    with pytest.raises(UserError, match="setting of a model"):
        load_model("nano", limit=3)


def test_a_name_that_is_taken_is_refused():
    @dataclass(frozen=True)
    class Other(Method):
        """Another method of an installed name."""

        name: ClassVar[str] = "stride"

    with pytest.raises(UserError, match="is installed"):
        run("stub", Other())


def test_names_of_the_package():
    assert set(vtprune_eval.__all__) <= set(dir(vtprune_eval))
    with pytest.raises(AttributeError):
        _ = vtprune_eval.nothing


def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    module = ModuleType("notebook")  # where a dataclass looks for the names of its annotations
    monkeypatch.setitem(sys.modules, "notebook", module)
    names = vars(module)
    source = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    exec(compile(source, "docs/notebook.ipynb", "exec"), names)
    own = names["own"]
    assert set(own.rows["method"]) == {"full", "left"}
    assert names["page"].is_file()
