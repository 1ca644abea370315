"""The plug-in's own parts, without vLLM: what a request carries, and that both sides together are the pipeline."""

import json

import numpy as np
import pytest
import torch

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.clock import StageClock
from vtprune_eval.errors import UserError
from vtprune_eval.image_file import open_image
from vtprune_eval.integrations.vllm import back as worker
from vtprune_eval.integrations.vllm.back import Back, first_positions, from_columns, take_positions, to_columns
from vtprune_eval.integrations.vllm.front import Front, read_about, split_picture, stack
from vtprune_eval.integrations.vllm.plan import Plan
from vtprune_eval.integrations.vllm.sides import front
from vtprune_eval.models import NANO, load_model
from vtprune_eval.models.folder import chat_tokenizer
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nano():
    return load_model("nano")


@pytest.fixture(scope="module")
def here(nano):
    """The side that has no model."""
    return Front(front(nano.model.config, chat_tokenizer(NANO), NANO))


@pytest.fixture(scope="module")
def samples():
    """A sample with one image and one with several."""
    nav = next(s for s in load_task("mini-nav").samples if len(s.images) == 3)
    return [load_task("mini-grounding", 1).samples[0], nav]


def plan_of(sample, method, budget, **settings):
    sizes = [open_image(p).shape[1::-1] for p in sample.images] if len(sample.images) > 1 else []
    return Plan.read(
        {
            "method": method,
            "budget": budget,
            "sample": sample.id,
            "question": sample.question,
            "instruction": sample.instruction,
            "sizes": sizes,
            **settings,
        }
    )


def picture_of(sample):
    files = [open_image(p) for p in sample.images]
    return stack(files) if len(files) > 1 else files[0]


METHODS = [
    ("full", "100"),
    ("pixelprune", "auto"),
    ("resize", "40"),
    ("divprune", "10"),
    ("visionzip", "40"),
    ("pool", "40"),
    ("cdpruner", "25"),
    ("stride+random-tokens", "30"),
    ("stride", "flops:50"),
]


@pytest.mark.parametrize(("method", "budget"), METHODS)
@pytest.mark.parametrize("number", [0, 1])
def test_both_sides_are_the_pipeline(nano, here, samples, method, budget, number):
    """Rows, DeepStack rows and positions of an item are those with which the pipeline enters the decoder."""
    sample = samples[number]
    plan = plan_of(sample, method, budget)
    fields = here.fields(picture_of(sample), plan)
    there = Back(nano)
    rows = there.rows(fields.about, fields.keep, fields.patches, fields.pixels)
    assert len(rows) == fields.rows

    spec, cell = plan.cell
    pipeline = Pipeline(nano, spec.make(cell.method), spec.budget(cell), seed=spec.seed, copied=spec.copied)
    clock = StageClock(CPU)
    with torch.inference_mode():
        images = load_images(sample, nano.images, clock, keep_files=True)
        budgets = pipeline.budgets(sample, images, clock)
        entered = pipeline.enter(sample, images, budgets, clock)
        begun = pipeline.begin(entered, budgets, clock)
    start, end = entered.prompt.layout.spans[0][0], entered.prompt.layout.spans[-1][1]
    inside = (begun.state.index >= start) & (begun.state.index < end)
    dim, first = begun.state.hidden.shape[-1], int(inside.nonzero()[0])
    assert torch.equal(rows[:, :dim], begun.state.hidden[0, inside])
    for depth, level in enumerate(begun.state.deepstack):
        expected = torch.zeros(len(rows), dim)
        expected[begun.state.deepstack_rows - first] = level
        assert torch.equal(rows[:, dim * (1 + depth) : dim * (2 + depth)], expected)
    positions, index = entered.prompt.layout.positions, begun.state.index[inside]
    assert torch.equal(from_columns(rows[:, -worker.COLUMNS :]), positions[:, index] - positions[:, start : start + 1])
    report = there.report()[plan.key]
    assert report["kept"] == [list(k) for k in begun.kept]
    assert report["patches"] == list(entered.n_patches)
    assert read_about(fields.about).advance == int(positions[0, end] - positions[0, start])
    assert there.report() == {}


