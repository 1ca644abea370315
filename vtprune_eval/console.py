"""What every command of this package needs of its terminal."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import Any, NoReturn

from .errors import UserError, near_names

# Taken out of every command line before its command reads it (``cli.main``).
EPILOG = "Every command also takes --include-path DIR (a folder of further task folders) and --debug (tracebacks)."
_loud = False


class Parser(argparse.ArgumentParser):
    """The options of a command, the only parser of the package.

    Options are written out; what is wrong with them is one sentence that names the nearest option and the command's
    help.

    Args:
        command: name behind ``python -m vtprune_eval``; empty for a run.
        prog: what is behind ``python -m`` otherwise.
        **given: see :class:`argparse.ArgumentParser`.
    """

    def __init__(self, command: str = "", *, prog: str | None = None, **given: Any) -> None:
        prog = prog or f"vtprune_eval {command}".rstrip()
        super().__init__(prog=prog, **{"allow_abbrev": False, "epilog": EPILOG, **given})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See :meth:`argparse.ArgumentParser.parse_args`; an unknown option is refused with the nearest known one."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            near = near_names(next((r.partition("=")[0] for r in rest if r.startswith("-")), ""), self.options())
            guess = f" (did you mean {near}?)" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{guess}")
        return found

    def options(self) -> set[str]:
        """Every option, with those of sub-commands."""
        known = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known |= {option for parser in action.choices.values() for option in parser.options()}
        return known

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
