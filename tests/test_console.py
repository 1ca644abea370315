"""Text that a console, a data set or a path brings along, and that an encoding cannot say."""

import json

from vtprune_eval.sample import Sample

RUN = ("--model", "stub", "--method", "full", "--tasks", "mini-doc", "--limit", "2", "--out")


def test_a_console_without_the_signs_of_a_path(cli, tmp_path):
    for encoding in ("ascii", "cp1252"):
        out = tmp_path / f"\u51fa-{encoding}"
        done = cli(*RUN, out, env={"PYTHONIOENCODING": encoding})
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert "\\u51fa" in done.stdout and (out / "summary.json").exists()
        assert cli("show", "--run", out, env={"PYTHONIOENCODING": encoding}).returncode == 0


def test_half_an_emoji_is_replaced_before_any_tokenizer(cli, tmp_path):
    sample = Sample("a", (), "\ud83d find \u00e9\U0001f600", {}, instruction="x\ude00")
    assert (sample.question, sample.instruction) == ("\ufffd find \u00e9\U0001f600", "x\ufffd")
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (160, 96)).save(data / "images" / "a.png")
    record = {"img_filename": "a.png", "bbox": [10, 10, 30, 20], "data_type": "icon", "data_source": "x"}
    for split in ("web",):
        text = json.dumps([{**record, "instruction": "\ud83d find"}])
        (data / f"screenspot_{split}_v2.json").write_text(text)
    done = cli("--method", "full,cdpruner", "--budget", "50", "--tasks", "screenspot_v2", "--data-path", data)
    assert done.returncode == 0, done.stderr
    for path in next((tmp_path / "runs").iterdir()).glob("records/*.jsonl"):
        assert [json.loads(line)["status"] for line in path.read_text().splitlines()] == ["ok"]
