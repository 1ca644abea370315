"""Downloads: from the hub through its own client, from a public bucket or a plain address with resume; verified,
licence first."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..benchmarks.data_folders import default_data_path, where_to_get
from ..benchmarks.definitions import definition
from ..benchmarks.spec import TaskSpec
from ..errors import UserError
from ..json_values import JsonObject
from ..paths import inside_folder
from .archives import ENDINGS, unpack
from .receipt import CHUNK_BYTES, Receipt, digest_of

BUCKETS = "https://storage.googleapis.com"
LICENCE_MARK = ".licence-accepted"
TIMEOUT_S = 60
RETRIES = 5


def get(task: str, data_path: str | None = None, *, accept: bool = False, only: Sequence[str] = ()) -> Path:
    """Fetch, verify and unpack a task's data; what is there and whole is not fetched again.

    Args:
        task: name.
        data_path: where to, None for the default place.
        accept: the licence is accepted without asking.
        only: patterns of file names, for a release that is too large to be fetched as a whole.

    Returns:
        The folder.

    Raises:
        UserError: unknown task, nothing to fetch, licence not accepted, no connection, damaged download, a file that is
            not the one of the first download.
    """
    spec = definition(task)
    if spec.data_folder is not None:
        raise UserError(
            f"task {task}: VLMEvalKit fetches this data set itself when a run needs it; there is nothing to do here."
        )
    if spec.setting("render"):
        from .web.render import render

        return render(spec, Path(data_path) if data_path else default_data_path(task))
    sources = spec.download
    if not sources:
        if spec.folder is not None and (spec.folder / "data").is_dir():
            raise UserError(f"task {task} is embedded: there is nothing to fetch.")
        raise UserError(f"task {task}: no address is known from which it could be fetched; {where_to_get(spec)}.")
    example = next((s["choose"] for s in sources if "choose" in s), None)
    if example and not only:
        raise UserError(
            f"task {task}: the release is too large to fetch all of it unasked; name files with --only, "
            f"e.g. --only '{example}' or --only '*', or {where_to_get(spec.changed(download=()))}."
        )
    if only and not example:
        raise UserError(f"--only: the data of {task} is fetched as a whole; leave the option out.")
    folder = Path(data_path) if data_path else default_data_path(task)
    agreed = _licence(spec, folder, accept)
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LICENCE_MARK).write_text(agreed, encoding="utf-8")
    try:
        receipt = Receipt(folder)
        for source in sources:
            try:
                files = (
                    _from_hub(source, receipt)
                    if "hub" in source
                    else _from_bucket(source, receipt, only)
                    if "bucket" in source
                    else [_from_address(source, receipt)]
                )
            finally:
                if receipt.files:  # what has come is kept even if the rest fails
                    receipt.write()
            if source.get("unpack"):
                for file in files:
                    if file.name.endswith(ENDINGS):
                        unpack(file, folder, source.get("below", ""))
    except BaseException:
        if new and [p.name for p in folder.iterdir()] == [LICENCE_MARK]:  # an empty folder would look like data
            shutil.rmtree(folder)
        raise
    return folder


def _licence(spec: TaskSpec, folder: Path, accept: bool) -> str:
    """Show the licence and have it accepted, once per folder and wording; the accepted text."""
    mark = folder / LICENCE_MARK
    text = f"{spec.source}: {spec.licence}\n"
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return text
    print(f"licence of {text}", end="", file=sys.stderr)
    if not accept:
        if not sys.stdin.isatty():
            raise UserError("the licence has not been accepted; run the command again with --accept-licence.")
        if input("accept? [y/N] ").strip().lower() not in ("y", "yes"):
            raise UserError("the licence was not accepted; nothing was fetched.")
    return text


def _from_hub(source: Mapping[str, Any], receipt: Receipt) -> list[Path]:
    """Files of a hub data set that match ``patterns``, at the task's commit or that of the first download; sizes and
    SHA-256 are those that the hub states."""
    import huggingface_hub

    name, folder = source["hub"], receipt.folder
    revision = source.get("revision") or receipt.revisions.get(name)
    try:
        info = huggingface_hub.HfApi().dataset_info(name, revision=revision, files_metadata=True)
        wanted = [s for s in info.siblings or [] if any(fnmatch(s.rfilename, p) for p in source["patterns"])]
        if not wanted:
            raise UserError(
                f"{name} on the hub holds nothing that matches {', '.join(source['patterns'])}; the data "
                "set has changed."
            )
        huggingface_hub.snapshot_download(
            name, repo_type="dataset", revision=info.sha, allow_patterns=list(source["patterns"]), local_dir=folder
        )
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".:")
        raise UserError(
            f"{name} cannot be fetched from the hub ({first}); check the connection and run the command "
            "again: it goes on where it stopped."
        ) from error
    paths = [inside_folder(folder, s.rfilename, name) for s in wanted]
    for s, path in zip(wanted, paths, strict=True):
        stated = getattr(s.lfs, "sha256", None)
        _verify(path, s.size, stated)
        receipt.settle(path, f"{name}@{info.sha}", stated)
    receipt.revisions[name] = str(info.sha)
    return paths


def _from_bucket(source: Mapping[str, Any], receipt: Receipt, only: Sequence[str]) -> list[Path]:
    """Objects of a public Google bucket below ``prefix`` that match ``patterns`` and, where there is a choice,
    ``only``; sizes and MD5 are those that the bucket states."""
    bucket, prefix, folder = source["bucket"], source["prefix"], receipt.folder
    names = {
        item["name"].removeprefix(prefix): item for item in _listing(bucket, prefix) if not item["name"].endswith("/")
    }
    patterns = source["patterns"]
    wanted = {
        n: item
        for n, item in names.items()
        if any(fnmatch(n, p) for p in patterns) and ("choose" not in source or any(fnmatch(n, p) for p in only))
    }
    if not wanted:
        asked = ", ".join(only if "choose" in source else patterns)
        raise UserError(
            f"gs://{bucket}/{prefix} holds nothing that matches {asked}; its first name is {next(iter(names), '')!r}."
        )
    missing = sum(int(item["size"]) for n, item in wanted.items() if not (folder / n).is_file())
    free = shutil.disk_usage(folder).free
    print(f"{len(wanted)} files, {missing / 1e9:.1f} GB to fetch", file=sys.stderr)
    if missing > free:
        raise UserError(
            f"{missing / 1e9:.1f} GB are to be fetched and {free / 1e9:.1f} GB are free in {folder}; "
            "choose fewer files with --only or another place with --data-path."
        )
    out = []
    for name, item in wanted.items():
        path = inside_folder(folder, name, f"gs://{bucket}/{prefix}")
        url = f"{BUCKETS}/{bucket}/{urllib.parse.quote(item['name'])}"
        size, md5 = int(item["size"]), base64.b64decode(item.get("md5Hash") or "").hex() or None
        if not path.is_file() or path.stat().st_size != size:
            download(url, path)
        _verify(path, size, md5, "md5")
        receipt.settle(path, url)
        out.append(path)
    return out


def _listing(bucket: str, prefix: str) -> list[JsonObject]:
    """``name``, ``size``, ``md5Hash`` of every object below ``prefix``."""
    items: list[JsonObject] = []
    page = ""
    while True:
        query = urllib.parse.urlencode({"prefix": prefix, **({"pageToken": page} if page else {})})
        url = f"{BUCKETS}/storage/v1/b/{bucket}/o?{query}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                data = json.load(answer)
            items += data.get("items") or []
            page = data.get("nextPageToken") or ""
        except (OSError, ValueError, AttributeError) as error:
            raise UserError(
                f"gs://{bucket}/{prefix} cannot be listed ({error}); check the connection and run the command again."
            ) from error
        if not page:
            return items


def _from_address(source: Mapping[str, Any], receipt: Receipt) -> Path:
    """One file from a plain address; ``to`` names it, ``size`` and ``sha256`` verify it where they are known, else the
    first download does."""
    path: Path = receipt.folder / source["to"]
    if not path.is_file() or (source.get("size") is not None and path.stat().st_size != source["size"]):
        download(source["url"], path)
    _verify(path, source.get("size"), source.get("sha256"))
    receipt.settle(path, source["url"], source.get("sha256"))
    return path


def download(url: str, path: Path) -> None:
    """Fetch ``url`` into ``path``. A part that is there is continued if the server can and says that it is of the same
    version (its ETag or date, kept in ``NAME.part.tag``), else fetched again.

    Raises:
        UserError: no connection, or refused.
    """
    from tqdm import tqdm

    part, tag = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.tag")
    path.parent.mkdir(parents=True, exist_ok=True)
    version = tag.read_text(encoding="utf-8") if tag.is_file() else None
    if version is None:
        part.unlink(missing_ok=True)
    for attempt in range(RETRIES):
        start = part.stat().st_size if part.is_file() else 0
        headers = {"Range": f"bytes={start}-", **({"If-Range": version} if version else {})} if start else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
                found = _version(answer.headers)
                if start and answer.status == 206 and version and found and found != version:
                    part.unlink()  # the server took no notice of If-Range
                    continue
                if answer.status != 206:  # the server sends everything
                    start, version = 0, found
                    tag.unlink(missing_ok=True)
                    if version:
                        tag.write_text(version, encoding="utf-8")
                length = answer.headers.get("Content-Length")
                total = start + int(length) if length else None
                with (
                    part.open("ab" if start else "wb") as out,
                    tqdm(
                        total=total,
                        initial=start,
                        unit="B",
                        unit_scale=True,
                        desc=path.name,
                        file=sys.stderr,
                        mininterval=0.5,
                    ) as bar,
                ):
                    while chunk := answer.read(CHUNK_BYTES):
                        out.write(chunk)
                        bar.update(len(chunk))
                if total is None or part.stat().st_size == total:
                    part.replace(path)
                    tag.unlink(missing_ok=True)
                    return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file: it belongs to another version
                part.unlink(missing_ok=True)
                continue
            raise UserError(
                f"{url}: the server answered {error.code} {error.reason}; the address may have changed."
            ) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
            if attempt == RETRIES - 1:
                raise UserError(
                    f"{url} cannot be fetched ({error}); check the connection and run the command again: "
                    "it goes on where it stopped."
                ) from error
    raise UserError(f"{url}: the connection broke {RETRIES} times; run the command again: it goes on where it stopped.")


def _version(headers: Mapping[str, str]) -> str | None:
    """What ``If-Range`` takes: a strong ETag, else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _verify(path: Path, size: int | None, stated: str | None, kind: str = "sha256") -> None:
    """Compare a file with what was announced; a wrong one is deleted, so that the next run fetches it.

    Raises:
        UserError: missing or different.
    """
    if not path.is_file():
        raise UserError(f"{path.name} is missing after the download; run the command again.")
    found = path.stat().st_size
    if size is not None and found != size:
        path.unlink()
        raise UserError(
            f"{path.name}: {size} bytes expected, {found} found; the file was deleted, run the command again."
        )
    if stated is not None and digest_of(path, kind) != stated:
        path.unlink()
        name = {"sha256": "SHA-256", "md5": "MD5"}[kind]
        raise UserError(
            f"{path.name}: its {name} is not the announced one; the file was deleted, run the command again."
        )
