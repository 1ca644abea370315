"""Text that a console, a data set or a path brings along, and that an encoding cannot say."""

import json

import pytest

from vtprune_eval import cli as command_line
from vtprune_eval.console import EPILOG, Parser
from vtprune_eval.errors import UserError
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


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (["--metod", "full"], "'--method'"),
        (["explain", "--method", "full", "--cosst"], "'--cost'"),
        (["plot", "RUN", "--task", "mean", "--colums", "2"], "'--columns'"),
        (["data", "get", "aitw", "--data-pth", "x"], "'--data-path'"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(args, near, capsys):
    """Of a run, of a command, and of a command's own commands: one parser."""
    assert command_line.main(args) == 2
    said = capsys.readouterr().err
    assert "unrecognized arguments" in said and f"did you mean {near}" in said and "--help`." in said


def test_an_option_is_written_out(capsys):
    assert command_line.main(["data", "get", "aitw", "--accept"]) == 2
    assert "unrecognized arguments: --accept" in capsys.readouterr().err


def test_one_parser_says_all_in_one_way():
    parser = Parser("list")
    parser.add_argument("what", choices=("a", "b"))
    with pytest.raises(UserError, match=r"see `python -m vtprune_eval list --help`\.$"):
        parser.parse_args(["c"])
    assert " ".join(EPILOG.split()) in " ".join(parser.format_help().split())
    assert Parser(prog="x.y").prog == "x.y" and Parser().prog == "vtprune_eval"