def test_a_count_that_only_the_encoder_knows_is_asked_for(nano, here, samples):
    """The rows are then those of the later request, and nothing is encoded twice."""
    plan = plan_of(samples[0], "prumerge", "auto")
    fields = here.fields(picture_of(samples[0]), plan)
    assert fields.rows == 0
    there = Back(nano)
    n = there.count(fields.about, fields.keep, fields.patches, fields.pixels)
    told = Plan.read({**json.loads(plan.text), "rows": n})
    assert told.key == plan.key and told.text != plan.text
    again = here.fields(picture_of(samples[0]), told)
    held = there._held[plan.key]
    rows = there.rows(again.about, again.keep, again.patches, again.pixels)
    assert len(rows) == n == again.rows and torch.equal(rows[:, : held.features.shape[1]], held.features)


def test_another_number_of_tokens_than_announced_is_an_error(nano, here, samples):
    plan = Plan.read({**json.loads(plan_of(samples[0], "divprune", "25").text), "rows": 3})
    fields = here.fields(picture_of(samples[0]), plan)
    with pytest.raises(RuntimeError, match="3 tokens were announced"):
        Back(nano).rows(fields.about, fields.keep, fields.patches, fields.pixels)


def test_only_what_is_needed_travels(here, samples):
    """Dropped patches stay behind, and pixels are sent only to methods that see them after the encoder."""
    fields = here.fields(picture_of(samples[0]), plan_of(samples[0], "stride", "25"))
    assert len(fields.patches) == 4 * int(fields.keep.sum()) < 4 * len(fields.keep)
    assert not len(fields.pixels)
    assert len(here.fields(picture_of(samples[0]), plan_of(samples[0], "divprune", "40")).pixels)


def test_positions_survive_every_floating_type():
    relative = torch.tensor([[0, 127, 128, 16383], [1, 300, 5, 0], [16383, 2, 255, 129]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert torch.equal(from_columns(to_columns(relative).to(dtype)), relative)


@pytest.mark.parametrize("computed", [0, 4])
def test_positions_are_put_where_the_rows_stand(computed):
    """Two items, of which the first is cut by a chunk of the prefill."""
    image, ids = 9, torch.tensor([1, 9, 9, 9, 9, 2, 9, 9, 3])
    start, delta = first_positions(len(ids), [(1, 4, 5), (6, 2, 3)])
    assert start[0].tolist() == [0, 1, 1, 1, 1, 6, 7, 7, 10] and delta == 2
    one = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 4], [0, 0, 3, 4]])
    two = torch.tensor([[0, 0], [0, 2], [1, 2]])
    rows = [torch.cat([torch.ones(4, 3), to_columns(one)], 1), torch.cat([torch.ones(2, 3), to_columns(two)], 1)]
    rows[0] = rows[0][max(0, computed - 1) :]
    cut, positions, again = take_positions(ids, rows, start, computed, image)
    assert [r.shape[1] for r in cut] == [3, 3] and again == 2
    assert positions[:, 4].tolist() == [1, 5, 5] and positions[:, 7].tolist() == [7, 9, 9]
    assert positions[:, 3].tolist() == ([1, 1, 1] if computed else [1, 3, 4])
    assert positions[0, [0, 5, 8]].tolist() == [0, 6, 10]


def test_a_stack_of_files_comes_apart_again():
    rng = np.random.default_rng(0)
    files = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((5, 7), (3, 9), (4, 2))]
    sizes = tuple((f.shape[1], f.shape[0]) for f in files)
    assert all(np.array_equal(a, b) for a, b in zip(split_picture(stack(files), sizes), files, strict=True))
    with pytest.raises(UserError, match="stack the images"):
        split_picture(files[0], sizes)
