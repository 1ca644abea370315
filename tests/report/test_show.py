"""Pictures of samples: blocks, marks, filters, and pages that hold text as text."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import formats
from tests.report.conftest import HOSTILE, edit_records
from vtprune_eval import cli
from vtprune_eval.api import load_result
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.commands.show import file_name
from vtprune_eval.drawing import ANSWER, TARGET
from vtprune_eval.errors import UserError
from vtprune_eval.report.maps import Kept, colours, kept_blocks, looked, recall_sentence
from vtprune_eval.report.pictures import (
    CAPTION_LINE,
    COLUMN,
    MARGIN,
    PER_ROW,
    TALLEST,
    Panel,
    block_size,
    draw,
    fitted,
    predicted_point,
    printable,
)
from vtprune_eval.report.selection import PAIRS, chosen, fits, group_table, groups_of
from vtprune_eval.results.inside import packed as pack
from vtprune_eval.runner.spec import Cell
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
        "frame": {"model_sizes": [list(size)], "file_sizes": [list(size)]},
        "counts": {
            "patches": [16],
            "patches_full": [16],
            "visual": [visual],
            "visual_full": [n],
            "layer_visual": [visual],
            "layer_tokens": [9],
            "cache_entries": [9],
            "cache_heads": [2],
            "prompt_full": 9,
        },
    }


@pytest.fixture
def sample(tmp_path):
    Image.new("RGB", (64, 64), (10, 20, 250)).save(tmp_path / "a.png")
    return Sample("s", (tmp_path / "a.png",), "q", {"type": "box", "box_xyxy": [0, 0, 16, 16]})


def test_bits_are_blocks_in_raster_order():
    assert kept_blocks("6", (2, 2)) == [[False, True], [True, False]]
    with pytest.raises(UserError, match="outside its image"):
        kept_blocks("10", (2, 2))


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
    ys, xs = np.nonzero((view == ANSWER).all(-1))
    assert (xs.mean() / COLUMN, ys.mean() / COLUMN) == (pytest.approx(0.75, abs=0.01), pytest.approx(0.5, abs=0.01))


def test_a_column_per_method_and_a_row_per_frame(sample):
    two = Sample("s", sample.images * 2, "q", sample.target)
    r = record()
    r["kept"], r["frame"] = ["f", "f"], {"model_sizes": [[64, 64]] * 2, "file_sizes": [[64, 64]] * 2}
    wide, tall = draw(sample, [Panel("a", record())] * PER_ROW), draw(two, [Panel("a", r)])
    one = draw(sample, [Panel("a", record())])
    assert wide.size == (one.width + (PER_ROW - 1) * (COLUMN + MARGIN), one.height)
    assert draw(sample, [Panel("a", record())] * (PER_ROW + 1)).size == (wide.width, 2 * wide.height)
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
        width, height = fitted(image.size)
    picture = np.asarray(draw(sample, [Panel("m", record(point=None))], task.of))
    view = picture[picture.shape[0] - MARGIN - height :, MARGIN : MARGIN + width]
    ys, xs = np.nonzero((view == TARGET).all(-1))
    middle = (xs.min() + xs.max()) / 2 / width, (ys.min() + ys.max()) / 2 / height
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


def test_samples_that_cannot_be_drawn_say_why(sample):
    with pytest.raises(UserError, match="'s' has no image"):
        draw(Sample("s", (), "q", sample.target), [Panel("m", record())])
    old = record()
    del old["counts"]["cache_heads"], old["counts"]["layer_visual"]
    with pytest.raises(UserError, match="of an earlier version"):
        draw(sample, [Panel("m", old)])
    reduced = record(kept="1", size=(32, 32), n=4, visual=1)
    assert draw(sample, [Panel("resize", reduced)], every=[Panel("full", record())]).width > COLUMN
    with pytest.raises(UserError, match="merge blocks are not known"):
        draw(sample, [Panel("resize", {**reduced, "counts": {**reduced["counts"], "visual_full": [7]}})])


def test_a_tall_screen_is_not_taller_than_a_page_and_a_huge_one_is_drawn(tmp_path):
    Image.new("RGB", (64, 6400)).save(tmp_path / "tall.png")
    r = record(kept="f", size=(64, 6400), n=400, visual=2)
    picture = draw(Sample("s", (tmp_path / "tall.png",), "q", {"type": "text"}), [Panel("m", r)])
    assert picture.height < TALLEST + 20 * CAPTION_LINE


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


def inside(layers=(), heads=(0,), bits=b""):
    return {"layers": list(layers), "heads": list(heads), "bits": pack(bits)}


def test_the_map_of_a_cache_is_the_share_of_layers_and_heads(sample):
    """Two heads: block 1 is held by both, block 2 by one, block 3 by none; block 0 never entered."""
    r = record(kept="e", visual=3, point=None)
    r["counts"]["cache_entries"] = [6]
    assert "--record-kept full" in Kept(r, 32).lacks and Kept(r, 32).share(0) is None
    r["kept_inside"] = inside(heads=[2], bits=np.packbits([[0, 1, 1, 0], [0, 1, 0, 0]]).tobytes())
    kept = Kept(r, 32)
    assert kept.share(0).tolist() == [[0, 1], [0.5, 0]] and kept.lacks == ""
    picture = np.asarray(draw(sample, [Panel("m", r)]), int)
    chart = picture[picture.shape[0] - MARGIN - COLUMN :, MARGIN : MARGIN + COLUMN]
    at = [tuple(chart[COLUMN * (5 * i + 4) // 10, COLUMN * (5 * j + 4) // 10]) for i in (0, 1) for j in (0, 1)]
    assert at == [(255, 255, 255), *(tuple(colours(np.array(v)).tolist()) for v in (1.0, 0.5, 0.0))]


def test_the_map_of_a_layer_method_is_how_far_a_block_came():
    r = record(kept="f", point=None)
    r["counts"] |= {"layer_visual": [4, 2, 1, 1], "layer_tokens": [9, 7, 6, 6]}
    r["counts"] |= {"cache_entries": [9, 7, 6, 6], "cache_heads": [2] * 4}
    assert "layer" in Kept(r, 32).lacks
    r["kept_inside"] = inside([[1, ["3"]], [2, ["1"]]], [0] * 4)
    assert Kept(r, 32).share(0).tolist() == [[1, 0.5], [0.25, 0.25]]


def test_captions_say_where_a_method_looked(sample):
    r = record(kept="1", size=(128, 128), n=16, visual=1, point=None)
    found = looked(sample, Kept(r, 32))
    assert found[0] == "kept: 100 % of the target, 0 % around it, 0 % elsewhere"
    assert found[1] == "top, middle, bottom third: 12, 0, 0 %"
    assert looked(sample, Kept(record(), 32)) == []
    assert recall_sentence({"target_recall": {"patches": 1.0, "tokens": 1.0, "layers": 0.5, "cache": 0.25}}) == (
        "target recall: 100 % through the ViT, 100 % into the decoder, 50 % over its layers, 25 % in the cache"
    )
    assert recall_sentence({}) == recall_sentence({"target_recall": None}) == ""


CELLS = [Cell("full", "100"), Cell("guikv", "10"), Cell("guikv", "20"), Cell("random", "10"), Cell("random", "10#1")]


def test_cells_are_named_or_chosen_by_method_and_budget():
    assert chosen(CELLS) == CELLS
    assert chosen(CELLS, names=["guikv@20", "full"]) == [CELLS[2], CELLS[0]]
    assert chosen(CELLS, names=["guikv at 10.0", "random@10#1"]) == [CELLS[1], CELLS[4]]
    assert chosen(CELLS, methods=["guikv"]) == CELLS[:3]
    assert chosen(CELLS, methods=["random"], budgets=["10"]) == [CELLS[0], *CELLS[3:]]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"names": ["guikv"]}, "the run has guikv@10, guikv@20; name one of them"),
        ({"names": ["gukv@10"]}, "did you mean 'guikv@10'"),
        ({"names": ["full", "full@100"]}, "names full twice"),
        ({"names": ["full"], "methods": ["guikv"]}, "leave --method and --budget out"),
        ({"methods": ["x"]}, "unknown method of this run"),
        ({"budgets": ["11"]}, "unknown budget of this run '11'"),
        ({"budgets": ["'; drop"]}, "unknown budget"),
    ],
)
def test_unknown_cells_are_one_sentence(wanted, says):
    with pytest.raises(UserError, match=says):
        chosen(CELLS, **wanted)


def test_cells_of_a_sweep_are_chosen_by_their_method():
    swept = [Cell("full", "100"), *(Cell(f"pixelprune[tau={t}]", "auto") for t in ("0.01", "0.02"))]
    assert chosen(swept, methods=["pixelprune"]) == swept
    assert chosen(swept, names=["pixelprune[tau=0.02]", "full"]) == [swept[2], swept[0]]
    with pytest.raises(UserError, match=r"the run has pixelprune\[tau=0.01\]@auto, pixelprune"):
        chosen(swept, names=["pixelprune"])


def test_two_cells_are_compared_sample_by_sample():
    of = {v: Panel("m", {"score": v}) for v in (1.0, 0.0, None)}
    rows = [[of[1.0], of[0.0]], [of[0.0], of[1.0]], [of[1.0], of[1.0]], [of[0.0], of[0.0]], [of[None], of[1.0]]]
    for row, name in zip(rows, (*PAIRS, None), strict=True):
        assert [p for p in PAIRS if fits(row, p)] == ([name] if name else [])
    shown, full = [of[0.0]], Panel("full", {"score": 1.0})
    assert fits(shown, "full-right", full) and not fits(shown, "full-right")


def test_groups_are_the_benchmarks_or_what_the_samples_say():
    metas = [{"platform": p, "id": str(i), "tags": t} for i, (p, t) in enumerate([("web", ["a", "b"]), ("mac", ["a"])])]
    own = SimpleNamespace(groups=("tags", "absent"))
    assert groups_of(own, metas) == {"tags": {"a": [0, 1], "b": [0]}}
    assert groups_of(SimpleNamespace(groups=()), metas)["platform"] == {"mac": [1], "web": [0]}
    rows = [[Panel("x", {"score": 1.0}), Panel("y", {"score": 0.0})], [Panel("x", {"score": 0.0})] * 2]
    heads, lines = group_table({"platform": {"web": [0]}}, rows)
    assert heads[2:] == ["x", "y", "only A", "only B", "both right", "both wrong"]
    assert lines == [["all", "2", "50.0", "0.0", "1", "0", "0", "1"], ["platform: web", "1", "100.0", "0.0", *"1000"]]


def test_text_of_a_model_is_one_printable_line():
    assert printable("a\x1b[31m\n\u202eb\t c") == "a [31m b c"
    assert len(printable("x" * 5000)) == 90


def test_gallery_of_a_run(run, capsys):
    assert cli.main(["show", "--run", str(run), "--only", "full-right", "--limit", "3"]) == 0
    page = (run / "show" / "index.html").read_text()
    assert page.count("<figure") == page.count('data-full-right="true"') == page.count("<img") == 3
    assert page.count("visual tokens: ") == 3 * len(METHODS)  # what the captions say, as text
    pictures = list((run / "show").glob("*.png"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert picture.width == MARGIN + 3 * (COLUMN + MARGIN)
    assert "3 of " in capsys.readouterr().out


def test_a_pair_of_cells_and_a_group(run, capsys):
    pair = ["--cells", "full", "resize", "--only", "A-right-B-wrong", "--task", "mini-nav"]
    assert cli.main(["show", "--run", str(run), *pair]) == 0
    page, out = (run / "show" / "index.html").read_text(), capsys.readouterr().out
    assert "A is full, B is resize at 25" in page and "A is full, B is resize at 25" in out
    assert 0 < page.count("<figure") < 12 and page.count("<a href=") == page.count("<img")
    assert "only A" in out and "step: " in out and "pixelprune" not in page
    assert cli.main(["show", "--run", str(run), "--task", "mini-nav", "--group", "step=taps"]) == 0
    assert 0 < (run / "show" / "index.html").read_text().count("<figure") < 12


def test_from_python(run):
    page = load_result(run).show(cells=("full", "resize@25"), only="A-right-B-wrong", limit=2)
    assert page.read_text().count("<figure") == 2
    with pytest.raises(UserError, match="unknown cell"):
        load_result(run).show(cells=("full", "x"))


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
        (["--only", "both-wrong"], "compares two cells, A and B; name them, such as --cells full pixelprune@25"),
        (["--cells", "nosuch"], "unknown cell of this run"),
        (["--method", ""], "an empty name stands in ''"),
        (["--budget", "25,"], "an empty name stands in '25,'"),
        (["--group", "platform"], "write KEY=VALUE"),
        (["--group", "nosuch=1"], "unknown key of --group"),
        (["--group", "platform=x"], "unknown value of --group platform 'x'"),
        (["--cells", "full", "--only", "disagree"], "no sample of this run fits the filter"),
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
