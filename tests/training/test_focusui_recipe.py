"""FocusUI's recipe: a drawn share, the scorer that selection uses, the marker's row, and the action head."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from tests.models.pointing import save_checkpoint
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock
from vtprune_eval.commands.train import spec_of
from vtprune_eval.errors import UserError
from vtprune_eval.methods.focusui import MARKER, SCORER_FILE
from vtprune_eval.models import NANO, load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.packed import look_at
from vtprune_eval.registry import make_method
from vtprune_eval.report.paper_training import SETTINGS
from vtprune_eval.training import learner
from vtprune_eval.training.examples import Example
from vtprune_eval.training.focusui import Recipe, covered, saliency_target, start_at_runs
from vtprune_eval.training.learner import Learner, answered, enter_together
from vtprune_eval.training.loop import train
from vtprune_eval.training.losses import action_loss, distillation_loss
from vtprune_eval.training.spec import TrainSpec

SMALL = {"model": "nano", "data": "mini-grounding", "limit": 4, "batch": 2, "steps": 2, "device": "cpu", "lr": 1e-2,
         "warmup": 0, "method": "focusui", "budget": "uniform:10:100"}  # fmt: skip
EMBEDDING = "model.language_model.embed_tokens.weight"


def test_the_marker_alone(tmp_path):
    """One row of the embedding is trained, and evaluation takes it for the marker."""
    train(TrainSpec(out=str(tmp_path), **SMALL, train="marker"))
    trained, shipped = load_file(tmp_path / "model.safetensors"), load_file(NANO / "model.safetensors")
    assert {k for k in shipped if not torch.equal(trained[k], shipped[k])} == {EMBEDDING}
    model = load_model("nano", path=str(tmp_path))
    row = model.tokenizer.convert_tokens_to_ids(MARKER)
    differ = (trained[EMBEDDING] != shipped[EMBEDDING]).any(1).nonzero()[:, 0].tolist()
    assert differ == [row]
    sample = load_task("mini-grounding").samples[0]
    notes = [
        Pipeline(m, make_method("focusui"), Budget.parse("30", "paper")).run(sample).notes
        for m in (load_model("nano"), model)
    ]
    assert any("untrained marker" in str(n) for n in notes[0])
    assert not any("untrained marker" in str(n) for n in notes[1])


def test_the_scorer_alone(tmp_path, monkeypatch):
    """Its loss lies before the decoder, which is therefore not run, and answers have no loss."""
    monkeypatch.setattr(learner, "run", None)
    train(TrainSpec(out=str(tmp_path), **{**SMALL, "lr": 1e-3}, train="scorer", saliency=1.0))
    trained, shipped = load_file(tmp_path / "model.safetensors"), load_file(NANO / "model.safetensors")
    assert all(torch.equal(trained[k][: 1 << 10], shipped[k][: 1 << 10]) for k in shipped if k != EMBEDDING)
    scorers = [load_file(folder / SCORER_FILE) for folder in (tmp_path, NANO)]
    assert scorers[0].keys() == scorers[1].keys()
    assert any(not torch.equal(scorers[0][k].float(), scorers[1][k].float()) for k in scorers[0])
    lines = [json.loads(line) for line in (tmp_path / "training" / "steps.jsonl").read_text().splitlines()]
    assert all(line["saliency"] > 0 and "answer" not in line for line in lines)
    assert all(line["flops_forward"] > 0 and line["tokens"] == 0 for line in lines)


def test_shares_are_drawn_per_sample(tmp_path):
    from vtprune_eval.training.feed import Feed

    class Built:
        groups = [()] * 5

    class Alone:
        device, num_processes, process_index = torch.device("cpu"), 1, 0

    feed = Feed(TrainSpec(out=str(tmp_path), **SMALL, train="marker"), Built, Alone)
    drawn = [float(feed.budget(place).value) for place in range(400)]
    assert min(drawn) > 9.9
    assert max(drawn) < 100
    assert sum(drawn) / len(drawn) == pytest.approx(55, abs=3)
    assert drawn[:3] == [float(feed.budget(place).value) for place in range(3)]


@pytest.mark.parametrize("name", ["focusui-3b", "focusui-qwen3vl-2b"])
def test_the_action_head_learns_where_the_box_is(tmp_path, name):
    """A few steps of the head on one sample put more of its attention on the target's tokens."""
    save_checkpoint(name, tmp_path)
    adapter = load_model(name, path=str(tmp_path), device="cpu")
    method = make_method("focusui", {"pad": "run_end"})
    pipeline = Pipeline(adapter, method, Budget.parse("90", "paper"))
    recipe = Recipe(method, None, {"action": 1.0})
    learner = Learner(adapter, pipeline, recipe=recipe)
    sample = load_task("mini-grounding").samples[2]
    item = learner.prepare([Example(sample, "")])
    head = adapter.model.multi_patch_pointer_head.requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    values = []
    for _ in range(8):
        out = learner([item])
        out["extra"].backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(out["extra"].detach()))
    assert values[-1] < 0.9 * values[0]
    assert float(out["loss"]) > 0  # the fixed turn of the assistant is taught as well
    questions, _ = answered(adapter, [item], enter_together([item.looked]), learner.clock)
    touched = covered(questions[0])
    assert len(touched) == len(questions[0].begun.state.deepstack_rows)
    target = saliency_target(questions[0])
    assert float(target.max()) > 0.5
    assert target.shape == (sum(item.looked.prompt.layout.n_tokens),)


