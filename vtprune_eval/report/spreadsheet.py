"""CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file; what is not known is empty, and no text begins as a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([plain_cell(value) for value in row] for row in rows)
    return out.getvalue()


def plain_cell(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula gets a quotation mark in front."""
    if value is None:
        return ""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return "'" + value if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
