"""What every command of this package needs of its terminal."""

from __future__ import annotations

import sys


def print_anything() -> None:
    """Let standard output and error print text that their encoding lacks, as an escape such as ``\\u51fa``.

    A console of another language, or half a surrogate pair in a data set, would otherwise end a finished run with a
    traceback in its last line.
    """
    for stream in (sys.stdout, sys.stderr):
        change = getattr(stream, "reconfigure", None)
        if change is not None and getattr(stream, "errors", "") == "strict":
            change(errors="backslashreplace")
