"""Pages that are read: forms, records, invoices, tables, charts, figures. Every value has a key; questions name "
"keys."""

from __future__ import annotations

import random
from collections.abc import Callable
from html import escape

from .shell import Look, Page, card, document, grid
from .words import Words


def _value(key: str, text: str, tag: str = "span", classes: str = "") -> str:
    return f'<{tag} class="value {classes}" data-value="{key}">{escape(text)}</{tag}>'


def _datum(w: Words, kind: int) -> str:
    """A word, a number, a code, an amount or a day."""
    return (w.two, lambda: str(w.number(12, 9999)), w.code, w.money, w.date)[kind % 5]()


def form(rng: random.Random, w: Words, look: Look) -> Page:
    """A form with filled fields."""
    n = 7 if look.phone else 10 if look.size[1] < 800 else 18
    cells, questions = [], []
    for i in range(n):
        label, value = w.two() if rng.random() < 0.4 else w(), _datum(w, rng.randrange(5))
        cells.append(
            f'<div class="mb-2"><label class="form-label mb-1" for="f{i}">{escape(label)}</label>'
            f'<input class="form-control" id="f{i}" data-value="f{i}" value="{escape(value)}"></div>'
        )
        questions.append((f'What is the value of the field "{label}"?', f"f{i}"))
    buttons = (
        f'<button class="btn btn-primary mt-2">{w()}</button> <button class="btn btn-secondary mt-2">{w()}</button>'
    )
    body = card(grid(cells, look, 2) + buttons, w.two())
    return Page(document(look, w.two(), body, rng.randrange(len(look.menu))), questions)


def record(rng: random.Random, w: Words, look: Look) -> Page:
    """Keys and values in cards."""
    cards, questions = [], []
    n_cards = 2 if look.phone else 4 if look.size[1] < 800 else 8
    for c in range(n_cards):
        lines = ""
        for i in range(4 if look.phone else 5):
            name, value, key = w() if rng.random() < 0.6 else w.two(), _datum(w, rng.randrange(5)), f"r{c}-{i}"
            lines += (
                '<div class="d-flex justify-content-between border-bottom py-2"><span class="text-muted name">'
                f"{escape(name)}</span>{_value(key, value)}</div>"
            )
            questions.append((f'What is the value of "{name}"?', key))
        cards.append(card(lines, w.two()))
    return Page(document(look, w.two(), grid(cards, look, 2), rng.randrange(len(look.menu))), questions)


