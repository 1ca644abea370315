"""``python -m vtprune_eval``."""

import os
import signal
import sys


def _at_once(signum: int, frame: object) -> None:
    """Ctrl-C before anything has begun; ``main`` puts the ordinary handler back."""
    os.write(2, b"vtprune_eval: stopped before anything was done.\n")
    os._exit(130)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as in the background
    signal.signal(signal.SIGINT, _at_once)

from .cli import main  # noqa: E402

code = main()
if code == 130:  # a further Ctrl-C must not interrupt the interpreter's own end, which would print a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
raise SystemExit(code)
