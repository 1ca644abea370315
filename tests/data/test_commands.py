"""``data get``, ``data check`` and ``data sample``, without a network but this machine's own."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import formats, releases
from tests.conftest import SHARED, needs_shared
from vtprune_eval import cli
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.benchmarks.vlmeval.catalogue import KIT_TASKS
from vtprune_eval.data import draw, fetch
from vtprune_eval.data.archives import unpack
from vtprune_eval.data.check import check
from vtprune_eval.drawing import FAINT, TARGET
from vtprune_eval.errors import UserError


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files``; understands ranges unless told not to; breaks off after ``cut`` bytes, once. With ``tags`` it
    names versions and keeps to ``If-Range``."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - set by the fixture
    ranges, cut, tags = True, 0, False
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self):
        body, wanted = self.files.get(self.path), self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if body is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        same = self.headers.get("If-Range") in (None, tag)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges and same else 0
        if start > len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if self.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        cut, type(self).cut = self.cut, 0
        self.wfile.write(body[start : start + cut] if cut else body[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    kind = type("Server", (Server,), {"files": {}, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        kind.address = f"http://127.0.0.1:{running.server_port}"
        yield kind
        running.shutdown()


def zipped(files, **links):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            z.writestr(info, target)
    return out.getvalue()


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- get ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path, ranges):
    body = np.random.default_rng(0).bytes(300_000)
    server.files, server.ranges, server.cut = {"/a.bin": body}, ranges, 100_000
    fetch.download(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body
    assert [r for _, r in server.asked] == [None, "bytes=100000-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_part_of_another_version_is_thrown_away(server, tmp_path):
    server.files = {"/a.bin": b"short"}
    (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
    fetch.download(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"short"


def test_only_a_part_of_the_same_version_is_continued(server, tmp_path, monkeypatch):
    old, new = (np.random.default_rng(n).bytes(300_000) for n in (1, 2))
    server.tags = True
    monkeypatch.setattr(fetch, "RETRIES", 1)
    for later in (old, new):
        server.files, server.cut = {"/a.bin": old}, 100_000
        with pytest.raises(UserError, match="connection broke"):
            fetch.download(f"{server.address}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin.part").stat().st_size == 100_000
        server.files = {"/a.bin": later}
        fetch.download(f"{server.address}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == later
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin"]
        (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(b"x" * 5)  # of a version that nobody knows
    fetch.download(f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == new


def test_an_absent_file_and_an_absent_server_are_one_sentence(server, tmp_path):
    with pytest.raises(UserError, match="404"):
        fetch.download(f"{server.address}/none", tmp_path / "a")
    with pytest.raises(UserError, match="check the connection"):
        fetch.download("http://127.0.0.1:1/none", tmp_path / "a")


@pytest.fixture
def osworld(server, monkeypatch, tmp_path):
    """The OSWorld-G task with its address on this machine."""
    formats.osworld_g(tmp_path / "made")
    inner = {
        f"repo/benchmark/{p.relative_to(tmp_path / 'made')}": p.read_bytes()
        for p in (tmp_path / "made").rglob("*")
        if p.is_file()
    }
    archive = zipped({**inner, "repo/README.md": b"no data"})
    server.files = {"/o.zip": archive}
    own = {
        "url": f"{server.address}/o.zip",
        "to": "o.zip",
        "unpack": True,
        "below": "repo/benchmark",
        "size": len(archive),
        "sha256": hashlib.sha256(archive).hexdigest(),
    }
    real = fetch.definition
    monkeypatch.setattr(fetch, "definition", lambda name: real(name).changed(download=(own,)))
    monkeypatch.setenv("VTPRUNE_DATA", str(tmp_path / "cache"))
    return own


def test_get_fetches_verifies_unpacks_and_the_task_finds_it(osworld, server, tmp_path, capsys):
    assert cli.main(["data", "get", "osworld_g"]) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
    assert cli.main(["data", "get", "osworld_g", "--accept-licence"]) == 0
    assert "licence of OSWorld-G" in capsys.readouterr().err
    assert len(load_task("osworld_g").samples) == 3
    assert not list((tmp_path / "cache").rglob("README.md"))  # outside of what was wanted
    assert cli.main(["data", "get", "osworld_g"]) == 0  # accepted once, there and whole
    assert len(server.asked) == 1


def test_a_damaged_download_is_deleted(osworld, server, tmp_path):
    server.files["/o.zip"] = server.files["/o.zip"][:-1] + b"?"
    with pytest.raises(UserError, match="SHA-256"):
        fetch.get("osworld_g", accept=True)
    assert not (tmp_path / "cache" / "osworld_g" / "o.zip").exists()
    server.files["/o.zip"] += b"more"
    with pytest.raises(UserError, match="bytes expected"):
        fetch.get("osworld_g", accept=True)


def test_a_get_that_fetches_nothing_leaves_no_folder(osworld, server, tmp_path):
    server.files = {}
    with pytest.raises(UserError, match="404"):
        fetch.get("osworld_g", accept=True)
    assert not (tmp_path / "cache" / "osworld_g").exists()


def test_the_first_download_is_the_reference_where_no_checksum_is_stated(osworld, server, tmp_path):
    first = server.files["/o.zip"]
    del osworld["sha256"], osworld["size"]
    folder = fetch.get("osworld_g", accept=True)
    known = json.loads((folder / ".fetched").read_text())["files"]["o.zip"]
    assert known == {"from": osworld["url"], "size": len(first), "sha256": hashlib.sha256(first).hexdigest()}
    assert not any("fetched" in p for p in check("osworld_g")["problems"])
    (folder / "o.zip").write_bytes(first[:-1] + b"?")
    assert not any("fetched" in p for p in check("osworld_g")["problems"])  # sizes only, without --images
    assert any("1 fetched files are no longer" in p for p in check("osworld_g", open_images=True)["problems"])
    with pytest.raises(UserError, match="SHA-256"):
        fetch.get("osworld_g")
    assert fetch.get("osworld_g") == folder and (folder / "o.zip").read_bytes() == first
    (folder / "o.zip").unlink()
    server.files["/o.zip"] = first + b"more"
    with pytest.raises(UserError, match="publisher"):
        fetch.get("osworld_g")
    (folder / ".fetched").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        fetch.get("osworld_g")
    (folder / ".fetched").unlink()
    fetch.get("osworld_g")
    assert (folder / "o.zip").read_bytes() == first + b"more"


@pytest.fixture
def bucket(server, monkeypatch, tmp_path):
    """The release of Android in the Wild in small, behind a listing of two pages."""
    releases.aitw(tmp_path / "made")
    formats.write(tmp_path / "made" / "splits" / "standard.json", {"test": ["a", "b", "c"]})
    made = contents(tmp_path / "made")
    items = [
        {
            "name": f"android-in-the-wild/{n}",
            "size": str(len(b)),
            "md5Hash": base64.b64encode(hashlib.md5(b).digest()).decode(),
        }
        for n, b in sorted(made.items())
    ]
    listing = "/storage/v1/b/gresearch/o?prefix=android-in-the-wild%2F"
    server.files = {f"/gresearch/android-in-the-wild/{n}": b for n, b in made.items()}
    server.files[listing] = json.dumps({"items": items[:1], "nextPageToken": "two"}).encode()
    server.files[f"{listing}&pageToken=two"] = json.dumps({"items": items[1:]}).encode()
    monkeypatch.setattr(fetch, "BUCKETS", server.address)
    monkeypatch.setenv("VTPRUNE_DATA", str(tmp_path / "cache"))
    return made


def test_chosen_files_of_a_bucket_are_fetched_and_read(bucket, server, tmp_path, capsys, monkeypatch):
    assert cli.main(["data", "get", "aitw", "--accept-licence"]) == 2
    error = capsys.readouterr().err
    assert "--only" in error and "SeeClick" in error and not (tmp_path / "cache").exists()
    shards = [n for n in bucket if "-of-" in n]
    command = ["data", "get", "aitw", "--accept-licence", "--only", "*"]
    assert cli.main(command) == 0
    folder = tmp_path / "cache" / "aitw"
    assert all((folder / n).read_bytes() == bucket[n] for n in bucket)
    (folder / (shards[0] + ".part")).write_bytes(b"half")  # another command may be at it
    assert len(load_task("aitw").samples) > 0
    asked = len(server.asked)
    assert cli.main(command) == 0 and not [p for p, _ in server.asked[asked:] if "/o?" not in p]
    damaged = f"/gresearch/android-in-the-wild/{shards[0]}"
    server.files[damaged] = server.files[damaged][:-1] + b"?"
    (folder / shards[0]).unlink()
    assert cli.main(command) == 2 and "MD5" in capsys.readouterr().err
    assert cli.main([*command[:-1], "none*"]) == 2 and "none*" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=1))
    assert cli.main(command) == 2 and "are free" in capsys.readouterr().err
    assert cli.main(["data", "get", "osworld_g", "--only", "*"]) == 2


def test_the_hub_client_is_asked_for_one_revision_and_its_files_are_verified(monkeypatch, tmp_path):
    import huggingface_hub

    formats.screenspot_pro(tmp_path / "made")
    made = tmp_path / "made"
    files = {str(p.relative_to(made)): p.read_bytes() for p in made.rglob("*") if p.is_file()}
    stated = [
        types.SimpleNamespace(rfilename=n, size=len(b), lfs=types.SimpleNamespace(sha256=hashlib.sha256(b).hexdigest()))
        for n, b in files.items()
    ]
    asked = []

    class Api:
        def dataset_info(self, name, revision, files_metadata):
            return types.SimpleNamespace(siblings=stated, sha="abc")

    def snapshot(name, repo_type, revision, allow_patterns, local_dir):
        asked.append((name, repo_type, revision))
        for n, b in files.items():
            (local_dir / n).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / n).write_bytes(b)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    folder = fetch.get("screenspot_pro", str(tmp_path / "got"), accept=True)
    assert asked == [("likaixin/ScreenSpot-Pro", "dataset", "abc")]
    assert json.loads((folder / ".fetched").read_text())["revisions"] == {"likaixin/ScreenSpot-Pro": "abc"}
    assert len(load_task("screenspot_pro", data_path=str(folder)).samples) == 2
    stated[0].lfs.sha256 = "0" * 64
    with pytest.raises(UserError, match="SHA-256"):
        fetch.get("screenspot_pro", str(tmp_path / "got"), accept=True)


def test_a_data_set_without_a_pinned_commit_stays_at_its_first(monkeypatch, tmp_path):
    import huggingface_hub

    formats.agentnetbench(tmp_path / "made")
    files = contents(tmp_path / "made")
    asked, head = [], ["first"]

    class Api:
        def dataset_info(self, name, revision, files_metadata):
            asked.append(revision)
            return types.SimpleNamespace(
                sha=revision or head[0],
                siblings=[types.SimpleNamespace(rfilename=n, size=len(b), lfs=None) for n, b in files.items()],
            )

    def snapshot(name, repo_type, revision, allow_patterns, local_dir):
        for n, b in files.items():
            (local_dir / n).parent.mkdir(parents=True, exist_ok=True)
            (local_dir / n).write_bytes(b)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    folder = fetch.get("agentnetbench", str(tmp_path / "got"), accept=True)
    assert len(load_task("agentnetbench", data_path=str(folder)).samples) == 5  # the receipt is no record
    head[0] = "second"
    fetch.get("agentnetbench", str(folder))
    assert asked == [None, "first"]
    files["s_1.json"] = files["s_1.json"].replace(b"orwell", b"ORWELL").replace(b"Orwell", b"ORWELL")
    with pytest.raises(UserError, match=r"s_1\.json: its SHA-256"):
        fetch.get("agentnetbench", str(folder))


def test_tasks_without_an_address_say_where_the_data_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VTPRUNE_DATA", str(tmp_path / "none"))
    assert cli.main(["data", "get", "screenspot"]) == 2
    error = capsys.readouterr().err
    assert "njucckevin/SeeClick" in error and "screenspot_imgs/" in error and "data get" not in error
    assert cli.main(["data", "check", "screenspot"]) == 2
    error = capsys.readouterr().err
    assert "njucckevin/SeeClick" in error and "data get" not in error  # it would lead back to here
    assert not (tmp_path / "none").exists()
    assert cli.main(["data", "get", min(KIT_TASKS)]) == 2
    assert "VLMEvalKit" in capsys.readouterr().err
    assert cli.main(["data", "get", "mini-doc"]) == 2
    assert "embedded" in capsys.readouterr().err
    assert cli.main(["data", "get", "aitv"]) == 2
    assert "aitw" in capsys.readouterr().err
    assert cli.main(["data", "fetch", "aitw"]) == 2


# --- archives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_a_member_that_points_outside_is_refused(name, tmp_path):
    (tmp_path / "z.zip").write_bytes(zipped({"good.txt": b"1", name: b"2"}))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as t:
        info = tarfile.TarInfo(name)
        info.size = 1
        t.addfile(info, io.BytesIO(b"2"))
    for archive in ("z.zip", "t.tar.gz"):
        with pytest.raises(UserError, match="outside"):
            unpack(tmp_path / archive, tmp_path / "to")
    assert not (tmp_path / "to").exists() and not (tmp_path / "out.txt").exists()


def test_links_are_refused(tmp_path):
    (tmp_path / "z.zip").write_bytes(zipped({"a": b"1"}, link="/etc/passwd"))
    with tarfile.open(tmp_path / "t.tar", "w") as t:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        t.addfile(info)
    for archive in ("z.zip", "t.tar"):
        with pytest.raises(UserError, match="link"):
            unpack(tmp_path / archive, tmp_path / "to")


def test_archives_that_cannot_be_read_or_would_fill_the_disk(tmp_path, monkeypatch):
    (tmp_path / "z.zip").write_bytes(zipped({"a": b"1" * 10_000})[:200])
    with pytest.raises(UserError, match=r"z\.zip"):
        unpack(tmp_path / "z.zip", tmp_path / "to")
    monkeypatch.setattr("vtprune_eval.data.archives.MIN_TOTAL_BYTES", 1000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a", b"0" * 10_000_000)
    (tmp_path / "b.zip").write_bytes(out.getvalue())
    with pytest.raises(UserError, match="GB"):
        unpack(tmp_path / "b.zip", tmp_path / "to")


def test_tar_and_zip_unpack_alike(tmp_path):
    files = {"x/a.txt": b"1", "x/b/c.txt": b"22"}
    (tmp_path / "z.zip").write_bytes(zipped(files))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    for archive in ("z.zip", "t.tar.gz"):
        assert unpack(tmp_path / archive, tmp_path / archive[0], "x") == 2
        assert unpack(tmp_path / archive, tmp_path / archive[0], "x") == 2  # again: kept
        assert (tmp_path / archive[0] / "b" / "c.txt").read_bytes() == b"22"


# --- check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", formats.FORMATS)
def test_check_counts_everything(name, tmp_path):
    writer, n = formats.FORMATS[name]
    writer(tmp_path)
    report = check(name, str(tmp_path), open_images=True)
    assert report["records"] == n and report["fingerprint"]
    assert all("expected" in p for p in report["problems"])  # the small set is smaller than the real one
    for key, counts in report["counts"].items():
        assert key == "categories" or sum(counts.values()) == n


def test_check_finds_missing_damaged_and_unreadable(tmp_path, capsys):
    formats.screenspot_pro(tmp_path)
    (tmp_path / "images" / "word_windows" / "s0.png").unlink()
    formats.picture(tmp_path / "images" / "word_windows" / "s1.png", (10, 10))
    report = check("screenspot_pro", str(tmp_path), open_images=True)
    text = " ".join(report["problems"])
    assert "1 screenshots are missing: images/word_windows/s0.png (record word_windows_0)" in text
    assert "s1.png has 10x10 pixels, the annotation says 960x540" in text
    path = tmp_path / "annotations" / "word_windows.json"
    rows = json.loads(path.read_text())
    del rows[1]["bbox"]
    path.write_text(json.dumps(rows))
    assert cli.main(["data", "check", "screenspot_pro", "--data-path", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "1 records cannot be read" in out and "'bbox'" in out and "fingerprint  -" in out
    assert cli.main(["data", "check", "screenspot_pro", "--data-path", str(tmp_path), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "file", "path", "value", "says"),
    [
        ("screenspot", "screenspot_web.json", (0, "bbox"), [50, 50, -20, 10], "inverted or without area"),
        ("screenspot", "screenspot_web.json", (0, "bbox"), [5000, 50, 20, 10], "off the screen"),
        ("screenspot_pro", "annotations/word_windows.json", (1, "bbox"), [NAN, 1, 2, 3], "not finite"),
        (
            "ui_vision",
            "annotations/element_grounding/element_grounding_basic.json",
            (0, "bbox"),
            [1, 2, INF, 9],
            "not finite",
        ),
        ("osworld_g", "OSWorld-G.json", (1, "box_coordinates"), [1, 2, 3, 4], "fewer than three corners"),
        ("osworld_g", "OSWorld-G.json", (1, "box_coordinates"), [1, 2, NAN, 4, 5, 6], "not finite"),
        ("osworld_g", "OSWorld-G.json", (1, "box_type"), "star", "box types are unknown ('star')"),
        ("agentnetbench", "s_1.json", ("steps", 0, "ground_truth_actions"), [], "ground_truth_actions is empty"),
        (
            "agentnetbench",
            "s_1.json",
            ("steps", 0, "ground_truth_actions", 0, "type"),
            "dance",
            "action types are unknown ('dance')",
        ),
        (
            "agentnetbench",
            "s_1.json",
            ("steps", 0, "ground_truth_actions", 0, "params", "position", "x"),
            3.5,
            "points are off the screen",
        ),
        ("aitw", "aitw_data_test.json", ("general", 0, 0, "action_type_id"), 99, "action types are unknown ('99')"),
        ("aitw", "aitw_data_test.json", ("general", 0, 0, "touch"), [NAN, 0.1], "points are not finite"),
        (
            "androidcontrol",
            "500_steps.json",
            (0, "action", "action_type"),
            "dance",
            "action types are unknown ('dance')",
        ),
        (
            "gui_odyssey",
            "annotations/0002.json",
            ("steps", 0, "sam2_bbox"),
            [300, 200, 100, 400],
            "inverted or without area",
        ),
        (
            "mind2web",
            "mind2web_data_test_task.json",
            (0, "actions", 0, "bbox", "width"),
            -5,
            "inverted or without area",
        ),
    ],
)
def test_check_finds_targets_that_nothing_can_hit(name, file, path, value, says, tmp_path):
    formats.FORMATS[name][0](tmp_path)
    whole = check(name, str(tmp_path))
    assert all("expected" in p for p in whole["problems"])
    data = json.loads((tmp_path / file).read_text(encoding="utf-8"))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / file).write_text(json.dumps(data), encoding="utf-8")
    problems = [p for p in check(name, str(tmp_path))["problems"] if "expected" not in p]
    assert len(problems) == 1 and says in problems[0] and problems[0].startswith("1 ") and "record " in problems[0]


def test_records_of_a_changed_format_are_counted_once_with_what_was_found(tmp_path, capsys):
    formats.osworld_g(tmp_path)
    path = tmp_path / "OSWorld-G.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{("kind" if k == "box_type" else k): v for k, v in r.items()} for r in rows]))
    problems = check("osworld_g", str(tmp_path))["problems"]
    assert problems[0].startswith("3 records cannot be read") and "'box_type'" in problems[0] and "kind" in problems[0]
    run = ["--model", "stub", "--method", "full", "--tasks", "osworld_g", "--data-path", str(tmp_path)]
    assert cli.main([*run, "--out", str(tmp_path / "run")]) == 2  # not a run without an accuracy
    assert "'box_type'" in capsys.readouterr().err


def test_records_without_a_target_are_told(tmp_path, capsys):
    formats.osworld_g(tmp_path)
    path = tmp_path / "OSWorld-G.json"
    rows = json.loads(path.read_text())
    run = ["--model", "stub", "--method", "full", "--tasks", "osworld_g", "--data-path", str(tmp_path)]
    for n in (1, 3):
        for row in rows[:n]:
            row.pop("box_type", None), row.pop("box_coordinates", None)
        path.write_text(json.dumps(rows))
        problems = " ".join(check("osworld_g", str(tmp_path))["problems"])
        assert f"{n} records have no target" in problems and "0FOB-0" in problems
        assert ("nothing of this task can be scored" in problems) is (n == 3)
        capsys.readouterr()
        assert cli.main([*run, "--out", str(tmp_path / f"run{n}")]) == 0
        assert f"{n} of 3 samples are not scored" in "".join(capsys.readouterr())


def test_a_group_that_no_record_states_is_called_so(tmp_path, capsys):
    formats.screenspot(tmp_path)
    path = tmp_path / "screenspot_web.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**r, "data_type": ""} for r in rows]))
    cli.main(["data", "check", "screenspot", "--data-path", str(tmp_path)])
    out = capsys.readouterr().out
    assert "not stated 2" in out and "None" not in out


def test_check_of_an_embedded_task():
    assert check("mini-nav", open_images=True)["ok"]


# --- sample -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*formats.FORMATS, "mini-grounding", "mini-nav", "mini-doc"])
def test_sample_draws_a_picture(name, tmp_path, capsys):
    options = []
    if name in formats.FORMATS:
        formats.FORMATS[name][0](tmp_path / "d")
        options = ["--data-path", str(tmp_path / "d")]
    assert cli.main(["data", "sample", name, "2", "--out", str(tmp_path / "o.png"), *options]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    with Image.open(tmp_path / "o.png") as image:
        assert image.width > 300 and image.height > 300


def test_the_box_is_drawn_where_it_is(tmp_path):
    for name in ("screenspot", "screenspot_pro", "osworld_g", "ui_vision", "agentnetbench", "aitw", "gui_odyssey"):
        formats.FORMATS[name][0](tmp_path / name)
        task = load_task(
            name,
            data_path=str(tmp_path / name),
            history=0 if name in ("agentnetbench", "aitw", "gui_odyssey") else None,
        )
        sample = task.samples[0]
        size = formats.PHONE if name in ("aitw", "gui_odyssey") else formats.DESK
        marks = task.of.marks(sample.target, size)
        box = next(m for kind, m in marks if kind in ("box", "faint"))
        expected = {
            "agentnetbench": [384, 216, 576, 270],
            "aitw": [216, 840, 324, 960],
            "gui_odyssey": [232.2, 252, 324, 306],
            "osworld_g": [96.5, 54.25, 288, 162],
        }.get(name, [96, 54, 288, 162])
        assert box == pytest.approx(expected), name
        panel, _ = draw.draw_sample(task, sample)
        scale = min(1, draw.HEIGHT / size[1])
        x, y = 8 + round(expected[0] * scale), 8 + round((expected[1] + expected[3]) / 2 * scale)
        around = [panel.getpixel((x + d, y)) for d in (-1, 0, 1, 2)]
        assert TARGET in around or FAINT in around, (name, around)


def test_a_missing_screenshot_is_drawn_as_such(tmp_path, capsys):
    formats.screenspot(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert (
        cli.main(["data", "sample", "screenspot", "1", "--data-path", str(tmp_path), "--out", str(tmp_path / "o.png")])
        == 0
    )
    assert "missing" in capsys.readouterr().out
    assert cli.main(["data", "sample", "screenspot", "0", "--data-path", str(tmp_path)]) == 2


@pytest.mark.parametrize("out", ["picture", "picture.txt", "folder.png", "file/picture.png"])
def test_a_place_that_takes_no_picture_is_refused(out, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    assert cli.main(["data", "sample", "mini-nav", "1", "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert "--out" in error and error.count("\n") == 1


@needs_shared("samples/aitw")
def test_real_records_are_drawn(tmp_path):
    for name, n in (("aitw", 4), ("agentnetbench", 3), ("osworld_g", 3)):
        lines = draw.draw_task(name, n, str(SHARED / "samples" / name), None, tmp_path / f"{name}.png")
        assert len(lines) == n and not any("missing" in line for line in lines)


def test_a_suite_is_checked_task_by_task_and_named_where_one_task_is_needed(capsys):
    assert cli.main(["data", "check", "mini-large", "--format", "json"]) == 0
    assert [r["task"] for r in json.loads(capsys.readouterr().out)] == ["mini-large-grounding", "mini-large-doc"]
    assert cli.main(["data", "sample", "web"]) == 2
    said = capsys.readouterr().err
    assert "web is a suite, and one task is needed here: web-grounding, web-doc, web-nav." in said
