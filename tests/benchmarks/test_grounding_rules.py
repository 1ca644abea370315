"""Hand-made cases for ScreenSpot, OSWorld-G, UI-Vision and the resize variants, beside the golden vectors."""

from __future__ import annotations

import pytest

from vtprune_eval.benchmarks import osworld_g, screenspot, screenspot_pro, ui_vision
from vtprune_eval.benchmarks.rules import pointed
from vtprune_eval.benchmarks.rules.geometry import inside_polygon
from vtprune_eval.models import resize_variants
from vtprune_eval.models.smart_resize import smart_resize

BOX, SIZE = [100, 50, 200, 100], (1000, 500)


@pytest.mark.parametrize(
    ("text", "correct", "wrong_format"),
    [
        ("(0.3,0.3)", 1, 0),
        ("(0.3001,0.3)", 0, 0),
        ("20%, 20%", 0, 0),
        ("The box is (0.2,0.2)", 0, 1),
        ("<box>(200,200),(200,200)</box><box>(1,1),(2,2)</box>", 1, 0),
        ("1) (0.2,0.2)", 0, 1),
        ("", 0, 1),
        ("0.1 0.1 0.3 0.3", 1, 0),
        ("nan nan", 0, 1),
        (None, 0, 1),
    ],
)
def test_seeclick(text, correct, wrong_format):
    got = pointed.seeclick(text, BOX, SIZE).parts
    assert (got["correct"], got["wrong_format"]) == (correct, wrong_format)


def test_guikv_takes_the_first_argument_of_any_action():
    inside = pointed.guikv("Action: type(content='(0.2, 0.2)')", BOX, SIZE)
    assert inside.value == 1  # a literal pair in a text passes for a point
    assert pointed.guikv("Action: scroll(direction='down', start_box='(200,100)')", BOX, SIZE).value == 0
    assert pointed.guikv("Action: click(start_box='(nan,1)')", BOX, SIZE).parts["wrong_format"] == 1
    assert pointed.guikv("Action: click(start_box='(5)')", BOX, SIZE).parts["wrong_format"] == 1
    assert pointed.guikv("pyautogui.click(200)", BOX, SIZE, model="opencua").parts["wrong_format"] == 1


def test_frame_of_a_shrunken_image():
    """A method that shrinks the image changes the frame: the size that the model saw decides."""
    text = "Action: click(start_box='(50,25)')"
    assert pointed.guikv(text, BOX, SIZE).value == 0
    assert pointed.guikv(text, BOX, SIZE, model_size=(250, 125)).value == 1


def test_pro_and_its_summary():
    assert screenspot_pro.guikv_pro("no idea", [100, 50, 300, 150], SIZE).parts["correctness"] == "wrong"
    assert screenspot_pro.pro(None, [0, 0, 1, 1], SIZE).parts["correctness"] == "wrong_format"
    assert screenspot_pro.pro_negative(["negative"]).parts["correctness"] == "wrong_format"
    empty = screenspot_pro.pro_report([])
    assert empty["overall"]["action_acc"] == 0 and empty["by_group"] == {}


def test_averages_differ():
    scores = {("web", "text"): [1, 1, 1], ("web", "icon"): [0], ("mobile", "text"): [0], ("mobile", "icon"): [1, 0]}
    rows = [{"platform": p, "data_type": k, "score": float(v)} for (p, k), values in scores.items() for v in values]
    got = screenspot.groups_report(rows)
    assert got["micro"] == pytest.approx(4 / 7) and got["macro"] == pytest.approx(1.5 / 4)
    assert got["mean_of_means"] == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("x=299, y=149", 1),
        ("x=300, y=149", 0),
        ("x=0.2,y=0.2", 0),
        ("x=0.2,  y=0.2", 0),
        ("x=0.2, y=0.2", 1),
        ("x=200, y=0.2", 0),
    ],
)
def test_vlmeval_borders_and_pattern(text, correct):
    assert pointed.vlmeval(text, BOX, SIZE).parts["correct"] == correct


def test_vlmeval_stops_at_a_box_outside_the_image():
    got = pointed.vlmeval("x=1, y=1", [900, 50, 200, 100], SIZE)
    assert got.error == "ValueError" and got.value == 0


