"""Page frames of three kits: side bar or top bar with menu, title, a place for the content."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from .words import Words

# What is asked for by its picture: the name in bootstrap-icons (or Font Awesome) and the words for it. Only pictures
# that a person would name in one way.
ICONS = {
    "alarm": "alarm clock", "archive": "archive box", "bag": "shopping bag", "bell": "bell", "bicycle": "bicycle",
    "bookmark": "bookmark", "briefcase": "briefcase", "brush": "brush", "bug": "bug", "calculator": "calculator",
    "calendar": "calendar", "camera": "camera", "cart": "shopping cart", "chat": "speech bubble",
    "clipboard": "clipboard",
    "cloud": "cloud", "compass": "compass", "credit-card": "credit card", "cup": "cup", "droplet": "drop",
    "envelope": "envelope", "eye": "eye", "flag": "flag", "folder": "folder", "funnel": "funnel", "gear": "gear",
    "gift": "gift", "globe": "globe", "hammer": "hammer", "headphones": "headphones", "heart": "heart",
    "hourglass": "hourglass", "house": "house", "image": "picture", "key": "key", "lightbulb": "light bulb",
    "lightning": "lightning bolt", "lock": "padlock", "map": "map", "mic": "microphone", "moon": "moon",
    "paperclip": "paper clip", "pencil": "pencil", "person": "person", "printer": "printer", "scissors": "scissors",
    "search": "magnifying glass", "shield": "shield", "star": "star", "tag": "tag", "telephone": "telephone",
    "trash": "trash can", "trophy": "trophy", "truck": "truck", "umbrella": "umbrella", "wifi": "wireless signal",
    "wrench": "wrench",
}  # fmt: skip
# Font Awesome's names for the same pictures (pages of sb-admin-2).
ICONS_FA = {
    "bell": "bell", "envelope": "envelope", "search": "magnifying glass", "cog": "gear", "wrench": "wrench",
    "folder": "folder", "flag": "flag", "trash": "trash can",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How the pages of one screen or episode look.

    Attributes:
        kit: ``tabler``, ``bootstrap`` or ``sb-admin-2``.
        size: (width, height) of the viewport in CSS pixels.
        scale: device pixels per CSS pixel.
        family: font.
        dark: the kit's dark theme.
        zoom: text size in % of the kit's.
        colour: of what is primary.
        menu: entries of the menu, (name, icon).
    """

    kit: str
    size: tuple[int, int]
    scale: int
    family: str
    dark: bool
    zoom: int
    colour: str
    menu: tuple[tuple[str, str], ...]
    brand: str

    @property
    def phone(self) -> bool:
        """A narrow screen."""
        return self.size[0] < 600


@dataclass
class Page:
    """A document and what may be asked of it.

    Attributes:
        html: the document.
        questions: (question, key of the value).
    """

    html: str
    questions: list[tuple[str, str]] = field(default_factory=list)


FAMILIES = ("Inter", "Open Sans", "Roboto", "Nunito")
COLOURS = ("#0d6efd", "#0f766e", "#7c3aed", "#b91c1c", "#c2410c", "#1d4ed8", "#15803d", "#334155")


def look(rng: random.Random, w: Words, kit: str, size: tuple[int, int], scale: int, n_menu: int = 7) -> Look:
    """Draw a look."""
    icons = rng.sample(sorted(ICONS), n_menu)
    dark = kit != "sb-admin-2" and rng.random() < 0.3
    return Look(
        kit,
        size,
        scale,
        rng.choice(FAMILIES),
        dark,
        rng.choice((100, 100, 112, 125)),
        rng.choice(COLOURS),
        tuple((w.two() if rng.random() < 0.25 else w(), i) for i in icons),
        w.two(),
    )


def icon(name: str, classes: str = "") -> str:
    """A picture of bootstrap-icons."""
    return f'<i class="bi bi-{name} {classes}" data-icon="{name}"></i>'


def document(look: Look, title: str, body: str, active: int = 0, tools: str = "") -> str:
    """A whole page.

    Args:
        look: of the page.
        title: heading.
        body: HTML of the content.
        active: menu entry that is open.
        tools: HTML beside the heading.
    """
    css = {
        "tabler": "/kits/tabler/package/dist/css/tabler.min.css",
        "bootstrap": "/kits/bootstrap/package/dist/css/bootstrap.min.css",
        "sb-admin-2": "/kits/sb-admin-2/package/css/sb-admin-2.min.css",
    }[look.kit]
    frame = {"tabler": _tabler, "bootstrap": _bootstrap, "sb-admin-2": _sb_admin}[look.kit]
    theme = ' data-bs-theme="dark"' if look.dark else ""
    c = look.colour
    return (
        f'<!doctype html><html lang="en"{theme}><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="{css}">'
        '<link rel="stylesheet" href="/kits/icons/package/font/bootstrap-icons.min.css">'
        f"<style>html{{font-size:{look.zoom}%}}"
        f".btn-primary{{--bs-btn-bg:{c};--bs-btn-border-color:{c};--tblr-btn-bg:{c};background-color:{c}!important;"
        f"border-color:{c}!important;color:#fff!important}}.bar{{fill:{c}}}"
        ".value{font-variant-numeric:tabular-nums;white-space:nowrap}.name{white-space:nowrap}"
        "svg text{font-size:14px}td,th{white-space:nowrap}"
        f"</style></head>{frame(look, title, body, active, tools)}</html>"
    )


