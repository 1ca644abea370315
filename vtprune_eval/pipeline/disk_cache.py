"""A content-addressed cache on disk: tensors by the hash of everything that they depend on.

Several processes may read and write one folder. An entry is written beside its place and renamed into it, so that a
reader sees all of it or nothing; it carries the SHA-256 of its content, so that one which a crash or a disk damaged is
dropped and made again. Entries are safetensors: nothing in them can run. The least recently used go first.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from pathlib import Path

from torch import Tensor

from ..errors import UserError

MAGIC = b"vtprune-cache 1 "
# A temporary file of this age was left behind by a process that was killed.
STALE_SECONDS = 3600.0
# Eviction frees this share beyond what is needed, so that a full cache is not scanned at every entry.
SLACK = 0.1


class DiskCache:
    """Tensors by key, at most ``max_bytes`` on disk (other processes' latest entries may come on top for a moment).

    A cache must not end a run: where an entry cannot be written, that is said once on stderr and the run goes on.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Open or make the folder.

        Raises:
            UserError: it cannot be made or written.
        """
        self._folder, self._max = folder, max_bytes
        self.hits = self.misses = self.damaged = 0
        self._warned = False
        self._lock = threading.Lock()  # the thread that prepares images and the one of the model use one cache
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = self._temporary("probe")
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(f"--cache {folder}: cannot be written ({error.strerror}); name another folder.") from None
        for left in folder.glob("*/*.tmp"):
            try:
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()
            except OSError:
                continue  # another process was faster
        self._bytes = sum(size for _, size, _ in self._entries())

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Tensors (on the CPU) stored under ``key``; None if there is no undamaged entry."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._path(key)
        try:
            raw = path.read_bytes()
        except OSError:
            self.misses += 1
            return None
        start = len(MAGIC) + 65
        body = raw[start:]
        if raw[:start] == MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n":
            try:
                tensors = load(body)
            except SafetensorError:
                tensors = None
            if tensors is not None:
                self.hits += 1
                self._touch(path)
                return tensors
        self.damaged += 1
        self.misses += 1
        print(f"note: cache entry {path.name} is damaged; it is made again", file=sys.stderr)
        self._remove(path, len(raw))
        return None

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Store CPU copies of ``tensors`` under ``key``; an entry larger than the whole cache is not stored."""
        from safetensors.torch import save

        body = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        size = len(MAGIC) + 65 + len(body)
        if size > self._max:
            self._say(f"an entry of {size} bytes is larger than --cache-size; it is not kept")
            return
        path = self._path(key)
        temporary = self._temporary(key)
        try:
            with temporary.open("wb") as stream:
                stream.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
                stream.write(body)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self._say(f"an entry could not be written ({error.strerror}); the run goes on without it")
            return
        with self._lock:
            self._bytes += size
            if self._bytes > self._max:
                self._evict()

    def _say(self, what: str) -> None:
        """One note per run: a full disk would otherwise say it at every entry."""
        if not self._warned:
            print(f"note: --cache {self._folder}: {what}", file=sys.stderr)
        self._warned = True

    def _evict(self) -> None:
        """Remove the least recently used entries, of other processes too, until there is room again."""
        entries = sorted(self._entries())
        self._bytes = sum(size for _, size, _ in entries)
        for _, size, path in entries[:-1]:  # the newest is the one just written
            if self._bytes <= (1 - SLACK) * self._max:
                return
            self._remove(path, size)

    def _entries(self) -> list[tuple[float, int, Path]]:
        """(last use, bytes, path) of every entry."""
        out = []
        for path in self._folder.glob("*/*.st"):
            try:
                found = path.stat()
            except OSError:
                continue  # evicted by another process meanwhile
            out.append((found.st_mtime, found.st_size, path))
        return out

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.st"

    def _temporary(self, key: str) -> Path:
        folder = self._folder / key[:2]
        folder.mkdir(exist_ok=True)
        return folder / f"{key}.{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}.tmp"

    def _remove(self, path: Path, size: int) -> None:
        """Remove an entry; the next scan corrects what another process or thread did meanwhile."""
        try:
            path.unlink()
            self._bytes -= size
        except OSError:
            pass  # another process was faster

    @staticmethod
    def _touch(path: Path) -> None:
        try:
            os.utime(path)
        except OSError:
            pass  # evicted since it was read, or a read-only cache: the order of use is only a hint