def test_losses_by_hand():
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert float(action_loss(shares, torch.tensor([True, False, False]))) == pytest.approx(0.6931, abs=1e-4)
    assert float(action_loss(shares, torch.tensor([True, True, False]))) == pytest.approx(
        0.5 * (torch.log(torch.tensor(1.0)) + torch.log(torch.tensor(2.0))).item(), abs=1e-4
    )
    assert float(action_loss(shares, torch.zeros(3, dtype=torch.bool))) == 0
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert distillation_loss(logits, logits).abs().max() < 1e-6
    p, q = logits.softmax(-1), logits.flip(-1).softmax(-1)
    by_hand = (q * (q / p).log()).sum(-1)
    assert torch.allclose(distillation_loss(logits, logits.flip(-1)), by_hand, atol=1e-6)


def test_a_sample_without_a_box_is_named(tmp_path):
    with pytest.raises(UserError, match=r'has no box, which the saliency and action losses need; give it "box_xyxy"'):
        train(TrainSpec(out=str(tmp_path), **{**SMALL, "data": "mini-doc"}, saliency=1.0))


def test_a_scorer_of_an_evaluation_can_be_trained_and_stays_as_it_was_for_the_next(tmp_path):
    """A process keeps the scorer that it read; a training has one of its own, and its tensors have gradients."""
    pipeline = Pipeline(load_model("nano"), make_method("focusui"), Budget.parse("30"))
    sample = load_task("mini-grounding").samples[0]
    before = pipeline.run(sample).kept
    train(TrainSpec(out=str(tmp_path), **SMALL, train="scorer", saliency=1.0))
    assert pipeline.run(sample).kept == before


def test_a_marker_that_starts_at_what_it_replaces():
    """The row is the mean of the means of the dropped runs; here by hand, from which tokens stay without markers."""
    adapter = load_model("nano")
    sample, budget = load_task("mini-grounding").samples[0], Budget.parse("30", "paper")
    adapter.text.embed_tokens.weight.requires_grad_(False)
    shared = adapter.text.embed_tokens.weight
    held = shared.clone()
    try:
        means = Pipeline(adapter, make_method("focusui", {"marker": "mean"}), budget)
        n = start_at_runs(means, 7, [(sample, None)])
        row = shared[7].clone()
    finally:
        with torch.no_grad():
            shared.copy_(held)
    plain = Pipeline(adapter, make_method("focusui", {"pad": "none"}), budget)
    clock = StageClock(adapter.device)
    looked = look_at(plain, sample, clock)
    with torch.no_grad():
        entered = enter_together([looked])[0]
        kept = set(plain.begin(entered, looked.budgets, clock).state.index.tolist())
    (start, end), runs = entered.prompt.layout.spans[0], []
    for place in range(start, end):
        if place not in kept:
            if place - 1 < start or place - 1 in kept:
                runs.append([])
            runs[-1].append(entered.encoded.tokens[place - start])
    assert n == len(runs) > 1
    by_hand = torch.stack([torch.stack(run).mean(0) for run in runs]).mean(0)
    assert torch.allclose(row, by_hand.to(row.dtype), atol=1e-2 if row.dtype == torch.bfloat16 else 1e-5)


