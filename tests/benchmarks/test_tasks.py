"""A limited task: the same draw every time, in order, with every group in it."""

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError


def test_a_limit_keeps_the_groups():
    task = load_task("mini-grounding", limit=40)
    assert len(task.samples) == 40
    kinds = [s.meta["target_kind"] for s in task.samples]
    assert 10 <= kinds.count("icon") <= 30
    ids = [s.id for s in load_task("mini-grounding").samples]
    assert [s.id for s in task.samples] == [i for i in ids if i in {s.id for s in task.samples}]
    assert [s.id for s in load_task("mini-grounding", limit=40).samples] == [s.id for s in task.samples]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(UserError, match=f"A limit of {limit} samples leaves none of mini-doc; give at least 1"):
        load_task("mini-doc", limit)
