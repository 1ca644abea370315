"""What every command of this package needs of its terminal."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import Any, NoReturn

from .errors import UserError

_loud = False


class Parser(argparse.ArgumentParser):
    """The options of a command; what is wrong with them is one sentence that names the command's help."""

    def error(self, message: str) -> NoReturn:
        """See :meth:`argparse.ArgumentParser.error`; raises :class:`UserError`."""
        raise UserError(f"{message}; see `python -m {self.prog} --help`.")


def print_anything() -> None:
    """Let standard output and error print text that their encoding lacks, as an escape such as ``\\u51fa``.

    A console of another language, or half a surrogate pair in a data set, would otherwise end a finished run with a
    traceback in its last line.
    """
    for stream in (sys.stdout, sys.stderr):
        change = getattr(stream, "reconfigure", None)
        if change is not None and getattr(stream, "errors", "") == "strict":
            change(errors="backslashreplace")


def debug(argv: list[str]) -> list[str]:
    """Take ``--debug`` out of a command line; with it, :func:`tell_crash` prints."""
    global _loud
    _loud = "--debug" in argv
    return [a for a in argv if a != "--debug"]


def tell_crash(error: BaseException) -> None:
    """Print the traceback of something that is otherwise one sentence, where ``--debug`` was given."""
    if _loud:
        print("", file=sys.stderr)
        traceback.print_exception(error)


def crash_sentence(error: BaseException, length: int = 300) -> str:
    """Kind, message, and the file and line where it happened: the last place outside of installed packages."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith("<")] or frames
    at = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}"[: length - len(at)] + at


def progress_bar(total: int, done: int, shown: bool = True) -> Any:
    """The bar of a run on standard error.

    Args:
        total: samples over all cells.
        done: of them those that were there.
        shown: False for a run that is quiet.
    """
    from tqdm import tqdm

    return tqdm(
        total=total, initial=done, file=sys.stderr, unit="sample", smoothing=0.1, mininterval=0.5, disable=not shown
    )
