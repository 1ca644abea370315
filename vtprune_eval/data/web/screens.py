"""Pages that are acted on: mail, settings, shop, editor, board, account; text and icon targets of every size."""

from __future__ import annotations

import random
from collections.abc import Callable
from html import escape

from .shell import ICONS, Look, Page, card, document, grid, icon
from .words import Words


def _icons(rng: random.Random, look: Look, n: int) -> list[str]:
    """Pictures that the menu does not show."""
    taken = {picture for _, picture in look.menu}
    return rng.sample([i for i in sorted(ICONS) if i not in taken], n)


def _tool(name: str, rng: random.Random, look: Look) -> str:
    kind = rng.choice(("btn-secondary", "btn-light border") + ("btn-outline-secondary",) * (not look.dark))
    return f'<button class="btn {kind} btn-sm px-2">{icon(name)}</button>'


def _page(rng: random.Random, w: Words, look: Look, body: str, tools: str = "") -> Page:
    return Page(document(look, w.two(), body, rng.randrange(len(look.menu)), tools))


def mail(rng: random.Random, w: Words, look: Look) -> Page:
    """A list of messages under a row of icons."""
    n = 7 if look.phone else 9 if look.size[1] < 800 else 16
    rows = "".join(
        '<div class="d-flex justify-content-between align-items-center border-bottom py-2">'
        f'<a href="#" class="name">{escape(w.two())}</a>'
        + ("" if look.phone else f'<span class="text-muted">{w()} {w().lower()} {rng.randint(2, 90)}</span>')
        + f'<span class="text-muted small">{rng.randint(1, 23)}:{rng.randint(10, 59)}</span></div>'
        for _ in range(n)
    )
    tools = "".join(_tool(i, rng, look) for i in _icons(rng, look, 4 if look.phone else 7))
    main = f'<button class="btn btn-primary btn-sm">{w()}</button>'
    bar = f'<div class="mb-3 d-flex flex-wrap" style="gap:.4rem">{tools}</div>'
    return _page(rng, w, look, bar + card(rows), main)


def settings(rng: random.Random, w: Words, look: Look) -> Page:
    """Options with a button or a tick box each."""
    n = 4 if look.phone else 5 if look.size[1] < 800 else 9
    parts = []
    for c in range(1 if look.phone else 2 if look.size[0] < 2400 else 3):
        rows = ""
        for i in range(n):
            act = (
                f'<button class="btn btn-outline-primary btn-sm">{w(high=8)}</button>'
                if rng.random() < 0.6
                else f'<div class="form-check"><input class="form-check-input" type="checkbox" id="o{c}-{i}"><label '
                f'class="form-check-label" for="o{c}-{i}">{w(high=8)}</label></div>'
            )
            rows += (
                '<div class="d-flex justify-content-between align-items-center border-bottom py-2"><div><div>'
                f'{w.two()}</div><div class="text-muted small">{w()} {w().lower()} {w().lower()}</div></div>{act}</div>'
            )
        parts.append(card(rows, w.two()))
    body = (
        f'<div style="display:grid;gap:1rem;grid-template-columns:repeat({len(parts)},minmax(0,1fr))">'
        f"{''.join(parts)}</div>"
    )
    save = f'<button class="btn btn-primary">{w()}</button> <button class="btn btn-link">{w()}</button>'
    return _page(rng, w, look, body + save)


def shop(rng: random.Random, w: Words, look: Look) -> Page:
    """Products with a picture, a price and a button."""
    n = 4 if look.phone else 6 if look.size[1] < 800 else 10
    cards = []
    for picture in _icons(rng, look, n):
        if rng.random() < 0.5:
            top = (
                f'<div class="display-6 mb-2" style="font-size:2rem"><a href="#" class="text-reset">'
                f"{icon(picture)}</a></div>"
            )
        else:
            top = ""
        cards.append(
            f'<div class="card"><div class="card-body">{top}<div class="h5">{w.two()}</div><div class="text-muted '
            f'mb-2">'
            f'${w.money(400)}</div><button class="btn btn-primary btn-sm">{w(high=8)}</button> <a href="#" '
            f'class="ml-2 ms-2">'
            f"{w(high=8)}</a></div></div>"
        )
    return _page(rng, w, look, grid(cards, look, 3))


