"""Where task definitions live, and the check that keeps names of data inside their folder."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from .errors import UserError

FOLLOW_LINKS = "VTPRUNE_EVAL_FOLLOW_LINKS"


def tasks_dir() -> Path:
    """Folder of the task folders (one per benchmark)."""
    return _shipped("tasks")


def papers_dir() -> Path:
    """Folder of the papers' tables."""
    return _shipped("leaderboards/papers")


def checkout() -> Path | None:
    """The project's checkout that the package runs from; None once installed, whatever lies beside the package."""
    beside = Path(__file__).resolve().parent.parent
    return beside if (beside / "setup.cfg").is_file() and (beside / "tasks").is_dir() else None


def _shipped(name: str) -> Path:
    """A folder of the checkout, which a wheel has inside the package (see ``setup.py``)."""
    found = checkout()
    return found / name if found else Path(__file__).resolve().parent / f"_{Path(name).name}"


def inside_folder(folder: Path, name: str, where: str, below: str = "") -> Path:
    """``folder / below / name``, which must stay inside: the one check for every name that data brings along.

    Backslashes, as Windows writes them, separate folders unless a file of that very name is there. A link may lead to
    another place of the folder, and from a snapshot of the Hugging Face cache to the blobs beside it; with
    ``VTPRUNE_EVAL_FOLLOW_LINKS=1`` anywhere.

    Args:
        folder: of the data.
        name: as a record, a table, an archive or a listing states it.
        where: start of the message.
        below: a folder in it that the reader, not the data, names.

    Raises:
        UserError: an absolute name, one with ``..``, or a link that leads out: a record must not open other files.
    """
    # Texts instead of paths: this runs for every screenshot of every sample.
    if not isinstance(name, str) or not name.strip("/\\"):
        raise UserError(f"{where}: {str(name)[:80]!r} is no name of a file; the data has another format or version.")
    if "\\" in name and not os.path.lexists(folder / below / name):
        name = name.replace("\\", "/")
    drive = name[1:3] in (":\\", ":/") and name[0].isalpha()
    if name.startswith("/") or drive or ".." in name.replace("\\", "/").split("/") or "\0" in name:
        raise UserError(f"{where}: the name {name[:80]!r} points outside of the data folder; refused.")
    path = folder / below / name
    root = _real(str(folder))
    text = str(path)
    real = os.path.realpath(text) if os.path.islink(text) else _real(os.path.dirname(text))
    inside = any(real == r or real.startswith(r.rstrip(os.sep) + os.sep) for r in (root, _blobs(root)) if r)
    if not inside and os.environ.get(FOLLOW_LINKS) != "1":
        raise UserError(
            f"{where}: {name[:80]!r} is, or lies behind, a link that leads out of the data folder; refused: copy the "
            f"files, or, if the link is your own, set {FOLLOW_LINKS}=1."
        )
    return path


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _blobs(root: str) -> str:
    """The contents behind a snapshot of the Hugging Face cache, "" where ``root`` does not lie in one."""
    before, found, _ = root.partition(f"{os.sep}snapshots{os.sep}")
    return os.path.join(before, "blobs") if found else ""
