"""AgentNetBench's conversations, against a literal walk over the steps in the published order."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.benchmarks import formats
from tests.conftest import SHARED, needs_shared
from vtprune_eval.benchmarks.base import Item, Step
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.benchmarks.prompts import load_prompt
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.turns import IMAGE_AT, messages

CELLS = [("opencua", "official"), ("opencua", "guikv"), ("ui_tars", "official"), ("ui_tars", "guikv")]


def told(step: dict, number: int, whole: bool) -> str:
    said = step["inner_monologue"]
    action = f"## Action:\n{said['low_level_instruction']}\n"
    before = f"## Observation:\n{said['observation']}\n\n## Thought:\n{said['thought']}\n\n" if whole else ""
    return f"# Step {number}:\n{before}{action}"


def walk(steps: list[dict], at: int, slots: int, whole: bool) -> list[tuple[str, int, str]]:
    """(Role, images, text) of the turns before the current one: ``slots`` screenshots in all, ten steps of text."""
    turns = []
    for i in range(at):
        if i in list(range(at))[-(slots - 1) :]:
            turns.append(("user", 1, ""))
        if i >= max(0, at - 10):
            turns.append(("assistant", 0, told(steps[i], i + 1, whole)))
    return turns


def seen(sample) -> list[tuple[str, int, str]]:
    turns = messages(len(sample.images), sample.question)
    return [
        (
            turn["role"],
            sum(part["type"] == "image" for part in turn["content"]),
            "".join(part.get("text", "") for part in turn["content"]),
        )
        for turn in turns
    ]


def check(folder, style: str, protocol: str) -> int:
    task = load_task("agentnetbench", data_path=str(folder), style=style, protocol=protocol)
    steps = {}
    for path in folder.glob("*.json"):
        data = json.loads(path.read_text())
        steps[data["task_id"]] = data
    longest = 0
    for sample in task.samples:
        data = steps[sample.cluster]
        at = next(i for i, s in enumerate(data["steps"]) if f"{sample.cluster}-{s['step_num']}" == sample.id)
        turns = seen(sample)
        if (style, protocol) == ("opencua", "official"):
            role, images, text = turns.pop(0)
            assert (role, images) == ("system", 0) and "pyautogui" in text
        whole = style == "ui_tars" or protocol == "guikv"
        *history, (role, images, text) = turns
        assert history == walk(data["steps"], at, 5 if protocol == "guikv" else 3, whole)
        assert (role, images) == ("user", 1) and data["high_level_task_description"] in text
        assert sample.instruction == data["high_level_task_description"]
        longest = max(longest, at)
    return longest


@pytest.mark.parametrize(("style", "protocol"), CELLS)
def test_turns_are_the_published_ones(style, protocol, tmp_path):
    formats.agentnetbench(tmp_path)
    assert check(tmp_path, style, protocol) == 4


@needs_shared("samples/agentnetbench")
@pytest.mark.parametrize(("style", "protocol"), CELLS)
def test_real_tasks(style, protocol):
    assert check(SHARED / "samples" / "agentnetbench", style, protocol) == 10


@pytest.mark.parametrize("history", [0, 1, 5])
def test_as_many_screenshots_as_asked_for(history, tmp_path):
    formats.agentnetbench(tmp_path)
    task = load_task("agentnetbench", data_path=str(tmp_path), style="ui_tars", history=history)
    last = seen(task.samples[4])
    assert sum(n for _, n, _ in last) == min(history, 4) + 1 and last[-1][1] == 1
    assert [text for role, _, text in last if role == "assistant"][-1].startswith("# Step 4:")


def test_only_the_latest_ten_steps_are_told_under_their_own_numbers(tmp_path):
    spec = definition("agentnetbench")
    prompt = load_prompt(spec.changed(protocol="guikv"), "ui_tars")
    past = tuple(Step(f"do {n}", None, f"think {n}", "") for n in range(1, 15))
    item = Item("i", (tmp_path / "a.png",) * 5, {"instruction": "find it"}, {}, past)
    turns = messages(5, prompt.question(item))
    told = [t["content"][0]["text"] for t in turns if t["role"] == "assistant"]
    assert [t.splitlines()[0] for t in told] == [f"# Step {n}:" for n in range(5, 15)]
    assert [t["role"] for t in turns] == ["assistant"] * 6 + ["user", "assistant"] * 4 + ["user"]
    hostile = replace(item, past=(replace(past[0], text=f"say {IMAGE_AT}\ue001"),), images=item.images[:2])
    turns = messages(2, prompt.question(hostile))
    assert [t["role"] for t in turns] == ["user", "assistant", "user"]
