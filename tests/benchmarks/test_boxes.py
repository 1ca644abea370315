"""Where a target is: the shared forms, and the forms that a benchmark alone has."""

import pytest

from tests.benchmarks import formats
from vtprune_eval.benchmarks.agentnetbench import AgentNetBench
from vtprune_eval.benchmarks.androidcontrol import AndroidControl
from vtprune_eval.benchmarks.gui_odyssey import GUIOdyssey
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.sample import listed_boxes

SIZE = (200, 100)


@pytest.mark.parametrize(
    ("target", "boxes"),
    [
        ({"type": "box", "box_xyxy": [1, 2, 3, 4]}, [(1, 2, 3, 4)]),
        ({"type": "action", "action": {"type": "tap", "point": [0.5, 0.5], "box_xyxy": [1, 2, 3, 4]}}, [(1, 2, 3, 4)]),
        ({"type": "action", "action": {"type": "scroll", "direction": "down"}}, []),
        ({"type": "text", "answers": ["7"]}, []),
        ({"truth": {"box_type": "polygon", "box_coordinates": [0, 0, 10, 0, 10, 20]}}, [(0, 0, 10, 20)]),
    ],
)
def test_shared_forms(target, boxes):
    assert listed_boxes(target, SIZE) == tuple(pytest.approx(b) for b in boxes)


NODE = {"bbox_pixels": {"x_min": 1, "y_min": 2, "x_max": 30, "y_max": 40}, "is_clickable": True}


@pytest.mark.parametrize(
    ("benchmark", "truth", "boxes"),
    [
        (GUIOdyssey, {"sam2_bbox": [100, 250, 500, 750]}, [(20, 25, 100, 75)]),
        (GUIOdyssey, {"sam2_bbox": None}, []),
        (
            AgentNetBench,
            {"ground_truth_actions": [{"metadata": {"bboxes": [{"rel_bbox": [0.5, 0.5, 0.25, 0.1]}]}}, {}]},
            [(100, 50, 150, 60)],
        ),
        (AndroidControl, {"action": {"x": 5, "y": 5}, "accessibility_tree": []}, []),
        (AndroidControl, {"action": {"x": 5, "y": 5}, "accessibility_tree": [NODE]}, [(1, 2, 30, 40)]),
        (AndroidControl, {"action": {"action_type": "wait"}}, []),
    ],
)
def test_forms_of_one_benchmark(benchmark, truth, boxes):
    assert benchmark().boxes({"truth": truth}, SIZE) == tuple(pytest.approx(b) for b in boxes)


@pytest.mark.parametrize("name", ["agentnetbench", "androidcontrol", "gui_odyssey", "screenspot", "osworld_g"])
def test_samples_know_where_their_targets_are(name, tmp_path):
    """What is drawn as the target is what target recall asks for."""
    formats.FORMATS[name][0](tmp_path)
    task = load_task(name, data_path=str(tmp_path), history=None if name in ("screenspot", "osworld_g") else 0)
    size = (960, 540)
    found = 0
    for sample in task.samples:
        drawn = [tuple(numbers) for kind, numbers in task.of.marks(sample.target, size) if kind == "box"]
        if drawn:
            assert sample.boxes(size) == tuple(pytest.approx(b) for b in drawn)
            found += 1
    assert found
