"""Pages of the web suite before a browser sees them, the packages that they are made of, and drawing them anew."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
import tarfile
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest

from vtprune_eval import cli
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.data.web import kits, render
from vtprune_eval.data.web.build import (
    KITS,
    MIXED,
    Writer,
    instruction,
    pixels_box,
    short_question,
)
from vtprune_eval.data.web.documents import DOCUMENTS
from vtprune_eval.data.web.episodes import EPISODES
from vtprune_eval.data.web.screens import KIT_PAGES, SCREENS
from vtprune_eval.data.web.shell import ICONS, look
from vtprune_eval.data.web.words import HELD_OUT, Words
from vtprune_eval.errors import UserError

LOOKS = [(kit, size, scale) for kit in KITS for size, scale in dict.fromkeys(MIXED)]


def drawn(make, kit, size, scale, seed=0):
    rng = random.Random(f"{seed}")
    words = Words(rng)
    return make(rng, words, look(rng, words, kit, size, scale))


@pytest.mark.parametrize(("kit", "size", "scale"), LOOKS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_question_names_what_the_page_holds(name, kit, size, scale):
    page = drawn(DOCUMENTS[name], kit, size, scale)
    assert page.html == drawn(DOCUMENTS[name], kit, size, scale).html
    text = unescape(page.html)
    assert len(page.questions) >= 3
    assert len({q for q, _ in page.questions}) == len(page.questions)
    for question, key in page.questions:
        assert page.html.count(f'data-value="{key}"') == 1
        assert all(f">{word}<" in text for word in re.findall('"([^"]*)"', question))


@pytest.mark.parametrize(("kit", "size", "scale"), LOOKS)
@pytest.mark.parametrize("name", SCREENS)
def test_screens_are_made_of_the_packages_alone(name, kit, size, scale):
    html = drawn(SCREENS[name], kit, size, scale).html
    assert set(re.findall(r'(?:href|src)="([^"#]+)', html)) <= {
        f"/kits/{k}/package/{p}"
        for k, p in (
            ("tabler", "dist/css/tabler.min.css"),
            ("bootstrap", "dist/css/bootstrap.min.css"),
            ("sb-admin-2", "css/sb-admin-2.min.css"),
            ("icons", "font/bootstrap-icons.min.css"),
        )
    }
    shown = re.findall(r'data-icon="([a-z-]+)"', html)
    assert set(shown) <= {*ICONS, "list"}
    assert "http" not in html


@pytest.mark.parametrize(("kit", "size", "scale"), [x for x in LOOKS if x[1] != (2560, 1440)])
@pytest.mark.parametrize("make", [m for m, _ in EPISODES])
def test_episodes_mark_one_target_where_something_is_tapped(make, kit, size, scale):
    episode = drawn(make, kit, size, scale)
    quoted = re.findall('"([^"]*)"', episode.goal)
    assert quoted and episode.steps[-1].action == {"type": "finish"}
    for step in episode.steps:
        marks = len(re.findall(r'data-step="?target', step.html))
        if step.action["type"] != "finish":  # a page that is shown for good may have a button
            assert marks == (step.action["type"] in ("tap", "scroll"))  # a scroll comes before its tap
        assert (step.target == "target") == (step.action["type"] == "tap")
    typed = [s.action["text"] for s in episode.steps if s.action["type"] == "type"]
    for code in typed:
        at = next(i for i, s in enumerate(episode.steps) if s.action["type"] == "type")
        assert sum(code in s.html for s in episode.steps[:at]) == 1 and code not in episode.steps[at].html
        assert code not in episode.goal


def test_words_of_a_page_differ_and_look_like_words():
    words = Words(random.Random(1))
    drawn = [words() for _ in range(200)]
    assert len(set(drawn)) == 200 and all(w.lower() in HELD_OUT and w[0].isupper() for w in drawn)
    assert re.fullmatch(r"[A-Z]{2}-\d{4}", words.code())
    assert re.fullmatch(r"\d{1,2} [A-Z][a-z]{2} 202[456]", words.date())
    assert re.fullmatch(r"[\d,]+\.\d\d", words.money())


def test_what_a_person_would_say():
    assert instruction({"kind": "icon", "name": "trash can"}) == "Click the trash can icon."
    assert instruction({"kind": "field", "name": "Code"}) == 'Click the field "Code".'
    assert short_question('In the row "Map", what is the value in the column "Tax"?') == "what is tax of map"
    assert short_question('What is the value of "Map"?') == "what is map"
    assert short_question("What is the total due?") == "what is the total due"
    assert short_question('What is the amount for "Map"?') == "what is the amount for map"


def test_boxes_are_whole_pixels_of_the_image():
    assert pixels_box([10.2, 5.5, 400.0, 20.1], 2, (390, 844)) == [20, 11, 780, 40]
    assert pixels_box([-3, 0, 5, 900], 1, (390, 844)) == [0, 0, 5, 844]


# --- the packages -------------------------------------------------------------------------------------------------


@pytest.fixture
def one_kit(monkeypatch):
    """A registry with one package."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/page.html")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    content = packed.getvalue()
    kit = kits.Kit("some-kit", "1.0.0", base64.b64encode(hashlib.sha512(content).digest()).decode(), "MIT", "Somebody")
    monkeypatch.setattr(kits, "KITS", {"some": kit})
    asked = []
    monkeypatch.setattr(kits, "_tarball", lambda kit, folder: asked.append(kit.package) or content)
    return asked