def test_where_the_marker_starts_is_checked_and_written(tmp_path):
    with pytest.raises(UserError, match="unknown start in --marker-start 'run': did you mean 'runs'"):
        TrainSpec(out=str(tmp_path), **SMALL, train="marker", marker_start="run")
    with pytest.raises(UserError, match="--marker-start is of the marker of focusui"):
        TrainSpec(out=str(tmp_path), **{**SMALL, "method": "full", "budget": "auto"}, marker_start="runs")
    rows = {}
    for start in ("keep", "runs"):
        out = tmp_path / start
        train(TrainSpec(out=str(out), **{**SMALL, "lr": 0.0, "steps": 1}, train="marker", marker_start=start))
        model = load_model("nano", path=str(out))
        rows[start] = model.text.embed_tokens.weight[model.tokenizer.convert_tokens_to_ids(MARKER)]
    assert not torch.allclose(rows["keep"], rows["runs"])


def test_the_two_stages_of_focusui(tmp_path):
    """Stage 1 trains the scorer alone; stage 2 starts from it and trains everything, marker and scorer included."""
    small = ["--data", "mini-grounding", "--limit", "2", "--batch", "2", "--steps", "1", "--device", "cpu"]
    folders = tmp_path / "one", tmp_path / "two"
    for number, (start, out) in enumerate(zip(((), ("--model-path", str(folders[0]))), folders, strict=True), 1):
        spec, _ = spec_of(
            [
                "--model",
                "nano",
                *start,
                "--recipe",
                f"focusui-stage{number}",
                *small,
                "--warmup",
                "0",
                "--out",
                str(out),
            ]
        )
        train(dataclasses.replace(spec, lr=1e-2))
    scorers = [load_file(folder / SCORER_FILE) for folder in (NANO, *folders)]
    assert all(any(not torch.equal(a[k].float(), b[k].float()) for k in a) for a, b in itertools.pairwise(scorers))
    shipped, one, two = (load_file(folder / "model.safetensors") for folder in (NANO, *folders))
    assert {k for k in shipped if not torch.equal(one[k], shipped[k])} <= {EMBEDDING}
    changed = {k for k in shipped if not torch.equal(one[k], two[k])}
    assert {
        EMBEDDING,
        "model.visual.blocks.0.mlp.linear_fc1.weight",
        "model.language_model.layers.0.mlp.up_proj.weight",
    } <= changed
    row = load_model("nano", path=str(folders[1])).tokenizer.convert_tokens_to_ids(MARKER)
    assert not torch.equal(one[EMBEDDING][row], two[EMBEDDING][row])


def test_recipes_are_the_papers_settings_and_options_win():
    def settings(model, *more):
        return spec_of(["--model", model, "--data", "x.jsonl", "--out", "x", *more])[0]

    one = settings("focusui-3b", "--recipe", "focusui-stage1")
    assert (one.train, one.saliency, one.action, one.lr, one.drawn) == ("scorer", 1.0, 0.0, 1e-4, (10.0, 100.0))
    two = settings("focusui-3b", "--recipe", "focusui-stage2", "--saliency", "0.1")
    assert (two.train, two.saliency, two.action, two.lr, two.weight_decay) == ("all", 0.1, 1.0, 5e-6, 0.0)
    assert settings("nano", "--recipe", "focusui-stage2").action == 0  # it has no action head
    kd = settings("qwen3vl-2b", "--recipe", "pixelprune-kd", "--batch", "4")
    assert (kd.teacher, kd.kd_weight, kd.steps, kd.batch, kd.budget) == ("full", 1.0, 2000, 4, "auto")
    scratch = settings("qwen3vl-2b", "--recipe", "pixelprune-scratch")
    assert {k.replace("-", "_"): type(getattr(scratch, k.replace("-", "_")))(v) for k, v in SETTINGS.items()
            if k != "dtype"} == {k.replace("-", "_"): getattr(scratch, k.replace("-", "_")) for k in SETTINGS
                                 if k != "dtype"}  # fmt: skip
    with pytest.raises(UserError, match="unknown recipe in --recipe 'focusui': "):
        settings("nano", "--recipe", "focusui")
