"""Records with screenshots inside: TFRecord and parquet, read without their frameworks holding them in memory."""

from __future__ import annotations

import gzip

import pytest
from PIL import Image

from tests.benchmarks import releases
from tests.benchmarks.speakers import qwen
from vtprune_eval.benchmarks.action import Action
from vtprune_eval.benchmarks.formats.tfrecord import example, fields, masked_crc32c
from vtprune_eval.benchmarks.formats.unpacked import Unpacked
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.data.check import check
from vtprune_eval.errors import UserError


def test_the_checksum_is_the_published_one():
    # CRC-32C of "123456789" is 0xE3069283 (the check value of its catalogue entry).
    unmasked = masked_crc32c(b"123456789") - 0xA282EAD8 & 0xFFFFFFFF
    assert (unmasked << 15 | unmasked >> 17) & 0xFFFFFFFF == 0xE3069283


def test_messages_are_read_back():
    features = {"a": [1, -2, 300], "bb": [5, -6], "c": [0.5, -1.5], "d": ["é", "x"], "e": []}
    read = example(releases.example(features))
    assert read == {**features, "d": ["é".encode(), b"x"]}
    for damaged in (b"\x80", b"\x0a\x05a", b"\xff" * 20, b"\x0b"):
        with pytest.raises(ValueError):
            list(fields(damaged))


def test_the_androidcontrol_release(tmp_path):
    releases.androidcontrol(tmp_path)
    task = load_task("androidcontrol", data_path=str(tmp_path), history=1, style="qwen3_vl")
    samples = list(task.samples)
    assert [s.id for s in samples] == ["5-0", "5-1", "8-0", "8-1"]  # the test episodes
    assert [s.meta["subsplit"] for s in samples] == ["IDD", "IDD", "app_unseen", "app_unseen"]
    assert [len(s.images) for s in samples] == [1, 2, 1, 2]
    again = task.samples[1]  # backwards
    with Image.open(again.images[-1]) as image:
        assert image.getpixel((0, 0)) == (5, 1, 0)
    nodes = again.target["truth"]["accessibility_tree"]
    assert nodes[1] == {
        "bbox_pixels": {"x_min": -5, "y_min": 20, "x_max": 30, "y_max": 40},
        "text": "Suche",
        "content_description": "über",
    }
    assert "goal 5" in again.question and "tap it" in again.question
    frame = {"file_sizes": [(54, 120)], "model_sizes": [(54, 120)], "coordinates": "resized_pixels"}
    for sample, good, bad in (
        (task.samples[0], Action("tap", point=(0.1, 0.2)), Action("tap", point=(0.9, 0.9))),
        (again, Action("type", text="coffee"), Action("type", text="tea")),
    ):
        assert task.score(sample, qwen(good, (54, 120)), frame).value == 1
        assert task.score(sample, qwen(bad, (54, 120)), frame).value == 0
    assert check("androidcontrol", str(tmp_path), open_images=True)["records"] == 4


def test_the_aitw_release(tmp_path):
    releases.aitw(tmp_path)
    task = load_task("aitw", data_path=str(tmp_path), history=4, style="qwen3_vl")
    samples = {s.id: s for s in task.samples}
    assert set(samples) == {"general-a-0", "general-a-1", "general-b-0", "single-c-0"}
    assert [s.id for s in task.samples if s.cluster == "general-a"] == ["general-a-0", "general-a-1"]
    assert len(samples["general-a-1"].images) == 2
    first = samples["general-a-0"].target["truth"]
    assert (first["touch"], first["action_type_text"]) == ([0.5, 0.25], "click")
    assert first["annot_position"] == [0.25, 0.5, 0.125, 0.25]
    assert samples["general-b-0"].meta["action_type"] == "scroll down"  # the finger moved up
    assert samples["general-a-1"].target["truth"]["type_text"] == "Hi"
    with Image.open(task.samples[0].images[-1]) as image:
        assert image.size == (3, 4) and image.getpixel((1, 2)) == (21, 22, 23)  # raw bytes, row by row


def test_the_mind2web_release(tmp_path):
    pytest.importorskip("pyarrow")
    releases.mind2web(tmp_path / "data")
    task = load_task("mind2web", data_path=str(tmp_path), style="qwen2_5_vl")
    samples = list(task.samples)
    assert [s.id for s in samples] == ["an-u0", "an-u1", "an-u2"]
    assert samples[0].target["truth"] == {"operation": "CLICK", "value": "", "boxes": [[10.5, 20, 30, 10]]}
    assert "first" in samples[2].question and "third" not in samples[2].question
    frame = {"file_sizes": [(100, 400)], "model_sizes": [(100, 400)], "coordinates": "resized_pixels"}
    tap = qwen(Action("tap", point=(0.2, 0.06)), (100, 400))
    assert [task.score(s, tap, frame).value for s in samples] == [1, 0, 0]
    with Image.open(task.samples[0].images[0]) as image:  # backwards, in another row group
        assert image.size == (100, 400)
    report = check("mind2web", str(tmp_path), open_images=True)
    assert len(report["problems"]) == 1 and "1 screenshots are damaged" in report["problems"][0]  # it has no bytes
    with pytest.raises(UserError, match="--history 0"):
        load_task("mind2web", data_path=str(tmp_path), history=1)


@pytest.mark.parametrize("damage", ["cut", "flip", "plain", "length"])
def test_damaged_record_files_are_named(damage, tmp_path):
    releases.androidcontrol(tmp_path)
    path = tmp_path / "android_control-00000-of-00002"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif damage == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
    elif damage == "plain":
        path.write_bytes(b"no gzip")
    else:
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[3] ^= 0xFF
        path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(UserError, match="android_control-00000"):
        load_task("androidcontrol", data_path=str(tmp_path))


def test_few_unpacked_screenshots_are_kept():
    unpacked = Unpacked(keep=3)
    paths = [unpacked.path(f"{n}.png", lambda n=n: bytes([n])) for n in range(5)]
    assert [p.exists() for p in paths] == [False, False, True, True, True]
    assert unpacked.path("0.png", lambda: b"again").read_bytes() == b"again"
    assert unpacked.path("4.png", lambda: b"never").read_bytes() == bytes([4])
