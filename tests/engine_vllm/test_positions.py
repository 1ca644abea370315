"""Both ways in which positions reach the decoder, while prompts are cut into chunks in the middle of their images."""

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.integrations.vllm.engine import VllmEngine
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import Cell

CHUNK = 32  # tokens that are computed together; prompts of several images are longer
CELLS = (
    Cell("full", "100"),
    Cell("stride", "40"),
    Cell("divprune", "40"),
    Cell("visionzip", "25"),
    Cell("focusui", "40"),
)


@pytest.fixture(scope="module")
def chunked():
    spec = from_mapping({"methods": "full", "budgets": "100", "engine": "vllm"})
    return VllmEngine(spec, max_num_batched_tokens=CHUNK, max_num_seqs=16, enable_chunked_prefill=True)


@pytest.mark.parametrize("asked", [False, True])
def test_answers_are_those_of_the_pipeline(chunked, nano, asked):
    """``asked``: the runner asks for positions after the encoder; vLLM's own for GPUs does, that for CPUs does not."""

    def set_asked(worker):
        worker.model_runner.is_multimodal_pruning_enabled = asked

    chunked.llm.collective_rpc(set_asked)
    samples = [s for s in load_task("mini-nav").samples if len(s.images) > 2][:4]
    lengths = set()
    for cell in CELLS:
        spec = from_mapping({"methods": cell.method, "budgets": cell.budget})
        pipeline = Pipeline(nano, spec.make(cell.method), spec.budget(cell), max_new_tokens=10)
        for sample, outcome in chunked.answer(cell, samples, 10):
            ours = pipeline.run(sample)
            assert (outcome.ids, outcome.kept) == (ours.ids, ours.kept), (cell, sample.id)
            lengths.add(outcome.counts.prompt)
    assert max(lengths) > 2 * CHUNK
