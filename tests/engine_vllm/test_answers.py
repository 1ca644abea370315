"""The methods inside vLLM give the pipeline's answers, id for id, with the caches of vLLM switched on."""

from dataclasses import replace

import pytest
from engine.equal import BUDGETS, METHODS, TASKS, compare, spread

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import Cell

SAMPLES = 3  # of each task and cell here; docs/engines.md has what the whole suite gave


@pytest.mark.parametrize("name", TASKS)
def test_ids_and_kept_tokens_are_those_of_the_pipeline(engine, nano, name):
    spec = from_mapping({"methods": METHODS, "budgets": BUDGETS, "engine": "vllm"})
    rows = list(compare(engine, nano, spec, [load_task(name)], SAMPLES))
    assert len(rows) == 1 + 14 * 3
    assert [r for r in rows if r.ids < r.n or r.kept < r.n] == []


def test_content_adaptive_counts_and_compositions(engine, nano):
    spec = from_mapping({"methods": "pixelprune,stride", "budgets": "auto", "engine": "vllm"})
    rows = [*compare(engine, nano, spec, [load_task("mini-nav")], 4)]
    both = from_mapping({"methods": "stride+divprune,pixelprune+focusui", "budgets": "30", "engine": "vllm"})
    rows += compare(engine, nano, both, [load_task("mini-nav")], 4)
    assert [r for r in rows if r.ids < r.n or r.kept < r.n] == []


def test_no_cache_gives_one_plans_tokens_to_another(engine, nano):
    """Two methods, two budgets and two questions on one screen under one name, interleaved, twice."""
    first, second = load_task("mini-grounding").samples[0], load_task("mini-grounding").samples[1]
    samples = [replace(first, id="same"), replace(first, id="same", question=second.question)]
    assert samples[0].question != samples[1].question
    cells = [
        Cell("divprune", "10"),
        Cell("divprune", "40"),
        Cell("visionzip", "40"),
        Cell("pixelprune", "40"),
        Cell("cdpruner", "25"),
        Cell("full", "100"),
    ]
    spec = from_mapping({"methods": "divprune", "budgets": "10"})
    expected = {}
    for cell in cells:
        pipeline = Pipeline(nano, spec.make(cell.method), spec.budget(cell), max_new_tokens=16)
        for sample in samples:
            expected[cell, sample.question] = pipeline.run(sample)
    assert len({(e.ids, e.kept) for e in expected.values()}) > 4  # they do differ
    for _ in range(2):
        for sample in samples:
            for cell in cells:
                ((_, outcome),) = engine.answer(cell, [sample], 16)
                wanted = expected[cell, sample.question]
                assert (outcome.ids, outcome.kept) == (wanted.ids, wanted.kept), (cell, sample.question)


def test_the_caches_of_that_test_are_in_use(engine):
    sample = replace(load_task("mini-grounding").samples[2], id="again")
    cached = []
    for _ in range(2):
        number, _ = engine.ask(Cell("full", "100"), sample, 4)
        output = None
        while output is None:
            output = next((o for o in engine.step() if o.finished and o.request_id == number), None)
        cached.append(output.num_cached_tokens)
    assert not cached[0] and cached[1] > 0


def test_samples_that_cannot_be_asked_fail_alone(engine, tmp_path):
    good = load_task("mini-doc").samples[0]
    missing = replace(good, id="missing", images=(tmp_path / "none.png",))
    long = replace(good, id="long", question="word " * 5000)
    found = {s.id: o for s, o in engine.answer(Cell("pixelprune", "40"), [missing, long, good], 8)}
    assert isinstance(found["missing"], SampleError) and found["missing"].reason == "bad_image"
    assert isinstance(found["long"], SampleError) and found["long"].reason == "too_long"
    assert found[good.id].ids


def test_a_question_without_an_image_is_answered(engine, nano):
    sample = replace(load_task("mini-doc").samples[0], images=())
    ((_, outcome),) = engine.answer(Cell("divprune", "25"), [sample], 8)
    spec = from_mapping({"methods": "divprune", "budgets": "25"})
    ours = Pipeline(nano, spec.make("divprune"), spec.budget(Cell("divprune", "25")), max_new_tokens=8).run(sample)
    assert outcome.ids == ours.ids and outcome.counts.prompt == ours.counts.prompt


def test_counts_are_those_of_the_pipeline(engine, nano):
    sample = spread(load_task("mini-nav"), 5)[2]
    for cell in (Cell("stride", "25"), Cell("resize", "40"), Cell("focusui", "40")):
        spec = from_mapping({"methods": cell.method, "budgets": cell.budget})
        ours = Pipeline(nano, spec.make(cell.method), spec.budget(cell), max_new_tokens=8).run(sample)
        ((_, theirs),) = engine.answer(cell, [sample], 8)
        assert theirs.counts == replace(
            ours.counts, **{k: getattr(theirs.counts, k) for k in ("cache_visual",) if hasattr(theirs.counts, k)}
        )
        assert (theirs.text, theirs.finish, theirs.notes) == (ours.text, ours.finish, ours.notes)
        assert (theirs.asked, theirs.reading, theirs.achieved) == (ours.asked, ours.reading, ours.achieved)
        assert (theirs.model_sizes, theirs.file_sizes) == (ours.model_sizes, ours.file_sizes)


def test_a_method_that_does_nothing_fails_the_run(engine, monkeypatch):
    from vtprune_eval.methods.divprune import DivPrune

    monkeypatch.setattr(DivPrune, "tokens_kept", lambda self, layout, present, budget: int(present.sum()))
    monkeypatch.setattr(DivPrune, "select_tokens", lambda self, view, budget: view.features[:, 0] > float("-inf"))
    sample = replace(load_task("mini-doc").samples[3], id="inactive")
    with pytest.raises(UserError, match="the method did not act"):
        list(engine.answer(Cell("divprune", "25"), [sample], 4))
