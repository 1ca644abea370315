"""The three tasks: pages are drawn, questions asked of what the browser placed, images and records written."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...json_values import JsonObject
from .browser import Browser, fonts_used, shot
from .documents import DOCUMENTS
from .episodes import EPISODES, Step
from .in_page import FACTS, FONTS, PICTURES, PLACES, REPLACE, TARGET, TEXTS
from .screens import KIT_PAGES, SCREENS
from .shell import ICONS, ICONS_FA, Look, look
from .words import HELD_OUT, Words

SEED = 20260316
TASKS = ("web-grounding", "web-doc", "web-nav")
KITS = ("tabler", "bootstrap", "sb-admin-2")
# (width, height) in CSS pixels and device pixels per CSS pixel.
LAPTOP, DESKTOP, PHONE, LARGE = ((1280, 720), 1), ((1920, 1080), 1), ((390, 844), 2), ((2560, 1440), 1)
MIXED = (LAPTOP, PHONE, DESKTOP, LAPTOP, LARGE, PHONE)
SMALL = (LAPTOP, PHONE, LAPTOP, PHONE, DESKTOP)
N_SCREENS, N_DOCUMENTS = 36, 66
PER_SCREEN, PER_DOCUMENT = 5, 2
HISTORY = 4


class Writer:
    """Collects samples and images of one task.

    Args:
        folder: ``data`` of the task.
        prefix: of the samples' ids.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self.samples: list[JsonObject] = []
        self.pixels: dict[str, str] = {}
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for old in (folder / "images").glob("*.webp"):
            old.unlink()

    def image(self, name: str, pixels: np.ndarray) -> str:
        """Write one image, lossless; its name in the records."""
        from PIL import Image

        path = f"images/{name}.webp"
        Image.fromarray(pixels).save(self.folder / path, lossless=True, quality=100, method=4, exact=True)
        self.pixels[path] = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        return path

    def add(self, images: list[str], target: JsonObject, cluster: str, meta: JsonObject, **words: Any) -> None:
        """One sample."""
        number = f"{self.prefix}-{len(self.samples):04d}"
        self.samples.append(
            {"id": number, "images": images, **words, "target": target, "cluster": cluster, "meta": meta}
        )

    def close(self) -> None:
        """Write the records, and the digests of all pixels."""
        lines = [json.dumps(s, separators=(",", ":")) for s in self.samples]
        (self.folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        text = json.dumps(self.pixels, indent=0, sort_keys=True)
        (self.folder / "pixels.json").write_text(text + "\n", encoding="utf-8")


def pixels_box(box: Sequence[float], scale: int, size: tuple[int, int]) -> list[int]:
    """CSS pixels to whole pixels of the image, cut to it."""
    limits = (size[0] * scale, size[1] * scale) * 2
    return [round(min(max(0.0, v * scale), limit)) for v, limit in zip(box, limits, strict=True)]


def meta_of(look: Look, template: str) -> JsonObject:
    """Breakdown keys of a page."""
    return {
        "platform": "mobile" if look.phone else "desktop", "kit": look.kit, "template": template,
        "size": f"{look.size[0] * look.scale}x{look.size[1] * look.scale}", "dark": look.dark,
    }  # fmt: skip


class NotRepeatable(RuntimeError):
    """A page that another machine might paint otherwise."""


def check_fonts(page: Any, name: str) -> None:
    """Refuse a page with a letter of a system font."""
    foreign = fonts_used(page)
    if foreign:
        raise NotRepeatable(f"{name}: painted with {', '.join(sorted(foreign))} of this system")


def named_targets(page: Any) -> list[JsonObject]:
    """Places that can be asked for without doubt: ``kind`` (text, field, icon), ``name``, ``id``, ``box`` (CSS pixels).

    A text must not stand a second time on the screen, not even within another one; a picture must be the only one of
    its kind, clickable or not.
    """
    texts = [t.lower() for t in page.evaluate(TEXTS)]
    pictures = Counter(page.evaluate(PICTURES))
    known = {**ICONS_FA, **ICONS}
    out = []
    for place in page.evaluate(PLACES):
        text = place["text"].strip()
        base = {"box": place["box"], "id": place["id"], "side": place["side"]}
        if place["icon"] and not re.search(r"[A-Za-z]", text):
            spoken = known.get(place["icon"])
            alike = sum(n for name, n in pictures.items() if known.get(name) == spoken)
            if spoken and alike == 1:
                out.append({"kind": "icon", "name": spoken, **base})
            continue
        if not 3 <= len(text) <= 32 or place["clipped"] or not re.search(r"[A-Za-z]{3}", text) or '"' in text:
            continue
        pattern = re.compile(rf"(?<![A-Za-z0-9]){re.escape(text.lower())}(?![A-Za-z0-9])")
        if sum(bool(pattern.search(t)) for t in texts) == 1:
            out.append({"kind": "field" if place["field"] else "text", "name": text, **base})
    return out


def instruction(target: JsonObject) -> str:
    """What a person would say."""
    if target["kind"] == "icon":
        return f"Click the {target['name']} icon."
    return f'Click the field "{target["name"]}".' if target["kind"] == "field" else f'Click "{target["name"]}".'


def short_question(question: str) -> str:
    """A document's question as the embedded suite asks: ``what is COLUMN of ROW``, ``what is KEY``."""
    quoted = re.findall('"([^"]*)"', question)
    if len(quoted) == 2:
        return f"what is {quoted[1]} of {quoted[0]}".lower()
    if quoted and "invoiced" not in question and "amount" not in question:
        return f"what is {quoted[0]}".lower()
    plain = question.replace('"', "").rstrip("?").lower()
    return plain


def role_of(page: Any, number: int) -> str:
    """Role of a target in the accessibility tree (``link``, ``button``, ``textbox``, ...), empty for none."""
    found = re.match(r"- '?([a-z]+)", page.locator(f'[data-vt="{number}"]').first.aria_snapshot())
    return found[1] if found else ""


def grounding(browser: Browser, out: Path, only: Callable[[int], bool] = lambda n: True) -> Writer:
    """Pages of the packages with other words, and screens of our own; up to five targets each."""
    writer = Writer(out, "wg")
    for number in range(len(KIT_PAGES) + N_SCREENS):
        if not only(number):
            continue
        rng = random.Random(f"{SEED}/grounding/{number}")
        w = Words(rng)
        if number < len(KIT_PAGES):
            kit, address, family = KIT_PAGES[number]
            size, scale = MIXED[number % len(MIXED)]
            shown = Look(kit, size, scale, family, False, 100, "", (), "")
            template = address.rpartition("/")[2].removesuffix(".html")
            page = browser.open(address, size, scale, family, scripts=True)
            page.evaluate(REPLACE, [list(HELD_OUT), rng.randrange(1 << 31)])
            page.evaluate(FONTS, family)
        else:
            n = number - len(KIT_PAGES)
            template, make = list(SCREENS.items())[n % len(SCREENS)]
            size, scale = MIXED[(n // len(SCREENS) + n) % len(MIXED)]
            shown = look(rng, w, KITS[(n // 2 + n // 6) % len(KITS)], size, scale)
            page = _show(browser, make(rng, w, shown).html, shown)
        name = f"{number:03d}-{template}"
        check_fonts(page, name)
        found = named_targets(page)
        icons = [t for t in found if t["kind"] == "icon"]
        side = [t for t in found if t["kind"] != "icon" and t["side"]]
        others = [t for t in found if t["kind"] != "icon" and not t["side"]]
        others += rng.sample(side, min(len(side), max(1, PER_SCREEN - len(others))))  # menus are long and all alike
        n_icons = min(len(icons), max(2, PER_SCREEN - len(others)))
        n_others = min(len(others), PER_SCREEN - n_icons)
        chosen = rng.sample(icons, n_icons) + rng.sample(others, n_others)
        image = writer.image(name, shot(page))
        for t in chosen:
            role = role_of(page, t["id"])
            writer.add(
                [image], {"type": "box", "box_xyxy": pixels_box(t["box"], scale, size)}, f"page-{number:03d}",
                {**meta_of(shown, template), "target_kind": "icon" if t["kind"] == "icon" else "text", "role": role},
                instruction=instruction(t), short=f"click {t['name'].lower()}{' icon' if t['kind'] == 'icon' else ''}",
            )  # fmt: skip
        page.context.close()
    writer.close()
    return writer


def _show(browser: Browser, html: str, look: Look, scroll: int = 0) -> Any:
    page = browser.open("/page.html", look.size, look.scale, look.family, pages={"/page.html": html})
    if scroll:
        page.evaluate(f"window.scrollTo(0, {scroll})")
    return page


def documents(browser: Browser, out: Path, only: Callable[[int], bool] = lambda n: True) -> Writer:
    """Two questions per page, of values that are shown whole and of different texts."""
    writer = Writer(out, "wd")
    for number in range(N_DOCUMENTS):
        if not only(number):
            continue
        rng = random.Random(f"{SEED}/documents/{number}")
        w = Words(rng)
        kind, make = list(DOCUMENTS.items())[number % len(DOCUMENTS)]
        size, scale = MIXED[(number // len(DOCUMENTS) + number) % len(MIXED)]
        shown = look(rng, w, KITS[(number // 2 + number // 6) % len(KITS)], size, scale)
        made = make(rng, w, shown)
        page = _show(browser, made.html, shown)
        check_fonts(page, f"{number:03d}-{kind}")
        facts = {f["key"]: f for f in page.evaluate(FACTS) if f["shown"] and f["text"]}
        pairs = [(q, facts[key]) for q, key in made.questions if key in facts]
        image = writer.image(f"{number:03d}-{kind}", shot(page))
        for question, fact in rng.sample(pairs, PER_DOCUMENT):
            answers = list(dict.fromkeys([fact["text"], fact["text"].replace(",", "")]))
            box = pixels_box(fact["box"], scale, size)
            writer.add(
                [image], {"type": "text", "answers": answers, "box_xyxy": box}, f"page-{number:03d}",
                {**meta_of(shown, kind), "kind": kind}, instruction=question,
                short=short_question(question),
            )  # fmt: skip
        page.context.close()
    writer.close()
    return writer


def navigation(browser: Browser, out: Path, only: Callable[[int], bool] = lambda n: True) -> Writer:
    """Every step of every episode, with up to four earlier screens."""
    writer = Writer(out, "wn")
    makers = [make for make, n in EPISODES for _ in range(n)]
    for number, make in enumerate(makers):
        if not only(number):
            continue
        rng = random.Random(f"{SEED}/navigation/{number}")
        w = Words(rng)
        size, scale = SMALL[number % len(SMALL)]
        shown = look(rng, w, KITS[number % len(KITS)], size, scale)
        episode = make(rng, w, shown)
        images: list[str] = []
        for i, step in enumerate(episode.steps):
            page = _show(browser, step.html, shown, step.scroll)
            name = f"{number:03d}-{i}"
            check_fonts(page, name)
            action = _placed(page, step, shown, name)
            images.append(writer.image(name, shot(page)))
            page.context.close()
            first = max(0, i - HISTORY)
            writer.add(
                images[first:], {"type": "action", "action": action}, f"episode-{number:03d}",
                {**meta_of(shown, episode.kind), "step": action["type"], "needs_history": step.needs_history,
                 "n_history": i - first},
                goal=episode.goal, short=episode.goal.replace('"', "").lower(),
                past=[s.said for s in episode.steps[:i]],
            )  # fmt: skip
    writer.close()
    return writer


def _placed(page: Any, step: Step, look: Look, name: str) -> JsonObject:
    """The action with the place of its target."""
    box = page.evaluate(TARGET)
    if not step.target:
        if step.action["type"] == "scroll" and box:
            raise RuntimeError(f"{name}: the target is visible before the scroll")
        return step.action
    if box is None:
        raise RuntimeError(f"{name}: the target is not visible")
    corners = pixels_box(box, look.scale, look.size)
    width, height = look.size[0] * look.scale, look.size[1] * look.scale
    at = [round((corners[0] + corners[2]) / 2 / width, 4), round((corners[1] + corners[3]) / 2 / height, 4)]
    return {**step.action, "point": at, "box_xyxy": corners}


MAKERS: dict[str, Callable[[Browser, Path], Writer]] = {
    "web-grounding": grounding, "web-doc": documents, "web-nav": navigation,
}  # fmt: skip