def _heading(title: str, tools: str, classes: str) -> str:
    return (
        f'<div class="d-flex align-items-center justify-content-between flex-wrap mb-3"><h1 class="{classes} mb-0">'
        f'{escape(title)}</h1><div class="d-flex gap-2" style="gap:.5rem">{tools}</div></div>'
    )


def _bootstrap(look: Look, title: str, body: str, active: int, tools: str) -> str:
    content = f'<main class="flex-grow-1 p-3 p-md-4" style="min-width:0">{_heading(title, tools, "h3")}{body}</main>'
    if look.phone:
        return (
            '<body><nav class="navbar border-bottom px-3"><span class="navbar-brand">'
            f'{escape(look.brand)}</span><div class="d-flex gap-3 fs-5">{icon("list")}</div></nav>'
            f"{_pills(look, active)}{content}</body>"
        )
    items = "".join(
        f'<li class="nav-item"><a href="#" class="nav-link {"active" if i == active else "link-body-emphasis"}">'
        f"{icon(picture, 'me-2')}{escape(name)}</a></li>"
        for i, (name, picture) in enumerate(look.menu)
    )
    return (
        '<body><div class="d-flex" style="min-height:100vh"><div class="d-flex flex-column flex-shrink-0 p-3 '
        'bg-body-tertiary border-end" style="width:15rem"><span class="fs-5 mb-3 border-bottom pb-3">'
        f'{escape(look.brand)}</span><ul class="nav nav-pills flex-column">{items}</ul></div>{content}</div></body>'
    )


def _pills(look: Look, active: int) -> str:
    """A phone's short menu; none on a start page (``active`` is -1), whose content is the menu."""
    if active < 0:
        return ""
    first = min(active, len(look.menu) - 2)
    items = "".join(
        f'<li class="nav-item"><a href="#" class="nav-link py-1 px-2 {"active" if i == active else ""}">'
        f"{escape(look.menu[i][0])}</a></li>"
        for i in (first, first + 1)
    )
    return f'<ul class="nav nav-pills px-2 py-2 mb-2 flex-nowrap" style="overflow:hidden">{items}</ul>'


def _tabler(look: Look, title: str, body: str, active: int, tools: str) -> str:
    content = (
        '<div class="page-wrapper"><div class="page-header"><div class="container-fluid">'
        f'{_heading(title, tools, "page-title")}</div></div><div class="page-body"><div class="container-fluid">{body}'
        "</div></div></div>"
    )
    if look.phone:
        return (
            '<body><div class="page"><header class="navbar border-bottom"><div class="container-fluid d-flex '
            f'justify-content-between"><span class="navbar-brand">{escape(look.brand)}</span>{icon("list")}</div>'
            f"</header>"
            f"{_pills(look, active)}{content}</div></body>"
        )
    items = "".join(
        f'<li class="nav-item {"active" if i == active else ""}"><a class="nav-link" href="#"><span '
        f'class="nav-link-icon">'
        f'{icon(picture)}</span><span class="nav-link-title">{escape(name)}</span></a></li>'
        for i, (name, picture) in enumerate(look.menu)
    )
    return (
        '<body><div class="page"><aside class="navbar navbar-vertical navbar-expand-sm" data-bs-theme="dark"><div '
        f'class="container-fluid"><span class="navbar-brand">{escape(look.brand)}</span><div class="collapse '
        f'navbar-collapse show"><ul class="navbar-nav pt-lg-3">{items}</ul></div></div></aside>{content}</div></body>'
    )


def _sb_admin(look: Look, title: str, body: str, active: int, tools: str) -> str:
    top = (
        '<nav class="navbar navbar-expand navbar-light bg-white topbar mb-4 shadow px-3"><span '
        'class="font-weight-bold">'
        f'{escape(look.brand) if look.phone else ""}</span><span class="ml-auto text-gray-600">{icon("list")}</span>'
        f"</nav>"
    )
    content = (
        f'<div id="content-wrapper" class="d-flex flex-column"><div id="content">{top}<div class="container-fluid">'
    )
    if look.phone:
        return (
            f"<body>{content}{_pills(look, active)}{_heading(title, tools, 'h4 text-gray-800')}{body}</div></div>"
            f"</div></body>"
        )
    items = "".join(
        f'<li class="nav-item {"active" if i == active else ""}"><a class="nav-link" href="#">{icon(picture, "mr-1")} '
        f"<span>{escape(name)}</span></a></li>"
        for i, (name, picture) in enumerate(look.menu)
    )
    return (
        '<body><div id="wrapper"><ul class="navbar-nav bg-gradient-primary sidebar sidebar-dark accordion"><a '
        f'class="sidebar-brand d-flex align-items-center justify-content-center" href="#"><div>{escape(look.brand)}'
        f'</div></a><hr class="sidebar-divider my-0">{items}</ul>{content}{_heading(title, tools, "h3 text-gray-800")}'
        f"{body}</div></div></div></div></body>"
    )


def card(inner: str, title: str = "", classes: str = "") -> str:
    """A card with an optional heading."""
    head = f'<div class="card-header"><span class="card-title h6 mb-0">{escape(title)}</span></div>' if title else ""
    return f'<div class="card mb-3 {classes}">{head}<div class="card-body">{inner}</div></div>'


def grid(cards: Sequence[str], look: Look, wide: int = 3) -> str:
    """Cards side by side: one on a phone, more on a large screen."""
    n = 1 if look.phone else wide if look.size[0] < 1800 else wide + 1 if look.size[0] < 2400 else wide + 2
    style = f"display:grid;grid-template-columns:repeat({n},minmax(0,1fr));gap:1rem"
    return f'<div style="{style}">{"".join(cards)}</div>'
