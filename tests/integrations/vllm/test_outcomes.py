"""What vLLM answers and its workers report, read as outcomes; the pipeline's own answer is taken for both."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.integrations.vllm.outcomes import Asked, Outcomes
from vtprune_eval.integrations.vllm.report import without_images
from vtprune_eval.integrations.vllm.sides import front
from vtprune_eval.models import NANO, load_model
from vtprune_eval.models.folder import chat_tokenizer
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import Cell

CELL = Cell("divprune", "25")


@pytest.fixture(scope="module")
def nano():
    return load_model("nano")


@pytest.fixture(scope="module")
def sample():
    return load_task("mini-doc", 1).samples[0]


@pytest.fixture(scope="module")
def reader(nano):
    side = front(nano.model.config, chat_tokenizer(NANO), NANO)
    spec = from_mapping({"methods": "divprune", "budgets": "25"})
    return Outcomes(spec, side, nano.model.config, nano.eos_ids)


@pytest.fixture(scope="module")
def answered(nano, sample):
    """The pipeline's outcome, and what vLLM and its worker would have said of the same answer."""
    ours = Pipeline(nano, (make_method("divprune"),), Budget.parse("25"), max_new_tokens=8).run(sample)
    counts = ours.counts
    output = SimpleNamespace(
        outputs=[SimpleNamespace(token_ids=list(ours.ids), finish_reason="stop" if ours.finish == "eos" else "length")],
        prompt_token_ids=[0] * counts.prompt,
    )
    report = {
        "kept": [list(k) for k in ours.kept],
        "patches": list(counts.patches),
        "depth": 0,
        "markers": 0,
        "note": "",
        "sizes": [list(s) for s in ours.model_sizes],
        "file_sizes": [list(s) for s in ours.file_sizes],
        "full": [list(s) for s in ours.model_sizes],
        "n_keep": {"select_tokens": sum(counts.visual)},
    }
    return ours, Asked(sample, "key", counts.n_text), output, report


def test_an_answer_is_the_pipelines_without_its_costs(reader, answered):
    ours, asked, output, report = answered
    theirs = reader.of(CELL, asked, output, report)
    assert (theirs.text, theirs.ids, theirs.finish) == (ours.text, ours.ids, ours.finish)
    assert theirs.kept == ours.kept and theirs.notes == ours.notes
    assert theirs.counts == replace(ours.counts, cache_visual=())  # vLLM cuts no cache
    assert (theirs.asked, theirs.reading, theirs.achieved) == (ours.asked, ours.reading, ours.achieved)
    assert (theirs.model_sizes, theirs.file_sizes) == (ours.model_sizes, ours.file_sizes)
    assert theirs.flops == {} and theirs.times.e2e_ms != theirs.times.e2e_ms  # not a number: nothing was timed


def test_what_the_plugin_did_not_do_is_refused(reader, answered):
    _, asked, output, report = answered
    with pytest.raises(UserError, match="the plug-in did not run"):
        reader.of(CELL, asked, output, None)
    with pytest.raises(UserError, match="were to be in it"):
        reader.of(CELL, replace(asked, n_text=asked.n_text + 1), output, report)
    (width, height) = report["full"][0]
    whole = (width // reader._side.images.block) * (height // reader._side.images.block)
    inactive = {**report, "kept": [list(range(whole))]}
    uncut = SimpleNamespace(outputs=output.outputs, prompt_token_ids=[0] * (asked.n_text + whole))
    with pytest.raises(UserError, match="the method did not act"):
        reader.of(CELL, asked, uncut, inactive)


def test_a_sample_without_images_has_a_report(reader, answered):
    ours, asked, output, _ = answered
    text = SimpleNamespace(outputs=output.outputs, prompt_token_ids=[0] * asked.n_text)
    theirs = reader.of(CELL, asked, text, without_images())
    assert theirs.counts.visual_full == () and theirs.kept == () and theirs.ids == ours.ids
