"""How far a result can be trusted: states that others give to it, never its submitter.

``recomputed``: this build computed every score, length, byte and FLOP of it again from its records and the data.
``re-run``: ``checks/NAME.json`` says that the answers were given again from this checkout; the file names the
fingerprint of what was checked and is written by the checker on the main branch, where no submission may touch it.
``reproduced elsewhere``: another account submitted the same row from another machine, and the scores agree.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..naming import bare
from ..results.store import write_atomic
from ..runner.folder import Key, read_json
from .rerun import Again
from .result_file import device_of

RECOMPUTED, RERUN, REPRODUCED = "recomputed", "re-run", "reproduced elsewhere"
# Scores of a reproduced row that may differ: other processors break near ties the other way.
SCORE_NOISE = 0.02
# What may differ between a row and its reproduction.
_FREE = {"device", "dtype", "attn", "package", "methods", "budgets", "tasks", "data", "limit", "record_kept", "seeds"}
Records = Mapping[Key, Sequence[Mapping[str, Any]]]


def check_path(folder: Path, name: str) -> Path:
    """Where the state of a result lies, given the leaderboard's folder."""
    return folder / "checks" / f"{name}.json"


def write_check(folder: Path, result: Mapping[str, Any], again: Again, *, seed: str, machine: str) -> Path:
    """Write down that a result was run again and stands."""
    path = check_path(folder, result["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "schema": 1,
        "name": result["name"],
        "fingerprint": result["fingerprint"],
        "records_sha256": result["records"]["sha256"],
        "answers": again.n,
        "equal": again.equal,
        "samples": again.ids,
        "seed": seed,
        "machine": machine,
        "date": datetime.date.today().isoformat(),
    }
    write_atomic(path, json.dumps(found, indent=1, sort_keys=True) + "\n")
    return path


def rerun_of(folder: Path, result: Mapping[str, Any]) -> str | None:
    """What a check of exactly this result found, in words; None where there is none."""
    path = check_path(folder, result["name"])
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except UserError:
        return None
    same = (found.get("fingerprint"), found.get("records_sha256")) == (
        result["fingerprint"],
        result["records"]["sha256"],
    )
    if not same or not isinstance(found.get("answers"), int) or found["answers"] < 1:
        return None
    return f"{found.get('equal')} of {found['answers']} answers the same, {found.get('date')}"


def row_states(
    folder: Path, results: Mapping[str, tuple[Mapping[str, Any], Records]], recomputed: Mapping[str, str]
) -> dict[tuple[str, Key], list[str]]:
    """States of every row.

    Args:
        folder: of the leaderboard.
        results: by name, with their records.
        recomputed: by name, "" for a result of which everything was computed again, else why not.

    Returns:
        By (result, (task, method, budget)).
    """
    out: dict[tuple[str, Key], list[str]] = {}
    for name, (result, records) in results.items():
        states = [RECOMPUTED] if recomputed[name] == "" else []
        states += [RERUN] if states and rerun_of(folder, result) else []
        for key in records:
            same = any(
                recomputed[other] == "" and states and _reproduces(result, records, *results[other], key)
                for other in results
                if other != name
            )
            out[name, key] = [*states, *([REPRODUCED] if same else [])]
    return out


def _reproduces(a: Mapping[str, Any], own: Records, b: Mapping[str, Any], others: Records, key: Key) -> bool:
    """Whether two results of different accounts and machines hold one row with the same scores."""
    first, second = own.get(key), others.get(key)
    accounts = [str((r.get("submission") or {}).get("account") or "").lower() for r in (a, b)]
    if not first or not second or not all(accounts) or accounts[0] == accounts[1]:
        return False
    if device_of(a["settings"], a["environment"]) == device_of(b["settings"], b["environment"]):
        return False
    task = key[0]
    if a["settings"]["data"].get(task) != b["settings"]["data"].get(task):
        return False
    if any(a["settings"].get(k) != b["settings"].get(k) for k in {*a["settings"], *b["settings"]} - _FREE - {"params"}):
        return False
    if _own(a["settings"], key[1]) != _own(b["settings"], key[1]):
        return False
    scores = {r["id"]: r["score"] for r in second}
    if scores.keys() != {r["id"] for r in first}:
        return False
    differ: int = sum(scores[r["id"]] != r["score"] for r in first)
    return differ <= max(1, SCORE_NOISE * len(first))


def _own(settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The hyper-parameters of a row's method; of swept ones all values, so that only equal sweeps agree."""
    parts = bare(method).split("+")
    return {k: v for k, v in (settings.get("params") or {}).items() if "." not in k or k.split(".")[0] in parts}
