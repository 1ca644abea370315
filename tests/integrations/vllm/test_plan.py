"""A plan is what vLLM hashes: everything that the kept tokens depend on is in its text."""

import json

import pytest

from vtprune_eval import __version__
from vtprune_eval.errors import UserError
from vtprune_eval.integrations.vllm.plan import CountUnknown, Plan
from vtprune_eval.integrations.vllm.plugin import ARCHITECTURES, overrides

BASE = {"method": "divprune", "budget": "25"}


@pytest.mark.parametrize(
    "change",
    [
        {"method": "visionzip"},
        {"budget": "10"},
        {"params": {"divprune.x": 1}},
        {"seed": 1},
        {"instruction": "tap ok"},
        {"question": "what?"},
        {"sample": "a"},
        {"sizes": [[4, 4], [4, 4]]},
        {"rows": 3},
    ],
)
def test_what_changes_the_tokens_changes_the_text(change):
    assert Plan.read({**BASE, **change}).text != Plan.read(BASE).text


def test_the_text_reads_back_and_names_the_version():
    plan = Plan.read({**BASE, "params": {"a": 1}, "sizes": [[3, 4]], "instruction": "x"})
    assert Plan.read(plan.text) == plan
    assert json.loads(plan.text)["package"] == __version__


def test_a_request_goes_before_its_server():
    assert Plan.read({"budget": "10"}, BASE) == Plan.read({**BASE, "budget": "10"})
    assert Plan.read(None, None) == Plan("full", "100")
    assert Plan.read({"method": "full", "budget": "10"}).budget == "100"


def test_only_methods_that_may_read_the_question_depend_on_it():
    assert not any(p.reads_text for p in (Plan(), Plan("pixelprune", "auto"), Plan("resize", "25")))
    assert all(
        p.reads_text for p in (Plan("cdpruner", "25"), Plan("pixelprune+focusui", "25"), Plan("stride", "flops:50"))
    )


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("fastv", "fastv drops tokens inside the decoder, which vLLM cannot do; run it with --engine local"),
        ("snapkv", "snapkv drops tokens in the KV cache, which vLLM cannot do"),
        ("pixelprune+snapkv", "snapkv drops tokens in the KV cache"),
        ("oracle", "oracle reads the answer, which no request holds"),
    ],
)
def test_what_vllm_cannot_do_is_refused_in_one_sentence(method, says):
    with pytest.raises(UserError, match=says):
        _ = Plan(method, "50").cell


@pytest.mark.parametrize(
    ("given", "says"),
    [("{", "is not JSON"), ("[1]", "is not a mapping"), ({"methods": "x"}, "did you mean 'method'")],
)
def test_a_plan_that_cannot_be_read_says_why(given, says):
    with pytest.raises(UserError, match=says):
        Plan.read(given)


def test_an_unknown_method_or_budget_is_refused():
    for plan in (Plan("divprun", "25"), Plan("divprune", "-3"), Plan("divprune", "auto")):
        with pytest.raises(UserError):
            _ = plan.cell


def test_a_server_says_what_it_cannot_know():
    assert "a run (--engine vllm) asks the encoder first" in str(CountUnknown(Plan("focusui", "25")))


def test_the_architectures_keep_the_names_of_vllm():
    assert overrides("Qwen3VLForConditionalGeneration")["architectures"][0] in ARCHITECTURES