def editor(rng: random.Random, w: Words, look: Look) -> Page:
    """A drawing board with icons on two sides."""
    icons = _icons(rng, look, 8 if look.phone else 14)
    across = "".join(_tool(i, rng, look) for i in icons[: 5 if look.phone else 8])
    down = "".join(f'<div class="mb-2">{_tool(i, rng, look)}</div>' for i in icons[5 if look.phone else 8 :])
    tabs = "".join(f'<li class="nav-item"><a class="nav-link" href="#">{w(high=8)}</a></li>' for _ in range(3))
    height = look.size[1] - (430 if look.phone else 300)
    body = (
        f'<ul class="nav nav-tabs mb-2">{tabs}</ul><div class="d-flex flex-wrap mb-2" style="gap:.4rem">{across}</div>'
        f'<div class="d-flex" style="gap:.6rem"><div>{down}</div><div class="border flex-grow-1 rounded" style="height:'
        f'{height}px;background:repeating-linear-gradient(90deg,transparent 0 39px,#8883 39px 40px)"></div></div>'
    )
    main = (
        f'<button class="btn btn-primary btn-sm">{w()}</button><button class="btn btn-outline-secondary btn-sm">'
        f"{w()}</button>"
    )
    return _page(rng, w, look, body, main)


def board(rng: random.Random, w: Words, look: Look) -> Page:
    """Columns of small cards."""
    n_columns = 1 if look.phone else 3 if look.size[0] < 1800 else 4 if look.size[0] < 2400 else 6
    n_cards = 4 if look.phone else 3 if look.size[1] < 800 else 6
    columns = []
    for _ in range(n_columns):
        cards = "".join(
            f'<div class="card mb-2"><div class="card-body p-2 py-3"><a href="#" class="h6">{w.two()}</a>'
            f'<div class="d-flex justify-content-between mt-2"><span class="badge bg-secondary text-white '
            f'badge-secondary">'
            f'{w(high=7)}</span><span class="text-muted small">{w.date()}</span></div></div></div>'
            for _ in range(n_cards)
        )
        columns.append(
            f'<div><div class="d-flex justify-content-between mb-2"><strong>{w(high=8)}</strong><button class="btn '
            f"btn-sm "
            f'btn-outline-secondary">{w(high=6)}</button></div>{cards}</div>'
        )
    body = (
        f'<div style="display:grid;gap:1rem;grid-template-columns:repeat({n_columns},minmax(0,1fr))">'
        f"{''.join(columns)}</div>"
    )
    return _page(rng, w, look, body, "".join(_tool(i, rng, look) for i in _icons(rng, look, 3)))


def account(rng: random.Random, w: Words, look: Look) -> Page:
    """A form to be filled: labelled fields, choices, two buttons."""
    n = 6 if look.phone else 8 if look.size[1] < 800 else 16
    cells = []
    for i in range(n):
        field = f'<input class="form-control" id="a{i}" placeholder="">'
        if rng.random() < 0.25:
            field = (
                f'<select class="form-control form-select" id="a{i}"><option>{w()}</option><option>{w()}</option>'
                f"</select>"
            )
        cells.append(f'<div class="mb-2"><label class="form-label mb-1" for="a{i}">{w.two()}</label>{field}</div>')
    buttons = (
        f'<button class="btn btn-primary mt-2">{w()}</button> <button class="btn btn-secondary mt-2">{w()}</button>'
    )
    return _page(
        rng,
        w,
        look,
        card(grid(cells, look, 2) + buttons, w.two()),
        "".join(_tool(i, rng, look) for i in _icons(rng, look, 2)),
    )


SCREENS: dict[str, Callable[[random.Random, Words, Look], Page]] = {
    "mail": mail,
    "settings": settings,
    "shop": shop,
    "editor": editor,
    "board": board,
    "account": account,
}
# Pages of the packages themselves: (kit, address, font). Those with charts that are drawn by a clock of their own, and
# those that show one sentence, are left out.
KIT_PAGES = [
    *(("sb-admin-2", f"/kits/sb-admin-2/package/{p}.html", "Nunito") for p in (
        "index", "tables", "buttons", "cards", "charts", "login", "register", "utilities-color")),
    *(("gentelella", f"/production/{p}.html", "Inter") for p in (
        "orders", "inbox", "contacts", "projects", "form", "form_buttons", "tables", "profile", "settings",
        "pricing_tables", "user_management", "e_commerce", "file_manager", "faq", "notifications", "general_elements",
        "kanban", "product_detail", "project_detail", "order_detail", "register", "media_gallery")),
]  # fmt: skip
