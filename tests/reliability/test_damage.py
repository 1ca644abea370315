"""Damaged files, folders that cannot be written, samples that need too much memory: through the command line."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import resource
import shutil
import subprocess
import time

import pytest

from tests.conftest import command, environment
from tests.reliability.support import results
from tests.sure import signalling
from vtprune_eval.cli import main
from vtprune_eval.errors import UserError
from vtprune_eval.models import NANO
from vtprune_eval.results.store import RecordWriter, read_records
from vtprune_eval.runner.spec import Cell

RUN = ("--model", "stub", "--method", "full,random", "--budget", "20", "--limit", "12", "--tasks", "mini-doc")
FILE = "records/mini-doc--full@100.jsonl"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run that nobody may change."""
    folder = tmp_path_factory.mktemp("finished") / "r"
    assert main([*RUN, "--out", str(folder)]) == 0
    return folder


def said(capsys) -> str:
    """The one sentence of a refusal."""
    message = capsys.readouterr().err.strip()
    first, _, rest = message.partition("\n")
    message = rest if first.startswith("run: ") else message  # what would have run
    assert message.startswith("vtprune_eval: ") and "\n" not in message and message.endswith(".")
    return message


DAMAGE = {
    "zeros after a power cut": lambda lines: [*lines[:-1], b"\0" * 4096],
    "not UTF-8": lambda lines: [b"\xff\xfe" + lines[0], *lines[1:]],
    "brackets without end": lambda lines: [b"[" * 200_000, *lines[1:]],
    "a number": lambda lines: [b"3", *lines[1:]],
    "fields are missing": lambda lines: [
        json.dumps({k: json.loads(lines[0])[k] for k in ("id", "key")}).encode(),
        *lines[1:],
    ],
    "an id of no sample": lambda lines: [lines[0].replace(b'"id":"', b'"id":"x'), *lines[1:]],
    "an id that is a list": lambda lines: [json.dumps(json.loads(lines[0]) | {"id": []}).encode(), *lines[1:]],
    "another run's key": lambda lines: [lines[0].replace(b'"key":"', b'"key":"0'), *lines[1:]],
    "a line twice": lambda lines: [*lines, lines[3]],
    "blank lines": lambda lines: [b"", *lines, b"", b""],
    "Windows line ends": lambda lines: [line + b"\r" for line in lines],
    "another order": lambda lines: lines[::-1],
    "everything gone": lambda lines: [],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_record_lines_are_redone_and_nothing_else(damage, finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "r")
    lines = (folder / FILE).read_bytes().splitlines()
    (folder / FILE).write_bytes(b"".join(line + b"\n" for line in damage(lines)))
    other = folder / FILE.replace("full@100", "random@20")
    before = other.read_bytes()
    assert main([*RUN, "--out", str(folder)]) == 0
    assert results(folder) == results(finished)
    assert other.read_bytes() == before


def test_a_damaged_run_json_is_one_sentence(finished, tmp_path, capsys):
    for text in (b"{", b"\xff", b"[]", b"[" * 200_000, b""):
        folder = shutil.copytree(finished, tmp_path / "r", dirs_exist_ok=True)
        (folder / "run.json").write_bytes(text)
        assert main([*RUN, "--out", str(folder)]) == 2
        assert "run.json is damaged" in said(capsys)
        assert results(folder) == results(finished)


def without_privileges() -> None:
    """In a child before exec: root's right to write anywhere ends, as it would be for an ordinary user."""
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def plain_user(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*args), capture_output=True, text=True, env=environment(), preexec_fn=without_privileges
    )


