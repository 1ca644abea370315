"""What a server's user does: a plan for the server, a plan for a request, several images, chat messages."""

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.image_file import open_picture
from vtprune_eval.models import NANO
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.spec import Cell


@pytest.fixture(scope="module")
def llm():
    import os

    from vllm import LLM

    from vtprune_eval.integrations.vllm.engine import CPU_ENVIRONMENT, ENVIRONMENT
    from vtprune_eval.integrations.vllm.plugin import overrides

    os.environ.update({**ENVIRONMENT, **CPU_ENVIRONMENT})
    plan = {"method": "divprune", "budget": "40"}
    return LLM(
        model=str(NANO),
        hf_overrides={**overrides("Qwen3VLForConditionalGeneration"), "vtprune": plan},
        dtype="float32",
        enforce_eager=True,
        max_num_seqs=8,
        limit_mm_per_prompt={"image": 2},
        disable_log_stats=True,
    )


def ask(llm, images, question, plan=None):
    from vllm import SamplingParams

    content = [{"type": "image_pil", "image_pil": image} for image in images]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    limits = SamplingParams(temperature=0, max_tokens=12)
    (output,) = llm.chat(
        messages,
        limits,
        use_tqdm=False,
        chat_template_content_format="openai",
        mm_processor_kwargs=None if plan is None else {"vtprune": plan},
    )
    return tuple(output.outputs[0].token_ids), len(output.prompt_token_ids)


def ours(nano, sample, method, budget):
    from dataclasses import replace

    spec = from_mapping({"methods": method, "budgets": budget})
    pipeline = Pipeline(nano, spec.make(method), spec.budget(Cell(method, budget)), max_new_tokens=12)
    outcome = pipeline.run(replace(sample, id="", instruction=None))
    return outcome.ids, outcome.counts.prompt


def test_plans_of_server_and_request(llm, nano):
    sample = load_task("mini-grounding").samples[4]
    image = open_picture(sample.images[0])
    assert ask(llm, [image], sample.question) == ours(nano, sample, "divprune", "40")
    for method, budget in (("pixelprune", "auto"), ("cdpruner", "25"), ("full", "100"), ("resize", "40")):
        plan = {"method": method, "budget": budget}
        assert ask(llm, [image], sample.question, plan) == ours(nano, sample, method, budget), method


def test_every_image_of_a_request_meets_the_budget_alone(llm):
    one, two = (open_picture(load_task("mini-grounding").samples[i].images[0]) for i in (0, 1))
    _, both = ask(llm, [one, two], "click recipe", {"method": "stride", "budget": "25"})
    _, alone = ask(llm, [one], "click recipe", {"method": "stride", "budget": "25"})
    _, whole = ask(llm, [one], "click recipe", {"method": "full"})
    blocks = -(-one.width // 32) * -(-one.height // 32)
    assert whole - alone == blocks - -(-blocks // 4)
    assert both > alone


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"method": "fastv", "budget": "60"}, "inside the decoder, which vLLM cannot do"),
        ({"method": "focusui", "budget": "25"}, "a server cannot"),
        ({"methods": "divprune"}, "unknown setting of a plan"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_engine_goes_on(llm, plan, says):
    sample = load_task("mini-grounding").samples[4]
    image = open_picture(sample.images[0])
    with pytest.raises(Exception, match=says):
        ask(llm, [image], sample.question, plan)
    assert ask(llm, [image], sample.question, {"method": "full"})[0]