def test_a_package_is_fetched_once(one_kit, tmp_path):
    assert (kits.fetch(tmp_path) / "some" / "package" / "page.html").read_text() == "hello"
    kits.fetch(tmp_path)
    assert one_kit == ["some-kit"]


def test_a_package_with_other_content_is_refused(one_kit, tmp_path, monkeypatch):
    monkeypatch.setattr(kits, "_tarball", lambda kit, folder: b"other")
    with pytest.raises(UserError, match="SHA-512"):
        kits.fetch(tmp_path)
    assert not (tmp_path / "some").exists()


def test_fonts_and_kit_pages_belong_to_pinned_packages():
    assert {kit for kit, _ in kits.FONTS.values()} <= set(kits.KITS)
    assert {kit for kit, _, _ in KIT_PAGES} <= set(kits.KITS) and len(KIT_PAGES) == len(set(KIT_PAGES)) == 30
    for kit in kits.KITS.values():
        assert len(base64.b64decode(kit.sha512)) == 64 and kit.licence in ("MIT", "OFL-1.1")
    assert kits.font_css().count("@font-face") == sum(len(w) for _, w in kits.FONTS.values())


# --- drawing anew -------------------------------------------------------------------------------------------------


class StillBrowser:
    version = "0.0"

    def __init__(self, kits):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def redraw(tmp_path, monkeypatch):
    """``redraw(level)``: draws one grey page of this level over a release of level 7."""
    task = tmp_path / "tasks" / "web-doc"
    task.mkdir(parents=True)
    grey = hashlib.sha256(np.full((4, 4, 3), 7, np.uint8).tobytes()).hexdigest()[:16]
    (task / "pixels.json").write_text(json.dumps({"images/0.webp": grey}))
    monkeypatch.setattr(render, "Browser", StillBrowser)
    monkeypatch.setattr(render, "fetch", lambda folder: folder)

    def go(level):
        def maker(browser, out):
            writer = Writer(out, "wd")
            image = writer.image("0", np.full((4, 4, 3), level, np.uint8))
            writer.add([image], {"type": "text", "answers": ["7"]}, "page-000", {}, instruction="?", short="?")
            writer.close()
            return writer

        monkeypatch.setattr(render, "MAKERS", {"web-doc": maker})
        return render.render(SimpleNamespace(name="web-doc", folder=task), tmp_path / "got" / "web-doc")

    return go


def test_the_same_pixels_take_the_place_of_the_data(redraw, tmp_path):
    folder = redraw(7)
    assert sorted(p.name for p in folder.iterdir()) == ["images", "pixels.json", "samples.jsonl"]
    redraw(99)  # what is there and whole is not drawn again
    (folder / "images" / "0.webp").unlink()
    with pytest.raises(UserError, match="1 of 1 images differ"):
        redraw(99)


def test_other_pixels_are_kept_apart(redraw, tmp_path):
    with pytest.raises(UserError, match=r"Chromium 156.*0\.0"):
        redraw(8)
    assert not (tmp_path / "got" / "web-doc").exists()
    assert (tmp_path / "got" / "web-doc-chromium-0.0" / "samples.jsonl").is_file()


def test_a_suite_is_got_task_by_task(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(render, "render", lambda spec, folder: asked.append((spec.name, folder)) or folder)
    assert cli.main(["data", "get", "web", "--data-path", str(tmp_path)]) == 0
    names = ["web-grounding", "web-doc", "web-nav"]
    assert asked == [(n, tmp_path / n) for n in names]
    assert definition("web-doc").setting("render") == "web"
