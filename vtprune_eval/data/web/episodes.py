"""Episodes: a goal and the screens on the way to it. Where a step needs what an earlier screen showed, it says so."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from ...json_values import JsonObject
from .shell import Look, card, document, icon
from .words import Words


@dataclass(frozen=True)
class Step:
    """One screen and what is right on it.

    Attributes:
        html: of the screen.
        action: ``{"type": ...}``, of a tap without its place.
        said: the action in words.
        target: ``data-step`` of the element that is tapped, empty for other actions.
        scroll: pixels that the page is scrolled down.
        needs_history: only an earlier screen shows what is typed.
    """

    html: str
    action: JsonObject
    said: str
    target: str = ""
    scroll: int = 0
    needs_history: bool = False


@dataclass(frozen=True)
class Episode:
    """A goal, the screens in order, and the kind of the episode."""

    goal: str
    steps: tuple[Step, ...]
    kind: str


def _home(w: Words, look: Look, title: str) -> str:
    """Entry points as large rows, the same as the menu's."""
    rows = "".join(
        f'<a href="#" class="d-block border-bottom py-3" data-entry="{i}">{icon(picture, "mr-2 me-2")} '
        f"{escape(name)}</a>"
        for i, (name, picture) in enumerate(look.menu)
    )
    return (
        document(look, title, card(rows, w.two()), active=-1)
        if look.phone
        else document(
            look,
            title,
            card(
                f'<p class="mb-1">{w()} {w().lower()} {w().lower()}</p><p class="mb-0">{w()} {w().lower()}</p>', w.two()
            )
            + card(f"<p>{w()} {w().lower()} {w.number(2, 80)}</p>", w.two()),
            active=-1,
        )
    )


def _menu_target(html: str, look: Look, entry: int) -> str:
    if look.phone:
        return html.replace(f'data-entry="{entry}"', f'data-entry="{entry}" data-step="target"', 1)
    name = escape(look.menu[entry][0])
    at = html.index(f"{name}</", html.index("<ul class"))  # in the side bar
    start = html.rindex("<a ", 0, at)
    return f'{html[: start + 3]}data-step="target" {html[start + 3 :]}'


def _list(w: Words, look: Look, entry: int, names: list[str], mark: str = "") -> str:
    rows = "".join(
        f'<div class="d-flex justify-content-between border-bottom py-3"><a href="#" class="name" '
        f'{"data-step=target" if n == mark else ""}>{escape(n)}</a><span class="text-muted">{d}</span></div>'
        for n, d in ((n, w.date() if not look.phone else str(w.number(2, 90))) for n in names)
    )
    return document(look, look.menu[entry][0], card(rows), active=entry)


def _details(w: Words, look: Look, entry: int, title: str, facts: dict[str, str], button: str) -> str:
    lines = "".join(
        f'<div class="d-flex justify-content-between border-bottom py-2"><span class="text-muted">{escape(k)}</span>'
        f"<span class=value>{escape(v)}</span></div>"
        for k, v in facts.items()
    )
    tools = f'<button class="btn btn-secondary">{w(high=8)}</button>'
    act = f'<button class="btn btn-primary mt-3" data-step="target">{escape(button)}</button>'
    return document(look, title, card(lines) + act, active=entry, tools=tools)


def _form(
    look: Look,
    entry: int,
    title: str,
    fields: list[str],
    field: str,
    button: str,
    *,
    focus: bool,
    value: str,
    mark: str,
) -> str:
    rows = ""
    for i, name in enumerate(fields):
        here = name == field
        ring = ' style="outline:3px solid #3b82f6;outline-offset:1px"' if here and focus else ""
        rows += (
            f'<div class="mb-3"><label class="form-label mb-1" for="e{i}">{escape(name)}</label><input '
            f'class="form-control" '
            f'id="e{i}"{ring} value="{escape(value) if here else ""}" '
            f"{'data-step=target' if here and mark == 'field' else ''}"
            "></div>"
        )
    step = 'data-step="target"' if mark == "button" else ""
    return document(
        look, title, card(rows + f'<button class="btn btn-primary" {step}>{escape(button)}</button>'), active=entry
    )


def _message(w: Words, look: Look, entry: int, title: str, text: str, picture: str) -> str:
    return document(
        look,
        title,
        card(
            f'<div class="text-center py-5"><div style="font-size:3rem">{icon(picture)}</div><div class="h4">'
            f"{escape(text)}"
            f'</div><div class="text-muted">{w()} {w().lower()} {w.number(100, 999)}</div></div>'
        ),
        active=entry,
    )


