"""Downloads: from the hub through its own client, from a plain address with resume; verified, licence first."""

from __future__ import annotations

import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..tasks import default_data_path, definition
from .archives import ENDINGS, unpack

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60
RETRIES = 5


def get(task: str, data_path: str | None = None, *, accept: bool = False) -> Path:
    """Fetch, verify and unpack a task's data; what is there and whole is not fetched again.

    Args:
        task: name; data_path: where to, None for the default place.
        accept: the licence is accepted without asking.

    Returns:
        The folder.

    Raises:
        UserError: unknown task, nothing to fetch, licence not accepted, no connection, damaged download.
    """
    spec = definition(task)
    folder = Path(data_path) if data_path else default_data_path(task)
    if not spec.get("download"):
        if (Path(spec["folder"]) / "data").is_dir():
            raise UserError(f"task {task} is embedded: there is nothing to fetch.")
        raise UserError(f"task {task}: {spec['source']} lies on no hub; tasks/{Path(spec['folder']).name}/README.md "
                        "says where to get it; give the folder with --data-path.")
    folder.mkdir(parents=True, exist_ok=True)
    _licence(spec, folder, accept)
    for source in spec["download"]:
        files = _from_hub(source, folder) if "hub" in source else [_from_address(source, folder)]
        if source.get("unpack"):
            for file in files:
                if file.name.endswith(ENDINGS):
                    unpack(file, folder, source.get("below", ""))
    return folder


def _licence(spec: Mapping[str, Any], folder: Path, accept: bool) -> None:
    """Show the licence and have it accepted, once per folder and wording."""
    mark = folder / ".licence-accepted"
    text = f"{spec['source']}: {spec['licence']}\n"
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return
    print(f"licence of {text}", end="", file=sys.stderr)
    if not accept:
        if not sys.stdin.isatty():
            raise UserError("the licence has not been accepted; run the command again with --accept-licence.")
        if input("accept? [y/N] ").strip().lower() not in ("y", "yes"):
            raise UserError("the licence was not accepted; nothing was fetched.")
    mark.write_text(text, encoding="utf-8")


def _from_hub(source: Mapping[str, Any], folder: Path) -> list[Path]:
    """Files of a hub data set that match ``patterns``; sizes and SHA-256 are those that the hub states."""
    from fnmatch import fnmatch

    import huggingface_hub

    name, revision = source["hub"], source.get("revision")
    try:
        info = huggingface_hub.HfApi().dataset_info(name, revision=revision, files_metadata=True)
        wanted = [s for s in info.siblings or [] if any(fnmatch(s.rfilename, p) for p in source["patterns"])]
        if not wanted:
            raise UserError(f"{name} on the hub holds nothing that matches {', '.join(source['patterns'])}; the data "
                            "set has changed.")
        huggingface_hub.snapshot_download(name, repo_type="dataset", revision=info.sha,
                                          allow_patterns=list(source["patterns"]), local_dir=folder)
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".:")
        raise UserError(f"{name} cannot be fetched from the hub ({first}); check the connection and run the command "
                        "again: it goes on where it stopped.") from error
    for s in wanted:
        _verify(folder / s.rfilename, s.size, getattr(s.lfs, "sha256", None))
    return [folder / s.rfilename for s in wanted]


def _from_address(source: Mapping[str, Any], folder: Path) -> Path:
    """One file from a plain address; ``to`` names it, ``size`` and ``sha256`` verify it where they are known."""
    path = folder / source["to"]
    if path.is_file() and (source.get("size") is None or path.stat().st_size == source["size"]):
        _verify(path, source.get("size"), source.get("sha256"))
        return path
    download(source["url"], path)
    _verify(path, source.get("size"), source.get("sha256"))
    return path


def download(url: str, path: Path) -> None:
    """Fetch ``url`` into ``path``; a part that is there is continued if the server can, else fetched again.

    Raises:
        UserError: no connection, or refused.
    """
    from tqdm import tqdm

    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(RETRIES):
        start = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                if start and answer.status != 206:  # the server sends everything again
                    start = 0
                length = answer.headers.get("Content-Length")
                total = start + int(length) if length else None
                with part.open("ab" if start else "wb") as out, tqdm(
                        total=total, initial=start, unit="B", unit_scale=True, desc=path.name, file=sys.stderr,
                        mininterval=0.5) as bar:
                    while chunk := answer.read(CHUNK_BYTES):
                        out.write(chunk)
                        bar.update(len(chunk))
                if total is None or part.stat().st_size == total:
                    part.replace(path)
                    return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file: it belongs to another version
                part.unlink()
                continue
            raise UserError(f"{url}: the server answered {error.code} {error.reason}; the address may have changed."
                            ) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
            if attempt == RETRIES - 1:
                raise UserError(f"{url} cannot be fetched ({error}); check the connection and run the command again: "
                                "it goes on where it stopped.") from error
    raise UserError(f"{url}: the connection broke {RETRIES} times; run the command again: it goes on where it stopped.")


def _verify(path: Path, size: int | None, sha256: str | None) -> None:
    """Compare a file with what was announced; a wrong one is deleted, so that the next run fetches it.

    Raises:
        UserError: missing or different.
    """
    if not path.is_file():
        raise UserError(f"{path.name} is missing after the download; run the command again.")
    found = path.stat().st_size
    if size is not None and found != size:
        path.unlink()
        raise UserError(f"{path.name}: {size} bytes expected, {found} found; the file was deleted, run the command "
                        "again.")
    if sha256 is not None:
        with path.open("rb") as stream:
            digest = _digest(stream)
        if digest != sha256:
            path.unlink()
            raise UserError(f"{path.name}: its SHA-256 is not the announced one; the file was deleted, run the command "
                            "again.")


def _digest(stream: Any) -> str:
    """SHA-256 in pieces: archives are larger than memory."""
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
