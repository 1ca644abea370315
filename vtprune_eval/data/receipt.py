"""What was fetched, kept beside the data in ``.fetched``: the hub's commit, and size and SHA-256 of every file.

Publishers move branches and replace files. Where a task states no checksum, the first download becomes the reference:
later ones take the same commit and must give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..errors import UserError
from ..json_values import JsonObject
from ..paths import inside_folder
from ..results.store import write_atomic

# Not *.json: some data sets are "every JSON file of the folder".
NAME = ".fetched"
CHUNK_BYTES = 1 << 20


class Receipt:
    """The file ``.fetched`` of a data folder.

    Args:
        folder: of the data.

    Raises:
        UserError: the file is there and cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / NAME
        self.revisions: dict[str, str] = {}
        self.files: dict[str, JsonObject] = {}
        if self._path.is_file():
            try:
                data = json.loads(self._path.read_text(encoding="utf-8"))
                self.revisions, self.files = dict(data["revisions"]), dict(data["files"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path} cannot be read ({type(error).__name__}); delete it: what lies there "
                    "will be taken as it is."
                ) from error

    def settle(self, path: Path, origin: str, sha256: str | None = None) -> None:
        """Compare a file with its first download from ``origin``, or take it as the first.

        Args:
            path: inside the folder.
            origin: address, with the commit where there is one.
            sha256: of the file, where it has just been verified; None to read it.

        Raises:
            UserError: other bytes than at the first download; the file is deleted.
        """
        name = path.relative_to(self.folder).as_posix()
        digest, size = sha256 or digest_of(path), path.stat().st_size
        known = self.files.get(name)
        if known and known.get("from") == origin and known.get("sha256") != digest:
            path.unlink()
            raise UserError(
                f"{name}: its SHA-256 is {digest[:12]}..., at the first download it was "
                f"{str(known.get('sha256'))[:12]}...; the file was deleted, run the command again; if its "
                f"publisher has changed it, delete {self._path} to take the new one."
            )
        self.files[name] = {"from": origin, "size": size, "sha256": digest}

    def write(self) -> None:
        """Write the file."""
        write_atomic(self._path, json.dumps({"revisions": self.revisions, "files": self.files}, indent=1) + "\n")

    def changed(self, *, read: bool) -> list[str]:
        """Fetched files that are there and no longer what was fetched; an archive may be gone once it is unpacked.

        Args:
            read: compare contents, not sizes only.
        """
        out = []
        for name, known in self.files.items():
            path = inside_folder(self.folder, name, self._path.name)
            if path.is_file() and (
                path.stat().st_size != known.get("size") or (read and digest_of(path) != known.get("sha256"))
            ):
                out.append(name)
        return out


def digest_of(path: Path, kind: str = "sha256") -> str:
    """Digest as hex digits, read in pieces: archives are larger than memory."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
