"""Whether a batched engine's answers are those of the pipeline: counted, kept with the run, asked for by boards."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError
from .run_files import Environment, RunSettings, VerifiedCell

# In float32 at least this share of a row's answers must have the pipeline's ids; ties that rounding breaks remain.
LEAST_EQUAL = 0.98
NAME = "verified"


def engine_of(settings: RunSettings) -> str | None:
    """Name and version of the engine that answered a run, None for the pipeline itself."""
    return str(settings.get("engine_version") or settings["engine"]) if settings.get("engine") == "vllm" else None


def shares(cells: Sequence[VerifiedCell]) -> dict[tuple[str, str], tuple[int, int]]:
    """Equal answers and all of them by (method, budget), over all tasks of ``cells``."""
    out: dict[tuple[str, str], tuple[int, int]] = {}
    for cell in cells:
        key = str(cell["method"]), str(cell["budget"])
        equal, n = out.get(key, (0, 0))
        out[key] = equal + int(cell["equal"]), n + int(cell["n"])
    return out


def share_of(environment: Environment, method: str, budget: str) -> str | None:
    """``50 of 50 answers with the ids of the pipeline`` for a row of an engine; None where it was not verified."""
    found = shares((environment.get("verified") or {}).get("cells", [])).get((method, budget))
    return f"{found[0]} of {found[1]} answers with the ids of the pipeline" if found else None


def check_rows(settings: RunSettings, environment: Environment, rows: Sequence[tuple[str, str]]) -> None:
    """Refuse rows of an engine that were not compared with the pipeline, or that differ from it.

    Args:
        settings: of the run.
        environment: of the run.
        rows: (method, budget) that are to enter a board.

    Raises:
        UserError: the first such row.
    """
    engine = engine_of(settings)
    if engine is None:
        return
    found = shares((environment.get("verified") or {}).get("cells", []))
    for method, budget in rows:
        equal, n = found.get((method, budget), (0, 0))
        if not n:
            raise UserError(
                f"{method} at {budget} was answered by {engine} and never compared with the pipeline; run `python -m "
                "vtprune_eval verify RUN` on its folder first."
            )
        if settings.get("dtype") == "float32" and equal < LEAST_EQUAL * n:
            raise UserError(
                f"{method} at {budget}: {equal} of {n} answers of {engine} have the pipeline's ids, and in float32 "
                f"{100 * LEAST_EQUAL:g} % are needed; run it with --engine local, and report the difference."
            )