def invoice(rng: random.Random, w: Words, look: Look) -> Page:
    """Head, positions, sums."""
    n = 4 if look.phone else 5 if look.size[1] < 800 else 10
    number, day, due = w.code(), w.date(), w.date()
    client, street = w.two(), f"{w.number(1, 200)} {w()} Road"
    questions = [
        ("What is the invoice number?", "number"),
        ("On which date was the invoice issued?", "issued"),
        ("On which date is the invoice due?", "due"),
        ("To which client is the invoice billed?", "client"),
        ("What is the total due?", "total"),
        ("What is the tax?", "tax"),
    ]
    rows, total = "", 0.0
    for i in range(n):
        item, quantity, price = w(high=8), w.number(1, 60), w.number(2, 240) + rng.choice((0.0, 0.5, 0.25, 0.75))
        amount = quantity * price
        total += amount
        middle = "" if look.phone else f'<td class="text-end text-right">{_value(f"p{i}", f"{price:,.2f}")}</td>'
        rows += (
            f'<tr><td>{escape(item)}</td><td class="text-end text-right">{_value(f"q{i}", str(quantity))}</td>{middle}'
            f'<td class="text-end text-right">{_value(f"a{i}", f"{amount:,.2f}")}</td></tr>'
        )
        questions += [
            (f'How many units of "{item}" are invoiced?', f"q{i}"),
            (f'What is the amount for "{item}"?', f"a{i}"),
        ]
    tax = round(total * 0.2, 2)
    sums = "".join(
        f'<div class="d-flex justify-content-end py-1"><span class="mr-4 me-4">{name}</span>'
        f"{_value(key, f'{v:,.2f}', 'strong')}</div>"
        for name, key, v in (("Subtotal", "subtotal", total), ("Tax", "tax", tax), ("Total due", "total", total + tax))
    )
    price_head = "" if look.phone else '<th class="text-end text-right">Unit price</th>'
    head = (
        '<div class="d-flex justify-content-between flex-wrap mb-3"><div><div class="h4">Invoice '
        f"{_value('number', number)}</div><div>Issued {_value('issued', day)}</div><div>Due "
        f"{_value('due', due)}</div></div>"
        f'<div><div class="text-muted">Billed to</div><div class="h5">{_value("client", client)}</div><div>'
        f"{street}</div>"
        "</div></div>"
    )
    table = (
        '<table class="table"><thead><tr><th>Item</th><th class="text-end text-right">Units</th>'
        f'{price_head}<th class="text-end text-right">Amount</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    return Page(document(look, w.two(), card(head + table + sums), rng.randrange(len(look.menu))), questions)


def table(rng: random.Random, w: Words, look: Look) -> Page:
    """A table of words and numbers."""
    n_rows = 9 if look.phone else 9 if look.size[1] < 800 else 16 if look.size[1] < 1200 else 24
    n_cols = 2 if look.phone else 5 if look.size[0] < 1800 else 7
    columns = [w(high=8) for _ in range(n_cols)]
    kinds = [rng.randrange(5) for _ in columns]
    kinds[0] = kinds[0] or 3  # at least one column that can be asked for
    head = "".join(f"<th>{escape(c)}</th>" for c in (w(high=8), *columns))
    rows, questions = "", []
    for i in range(n_rows):
        name = w.two() if rng.random() < 0.3 else w()
        cells = ""
        for j, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
            value = _datum(w, 1 if kind == 0 and look.phone else kind) if kind else rng.choice(STATES)
            cells += f"<td>{_value(f'c{i}-{j}', value)}</td>"
            if not kind:  # one of six words: a guess would do
                continue
            questions.append((f'In the row "{name}", what is the value in the column "{column}"?', f"c{i}-{j}"))
        rows += f"<tr><td>{escape(name)}</td>{cells}</tr>"
    striped = rng.choice(("", "table-striped", "table-bordered"))
    body = card(
        f'<table class="table {striped} mb-0"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>', w.two()
    )
    return Page(document(look, w.two(), body, rng.randrange(len(look.menu))), questions)


STATES = ("Open", "Closed", "Paid", "Pending", "Draft", "Active")


def bars(rng: random.Random, w: Words, look: Look) -> Page:
    """A bar chart with its numbers, lying or standing."""
    n = 6 if look.phone else 8 if look.size[1] < 1200 else 12
    values = [rng.randint(20, 990) for _ in range(n)]
    names = [w(high=8) for _ in range(n)]
    questions = [(f'What is the value of the bar "{name}"?', f"b{i}") for i, name in enumerate(names)]
    width = look.size[0] - (60 if look.phone else 420)
    parts = []
    ink = "#dde3ea" if look.dark else "#333"
    if look.phone or rng.random() < 0.5:
        step: float = 44
        left = 110
        for i, (name, v) in enumerate(zip(names, values, strict=True)):
            y, length = i * step, v / 990 * (width - left - 60)
            parts.append(
                f'<text x="0" y="{y + 22}" fill="{ink}">{name}</text><rect class="bar" x="{left}" y="{y + 6}" '
                f'width="{length:.1f}" height="24"/><text data-value="b{i}" x="{left + length + 8:.1f}" y="{y + 23}" '
                f'fill="{ink}">{v}</text>'
            )
        height = n * step
    else:
        height, step = min(look.size[1] - 290, 700), width / n
        for i, (name, v) in enumerate(zip(names, values, strict=True)):
            x, tall = i * step, v / 990 * (height - 70)
            mid, top = x + step * 0.3, height - 34 - tall
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{top:.1f}" width="{step * 0.6:.1f}" height="{tall:.1f}"/>'
                f'<text text-anchor="middle" x="{mid:.1f}" y="{height - 10}" fill="{ink}">{name}</text>'
                f'<text text-anchor="middle" data-value="b{i}" x="{mid:.1f}" y="{top - 8:.1f}" fill="{ink}">{v}</text>'
            )
    chart = f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    return Page(document(look, w.two(), card(chart, w.two()), rng.randrange(len(look.menu))), questions)


def figures(rng: random.Random, w: Words, look: Look) -> Page:
    """Cards with one figure each, and progress bars."""
    n = 5 if look.phone else 8 if look.size[1] < 800 else 15
    cards, questions = [], []
    for i in range(n):
        name, value = w.two() if rng.random() < 0.4 else w(), (w.money, lambda: f"{w.number(2, 98)}%", w.code)[i % 3]()
        cards.append(
            f'<div class="card"><div class="card-body"><div class="text-muted">{escape(name)}</div>'
            f'<div class="h2 mb-1">{_value(f"k{i}", value)}</div><div class="small">{w()} {w().lower()}</div></div>'
            f"</div>"
        )
        questions.append((f'Which figure does the card "{name}" show?', f"k{i}"))
    return Page(document(look, w.two(), grid(cards, look, 4), rng.randrange(len(look.menu))), questions)


DOCUMENTS: dict[str, Callable[[random.Random, Words, Look], Page]] = {
    "form": form,
    "record": record,
    "invoice": invoice,
    "table": table,
    "chart": bars,
    "figures": figures,
}
