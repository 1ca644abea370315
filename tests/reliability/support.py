"""What the drills share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vtprune_eval.results.record import result_of


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The parts of all records that must not depend on interruptions, in file order, by file name."""
    return {p.name: [result_of(json.loads(line)) for line in p.read_text().splitlines()]
            for p in sorted((folder / "records").glob("*.jsonl"))}
