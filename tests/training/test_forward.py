"""The forward pass of training is that of evaluation: same stages, same tokens, same positions, same logits."""

from __future__ import annotations

from itertools import chain, islice

import pytest
import torch

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.decode import Decoder
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.packed import enter_together, pack, run
from vtprune_eval.registry import make_method, method_names
from vtprune_eval.selftest.small import NAMES
from vtprune_eval.training.examples import Example, answer_of, grouped
from vtprune_eval.training.learner import Learner, answered, teacher_logits
from vtprune_eval.training.spec import TRAINABLE

CLOCK = StageClock(torch.device("cpu"))
# One method per stage, with what is special about each: patches dropped before the ViT, images made smaller, tokens
# chosen by an extra output of the ViT, merged inside the ViT, and markers with a text-aware score.
CASES = (("full", "100"), ("pixelprune", "auto"), ("resize", "50"), ("visionzip", "40"), ("tome", "60"),
         ("focusui", "40"), ("pixelprune+divprune", "50"))  # fmt: skip


def examples(n: int) -> list[Example]:
    """Samples of all three embedded tasks, screenshots with history among them."""
    tasks = [load_task(name, 1 + n // 2) for name in ("mini-grounding", "mini-doc", "mini-nav")]
    mixed = chain.from_iterable(zip(*(t.samples for t in tasks), strict=True))
    return [Example(s, answer_of(s.target, "hundredths", s.id, (256, 256))) for s in islice(mixed, n)]


@pytest.fixture
def nano():
    """Afresh: training changes the attention function of a model."""
    return load_model("nano", device="cpu")


def evaluated(pipeline: Pipeline, example: Example, answer: tuple[int, ...]):
    """Logits at every token of an answer as evaluation computes them: prefill, then one token at a time."""
    sample = example.sample
    reduced = pipeline.method_of("reduce_images") is not None
    images = load_images(sample, pipeline.adapter.images, CLOCK, keep_files=reduced)
    budgets = pipeline.budgets(sample, images, CLOCK)
    entered = pipeline.enter(sample, images, budgets, CLOCK)
    begun = pipeline.begin(entered, budgets, CLOCK)
    index, rope = begun.state.index.clone(), begun.state.rope
    cache = KVCache(len(pipeline.adapter.text.layers), len(answer))
    result = pipeline.prefill(entered, begun, budgets, cache, (), CLOCK)
    decoder = Decoder(pipeline.adapter, cache, begun.next_position, pipeline.adapter.dims.q_heads)
    logits = [pipeline.adapter.lm_head(result.last)[0, -1], *(decoder.logits(t) for t in answer[:-1])]
    return torch.stack(logits), entered, begun, index, rope


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_twenty_samples(nano, name, budget):
    taught = examples(20 if name in {"full", "pixelprune"} else 6)
    pipeline = Pipeline(nano, [make_method(part) for part in name.split("+")], Budget.parse(budget))
    with torch.inference_mode():
        wanted = [evaluated(pipeline, e, Learner.answer_ids(_Face(nano), e)) for e in taught]
        learner = Learner(nano, pipeline)
        items = [learner.prepare([e]) for e in taught]
        entered = enter_together([item.looked for item in items])
        questions, _ = answered(nano, items, entered, CLOCK)
        for question, (_, own, begun, index, rope) in zip(questions, wanted, strict=True):
            assert question.entered.n_patches == own.n_patches
            assert question.begun.kept == begun.kept
            assert torch.equal(question.begun.state.index, index)
            assert all(map(torch.equal, question.begun.state.rope, rope))
        packed = pack(nano, questions)
        assert len(packed.segments) == len(taught)
        logits = nano.lm_head(run(nano, packed)[0, packed.rows])
    expected = torch.cat([w[0] for w in wanted])
    assert torch.allclose(logits, expected, atol=2e-4, rtol=1e-4)
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))


class _Face:
    """What :meth:`Learner.answer_ids` looks at."""

    def __init__(self, adapter) -> None:
        self.adapter = adapter


def test_questions_share_their_images(nano):
    """Several questions in one sequence say what each says alone, and the images are computed once."""
    pipeline = Pipeline(nano, make_method("pixelprune"), Budget.parse("auto"))
    samples = load_task("mini-doc").samples[:30]
    same = grouped([Example(s, answer_of(s.target, "hundredths", s.id, (1, 1))) for s in samples], 4)
    group = max(same, key=len)
    assert len(group) >= 2
    with torch.inference_mode():
        learner = Learner(nano, pipeline)
        alone = torch.cat([_logits(learner, [learner.prepare([e])]) for e in group])
        item = learner.prepare(group)
        assert torch.allclose(_logits(learner, [item, item]), torch.cat([alone, alone]), atol=2e-4, rtol=1e-4)
        entered = enter_together([item.looked])
        packed = pack(nano, answered(nano, [item], entered, CLOCK)[0])
    assert len(packed.segments) == 1
    assert packed.segments[0].mask is not None
    assert sum(packed.lengths) < sum(n + b for n, b in zip(packed.lengths, packed.before, strict=True))


