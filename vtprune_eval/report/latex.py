"""Runs as a LaTeX table with booktabs: text of others is escaped, so that it compiles whatever a name holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import unknown_name
from ..results.quantities import QUANTITIES
from .gathered import MEAN
from .versus import PairLine

_SPECIAL = {
    **{ch: f"\\{ch}" for ch in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",  # behind a line's end it would be an option
    "]": "{]}",
    "-": "{-}",  # two of them would be a dash
}


def _column(key: str, head: str) -> tuple[str, str, int, float]:
    """What a column of costs shows: key of a line, heading, digits, factor."""
    return key, head, QUANTITIES[key].digits, QUANTITIES[key].factor


CHOICES: dict[str, tuple[str, str, int, float]] = {
    "achieved": _column("achieved_pct", "spent (\\%)"),
    "change": ("difference", "change", 1, 100.0),
    "retention": ("retention", "of full (\\%)", 1, 100.0),
    "recall": ("target_recall", "recall (\\%)", 1, 100.0),
    "tokens": _column("layer_visual_pct", "tokens/layer (\\%)"),
    "flops": _column("flops_prefill", "GFLOPs"),
    "flops-all": _column("flops", "GFLOPs (all)"),
    "kv": _column("kv_bytes", "KV (kB)"),
    "ttft": _column("ttft_ms", "TTFT (ms)"),
    "e2e": _column("e2e_ms", "e2e (ms)"),
    "peak": _column("peak_bytes", "peak (MB)"),
    "energy": _column("energy_j", "J"),
    "speedup": ("speedup", "speed-up", 2, 1.0),
}
DEFAULT = ("achieved", "change", "flops", "kv")


def escaped(text: str) -> str:
    """Text as LaTeX prints it; a character that pdfLaTeX has no glyph for is written as its code point."""
    return "".join(_SPECIAL.get(ch) or (ch if " " <= ch <= "~" or ch in _LATIN else _code(ch)) for ch in str(text))


# Letters that every font encoding of LaTeX can print.
_LATIN = "".join(ch for ch in map(chr, range(0xC0, 0x100)) if ch not in "ÐÞðþ×÷")


def _code(ch: str) -> str:
    return " " if ch.isspace() else f"{{[}}U+{ord(ch):04X}{{]}}"


def latex(
    lines: Sequence[dict[str, Any]],
    columns: Sequence[str] = DEFAULT,
    intervals: bool = True,
    standalone: bool = False,
    about: str = "",
) -> str:
    """The table.

    Args:
        lines: of :func:`.tidy.lines_of`.
        columns: names of :data:`CHOICES` for the columns beside the accuracies; they are of the mean over tasks, where
            there is one, else of the only task.
        intervals: whether accuracies, changes and speed-ups carry their 95 % intervals.
        standalone: a whole document instead of a ``tabular``.
        about: a sentence for the comment above it.

    Raises:
        UserError: an unknown column.
    """
    for name in columns:
        if name not in CHOICES:
            raise unknown_name("column", name, CHOICES)
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for line in lines:
        rows.setdefault((line["label"], line["budget"]), {})[line["task"]] = line
    graded = [t for t in tasks if any(line["accuracy"] is not None for line in lines if line["task"] == t)]
    of_costs = MEAN if MEAN in tasks else tasks[-1]
    heads = ["method", "budget", *(escaped(t) for t in graded), *(CHOICES[c][1] for c in columns)]
    body = []
    for (label, budget), own in rows.items():
        cells = [escaped(label), "--" if label == "full" else escaped(budget)]
        cells += [_share(own.get(t), "accuracy", intervals) for t in graded]
        line = own.get(of_costs) or next(reversed(own.values()))
        cells += [_cost(line, c, intervals) for c in columns]
        body.append(" & ".join(cells) + r" \\")
    text = (f"% {' '.join(about.split())}\n" if about else "") + _tabular("ll" + "r" * (len(heads) - 2), heads, body)
    if not standalone:
        return text
    return _DOCUMENT.replace("TABLE", text)


# A page as large as its table, with nothing that a bare installation of LaTeX lacks.
_DOCUMENT = r"""\documentclass{article}
\usepackage{textcomp}
\usepackage{booktabs}
\newsavebox{\thewhole}
\begin{document}
\begin{lrbox}{\thewhole}
TABLE\end{lrbox}
\pdfpagewidth=\dimexpr\wd\thewhole+8mm\relax
\pdfpageheight=\dimexpr\ht\thewhole+\dp\thewhole+8mm\relax
\hoffset=-1in
\voffset=-1in
\shipout\vbox{\kern4mm\hbox{\kern4mm\usebox{\thewhole}}}
\end{document}
"""


def latex_pairs(lines: Sequence[PairLine]) -> str:
    """Paired comparisons (:func:`.versus.held_against`) as a ``tabular``: one line per pair and task."""
    heads = ["task", "A", "B", "samples", r"A (\%)", r"B (\%)", "A $-$ B", "only A", "only B", "$p$ (Holm)", "finding"]
    body = []
    for line in lines:
        cells = [escaped(line["task"]), escaped(line["a"]), escaped(line["b"]), str(line["n"])]
        if "difference" in line:
            ends = [100 * v for v in line["ci95"] or ()]
            interval = _interval(ends[0], ends[1], "+.1f") if ends else ""
            cells += [f"{100 * line['accuracy_a']:.1f}", f"{100 * line['accuracy_b']:.1f}"]
            cells += [f"${100 * line['difference']:+.1f}${interval}", str(line["only_own"]), str(line["only_other"])]
        else:
            cells += ["--"] * 5
        cells += [f"{line['p_holm']:.2g}", escaped(line["verdict"])] if "p" in line else ["--", "--"]
        body.append(" & ".join(cells) + r" \\")
    return _tabular("lllrrrrrrrl", heads, body)


def _tabular(columns: str, heads: Sequence[str], body: Sequence[str]) -> str:
    """Lines with booktabs' rules; ``columns``: their alignment."""
    table = [
        r"% needs \usepackage{booktabs} and \usepackage{textcomp}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(table) + "\n"


def _share(line: dict[str, Any] | None, key: str, intervals: bool) -> str:
    if line is None or line[key] is None:
        return "--"
    text = f"{100 * line[key]:.1f}"
    low, high = line[f"{key}_low"], line[f"{key}_high"]
    return text + (_interval(100 * low, 100 * high, ".1f") if intervals and low is not None else "")


def _cost(line: dict[str, Any], name: str, intervals: bool) -> str:
    key, _, digits, factor = CHOICES[name]
    value = line[key]
    if value is None:
        return "--"
    signed = "+" if key == "difference" else ""
    low, high = line.get(f"{key}_low"), line.get(f"{key}_high")
    end = ""
    if intervals and low is not None and high is not None:
        end = _interval(factor * low, factor * high, f"{signed}.{digits}f")
    return f"${factor * value:{signed}.{digits}f}${end}"


def _interval(low: float, high: float, form: str) -> str:
    return rf" {{\scriptsize $[{low:{form}},\,{high:{form}}]$}}"
