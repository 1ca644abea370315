"""Screenshots that lie inside of record files: each becomes a file when its sample is made, the oldest go again."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path


class Unpacked:
    """A folder with the latest few screenshots.

    Args:
        keep: how many files; more than a sample has images, and a few samples' worth.
    """

    def __init__(self, keep: int = 256) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vtprune-screens-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._keep, self._known = keep, OrderedDict[str, Path]()

    def path(self, name: str, data: Callable[[], bytes]) -> Path:
        """The file ``name``, written with ``data()`` if it is not there."""
        path = self._known.pop(name, None)
        if path is None or not path.exists():
            path = self._folder / name.replace("/", "_")
            path.write_bytes(data())
        self._known[name] = path
        while len(self._known) > self._keep:
            self._known.popitem(last=False)[1].unlink(missing_ok=True)
        return path
