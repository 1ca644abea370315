"""The one error class for what a user causes.

The command line prints ``str(error)`` as a single sentence and exits with ``exit_code``; anything else
that escapes is a bug in the harness and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend; the message says what is wrong and how to mend it."""

    exit_code = 2


class SampleError(Exception):
    """One sample cannot be processed (unreadable image, out of memory, ...); it becomes a failed record.

    ``reason`` is a short machine-readable word (``bad_image``, ``out_of_memory``, ``too_long``, ...).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InfeasibleBudget(SampleError):
    """A method cannot meet its budget on one sample: another setting never runs under the label that was asked for."""

    def __init__(self, message: str) -> None:
        super().__init__("infeasible_budget", message)


def near_names(name: str, known: Iterable[str]) -> str:
    """The known names nearest to what was written, as ``'a' or 'b'``; empty where none is near."""
    return " or ".join(map(repr, difflib.get_close_matches(name.lower(), sorted(known), n=3, cutoff=0.6)))


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UserError:
    """Build the error for an unknown name of ``kind``, offering the nearest known names.

    Args:
        kind: what the name stands for, e.g. ``"method"``.
        name: what the user wrote.
        known: every accepted name.
        hint: a further sentence, e.g. which command lists the names.
    """
    known = sorted(known)
    near = near_names(name, known)
    guess = f"did you mean {near}?" if near else f"known: {', '.join(known)}."
    return UserError(f"unknown {kind} {name!r}: {guess}{' ' + hint if hint else ''}")