def _logits(learner: Learner, items) -> torch.Tensor:
    entered = enter_together([item.looked for item in items])
    packed = pack(learner.adapter, answered(learner.adapter, items, entered, CLOCK)[0])
    return learner.adapter.lm_head(run(learner.adapter, packed)[0, packed.rows])


@pytest.mark.parametrize("family", NAMES)
def test_families_pack_or_stand_alone(family):
    """Every family's sequences in one pack (or, with linear attention, alone) give the losses of separate ones."""
    from tests.models.families import afresh

    adapter = afresh(family)
    learner = Learner(adapter, Pipeline(adapter, make_method("full"), Budget.parse("100")))
    items = [learner.prepare([e]) for e in examples(3)]
    with torch.no_grad():
        alone = sum(float(learner([item])["loss"]) for item in items)
        packs = learner.packs(items, 100000)
        together = sum(float(learner(pack)["loss"]) for pack in packs)
    assert len(packs) == (3 if family == "qwen3_5" else 1)
    assert together == pytest.approx(alone, rel=1e-4)


def trainable_names() -> list[str]:
    from vtprune_eval.registry import method_class

    classes = {name: method_class(name) for name in method_names()}
    usable = [n for n, c in classes.items() if all(h in TRAINABLE for h in c.hooks()) and not c.sees_target]
    return [n for n in usable if n != "no-image"]  # a grey screen teaches the encoder nothing


def test_every_method_of_the_first_stages_has_a_gradient(nano):
    """One sample, forward and backward: whatever a method does to features, gradients reach the first ViT block."""
    example = examples(1)[0]
    nano.model.requires_grad_(True)
    weight = nano.visual.blocks[0].mlp.linear_fc1.weight
    for name in trainable_names():
        method = make_method(name)
        budget = "auto" if method.adaptive else "50"
        learner = Learner(nano, Pipeline(nano, method, Budget.parse("100" if name == "full" else budget)))
        learner([learner.prepare([example])])["loss"].backward()
        assert weight.grad is not None, name
        assert bool(torch.isfinite(weight.grad).all()), name
        assert float(weight.grad.abs().sum()) > 0, name
        nano.model.zero_grad(set_to_none=True)


def test_packing_never_changes_the_loss(nano):
    pipeline = Pipeline(nano, make_method("pixelprune"), Budget.parse("auto"))
    learner = Learner(nano, pipeline)
    items = [learner.prepare([e]) for e in examples(6)]
    with torch.no_grad():
        losses = []
        for most in (1, 120, 100000):
            packs = learner.packs(items, most)
            losses.append((len(packs), sum(float(learner(pack)["loss"]) for pack in packs)))
    assert losses[0][0] == 6
    assert losses[-1][0] == 1
    assert losses[1][1] == pytest.approx(losses[0][1], rel=1e-4)
    assert losses[2][1] == pytest.approx(losses[0][1], rel=1e-4)


def test_all_tokens_stands_aside(nano):
    """Timing with all tokens leaves the method, and what it keeps, as they were."""
    learner = Learner(nano, Pipeline(nano, make_method("pixelprune"), Budget.parse("auto")))
    example = examples(1)[0]
    item = learner.prepare([example])
    whole = learner.prepare([example], full=True)
    assert all(k is None for k in whole.looked.keep)
    assert any(k is not None for k in item.looked.keep)
    with torch.no_grad(), learner.all_tokens():
        learner([whole])
    more = learner.work.tokens
    with torch.no_grad():
        learner([item])
    assert learner.work.tokens < more


@pytest.mark.parametrize(("name", "budget"), [("pixelprune", "auto"), ("visionzip", "40"), ("resize", "50")])
def test_the_teacher_sees_every_token_of_a_pruned_sample(nano, name, budget):
    """Its prompt is the student's, not built again; the logits are those of a sample prepared with all tokens."""
    learner = Learner(nano, Pipeline(nano, make_method(name), Budget.parse(budget)))
    given = [[e] for e in examples(3)]
    with torch.no_grad():
        own = teacher_logits(learner.full, [learner.prepare(e) for e in given], None)
        whole = teacher_logits(learner.full, [learner.prepare(e, full=True) for e in given], None)
    assert torch.equal(own, whole)
