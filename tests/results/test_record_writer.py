"""The writer of records: every line is there at once, syncs are grouped, and none is forgotten."""

from __future__ import annotations

import errno
import json
import os
import threading
import time

import pytest

from tests.sure import until
from vtprune_eval.errors import UserError
from vtprune_eval.results import store
from vtprune_eval.results.store import RecordWriter


@pytest.fixture(autouse=True)
def own_syncer(monkeypatch):
    """A test that slows the clock down must not do so to the others' thread."""
    monkeypatch.setattr(store, "_SYNCER", store._Syncer())


@pytest.fixture
def synced(monkeypatch):
    """Sizes of the file at every sync, with the thread that asked for it."""
    sizes: list[tuple[int, str]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        sizes.append((os.fstat(fd).st_size, threading.current_thread().name))
        real(fd)

    monkeypatch.setattr(store.os, "fsync", fsync)
    return sizes


def test_syncs_are_grouped_and_the_last_one_covers_everything(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(store, "SYNC_SECONDS", 3600.0)  # a slow machine would sync by the clock, too
    path = tmp_path / "r.jsonl"
    with RecordWriter(path) as writer:
        for i in range(200):
            writer.append({"id": str(i)})
            assert path.read_bytes().count(b"\n") == i + 1  # a kill after this line loses nothing
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [str(i) for i in range(200)]
    assert 1 <= len(synced) <= 200 // store.SYNC_RECORDS + 2
    assert synced[-1][0] == path.stat().st_size
    # The run never waits for the disk before its end.
    assert threading.current_thread().name not in {name for _, name in synced[:-1]}


def test_a_single_record_is_synced_within_the_promised_time(tmp_path, synced):
    with RecordWriter(tmp_path / "r.jsonl") as writer:
        writer.append({"id": "a"})
        until(lambda: synced)
        assert len(synced) == 1
        time.sleep(2.2 * store.SYNC_SECONDS)
        assert len(synced) == 1  # nothing new, nothing to sync
    assert len(synced) == 1


def test_many_records_do_not_wait_for_the_clock(tmp_path, synced, monkeypatch):
    monkeypatch.setattr(store, "SYNC_SECONDS", 3600.0)
    with RecordWriter(tmp_path / "r.jsonl") as writer:
        for i in range(store.SYNC_RECORDS):
            writer.append({"id": str(i)})
        until(lambda: synced)
        assert len(synced) == 1


def test_a_full_disk_stops_the_run_at_the_record_that_did_not_fit(tmp_path, monkeypatch):
    path, written = tmp_path / "r.jsonl", []
    real = RecordWriter._write

    def full(self, data: bytes) -> None:
        if len(written) == 3:
            real(self, data[:4])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        real(self, data)

    monkeypatch.setattr(RecordWriter, "_write", full)
    with RecordWriter(path) as writer:
        for i in range(3):
            writer.append({"id": str(i)})
        for _ in range(2):  # and nothing is written behind the torn line
            with pytest.raises(UserError, match="no space left"):
                writer.append({"id": "x"})
        writer._error = None
    assert path.read_bytes() == b"".join(written) + b'{"id'


def test_a_writer_that_wrote_nothing_starts_no_thread(tmp_path):
    before = set(threading.enumerate())
    with RecordWriter(tmp_path / "r.jsonl"):
        assert set(threading.enumerate()) <= before


def test_one_thread_syncs_for_all_writers_and_ends_when_nothing_is_new(tmp_path, synced):
    before = set(threading.enumerate())
    writers = [RecordWriter(tmp_path / f"{i}.jsonl") for i in range(20)]
    for writer in writers:
        writer.append({"id": "a"})
    assert len(set(threading.enumerate()) - before) <= 1
    until(lambda: len(synced) == 20)
    until(lambda: set(threading.enumerate()) <= before)
    writers[0].append({"id": "b"})
    until(lambda: len(synced) == 21)
    for writer in writers:
        writer.__exit__(None)
    assert len(synced) == 21


def test_a_slow_disk_never_holds_more_than_one_file_of_many_writers(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SYNC_SECONDS", 3600.0)
    asked, go, now, most = threading.Event(), threading.Event(), [0], [0]

    def slow(fd: int) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        asked.set()
        go.wait()
        now[0] -= 1

    monkeypatch.setattr(store.os, "fsync", slow)
    writers = [RecordWriter(tmp_path / f"{i}.jsonl") for i in range(20)]
    for writer in writers:
        for i in range(store.SYNC_RECORDS):
            writer.append({"id": str(i)})
    asked.wait()
    held = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if _is_open(n)]
    assert sum(str(tmp_path) in name for name in held) == 1
    go.set()
    for writer in writers:
        writer.__exit__(None)
    assert most == [1]


def _is_open(number: str) -> bool:
    """Whether a descriptor of this process still is one: the listing's own is gone when it is read."""
    return os.path.lexists(f"/proc/self/fd/{number}")
