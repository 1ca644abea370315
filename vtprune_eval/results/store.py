"""The run folder: settings, lock, append-only record files. Nothing that was written is lost.

One process appends lines; a thread groups the syncs (at most 0.5 s or 32 records apart). A torn last line, the trace
of a kill or of a full disk, is cut off and its sample redone. ``run.json`` holds the settings; other settings for the
same folder are refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeVar

from ..errors import UserError
from .record import NEEDED, OF_THE_CLOCK
from .types import Record

SYNC_SECONDS = 0.5
SYNC_RECORDS = 32
Shaped = TypeVar("Shaped")


def _disk_error(error: OSError, path: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"no space left for {path.name} in {path.parent}: free some and start the same command "
            "again; every complete record is kept and the run goes on from there."
        )
    return UserError(f"cannot write {path} ({error.strerror}); choose another folder with --out.")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step; a reader sees the old or the new one, never half.

    Raises:
        UserError: no space, or not writable.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _disk_error(error, path) from error


def digests(folder: Path) -> dict[str, str]:
    """Name to SHA-256 (hex) of every record file of a run folder; a summary keeps them, so that an edit shows."""
    out = {}
    for path in sorted((folder / "records").glob("*.jsonl")):
        whole = hashlib.sha256()
        with path.open("rb") as stream:
            while part := stream.read(1 << 20):
                whole.update(part)
        out[path.name] = whole.hexdigest()
    return out


class RunFolder:
    """Exclusive use of a run folder (context manager)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    def __enter__(self) -> RunFolder:
        import fcntl

        try:
            (self.path / "records").mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("a")
        except OSError as error:
            raise UserError(
                f"the run folder {self.path} cannot be used ({error.strerror}); choose another with --out."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UserError(
                f"another process is writing to {self.path}; wait for it or choose another --out."
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of a new folder, or compare them with those of an existing one.

        Raises:
            UserError: the folder belongs to a run with other settings; the differences are named.
        """
        path = self.path / "run.json"
        if path.exists():
            try:
                old = json.loads(path.read_text(encoding="utf-8"))
            except OSError as error:
                raise UserError(
                    f"{path} cannot be read ({error.strerror}); choose another folder with --out."
                ) from error
            except (ValueError, RecursionError):
                raise UserError(f"{path} is damaged; move the folder away or choose another with --out.") from None
            if not isinstance(old, dict):
                raise UserError(f"{path} is damaged; move the folder away or choose another with --out.")
            shown = differences(old, settings)
            if shown:
                raise UserError(f"{self.path} belongs to a run with other settings ({shown}); choose another --out.")
            return
        if any((self.path / "records").iterdir()):
            raise UserError(f"{self.path} holds records but no run.json; choose another folder with --out.")
        write_atomic(path, json.dumps(settings, indent=2, sort_keys=True) + "\n")

    def records_path(self, task: str, slug: str) -> Path:
        """Record file of one cell."""
        return self.path / "records" / f"{task}--{slug}.jsonl"


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two runs' settings, for a sentence; empty where nothing does."""
    keys = sorted(k for k in there.keys() | now.keys() if there.get(k) != now.get(k))
    return "; ".join(f"{k}: {_short(there.get(k))} there, {_short(now.get(k))} now" for k in keys)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def as_it_is(record: Record) -> Record:
    """A record as it is."""
    return record


def read_records(
    path: Path,
    key: str,
    ids: Collection[str] | None = None,
    shape: Callable[[Record], Shaped] = as_it_is,  # type: ignore[assignment]
) -> tuple[dict[str, Shaped], list[str]]:
    """Read a record file line by line, mending it where a kill or a full disk tore it.

    Args:
        path: may be absent.
        key: identity that every record must carry; lines of another identity are dropped.
        ids: of the samples that can have a record; None for any.
        shape: what is held of a record, so that a file of any size takes no more memory than that.

    Returns:
        records by sample id (the first of an id counts), and a sentence per mended place.

    Raises:
        UserError: not readable, or no room to mend it.
    """
    good: dict[str, Shaped] = {}
    bad: set[int] = set()  # numbers of the lines that are not to stay
    notes: list[str] = []
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                record = _usable(line, key, ids)
                if record is None or not line.endswith(b"\n"):
                    bad.add(number)
                    if line != b"\n":
                        what = "is damaged" if line.endswith(b"\n") else "was cut off"
                        notes.append(f"{path.name}: line {number} {what}; its sample is done again")
                elif record["id"] in good:
                    bad.add(number)
                else:
                    good[record["id"]] = shape(record)
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); choose another folder with --out.") from error
    if bad:
        lines = path.read_bytes().split(b"\n")
        kept = [line.decode("utf-8") + "\n" for number, line in enumerate(lines, 1) if line and number not in bad]
        write_atomic(path, "".join(kept))
    return good, notes


def _usable(line: bytes, key: str, ids: Collection[str] | None) -> Record | None:
    """A line's record; None if it is none, or not one of this run."""
    try:
        record = json.loads(line)
        usable = isinstance(record, dict) and record.get("key") == key and record.keys() >= {*NEEDED, *OF_THE_CLOCK}
        usable = usable and isinstance(record["id"], str) and (ids is None or record["id"] in ids)
    except (ValueError, RecursionError):
        return None
    return record if usable else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def changed_meanwhile(path: Path) -> UserError:
    """The error for a record file that somebody else touched."""
    return UserError(
        f"{path.name} was removed or changed while the run wrote it; start the same command again: what is missing is "
        "answered, and what was edited cannot be told apart, so delete the file if you did not mean it."
    )


class _Syncer:
    """One thread that syncs what all open writers wrote; it ends when a round finds nothing new.

    A sweep has a thousand files open: a thread for each would cost a start and a join per file.
    """

    def __init__(self) -> None:
        self._written: dict[RecordWriter, None] = {}
        self._guard, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, writer: RecordWriter, now: bool) -> None:
        """``writer`` has something new, which is synced within half a second, or ``now``."""
        with self._guard:
            self._written[writer] = None
            if self._thread is None or not self._thread.is_alive():  # it does not live on in a forked process
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
        if now:
            self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait(SYNC_SECONDS)
            self._wake.clear()
            with self._guard:
                written, self._written = self._written, {}
                if not written:
                    self._thread = None
                    return
            for writer in written:
                writer.sync()