def test_read_only_output_is_one_sentence(finished, tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    done = plain_user(*RUN, "--out", tmp_path / "locked" / "r")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be used (Permission denied); choose another with --out." in done.stderr
    folder = shutil.copytree(finished, tmp_path / "r")
    (folder / FILE).unlink()
    (folder / "records").chmod(0o555)
    done = plain_user(*RUN, "--out", folder)
    assert done.returncode == 2 and "Permission denied" in done.stderr and "Traceback" not in done.stderr
    (folder / "records").chmod(0o755)
    assert plain_user(*RUN, "--out", folder).returncode == 0
    assert results(folder) == results(finished)


def test_records_that_may_not_be_read_are_one_sentence(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "r")
    (folder / FILE).chmod(0)
    done = plain_user(*RUN, "--out", folder)
    assert done.returncode == 2 and "cannot be read (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_merge_on_a_full_disk_is_one_sentence_and_can_be_done_again(finished, tmp_path, cli):
    for i in range(2):
        assert main([*RUN, "--shard", f"{i}/2", "--out", str(tmp_path / str(i))]) == 0
    size = max(p.stat().st_size for p in (finished / "records").iterdir()) - 100
    merge = ("merge", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "m")
    done = cli(*merge, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
    assert done.returncode == 2 and "no space left" in done.stderr and "Traceback" not in done.stderr
    assert cli(*merge).returncode == 0
    assert results(tmp_path / "m") == results(finished)


def test_an_error_of_the_disk_is_reported_and_what_was_written_is_good(tmp_path, monkeypatch):
    """A sync that fails, as on a broken or full network disk."""
    path, calls = tmp_path / "r.jsonl", []

    def broken(fd):
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("vtprune_eval.results.store.os.fsync", broken)
    monkeypatch.setattr("vtprune_eval.results.store.SYNC_RECORDS", 1)

    def write_many():
        with RecordWriter(path) as writer:
            for i in itertools.count():
                writer.append({"id": str(i)})
                time.sleep(0.001)

    with pytest.raises(UserError, match="Input/output error"):
        write_many()
    assert len(calls) == 2
    assert json.loads(path.read_text().splitlines()[0]) == {"id": "0"}


def test_out_of_memory_of_one_sample_is_recorded_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    """A real model whose memory does not suffice for one image; the library's own error, raised in the ViT."""
    import torch

    from vtprune_eval.benchmarks.tasks import load_task
    from vtprune_eval.models.qwen_vl import QwenVL

    few = ("--model", "nano", "--method", "full", "--limit", "3", "--tasks", "mini-doc", "--max-new-tokens", "2")
    assert main([*few, "--out", str(tmp_path / "whole")]) == 0
    ids = load_task("mini-doc", 3).samples.ids
    encode, count = QwenVL.encode, []

    def full(self, *args, **kwargs):
        count.append(1)
        if len(count) == 5:  # three are warm-up
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(QwenVL, "encode", full)
    assert main([*few, "--out", str(tmp_path / "r")]) == 0
    (expected,), (got,) = results(tmp_path / "whole").values(), results(tmp_path / "r").values()
    assert [r["id"] for r in got] == ids
    bad = [i for i, r in enumerate(got) if r["status"] == "failed"]
    assert len(bad) == 1 and got[bad[0]]["reason"] == "out_of_memory" and got[bad[0]]["score"] == 0.0
    assert [r for r in got if r["status"] == "ok"] == [r for i, r in enumerate(expected) if i != bad[0]]
    assert "'out_of_memory': 1" in capsys.readouterr().out  # below the table


def test_damaged_weights_are_one_sentence_and_changed_ones_another_run(tmp_path, capsys):
    model = shutil.copytree(NANO, tmp_path / "model")
    few = (
        "--model",
        "nano",
        "--method",
        "full",
        "--limit",
        "1",
        "--tasks",
        "mini-doc",
        "--max-new-tokens",
        "1",
        "--model-path",
        str(model),
        "--out",
        str(tmp_path / "r"),
    )
    assert main(list(few)) == 0
    capsys.readouterr()
    file = next(model.glob("*.safetensors"))
    whole = file.read_bytes()
    for damaged in (whole[:-1000], b"\xff" * 64 + whole[64:], b"", b"<html>404</html>"):
        file.write_bytes(damaged)
        assert main(list(few)) == 2
        said(capsys)
    file.write_bytes(whole[:-4] + b"\0\0\0\x3f")  # readable, and not what made the records
    assert main(list(few)) == 2
    assert "fingerprint" in said(capsys)


def test_ctrl_c_twice_stops_at_once_without_a_traceback(tmp_path, finished):
    folder = tmp_path / "r"
    done = subprocess.run(
        signalling("INT", 5, *RUN, "--out", folder, times=2), capture_output=True, text=True, env=environment()
    )
    err = done.stderr
    assert done.returncode == 130
    assert "press Ctrl-C again" in err and "goes on from there" in err and "Traceback" not in err
    assert main([*RUN, "--out", str(folder)]) == 0
    assert results(folder) == results(finished)


def test_a_records_file_name_cannot_leave_the_folder(tmp_path):
    for method in ("../../etc/x", "a\0b", "..", "a b;rm", "ä"):
        slug = Cell(method, "like:x/y").slug
        assert "/" not in slug and slug.isascii() and slug.isprintable() and " " not in slug
    assert Cell("pixelprune+guikv", "12.5").slug == "pixelprune+guikv@12.5"


def test_reading_mends_a_file_once(finished, tmp_path):
    path = tmp_path / "r.jsonl"
    lines = (finished / FILE).read_bytes().splitlines(keepends=True)
    key = json.loads(lines[0])["key"]
    path.write_bytes(b"".join(lines[:4]) + b"{}\n" + lines[4] + lines[5][:30])
    good, notes = read_records(path, key)
    assert len(good) == 5
    assert notes == [
        "r.jsonl: line 5 is damaged; its sample is done again",
        "r.jsonl: line 7 was cut off; its sample is done again",
    ]
    assert read_records(path, key) == (good, [])
    assert path.read_bytes() == b"".join(lines[:5])
