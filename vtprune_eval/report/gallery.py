"""The page of ``show``: pictures beside it, groups, answers; it refers to nothing but the PNG files in its folder."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from ..sample import Sample
from ..turns import readable
from .pictures import Panel, printable, verdict_of


def figure(file: str, task: str, sample: Sample, panels: Sequence[Panel], kept: Sequence[str], full_right: bool) -> str:
    """One sample: question, picture (a link to itself at full size), answers.

    Args:
        file: of the picture.
        task: its name.
        sample: that is shown.
        panels: its cells.
        kept: per cell what the picture's captions say, for those who cannot see it or read it at this size.
        full_right: whether full is right and a shown cell is wrong.
    """
    wrong = [p.label for p in panels if p.right is False]
    state = f"wrong: {', '.join(wrong)}" if wrong else "no cell is wrong"
    rows = "".join(
        f"<tr><td>{html.escape(p.label)}</td><td>{html.escape(verdict_of(p))}</td>"
        f"<td>{html.escape(printable(p.record['answer'], 300))}</td><td>{html.escape(str(p.record['score']))}</td>"
        f"<td>{html.escape(said)}</td></tr>"
        for p, said in zip(panels, kept, strict=True)
    )
    name = html.escape(file)
    return (
        f'<figure data-full-right="{str(full_right).lower()}">'
        f"<figcaption><b>{html.escape(task)} {html.escape(sample.id)}</b>: "
        f"{html.escape(printable(readable(sample.question), 400))} <i>({html.escape(state)})</i></figcaption>"
        f'<a href="{name}" title="full size"><img src="{name}" loading="lazy" '
        f'alt="what each method kept of {html.escape(sample.id)}"></a>'
        '<details><summary>answers, and what was kept</summary><div class="scroll"><table><tr><th>cell</th>'
        f"<th>verdict</th><th>answer</th><th>score</th><th>kept</th></tr>{rows}</table></div></details></figure>"
    )


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A small table, text escaped, the first column left."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in lines)
    return f"<table class=groups><tr>{head}</tr>{body}</table>"


def gallery(
    title: str, figures: Sequence[str], total: int, groups: Sequence[tuple[str, Any]] = (), filter_: str = ""
) -> str:
    """The page.

    Args:
        title: of the page.
        figures: of :func:`figure`.
        total: samples that fit the filter.
        groups: per task its name and what :func:`.selection.group_table` gives.
        filter_: what was asked for, in words.
    """
    tables = "".join(
        f"<details open><summary>{html.escape(task)}: accuracy % by group</summary>"
        f'<div class="scroll">{table(*found)}</div></details>'
        for task, found in groups
    )
    return (
        _PAGE.replace("@TITLE@", html.escape(title))
        .replace("@COUNT@", f"{len(figures)} of {total} samples{html.escape(filter_)}")
        .replace("@GROUPS@", tables)
        .replace("@FIGURES@", "\n".join(figures))
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>@TITLE@</title>
<style>
:root { color-scheme: light dark; --line: #d0d4da; --text: #1b1f24; --back: #fff; }
@media (prefers-color-scheme: dark) { :root { --line: #3a4048; --text: #e6e8eb; --back: #14171a; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem; color: var(--text); background: var(--back); }
figure { margin: 1.2rem 0; border-top: 1px solid var(--line); padding-top: .8rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
td, th { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.groups td:nth-child(n+2), .groups th:nth-child(n+2) { text-align: right; white-space: nowrap; }
.scroll { overflow-x: auto; } summary { cursor: pointer; }
.box { border: 3px solid #009e73; padding: 0 .4em; } .point { color: #d55e00; font-weight: bold; }
</style></head><body>
<h1>@TITLE@</h1>
<p>@COUNT@. Grey blocks did not reach the decoder; what was dropped inside it is the greyer, the fewer layers and heads
hold it, and the map under a frame says how many, from none (dark blue) to all (yellow; white never entered).
<span class="box">target</span> (a box, an
outline, a ring for a point, a line for a swipe) <span class="point">&#10005;</span> predicted point. A
downsized image is drawn as coarse as the model saw it. A picture opens at full size.</p>
@GROUPS@
<p><label><input type="checkbox" id="only"> only where full is right and a cell is wrong</label></p>
@FIGURES@
<script>
document.getElementById("only").addEventListener("change", (event) => {
  for (const figure of document.querySelectorAll("figure"))
    figure.hidden = event.target.checked && figure.dataset.fullRight !== "true";
});
</script></body></html>
"""
