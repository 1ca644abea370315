"""Pictures of samples: blocks, marks, filters, and pages that hold text as text."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import formats
from tests.report.conftest import HOSTILE, edit_records
from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.commands.show import file_name, fits
from vtprune_eval.errors import UserError
from vtprune_eval.report.pictures import (
    CAPTION_LINE,
    COLUMN,
    MARGIN,
    POINT,
    TARGET,
    Panel,
    block_size,
    draw,
    kept_blocks,
    predicted_point,
    printable,
)
from vtprune_eval.sample import Sample

METHODS = ("full", "pixelprune", "resize")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show") / "run"
    assert (
        cli.main(
            [
                "--model",
                "stub",
                "--method",
                ",".join(METHODS),
                "--budget",
                "25",
                "--limit",
                "12",
                "--tasks",
                "mini-grounding,mini-nav",
                "--out",
                str(folder),
            ]
        )
        == 0
    )
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def record(kept="f", size=(64, 64), n=4, answer="tap 50 50", point=(0.5, 0.5), score=1.0, visual=4):
    return {
        "status": "ok",
        "score": score,
        "reason": "ok" if score else "wrong",
        "answer": answer,
        "parsed": {"point": list(point)} if point else None,
        "kept": [kept],
        "frame": {"model_sizes": [list(size)]},
        "counts": {
            "patches": [16],
            "patches_full": [16],
            "visual": [visual],
            "visual_full": [n],
            "layer_visual": [visual],
            "cache_entries": [9, 9],
        },
    }


@pytest.fixture
def sample(tmp_path):
    Image.new("RGB", (64, 64), (10, 20, 250)).save(tmp_path / "a.png")
    return Sample("s", (tmp_path / "a.png",), "q", {"type": "box", "box_xyxy": [0, 0, 16, 16]})


def test_bits_are_blocks_in_raster_order():
    assert kept_blocks("6", (64, 64), 32) == [[False, True], [True, False]]
    with pytest.raises(UserError, match="outside its image"):
        kept_blocks("10", (64, 64), 32)


def test_dropped_blocks_are_grey_and_kept_ones_are_not(sample):
    picture = np.asarray(draw(sample, [Panel("m", record(kept="6", point=None))]), int)
    top = picture.shape[0] - MARGIN - COLUMN
    view = picture[top : top + COLUMN, MARGIN : MARGIN + COLUMN]
    at = {(r, c): view[COLUMN * (5 * r + 4) // 10, COLUMN * (5 * c + 4) // 10] for r in (0, 1) for c in (0, 1)}
    assert tuple(at[0, 1]) == tuple(at[1, 0]) == (10, 20, 250)
    assert np.ptp(at[0, 0]) < 60 and tuple(at[0, 0]) == tuple(at[1, 1])


def test_what_was_dropped_inside_the_decoder_is_half_grey(sample):
    """Block 0 never entered, block 1 entered and was dropped, block 2 stayed."""
    picture = np.asarray(draw(sample, [Panel("m", {**record(kept="6", point=None), "kept_last": ["4"]})]), int)
    view = picture[picture.shape[0] - MARGIN - COLUMN :, MARGIN : MARGIN + COLUMN]
    never, dropped, stayed = (
        view[COLUMN * (5 * r + 4) // 10, COLUMN * (5 * c + 4) // 10] for r, c in ((0, 0), (0, 1), (1, 0))
    )
    assert tuple(stayed) == (10, 20, 250)
    assert np.ptp(never) < np.ptp(dropped) < np.ptp(stayed)


def test_target_box_and_point_are_where_they_belong(sample):
    picture = np.asarray(draw(sample, [Panel("m", record(point=(0.75, 0.5)))]))
    top = picture.shape[0] - MARGIN - COLUMN
    view = picture[top : top + COLUMN, MARGIN : MARGIN + COLUMN]
    ys, xs = np.nonzero((view == TARGET).all(-1))
    assert (xs.max() / COLUMN, ys.max() / COLUMN) == (pytest.approx(0.25, abs=0.01), pytest.approx(0.25, abs=0.01))
    ys, xs = np.nonzero((view == POINT).all(-1))
    assert (xs.mean() / COLUMN, ys.mean() / COLUMN) == (pytest.approx(0.75, abs=0.01), pytest.approx(0.5, abs=0.01))


def test_a_column_per_method_and_a_row_per_frame(sample):
    two = Sample("s", sample.images * 2, "q", sample.target)
    r = record()
    r["kept"], r["frame"]["model_sizes"] = ["f", "f"], [[64, 64], [64, 64]]
    wide, tall = draw(sample, [Panel("a", record())] * 3), draw(two, [Panel("a", r)])
    one = draw(sample, [Panel("a", record())])
    assert wide.size == (one.width + 2 * (COLUMN + MARGIN), one.height)
    assert tall.size == (one.width, one.height + COLUMN + CAPTION_LINE + MARGIN)


def test_a_smaller_image_takes_the_block_of_the_full_one():
    reduced = Panel("resize", record(kept="1", size=(32, 32), n=9, visual=1))
    assert block_size([reduced, Panel("full", record(size=(96, 96), n=9))]) == 32
    with pytest.raises(UserError, match="merge blocks are not known"):
        block_size([Panel("x", {**record(), "status": "failed"})])


@pytest.mark.parametrize(
    ("name", "number", "at"),
    [("aitw", 0, (0.5, 0.75)), ("agentnetbench", 0, (0.5, 0.45)), ("osworld_g", 1, (0.2, 0.2))],
)
def test_every_benchmarks_target_is_drawn(name, number, at, tmp_path):
    """A tap's ring, a click's box and ring, a polygon: around the annotated place and nowhere else."""
    formats.FORMATS[name][0](tmp_path)
    task = load_task(name, data_path=str(tmp_path), style="qwen3_vl", **({} if name == "osworld_g" else {"history": 0}))
    sample = task.samples[number]
    with Image.open(sample.images[0]) as image:
        height = round(image.height * COLUMN / image.width)
    picture = np.asarray(draw(sample, [Panel("m", record(point=None))], task.of))
    view = picture[picture.shape[0] - MARGIN - height :, MARGIN : MARGIN + COLUMN]
    ys, xs = np.nonzero((view == TARGET).all(-1))
    middle = (xs.min() + xs.max()) / 2 / COLUMN, (ys.min() + ys.max()) / 2 / height
    assert middle == pytest.approx(at, abs=0.01)
    text = Sample("s", sample.images, "q", {"type": "text", "answers": ["a"]})
    assert not (np.asarray(draw(text, [Panel("m", record(point=None))])) == TARGET).all(-1).any()


def test_the_box_of_an_embedded_action_is_drawn(sample):
    step = Sample("s", sample.images, "q", {"type": "action", "action": {"type": "tap", "box_xyxy": [8, 8, 24, 24]}})
    assert (np.asarray(draw(step, [Panel("m", record(point=None))])) == TARGET).all(-1).any()


def test_samples_without_a_readable_image_are_skipped_and_counted(tmp_path, capsys):
    formats.screenspot(tmp_path / "d")
    pictures = sorted((tmp_path / "d" / "images").iterdir())
    pictures[0].write_bytes(b"no picture")
    run = ["--model", "stub", "--method", "full", "--tasks", "screenspot", "--data-path", str(tmp_path / "d")]
    cli.main([*run, "--out", str(tmp_path / "run")])
    capsys.readouterr()
    shown = ["show", "--run", str(tmp_path / "run"), "--data-path", str(tmp_path / "d")]
    assert cli.main(shown) == 0
    out = capsys.readouterr()
    drawn = (tmp_path / "run" / "show" / "index.html").read_text().count("<figure")
    assert drawn >= 1 and f"{drawn} of " in out.out
    assert "samples skipped" in out.err and pictures[0].name in out.err
    for path in pictures:
        path.write_bytes(b"no picture")
    cli.main([*run, "--out", str(tmp_path / "none")])
    capsys.readouterr()
    assert cli.main(["show", "--run", str(tmp_path / "none"), "--data-path", str(tmp_path / "d")]) == 2
    assert "cannot be opened" in capsys.readouterr().err


def test_points_that_are_none():
    for parsed in (
        None,
        {},
        {"point": [2, 0.5]},
        {"point": ["a", "b"]},
        {"point": [0.1]},
        {"point": [float("nan"), 0]},
    ):
        assert predicted_point({"parsed": parsed}) is None


def test_filters():
    right, wrong, none = (Panel(n, {"score": s}) for n, s in (("full", 1.0), ("m", 0.0), ("n", None)))
    assert fits([right, wrong], "full-right") and fits([right, wrong], "disagree")
    assert not fits([right, none], "full-right")
    assert not fits([Panel("full", {"score": 0.0}), Panel("m", {"score": 1.0})], "full-right")
    assert not fits([Panel("m", {"score": 1.0}), wrong], "full-right")
    assert fits([none], None)


def test_text_of_a_model_is_one_printable_line():
    assert printable("a\x1b[31m\n\u202eb\t c") == "a [31m b c"
    assert len(printable("x" * 5000)) == 90


def test_gallery_of_a_run(run, capsys):
    assert cli.main(["show", "--run", str(run), "--only", "full-right", "--limit", "3"]) == 0
    page = (run / "show" / "index.html").read_text()
    assert page.count("<figure") == page.count('data-full-right="true"') == page.count("<img") == 3
    pictures = list((run / "show").glob("*.png"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert picture.width == MARGIN + 3 * (COLUMN + MARGIN)
    assert "3 of " in capsys.readouterr().out


def test_one_sample_with_history_and_a_hostile_answer(run, tmp_path):
    names = json.loads((run / "records" / "mini-nav--full@100.jsonl").read_text().splitlines()[0])["id"]
    edit_records(run, "mini-nav--resize@25.jsonl", lambda i, r: r.update(answer=HOSTILE))
    assert cli.main(["show", "--run", str(run), "--sample", names, "--out", str(tmp_path / "g")]) == 0
    page = (tmp_path / "g" / "index.html").read_text()
    assert (tmp_path / "g" / file_name("mini-nav", names)).is_file()
    assert "&lt;img" in page and page.count("<img") == 1


def test_file_names_cannot_leave_the_folder():
    assert "/" not in file_name("t", "../../etc/passwd") and file_name("t", "a/b") != file_name("t", "a-b")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--sample", "g-9999"], "unknown sample 'g-9999'"),
        (["--task", "mini-doc"], "unknown task of this run"),
        (["--limit", "0"], "at least 1"),
        ([], "--run"),
    ],
)
def test_bad_input_is_one_sentence(finished, capsys, args, says):
    assert cli.main(["show", *(["--run", str(finished)] if args else []), *args]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_records_edited_by_hand_are_not_shown(run, capsys):
    edit_records(run, "mini-nav--resize@25.jsonl", lambda i, r: r.update(answer="other"), seal=False)
    assert cli.main(["show", "--run", str(run), "--limit", "1"]) == 2
    assert "mini-nav--resize@25.jsonl was changed after" in capsys.readouterr().err


def test_a_run_without_digests_is_shown_with_a_note(run, capsys):
    summary = json.loads((run / "summary.json").read_text())
    del summary["digests"]
    (run / "summary.json").write_text(json.dumps(summary))
    assert cli.main(["show", "--run", str(run), "--limit", "1"]) == 0
    assert "cannot be told" in capsys.readouterr().err
