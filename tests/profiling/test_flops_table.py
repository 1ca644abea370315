"""The planned table: sizes, lengths against a real run, the command, and the paper's accounting."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction

import pytest

from tests.conftest import ROOT
from tests.models.families import tiny
from tests.pipeline.doubles import Cache, Layers, Tokens
from vtprune_eval import cli
from vtprune_eval.budget import Budget
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.random import Random
from vtprune_eval.models import EMBEDDED, FAMILIES, MODELS, family_of
from vtprune_eval.models.dims import ModelDims
from vtprune_eval.models.qwen3_vl_sizes import DEFAULT_PIXELS, TRUE_DIMS, TRUE_SIZES
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.profiling.flops import flops_of
from vtprune_eval.profiling.flops_table import explain
from vtprune_eval.profiling.plan import block_grids, model_dims, planned_counts
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample

ASKED = ["--model", "qwen3vl-2b", "--image", "2716x1616", "--text-tokens", "120"]


def printed(capsys, *args: str) -> dict:
    assert cli.main(["flops", *args, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_sizes_without_transformers_are_those_of_its_configuration():
    from transformers import Qwen3VLConfig

    assert {n: ModelDims.from_config(Qwen3VLConfig(**c)) for n, c in TRUE_SIZES.items()} == TRUE_DIMS


@pytest.mark.parametrize("reading", ["equal", "paper"])
@pytest.mark.parametrize(
    "method", [Full(), Random(), Tokens(), Layers(at=(1,)), Layers(at=(-2,)), Cache()], ids=lambda m: f"{m.name}"
)
def test_planned_lengths_are_those_of_a_run(tiny, picture, method, reading):
    budget = Budget("percent", Fraction(80), reading=reading)
    sample = Sample("x", (picture("a", 300, 200),), "click ok", {})
    done = Pipeline(tiny, method, budget, max_new_tokens=3).run(sample)
    grids = block_grids([(300, 200)], (1024, 1 << 20))
    plan = planned_counts(tiny.dims, grids, done.counts.n_text, done.counts.n_new, method, budget)
    assert dataclasses.replace(plan, cache_visual=plan.cache_visual or done.counts.cache_visual) == done.counts
    assert bool(plan.cache_visual) == (method.hooks() != ("compress_kv",) or reading == "equal")
    assert flops_of(tiny.dims, plan) == done.flops


@pytest.mark.parametrize("asked", ["90", "151tok"])
@pytest.mark.parametrize("method", ["guipruner", "guipruner-tar", "guipruner-ssp", "resize", "fastv"])
def test_planned_lengths_of_methods_that_treat_images_apart(tiny, picture, method, asked):
    """TAR shrinks the history alone, SSP cuts the last image in all caches, resize stays within whole blocks."""
    made = make_method(method, {"trim": True} if method == "fastv" else {})
    pictures = tuple(picture(name, 300, 200) for name in "abc")
    done = Pipeline(tiny, (made,), Budget.parse(asked), max_new_tokens=3).run(Sample("x", pictures, "click ok", {}))
    grids = block_grids([(300, 200)] * 3, (1024, 1 << 20))
    plan = planned_counts(tiny.dims, grids, done.counts.n_text, done.counts.n_new, made, Budget.parse(asked))
    assert plan == done.counts
    assert flops_of(tiny.dims, plan) == done.flops


def test_the_halves_of_guipruner_cost_differently(capsys):
    step = ("--image", "160x256*4", "--text-tokens", "78", "--new-tokens", "6", "--retain", "20", "--reading", "paper")
    both, tar, ssp = (
        printed(capsys, *step, "--method", f"guipruner{part}")["flops"]["total"] for part in ("", "-tar", "-ssp")
    )
    full = printed(capsys, *step, "--method", "guipruner")["flops_full"]["total"]
    assert both < tar < full and both < ssp < full


class AfterTwo(Random):
    """Drops its patches after two ViT blocks."""

    vit_depth = 2


def test_planned_lengths_of_a_drop_inside_the_vit(tiny, picture):
    budget = Budget("percent", Fraction(30))
    done = Pipeline(tiny, AfterTwo(), budget, max_new_tokens=3).run(
        Sample("x", (picture("a", 300, 200), picture("b", 96, 64)), "click ok", {})
    )
    grids = block_grids([(300, 200), (96, 64)], (1024, 1 << 20))
    plan = planned_counts(tiny.dims, grids, done.counts.n_text, done.counts.n_new, AfterTwo(), budget)
    assert done.counts.vit_depth == 2 and plan == done.counts
    assert flops_of(tiny.dims, plan) == done.flops
    before = planned_counts(tiny.dims, grids, done.counts.n_text, done.counts.n_new, Random(), budget)
    assert flops_of(tiny.dims, before)["vit_linear"] < done.flops["vit_linear"]


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_5"])
@pytest.mark.parametrize("method", [Full(), Random()], ids=lambda m: f"{m.name}")
def test_planned_lengths_of_other_families(family, picture, method):
    adapter, budget = tiny(family), Budget("percent", Fraction(30))
    sample = Sample("x", (picture("a", 300, 200),), "click ok", {})
    done = Pipeline(adapter, method, budget, max_new_tokens=3).run(sample)
    rules = adapter.images
    grids = block_grids([(300, 200)], (rules.min_pixels, rules.max_pixels), rules.block)
    plan = planned_counts(adapter.dims, grids, done.counts.n_text, done.counts.n_new, method, budget)
    assert (plan.patches, plan.visual, plan.layer_tokens) == (
        done.counts.patches,
        done.counts.visual,
        done.counts.layer_tokens,
    )
    assert flops_of(adapter.dims, plan) == done.flops


@pytest.mark.parametrize("name", sorted(n for n, card in MODELS.items() if card.family in FAMILIES))
def test_every_published_model_has_a_table(name, capsys):
    out = printed(capsys, "--model", name, "--image", "1280x720", "--method", "pixelprune", "--retain", "25")
    config = family_of(name).classes()[1](**family_of(name).sizes[name]) if name not in EMBEDDED else None
    if config is not None:
        block = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        assert out["grids_blocks"] == [[round(720 / block), round(1280 / block)]]
        dims = dataclasses.replace(ModelDims.from_config(config), action_head=name.startswith("focusui"))
        assert model_dims(name)[0] == dims
        assert ("action_head" in out["flops"]) == dims.action_head == ("lm_head" not in out["flops"])
    assert out["flops_full"]["total"] > 2.5 * out["flops"]["total_prefill"] > 0


@pytest.mark.parametrize("name", ["qwen3vl-8b", "qwen2vl-2b", "qwen2.5vl-3b", "qwen3.5-2b"])
def test_filled_in_formulas_evaluate_to_their_results(name):
    """The text between the first and the last equals sign is arithmetic: it is computed and compared."""
    grids = block_grids([(2716, 1616), (640, 480)], DEFAULT_PIXELS)
    dims = model_dims(name)[0]
    counts = planned_counts(dims, grids, 120, 8, Layers(at=(2,)), Budget.parse("10", "paper"))
    checked = 0
    for line in explain(dims, counts):
        name, *middle, result = line.split(" = ")
        if name in {"deepstack", "decode"}:
            continue
        text = middle[-1].replace("^", "**").replace(") (", ") * (").replace("2 (", "2 * (").replace("4 (", "4 * (")
        assert eval(text, {"__builtins__": {}}) == pytest.approx(float(result), rel=1e-5), line
        checked += 1
    assert checked == 7


def test_the_papers_own_accounting_of_table_4(capsys):
    """Mean ScreenSpot-Pro Scientific image at 26.2 %: the paper prints 70 and 11 TFLOPs, a ratio of 6.6."""
    out = printed(capsys, *ASKED, "--method", "pixelprune", "--retain", "26.2", "--accounting", "pixelprune")
    full, cut = out["flops_full"]["total_prefill"], out["flops"]["total_prefill"]
    assert full / 1e12 == pytest.approx(55.38, abs=0.01)
    assert full / cut == pytest.approx(6.6, rel=0.02)


def test_causal_halving_is_the_only_difference_in_the_decoder(capsys):
    ours, theirs = printed(capsys, *ASKED), printed(capsys, *ASKED, "--accounting", "pixelprune")
    length = 50 * 85 + 120
    assert ours["flops"]["llm_linear"] == theirs["flops"]["llm_linear"]
    assert ours["flops"]["llm_attention"] / theirs["flops"]["llm_attention"] == pytest.approx((length + 1) / 2 / length)


def test_full_and_a_whole_budget_cost_the_same(capsys):
    out = printed(capsys, *ASKED, "--method", "random", "--retain", "100")
    assert out["flops"] == out["flops_full"]


def test_nano_is_read_from_its_folder():
    from transformers import AutoConfig

    from vtprune_eval.models import NANO

    assert model_dims("nano")[0] == ModelDims.from_config(AutoConfig.from_pretrained(NANO))


def test_several_images_and_markdown(capsys):
    assert (
        cli.main(
            [
                "flops",
                *ASKED[:2],
                "--image",
                "1920x1080*2",
                "--image",
                "640x480",
                "--method",
                "pixelprune",
                "--retain",
                "256tok",
                "--format",
                "md",
                "--explain-flops",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "2 x 34x60, 1 x 15x20" in out
    assert "| llm_linear" in out
    assert "vit_attention = L sum_i 4 n_i^2 d" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--model", "qwen3vl-9b", "--image", "64x64"], "qwen3vl-8b"),
        (["--model", "stub", "--image", "64x64"], "FLOPs are known"),
        (["--model", "qwen3.5-2b", "--image", "64x64", "--accounting", "pixelprune"], "counts Qwen3-VL models"),
        (["--image", "64"], "not WIDTHxHEIGHT"),
        (["--image", "0x64"], "not WIDTHxHEIGHT"),
        (["--image", "64x64*0"], "not WIDTHxHEIGHT"),
        (["--image", "9999x10"], "200 times"),
        (["--image", "64x64", "--method", "pixelprune"], "--retain is missing"),
        (["--image", "64x64", "--method", "pixelprune", "--retain", "auto"], "a percentage"),
        (["--image", "64x64", "--method", "pixelprune", "--retain", "0"], "outside (0, 100]"),
        (["--image", "64x64", "--method", "pixelprume", "--retain", "5"], "pixelprune"),
        (["--image", "64x64", "--method", "pool", "--retain", "25", "--accounting", "pixelprune"], "before the ViT"),
        (["--image", "64x64", "--text-tokens", "-1"], "at least 0"),
        ([], "--image"),
    ],
)
def test_bad_input_is_one_sentence(capsys, args, says):
    assert cli.main(["flops", *args]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_the_command_imports_no_torch():
    code = (
        "import sys; from vtprune_eval.cli import main; "
        "main(['flops', '--image', '640x480', '--method', 'random', '--retain', '10']); "
        "assert 'torch.nn' not in sys.modules and 'transformers' not in sys.modules"  # torch itself may be waiting
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "total_prefill" in done.stdout
