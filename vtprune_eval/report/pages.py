"""Pages from result files: Markdown, CSV, and one HTML file that needs no network. All text of others is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from ..budget import LEGACY
from ..errors import UserError
from ..results.quantities import QUANTITIES
from ..results.stats import shown, shown_ratio
from ..results.store import write_atomic
from ..results.types import Record
from ..runner.folder import Key
from .board import details_of, page
from .board_types import Details
from .result_file import GROUPS, read, result_paths
from .result_types import BoardRow, ResultFile
from .rows import AXES, drop_repeated_full, mark_dominated, merge_draws, rows_of
from .spreadsheet import csv_text
from .states import row_states
from .validate import why_not_recomputed

# What stands behind a table's name where its budgets are not those of the default reading.
READ_AS: dict[str, str] = {
    "paper": "; budgets as each paper reads them: rows are not comparable at one number",
    LEGACY: "; budgets as earlier versions read them: rows are not comparable at one number",
}
NANO_NOTE = (
    "The embedded model compares methods and tests the harness; its accuracies say nothing about large "
    "models. Rows of different groups or sample sets are never ranked together."
)


def budget_order(budget: str) -> tuple[float, str]:
    """Budgets in the order of their numbers; words (``auto``, ``like:...``) come behind."""
    number = re.match(r"\d+(\.\d+)?", budget)
    return (float(number.group()) if number else float("inf"), budget)


def build(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write ``index.html``, ``leaderboard.md`` and ``leaderboard.csv`` from ``folder/results``.

    Args:
        folder: of the leaderboard.
        pictures: False leaves out the pictures of samples beside the page.

    Raises:
        UserError: a result file that cannot be trusted; no page is written then.
    """
    rows: list[BoardRow] = []
    parts: dict[str, Details] = {}
    seen: dict[str, Path] = {}
    results: dict[str, tuple[ResultFile, dict[Key, list[Record]]]] = {}
    recomputed: dict[str, str] = {}
    for path in result_paths(folder / "results"):
        held = result, records = read(path)
        print_ = result["records"]["sha256"]
        if print_ in seen:
            raise UserError(f"{path.name} and {seen[print_].name} hold the same records; remove one of them.")
        seen[print_] = path
        results[result["name"]], recomputed[result["name"]] = held, why_not_recomputed(path, held)
        rows += rows_of(result, records)
        parts[result["name"]] = details_of(result, records, folder if pictures else None)
    states = row_states(folder, results, recomputed)
    for row in rows:
        row["states"] = states[row["result"], (row["task"], row["cell"] or row["method"], row["budget"])]
        row["unchecked"] = recomputed[row["result"]]
    rows = drop_repeated_full(merge_draws(rows))
    mark_dominated(rows)
    order = {group: i for i, group in enumerate(("full-scale", "embedded", "random", "scripted"))}
    rows.sort(
        key=lambda r: (
            order[r["group"]],
            r["set"],
            r["model"],
            -(r["accuracy"] or 0.0),
            r["method"],
            budget_order(r["budget"]),
            r["set_to"],
            r["result"],
        )
    )
    pages = {
        "index.html": page(rows, parts, NANO_NOTE),
        "leaderboard.md": as_markdown(rows),
        "leaderboard.csv": as_csv(rows),
    }
    for name, text in pages.items():
        write_atomic(folder / name, text)
    return [folder / name for name in pages]


