"""Unpacking what was downloaded. An archive is foreign: nothing may land outside the folder that it is meant for."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import UserError
from ..paths import inside_folder

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
# Screenshots do not compress: an archive that grows a hundredfold is not a data set.
MAX_GROWTH = 100
MIN_TOTAL_BYTES = 1 << 30


def unpack(archive: Path, folder: Path, below: str = "") -> int:
    """Unpack a zip or tar file.

    Args:
        archive: the file.
        folder: where to.
        below: only members under this path, which is left out of the names.

    Returns:
        Number of files written. Files that are there with the right size are kept.

    Raises:
        UserError: unreadable, a member outside of the folder, a link, or far too much data. Nothing is written before
            all names have been looked at.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                infos = [i for i in z.infolist() if not i.is_dir()]
                names = {i.filename: i.file_size for i in infos}
                targets = _targets(archive, folder, names, below)
                # Unix file type in the high half: 0o12 is a link.
                links = [i.filename for i in infos if (i.external_attr >> 28) == 0o12]
                _refuse_links(archive, links)
                return sum(_write(z.open(name), path, names[name]) for name, path in targets)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as t:
                members = [m for m in t.getmembers() if not m.isdir()]
                _refuse_links(archive, [m.name for m in members if not m.isfile()])
                by_name = {m.name: m for m in members}
                targets = _targets(archive, folder, {m.name: m.size for m in members}, below)
                return sum(_write(_opened(t, by_name[name]), path, by_name[name].size) for name, path in targets)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError) as error:
        raise UserError(
            f"{archive.name} cannot be unpacked ({error}); delete {archive} and run the command again."
        ) from error
    raise UserError(f"{archive.name} is neither a zip nor a tar file; delete {archive} and run the command again.")


def _refuse_links(archive: Path, links: list[str]) -> None:
    if links:
        raise UserError(
            f"{archive.name} holds a link or device ({links[0]!r}); refused, unpack it yourself if you trust it."
        )


def _targets(archive: Path, folder: Path, sizes: dict[str, int], below: str) -> Iterator[tuple[str, Path]]:
    total = sum(sizes.values())
    if total > max(MIN_TOTAL_BYTES, MAX_GROWTH * archive.stat().st_size):
        raise UserError(f"{archive.name} would unpack to {total / 1e9:.1f} GB; refused.")
    out = []
    for name in sizes:
        pure = PurePosixPath(name.replace("\\", "/"))
        inside_folder(folder, str(pure), archive.name)
        if below and not pure.is_relative_to(below):
            continue
        out.append((name, inside_folder(folder, str(pure.relative_to(below) if below else pure), archive.name)))
    return iter(out)


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    assert stream is not None  # only plain files get here
    return stream


def _write(source: Any, path: Path, size: int) -> int:
    with source:
        if path.is_file() and path.stat().st_size == size:
            return 1
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with part.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        part.replace(path)
    return 1
