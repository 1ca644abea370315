"""A limited task: the same draw every time, in order, with every group in it."""

from vtprune_eval.benchmarks.tasks import load_task


def test_a_limit_keeps_the_groups():
    task = load_task("mini-grounding", limit=40)
    assert len(task.samples) == 40
    kinds = [s.meta["target_kind"] for s in task.samples]
    assert 10 <= kinds.count("icon") <= 30
    ids = [s.id for s in load_task("mini-grounding").samples]
    assert [s.id for s in task.samples] == [i for i in ids if i in {s.id for s in task.samples}]
    assert [s.id for s in load_task("mini-grounding", limit=40).samples] == [s.id for s in task.samples]