def item(kind, box, size=(1920, 1080)):
    return {"image_size": list(size), "box_type": kind, "box_coordinates": box}


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("<bbox>1 2 3 4</bbox> [9, 9]", (2, 3)),
        ("<BBOX id=1>1,2,3,4</ bbox >", (2, 3)),
        ("<bbox>1 2</bbox> (7, 8)", (7, 8)),
        ("(1  ,  2)", (1, 2)),
        ("[1 , 2, 3]", (1, 2)),
        ("y=5, x=3, y=4", (3, 4)),
        ("max: 3 any: 4", (3, 4)),
        ("rectangle 0 0 10 20", (5, 10)),
        ("5% 10%", (0.05, 0.1)),
        ("(1 2) or (3 4)", (1, 2)),
        ("<bbox 1 2 3 4", (2, 3)),
    ],
)
def test_osworld_g_reads(text, point):
    assert osworld_g.read_point(text) == pytest.approx(point)


def test_osworld_g_regions():
    assert osworld_g.official("[-1, -1]", item("refusal", [0] * 4)).value == 1
    assert osworld_g.official("[-1, 1]", item("refusal", [0] * 4)).value == 0
    assert osworld_g.official("none", item("refusal", [0] * 4)).value == 0
    assert osworld_g.official("[0.5, 0.5]", item("bbox", [960, 540, 0, 0])).value == 1
    assert osworld_g.official("[5, 5]", item("polygon", [1, 1, 2, 2, 3])).value == 0
    assert osworld_g.focusui([960, 540], item("bbox", [950, 530, 20, 20])).value == 1
    assert osworld_g.focusui(None, item("bbox", [0, 0, 9, 9])).why == "no_point"


def test_osworld_g_report_counts_an_item_in_each_of_its_categories():
    got = osworld_g.report(
        [
            {"correct": True, "box_type": "bbox", "categories": ["a", "b"]},
            {"correct": False, "box_type": "refusal", "categories": ["b"]},
        ]
    )
    assert got["overall"] == 0.5 and got["by_category"] == {"a": 1.0, "b": 0.5} and got["polygon"] == 0


def test_ray_casting_edges():
    square = [0, 0, 10, 0, 10, 10, 0, 10]
    assert inside_polygon((0, 5), square) and inside_polygon((5, 0), square)
    assert not inside_polygon((10, 5), square) and not inside_polygon((5, 10), square)
    assert not inside_polygon((0, 0), [0, 0, 1, 1])


def test_ui_vision():
    assert ui_vision.element((0.1, 0.1), [384, 216, 192, 108], (1920, 1080)).value == 1
    assert ui_vision.element("x", [1, 2, 3, 4], (9, 9)).error == "IndexError"
    assert ui_vision.layout([3, 3, 1, 1], [0, 0, 5, 5]).parts["gt_area"] == 0
    assert ui_vision.layout([0, 0, 5, 5], [5, 5, 0, 0]).value == 0  # a swapped annotation is not repaired
    right, wrong = {"correctness": "correct"}, {"correctness": "wrong"}
    got = ui_vision.subsets_report({"basic": [right], "functional": [wrong], "spatial": [wrong] * 8})
    assert got["score"] == pytest.approx(1 / 3) and got["micro"] == pytest.approx(0.1)
    assert ui_vision.layout_report([])["mean_iou"] is None


def test_resize_variants_differ_where_the_projects_do():
    limits = {"min_pixels": 3136, "max_pixels": 12_845_056}
    assert smart_resize(14, 2800, factor=28, **limits) == (28, 812)
    assert resize_variants.ui_tars(14, 2800, **limits) == (28, 2800)
    assert resize_variants.opencua_agent(10, 2001) == (28, 1988)
    assert resize_variants.agentnetbench_qwen(9000, 1000) == (4228, 448)
    for refused in (
        lambda: resize_variants.ui_tars(10, 2001),
        lambda: resize_variants.guikv_opencua(27, 100),
        lambda: resize_variants.opencua_agent(0, 5),
    ):
        with pytest.raises(ValueError):
            refused()


@pytest.mark.parametrize("size", [(1920, 1080), (2560, 1440), (1080, 2400), (3840, 2160), (1022, 1022)])
def test_resize_variants_agree_on_ordinary_screens(size):
    limits = {"min_pixels": 78_400, "max_pixels": 12_845_056}
    expected = smart_resize(*size, factor=28, **limits)
    for variant in (resize_variants.ui_tars, resize_variants.opencua_agent, resize_variants.guikv_opencua):
        assert variant(*size, **limits) == expected
