"""No reader hands out an image outside of its data folder, whatever names and links the data brings along."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.benchmarks import formats
from tests.conftest import SHARED, needs_shared
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.benchmarks.mini import Mini
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.paths import FOLLOW_LINKS, inside_folder

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
OUTSIDE = [
    "../../../../etc/x.png",
    "/etc/x.png",
    "..\\..\\x.png",
    "C:\\x.png",
    "a/../../x.png",
    "\0.png",
    "",
    "/",
    "..",
]


def images_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in ENDINGS)


def mini(folder: Path) -> None:
    """An own task with the reader of the embedded suite."""
    formats.picture(folder / "images" / "a.png", (64, 32))
    record = {"id": "a", "images": ["images/a.png"], "question": "where?", "target": {"type": "text", "answers": ["x"]}}
    (folder / "samples.jsonl").write_text(json.dumps(record))


READERS = {**{name: writer for name, (writer, _) in formats.FORMATS.items()}, "mini-doc": mini}


def paths_of(name: str, folder: Path) -> list[Path]:
    """Every image of every sample, earlier screens included."""
    history = None if name.startswith(("mini", "screenspot", "osworld", "ui_vision")) else 5
    return [p for s in load_task(name, data_path=str(folder), history=history).samples for p in s.images]


def stays(name: str, folder: Path) -> bool:
    """True where all images lie inside, False for a refusal that says why."""
    try:
        found = paths_of(name, folder)
    except UserError:
        return False
    assert found and all(Path(os.path.realpath(p)).is_relative_to(folder.resolve()) for p in found), found
    return True


@pytest.mark.parametrize("name", READERS)
def test_links_that_lead_out_are_refused(name, tmp_path, monkeypatch):
    folder, away = tmp_path / "data", tmp_path / "away"
    folder.mkdir()
    READERS[name](folder)
    assert stays(name, folder)
    away.mkdir()
    for path in images_of(folder):
        moved = away / path.name
        path.rename(moved)
        path.symlink_to(moved)
    with pytest.raises(UserError, match=r"a link that leads out of the data folder"):
        paths_of(name, folder)
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    assert paths_of(name, folder), "the user's own links"


@pytest.mark.parametrize("name", READERS)
def test_folders_that_are_links_are_refused(name, tmp_path):
    folder, away = tmp_path / "data", tmp_path / "away"
    folder.mkdir()
    READERS[name](folder)
    away.mkdir()
    for top in sorted({p.relative_to(folder).parts[0] for p in images_of(folder)}):
        (folder / top).rename(away / top)
        (folder / top).symlink_to(away / top, target_is_directory=True)
    with pytest.raises(UserError, match=r"a link that leads out of the data folder"):
        paths_of(name, folder)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("start", ["../../../", "/", "..\\..\\"])
def test_names_that_point_outside_are_refused(name, start, tmp_path):
    """Every text of the annotations of which the name of an image is made, changed."""
    folder = tmp_path / "data"
    folder.mkdir()
    READERS[name](folder)
    names = [str(p.relative_to(folder)) for p in images_of(folder)]
    changed = 0

    def hostile(value):
        nonlocal changed
        if isinstance(value, dict):
            return {k: hostile(v) for k, v in value.items()}
        if isinstance(value, list):
            return [hostile(v) for v in value]
        if isinstance(value, str) and len(value) > 2 and any(Path(value).stem in n for n in names):
            changed += 1
            return start + value
        return value

    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        path.write_text("\n".join(json.dumps(hostile(json.loads(line))) for line in lines))
    if changed:  # else numbers become the names of images, and no text can lead out
        stays(name, folder)


@pytest.mark.parametrize("name", OUTSIDE)
def test_one_function_refuses(name, tmp_path):
    with pytest.raises(UserError, match=r"^here: .*(outside of the data folder; refused|no name of a file)"):
        inside_folder(tmp_path, name, "here")


@pytest.mark.parametrize("name", ["a.png", "sub/a.png", "sub\\a.png", "..a.png", "a..b/c.png", "x:y.png"])
def test_one_function_accepts(name, tmp_path):
    assert inside_folder(tmp_path, name, "here") == tmp_path / name.replace("\\", "/")


def test_a_file_with_a_backslash_in_its_name_is_itself(tmp_path):
    (tmp_path / "sub\\a.png").write_bytes(b"")
    assert inside_folder(tmp_path, "sub\\a.png", "here") == tmp_path / "sub\\a.png"


def test_links_inside_and_to_the_blobs_of_the_hub_cache(tmp_path):
    repo = tmp_path / "datasets--a--b"
    snapshot, blobs = repo / "snapshots" / "0123" / "data", repo / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "f00").write_bytes(b"x")
    (snapshot / "a.png").symlink_to(blobs / "f00")
    (snapshot / "b.png").symlink_to("a.png")
    for name in ("a.png", "b.png"):
        assert inside_folder(snapshot, name, "here").read_bytes() == b"x"
    (tmp_path / "link").symlink_to(snapshot, target_is_directory=True)
    assert inside_folder(tmp_path / "link", "a.png", "here"), "the folder that was named may be a link itself"
    (snapshot / "c.png").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="leads out"):
        inside_folder(snapshot, "c.png", "here")


@pytest.mark.parametrize(("field", "value"), [("images", []), ("images", [3]), ("question", " "), ("images", "a.png")])
def test_an_own_task_without_image_or_question_is_refused_by_record(field, value, tmp_path):
    mini(tmp_path)
    record = json.loads((tmp_path / "samples.jsonl").read_text())
    (tmp_path / "samples.jsonl").write_text(json.dumps({**record, field: value}))
    with pytest.raises(UserError, match=r"samples.jsonl, record 'a': "):
        Mini().open(tmp_path, definition("mini-doc")).item(0)


@needs_shared("public_inputs/backslash")
def test_names_of_windows():
    folder = SHARED / "public_inputs" / "backslash"
    (sample,) = load_task("screenspot_v2", data_path=str(folder)).samples
    assert sample.images[0].is_file()