def copied_code(rng: random.Random, w: Words, look: Look) -> Episode:
    """A code that one screen shows is typed on a later one."""
    entry, names = rng.randrange(len(look.menu)), [w.two() for _ in range(6)]
    chosen, key, field, go, save = rng.choice(names), w(), w(), w(high=8), w(high=8)
    code = w.code()
    facts = {w(): w.code() for _ in range(5)}
    keys = [*facts, key]
    rng.shuffle(keys)
    facts = {k: facts.get(k, code) for k in keys}
    fields = [field, *(w() for _ in range(3))]
    rng.shuffle(fields)
    title, menu = w.two(), look.menu[entry][0]
    form: JsonObject = {
        "look": look,
        "entry": entry,
        "title": title,
        "fields": fields,
        "field": field,
        "button": save,
    }
    goal = (
        f'Open "{menu}", open the entry "{chosen}", press "{go}", type the code of "{key}" into the field "{field}" '
        f'and press "{save}".'
    )
    typed = {"type": "type", "text": code}
    return Episode(goal, (
        Step(_menu_target(_home(w, look, w.two()), look, entry), {"type": "tap"}, f'tap "{menu}"', "target"),
        Step(_list(w, look, entry, names, chosen), {"type": "tap"}, f'tap "{chosen}"', "target"),
        Step(_details(w, look, entry, chosen, facts, go), {"type": "tap"}, f'tap "{go}"', "target"),
        Step(_form(**form, focus=False, value="", mark="field"), {"type": "tap"}, f'tap the field "{field}"', "target"),
        Step(_form(**form, focus=True, value="", mark=""), typed, f'type "{code}"', needs_history=True),
        Step(_form(**form, focus=True, value=code, mark="button"), {"type": "tap"}, f'tap "{save}"', "target"),
        Step(_message(w, look, entry, title, "Saved", "check-circle"), {"type": "finish"}, "done"),
    ), "copied code")  # fmt: skip


def far_down(rng: random.Random, w: Words, look: Look) -> Episode:
    """The entry lies below the end of the screen."""
    entry = rng.randrange(len(look.menu))
    row = 58 * look.zoom / 100
    hidden = int(look.size[1] / row) + 3
    names = [w.two() for _ in range(hidden + 8)]
    chosen, menu = names[hidden + rng.randrange(3)], look.menu[entry][0]
    page = _list(w, look, entry, names, chosen)
    facts = {w(): w.code() for _ in range(5)}
    last = _details(w, look, entry, chosen, facts, w(high=8))
    return Episode(f'Open "{menu}" and show the entry "{chosen}".', (
        Step(_menu_target(_home(w, look, w.two()), look, entry), {"type": "tap"}, f'tap "{menu}"', "target"),
        Step(page, {"type": "scroll", "direction": "down"}, "scroll down"),
        Step(page, {"type": "tap"}, f'tap "{chosen}"', "target", scroll=int(look.size[1] * 0.75)),
        Step(last, {"type": "finish"}, "done"),
    ), "far down")  # fmt: skip


def wrong_way(rng: random.Random, w: Words, look: Look) -> Episode:
    """The first place fails; the goal says what to do then."""
    first, second = rng.sample(range(len(look.menu)), 2)
    title = w.two()
    home = _home(w, look, title)
    one, two = look.menu[first][0], look.menu[second][0]
    names = [w.two() for _ in range(6)]
    chosen = rng.choice(names)
    goal = f'Open "{one}". If it cannot be opened, go back and open "{two}" instead. Then open the entry "{chosen}".'
    facts = {w(): w.code() for _ in range(4)}
    return Episode(goal, (
        Step(_menu_target(home, look, first), {"type": "tap"}, f'tap "{one}"', "target"),
        Step(_message(w, look, first, one, "This page cannot be opened", "exclamation-triangle"),
             {"type": "back"}, "back"),
        Step(_menu_target(home, look, second), {"type": "tap"}, f'tap "{two}"', "target"),
        Step(_list(w, look, second, names, chosen), {"type": "tap"}, f'tap "{chosen}"', "target"),
        Step(_details(w, look, second, chosen, facts, w(high=8)), {"type": "finish"}, "done"),
    ), "wrong way")  # fmt: skip


EPISODES: tuple[tuple[Callable[[random.Random, Words, Look], Episode], int], ...] = (
    (copied_code, 15), (far_down, 13), (wrong_way, 13),
)  # fmt: skip