_SYNCER = _Syncer()
_SYNCING = threading.Lock()


class RecordWriter:
    """Appends records to one file (context manager); a thread that all writers share only syncs it.

    The caller writes: to hand every record to another thread costs a change of threads per record, which on a busy
    machine takes milliseconds. The file is open only while something is written: a sweep has more cells than a process
    may have open files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._error: OSError | None = None
        self._unsynced = 0
        try:
            path.open("ab").close()
            self._sum = hashlib.sha256(path.read_bytes())
        except OSError as error:
            raise _disk_error(error, path) from error

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.sync()
        if kind is None:
            self._raise()

    def check(self) -> str:
        """Digest of the file, which must hold what was there and what was appended, and nothing else.

        Raises:
            UserError: it was changed or removed meanwhile.
        """
        if self._sum.hexdigest() != file_digest(self._path):
            raise changed_meanwhile(self._path)
        return self._sum.hexdigest()

    def append(self, record: Record) -> None:
        """Write one record; it is synced within half a second or 32 records.

        Raises:
            UserError: it could not be written, or an earlier one could not be synced.
        """
        self._raise()
        try:
            self._write((json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n").encode("utf-8"))
        except OSError as error:
            self._error = error
        self._raise()
        self._unsynced += 1
        _SYNCER.note(self, now=self._unsynced >= SYNC_RECORDS)

    def sync(self) -> None:
        """Have the disk keep what was written; an error is raised by the next record, or at the end."""
        with _SYNCING:  # a slow disk must not let many writers hold a file each
            if not self._unsynced or self._error is not None:
                return
            self._unsynced = 0  # before the sync: a record that is counted meanwhile is of the next round
            try:
                with self._path.open("ab") as stream:
                    os.fsync(stream.fileno())
            except OSError as error:
                self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise _disk_error(self._error, self._path) from self._error

    def _write(self, data: bytes) -> None:
        """Write all of ``data``; an unbuffered write may take only a part of it when the disk fills up."""
        with self._path.open("ab", buffering=0) as stream:
            self._sum.update(data)
            while data:
                data = data[stream.write(data) :]


def write_records(path: Path, order: Sequence[str], records: Mapping[str, Record]) -> None:
    """Write a record file in one step, in the order of the task."""
    write_atomic(
        path,
        "".join(json.dumps(records[i], separators=(",", ":"), allow_nan=False) + "\n" for i in order if i in records),
    )


def rewrite_in_order(path: Path, order: Sequence[str]) -> None:
    """Put the records of a finished cell into the order of the task, line by line as they stand there."""
    lines = {json.loads(line)["id"]: line for line in path.read_bytes().splitlines(keepends=True)}
    write_atomic(path, b"".join(lines[i] for i in order))
