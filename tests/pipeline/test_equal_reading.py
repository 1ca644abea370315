"""The reading ``equal`` holds for every method, measured: on every family of models, at several budgets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.models.families import tiny as tiny_family
from vtprune_eval import cli
from vtprune_eval.budget import Budget
from vtprune_eval.errors import InfeasibleBudget, UserError
from vtprune_eval.outcome import spending
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.registry import make_method, method_class, method_names
from vtprune_eval.sample import Sample

NAMES = sorted(n for n, source in method_names().items() if source == "builtin" and method_class(n).hooks())
FAMILIES = ("qwen3_vl", "qwen2_5_vl", "qwen2_vl", "qwen3_5")
BOX = {"type": "box", "box_xyxy": [10, 10, 60, 40]}
# What a decoder of which half the layers have linear attention cannot give: queries and keys of layers that have none,
# or a pass behind the prompt, which a state of fixed size does not come back from.
NO_HYBRID = {"kvzip", "pyramiddrop", "sparsevlm", "sparsevlm-plus", "vscan-two-stage"}


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    """A prompt with one screenshot, and one with three of different sizes."""
    folder = tmp_path_factory.mktemp("shots")
    paths = []
    for number, size in enumerate(((96, 160), (128, 96), (160, 192))):
        pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)
        pixels[: size[0] // 2] = 200  # flat areas, as screenshots have
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return Sample("one", (paths[2],), "click save", BOX), Sample("three", tuple(paths), "click save", BOX)


def made(name: str, reading: str = "equal", family: str = ""):
    settings = {"focusui": {"scorer": "ui-graph"}}
    if family == "qwen3_5":
        settings["showui"] = {"layer": 2}  # behind a layer that has keys
    return make_method(name, settings.get(name), reading)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_spends_more_than_was_asked_for(family, name, shots):
    """Or it says that it cannot: a budget is never overspent, and hardly underspent by a cache."""
    adapter, method, met = tiny_family(family), made(name, family=family), 0
    if family == "qwen3_5" and name in NO_HYBRID:
        with pytest.raises(UserError, match="linear attention"):
            Pipeline(adapter, method, Budget.parse("90"), max_new_tokens=1).run(shots[0])
        return
    for asked in ("7", "35", "62.5", "90", "11tok") if family == "qwen3_vl" else ("35", "90"):
        for sample in shots:
            try:
                outcome = Pipeline(adapter, method, Budget.parse(asked), max_new_tokens=1).run(sample)
            except InfeasibleBudget:
                continue
            except UserError as refusal:
                if "cannot be met" in str(refusal):
                    continue
                if name == "tome" and "attends in windows" in str(refusal):
                    return
                raise
            counts, met = outcome.counts, met + 1
            allowed = Budget.parse(asked).count(sum(counts.visual_full))
            spent, places = spending(counts, method.hooks(), adapter.dims.kv_heads)
            assert spent <= allowed * places, (asked, sample.id)
            if "compress_kv" in method.hooks():  # bytes follow: all text and the visual entries, per kv head
                entries = sum(n * h for n, h in zip(counts.cache_entries, counts.cache_heads, strict=True))
                assert entries == spent + counts.n_text * places
                assert spent >= (allowed - 1) * places
            assert outcome.achieved == pytest.approx(100 * spent / (places * sum(counts.visual_full)))
    assert met


@pytest.mark.parametrize("name", ["resize", "random", "random-tokens", "fastv", "guipruner", "pyramiddrop"])
def test_matched_flops_are_matched(tiny, name, shots):
    """At most the share of the full model's FLOPs to the first token, and nearly that share."""
    full = Pipeline(tiny, make_method("full"), Budget.parse("100"), max_new_tokens=1).run(shots[1])
    pipeline = Pipeline(tiny, made(name), Budget.parse("flops:90"), max_new_tokens=1)
    outcome = pipeline.run(shots[1])
    share = outcome.flops["total_prefill"] / full.flops["total_prefill"]
    assert 0.7 < share <= 0.9
    assert outcome.flops == flops_of(tiny.dims, outcome.counts) and outcome.asked == "flops:90"


def test_a_share_of_flops_below_the_vit_s_is_refused_for_what_comes_behind_it(tiny, shots):
    with pytest.raises(InfeasibleBudget, match="or more of the full model's FLOPs to the first token"):
        Pipeline(tiny, made("random-tokens"), Budget.parse("flops:5"), max_new_tokens=1).run(shots[1])
    for method, says in (("snapkv", "cuts the cache after the first token"), ("h2o", "as they are")):
        with pytest.raises(UserError, match=says):
            Pipeline(tiny, made(method), Budget.parse("flops:25"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--method", "fastv", "--budget", "10"), "The smallest is 40.1; --set fastv.layer=1 lowers that to 20.1"),
        (("--model", "qwen3vl-2b", "--method", "pyramiddrop", "--budget", "20"), "The smallest is 25.3; --set pyramid"),
        (("--method", "guipruner-tar", "--budget", "30"), "No budget below 100 drops anything there"),
        (("--method", "snapkv", "--budget", "10", "--set", "snapkv.granularity=query_head"), "add --reading paper"),
        (("--method", "fastv", "--budget", "10", "--budget-of", "prompt"), "--budget-of is gone"),
        (("--method", "random", "--budget", "10", "--reading", "legacy"), "measured before"),
    ],
)
def test_what_cannot_be_met_is_refused_before_anything_is_loaded(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vtprune_eval.models.load_model", lambda *a, **k: pytest.fail("a model was loaded"))
    code = cli.main([*arguments, "--tasks", "mini-grounding", "--limit", "2", "--out", str(tmp_path / "run")])
    assert code == 2 and says in capsys.readouterr().err


def test_records_and_tables_state_asked_achieved_and_reading(tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ("--model", "nano", "--method", "full,random,guikv", "--budget", "30", "--tasks", "mini-grounding")
    assert cli.main([*arguments, "--limit", "1", "--timings", "0", "--out", str(run)]) == 0
    assert "Budgets in the reading equal" in capsys.readouterr().out
    for name in ("random@30", "guikv@30"):
        (record,) = map(json.loads, (run / "records" / f"mini-grounding--{name}.jsonl").read_text().splitlines())
        assert record["spent"]["asked"] == "30" and record["spent"]["reading"] == "equal"
        assert 25 < record["spent"]["achieved_pct"] <= 31
    assert json.loads((run / "run.json").read_text())["reading"] == "equal"


def test_a_marker_that_nobody_trained_is_named(tiny, shots):
    """nano and other models without FocusUI's token: the record says so, for both stand-ins."""
    for marker, says in (("token", "the pad token's"), ("mean", "the mean of the"), ("zero", "a row of zeros")):
        method = make_method("focusui", {"scorer": "ui-graph", "marker": marker})
        notes = Pipeline(tiny, method, Budget.parse("50"), max_new_tokens=1).run(shots[0]).notes
        assert any(n.code == "untrained_marker" and says in n.values["token"] for n in notes)
    plain = make_method("focusui", {"scorer": "ui-graph", "pad": "none"})
    assert not any(
        "marker" in n.code for n in Pipeline(tiny, plain, Budget.parse("50"), max_new_tokens=1).run(shots[0]).notes
    )
