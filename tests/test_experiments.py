"""The ten experiments: their controls, how records become rows, and that every section's runs exist."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import experiments
import numpy as np
import pytest
from PIL import Image
from study import runs, sections, sections_more, twice
from study.controls import PLACES, Placed, Shallow

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method
from vtprune_eval.results.record import bitmap
from vtprune_eval.sample import Sample

TASK = "mini-grounding"
N = 6


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.png"
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (160, 192, 3), np.uint8)).save(path)
    return Sample("a", (path,), "click save", {"box_xyxy": [0, 0, 40, 40]})


def entered(adapter, method, sample, reading="paper"):
    return Pipeline(adapter, method, Budget.parse("40", reading), max_new_tokens=2).run(sample)


def test_one_mask_with_five_kinds_of_positions(tiny, page):
    found = {place: entered(tiny, Placed(place), page) for place in PLACES}
    n = sum(found["kept"].counts.visual)
    assert n == 12, "40 % of 30 tokens"
    same = entered(tiny, make_method("random-tokens"), page)
    assert found["kept"].kept == same.kept and found["kept"].ids == same.ids
    assert all(found[p].kept == found["kept"].kept for p in ("renumbered", "compacted"))
    assert found["padded"].counts.visual == (30,), "a marker for every dropped token"
    assert n < sum(found["pospad"].counts.visual) < 30
    assert found["padded"].target_recall == found["kept"].target_recall, "a marker is no target"


def test_tokens_without_deepstack_are_the_same_tokens(tiny, page):
    for name in ("random-tokens", "divprune"):
        whole, cut = entered(tiny, make_method(name), page), entered(tiny, Shallow(name), page)
        assert cut.kept == whole.kept
        assert cut.counts == whole.counts or cut.ids != whole.ids


def test_every_section_names_runs_that_exist():
    for model in ("nano", "micro"):
        known = {*runs.runs_of(model), experiments.TWO_QUESTIONS}
        wanted = {name for section in experiments.SECTIONS.values() for name in section.runs}
        assert wanted == known
    assert set(experiments.SECTIONS) == set(experiments.NOTES) == set(range(1, 11))
    assert "focusui" not in runs.designs("behind the ViT", "micro"), "only nano has a scorer"


class Written:
    """A study whose records were written by hand: 6 pages, of 4 x 3 blocks of 32 px."""

    def __init__(self, folder):
        model = SimpleNamespace(name="nano", adapter=None)
        self.study = runs.Study(model, (TASK,), folder, N)
        self.samples = list(self.study.loaded[TASK].samples)

    def add(self, run: str, method: str, budget: str, right, kept=range(12), recall=1.0, p=0.0):
        folder = self.study.folder / run
        (folder / "records").mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text("{}")
        lines = []
        for sample, score in zip(self.samples, right, strict=True):
            lines.append(
                {
                    "id": sample.id,
                    "status": "ok",
                    "reason": "",
                    "score": float(score),
                    "answer": "x" if score else "y",
                    "cluster": sample.cluster,
                    "counts": {"n_new": 3, "prompt": 27, "visual": [12], "visual_full": [12]},
                    "kept": [bitmap(tuple(kept))],
                    "frame": {"model_sizes": [[128, 96]], "file_sizes": [[128, 96]]},
                    "spent": {"achieved_pct": 50.0},
                    "target_recall": {"tokens": recall},
                    "logprobs": [p],
                }
            )
        name = runs.Cell(method, budget).slug
        (folder / "records" / f"{TASK}--{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))


@pytest.fixture
def written(tmp_path):
    own = Written(tmp_path)
    own.add("blind", "full", "100", [1, 1, 1, 1, 1, 1])
    own.add("blind", "no-image", "auto", [1, 0, 0, 0, 0, 0], kept=())
    own.add("small", "resize", "10", [0, 1, 0, 0, 0, 0])
    own.add("outside", "snapkv", "20", [1, 1, 1, 0, 0, 0], recall=0.25)
    for draw in range(runs.SEEDS):
        own.add("outside", "random-kv", f"20#{draw}" if draw else "20", [1, 0, 0, 0, 0, draw == 0])
    return own


def test_a_random_control_is_the_mean_of_its_draws(written):
    rows = written.study.cell("outside", "random-kv", "20")
    assert [r["score"] for r in rows] == [1, 0, 0, 0, 0, pytest.approx(0.2)]
    assert [r["score"] for r in written.study.cell("outside", "random-kv", "20", n_draws=1)] == [1, 0, 0, 0, 0, 1]
    assert written.study.cell("outside", "h2o", "20") == [], "what was not run is not there"


def cells(text: str, *starts: str) -> list[str]:
    """Cells of the row of a Markdown table that begins with ``starts``."""
    for line in text.splitlines():
        found = [c.strip() for c in line.strip("|").split("|")]
        if found[: len(starts)] == list(starts):
            return found[len(starts) :]
    raise AssertionError(f"no row {starts} in {text}")


def test_sections_say_what_the_records_say(written):
    study = written.study
    first = cells(sections.design_against_random(study), "KV cache", "snapkv", "20 %")
    assert first[1].startswith("50.0") and first[2].startswith("20.0") and first[3].startswith("+30.0")
    assert first[4] == "6"
    assert sections.needing_image(study) == {f"{TASK}/{s.id}" for s in written.samples[2:]}
    assert "4 of 6 samples need the image" in sections.resize_against_all(study)
    assert cells(sections.without_image(study), TASK, "no-image auto")[:2][0] == "6"
    assert cells(sections_more.costs_of_answers(study), "snapkv", "20")[1:] == ["3.0", "60", "50"]
    assert cells(sections_more.calibrated(study), "snapkv", "20") == ["6", "50.0", "100.0", "50.0", "0.500"]
    lost = cells(sections_more.recall_and_accuracy(study), "snapkv", "20")
    assert lost[1] == "25" and lost[3:6] == ["3", "3", "0"], "all three losses had lost their target"
    assert cells(sections.by_place(study), "no-image", "auto")[3:] == ["0", "0", "0"]
    assert sections.positions(study) == sections_more.deepstack(study) == sections.NOT_RUN


def test_the_page_names_what_was_not_run(written):
    text = experiments.page([written.study])
    assert text.count("\n## ") == 1 + 10 and f"{TASK}: {N} samples" in text
    assert sections.NOT_RUN in text


def test_pairs_are_two_questions_of_one_page_spread_over_the_task():
    task = load_task("mini-doc")
    every, some = twice.pairs_of(task, None), twice.pairs_of(task, 5)
    assert len(some) == 5 and set(map(str, some)) < set(map(str, every))
    assert all(a.images == b.images and a.id != b.id for a, b in every)


def test_half_a_line_of_a_killed_run_is_cut_off(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b')
    assert twice.read(path) == [{"id": "a"}]
    assert path.read_text() == '{"id": "a"}\n'
    assert twice.read(tmp_path / "absent") == []


def test_two_questions_are_answered_once_and_kept(tiny, tmp_path, page, monkeypatch):
    other = dataclasses.replace(page, id="b", question="click open")
    task = SimpleNamespace(
        name="t",
        max_new_tokens=2,
        scored=True,
        protocol="official",
        score=lambda sample, text, frame: SimpleNamespace(value=1.0, reason="", parsed=None, parts={}),
    )
    study = SimpleNamespace(folder=tmp_path, model=SimpleNamespace(adapter=tiny, name="nano"), tasks=("t",))
    twice._answer(study, task, "snapkv", 0, [(page, other)])
    twice._answer(study, task, "snapkv", 0, [(page, other)])
    rows = twice.read(twice.path_of(study, "t", "snapkv", 0))
    assert [(r["id"], r["side"]) for r in rows] == [("b", "itself"), ("b", "the first")]
    assert [r["score"] for r in twice.cell(study, "snapkv", "the first")] == [1.0]


def test_the_page_counts_what_was_answered(written):
    more = runs.Study(written.study.model, (TASK,), written.study.folder, N + 2)
    assert f"{TASK}: {N} samples" in experiments.page([more])


@pytest.mark.parametrize(("arguments", "says"), [
    (["--page"], "has been finished"),
    (["--only", "3,11"], "'11' is none of 1, 2"),
    (["--models", "nano,mikro"], "'mikro' is none of nano, micro"),
])  # fmt: skip
def test_a_page_that_is_there_is_not_lost_to_a_mistake(arguments, says, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("results")
    monkeypatch.setattr(experiments, "load_model", lambda name, **_: SimpleNamespace(name=name))
    options = ["--folder", str(tmp_path / "runs"), "--out", str(page), "--limit", "1", *arguments]
    monkeypatch.setattr("sys.argv", ["experiments.py", *options])
    try:
        code = experiments.main()
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and says in capsys.readouterr().err
    assert page.read_text() == "results"