def as_markdown(rows: Sequence[BoardRow]) -> str:
    """One table per group and sample set."""
    from tabulate import tabulate

    heads = [
        "model",
        "method",
        "budget",
        "settings",
        "stage",
        "accuracy % [95 %]",
        "against full",
        "spent %",
        QUANTITIES["visual_tokens"].head,
        QUANTITIES["layer_visual_pct"].head,
        "target recall %",
        QUANTITIES["kv_bytes"].head,
        QUANTITIES["flops"].head,
        f"{QUANTITIES['ttft_ms'].head} (timed samples)",
        "speed-up [95 %]",
        QUANTITIES["peak_bytes"].head,
        QUANTITIES["energy_j"].head,
        "dominated (FLOPs)",
        "device",
        "notes",
        "records",
        "checked",
    ]
    parts = ["# Leaderboard", "", NANO_NOTE, ""]
    for group in dict.fromkeys(r["group"] for r in rows):
        parts += [f"## {GROUPS[group].capitalize()}", ""]
        tables = dict.fromkeys((r["set"], r.get("reading")) for r in rows if r["group"] == group)
        for name, reading in tables:
            own = [r for r in rows if (r["group"], r["set"], r.get("reading")) == (group, name, reading)]
            lines = [
                [
                    *map(_plain, (r["model"], r["method"], r["budget"], r["set_to"] or "-", r["stage"])),
                    _accuracy(r),
                    _finding(r),
                    QUANTITIES["achieved_pct"].text(r.get("achieved_pct")),
                    QUANTITIES["visual_tokens"].text(r["visual_tokens"]),
                    QUANTITIES["layer_visual_pct"].text(r.get("layer_visual_pct")),
                    _recall(r),
                    QUANTITIES["kv_bytes"].text(r["kv_bytes"]),
                    QUANTITIES["flops"].text(r["flops"]),
                    QUANTITIES["ttft_ms"].text(r["ttft_ms"]) + (f" ({r['timed']})" if r["ttft_ms"] is not None else ""),
                    _speedup(r),
                    QUANTITIES["peak_bytes"].text(r["peak_bytes"]),
                    QUANTITIES["energy_j"].text(r["energy_j"]),
                    {None: "-", True: "yes", False: "no"}[r["dominated"]["flops"]],
                    _plain(r["device"] + "".join(f" ({w})" for w in r["marked"])),
                    _plain("; ".join(r["notes"]) or "-"),
                    f"[records]({r['records_file']})",
                    _plain(", ".join(r.get("states") or []) or "-"),
                ]
                for r in own
            ]
            text = tabulate(lines, headers=heads, tablefmt="github", disable_numparse=True)
            parts += [f"### {_plain(name)}{READ_AS.get(str(reading), '')}", "", text, ""]
    if not rows:
        parts.append("No result is committed yet.")
    return "\n".join(parts).rstrip() + "\n"


def as_csv(rows: Sequence[BoardRow]) -> str:
    """All rows; the group is a column, and so is the sample set."""
    plain = [
        "group",
        "model",
        "weights",
        "set",
        "method",
        "budget",
        "reading",
        "achieved_pct",
        "layer_visual_pct",
        "target_recall",
        "set_to",
        "stage",
        "machine",
        "n",
        "n_failed",
        "timed",
        "accuracy",
        "difference",
        "finding",
        *AXES,
        "speedup",
        "speedup_low",
        "speedup_high",
        "energy_per_correct_j",
        "file",
        "author",
        "date",
        "licence",
        "states",
    ]
    names = {"set_to": "settings", "timed": "timed_samples"}
    heads = [*(names.get(k, k) for k in plain), "ci95_low", "ci95_high", *(f"dominated_{a}" for a in AXES), "notes"]
    return csv_text(
        heads,
        (
            [
                *({**r, "speedup_low": faster[0], "speedup_high": faster[1]}.get(k) for k in plain),
                *(r["ci95"] or ("", "")),
                *(r["dominated"][a] for a in AXES),
                "; ".join(r["notes"]),
            ]
            for r in rows
            for faster in [r.get("speedup_ci95") or (None, None)]
        ),
    )


def _accuracy(row: BoardRow) -> str:
    if row["accuracy"] is None:
        return "-"
    return f"{100 * row['accuracy']:.1f} {shown(row['ci95'])}"


def _recall(row: BoardRow) -> str:
    """Share of the target's blocks in the cache, in %; none where no sample has a box."""
    recall = row.get("target_recall")
    return "-" if recall is None else f"{100 * recall:.1f}"


def _speedup(row: BoardRow) -> str:
    """The ratio with its interval; ``full`` is its own measure and has none."""
    ratio = row.get("speedup")
    if ratio is None:
        return "-"
    return f"{ratio:.2f}x" if row["method"] == "full" else shown_ratio(ratio, row.get("speedup_ci95"))


def _finding(row: BoardRow) -> str:
    return "-" if row["difference"] is None else f"{100 * row['difference']:+.1f}, {row['finding']}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return html.escape(" ".join(str(text).split())).replace("|", "&#124;").replace("`", "&#96;").replace("[", "&#91;")
