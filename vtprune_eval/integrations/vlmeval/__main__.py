"""``python -m vtprune_eval.integrations.vlmeval``: VLMEvalKit's run entry with our models and tasks registered.

    python -m vtprune_eval.integrations.vlmeval --model nano@pixelprune@auto --data mini-grounding [its arguments]

    python -m vtprune_eval.integrations.vlmeval score --run runs/RUN [--data-path LMUDATA]

The second prints, as JSON, the kit's own numbers for the answers of a finished run of ours on its data sets.

Models are ``MODEL@METHOD@BUDGET``; ``--vtprune KEY=VALUE`` (repeatable) sets an option of ours (device, dtype, ...).
Everything else is the kit's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ...benchmarks.vlmeval.catalogue import KIT_TASKS, default_folder
from ...errors import UserError
from ...extras import require
from ..engine import SEPARATOR


def main(argv: Sequence[str] | None = None) -> int:
    """Register and forward; returns the exit code (2: something the user can mend)."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        require("vlmeval", "python -m vtprune_eval.integrations.vlmeval")
        if args[:1] == ["score"]:
            return _score(args[1:])
        ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        ours.add_argument("--vtprune", action="append", default=[], metavar="KEY=VALUE")
        ours.add_argument("--model", nargs="+", default=[])
        ours.add_argument("--data", nargs="+", default=[])
        given, _ = ours.parse_known_args(args)
        options = options_of(given.vtprune)
        from ...benchmarks.vlmeval.reader import check_md5
        from .registry import register

        register([m for m in given.model if SEPARATOR in m], **options)
        for name in set(given.data) & set(KIT_TASKS):
            check_md5(name, default_folder() / f"{name}.tsv")
    except UserError as error:
        print(f"vtprune_eval: {error}", file=sys.stderr)
        return error.exit_code
    import vlmeval.run
    from vlmeval.smp import load_env

    load_env()
    sys.argv = [sys.argv[0], *_without_ours(args)]
    vlmeval.run.main()
    from .model import not_loaded

    for sentence in dict.fromkeys(not_loaded):
        print(f"vtprune_eval: {sentence}", file=sys.stderr)
    return UserError.exit_code if not_loaded else 0


def options_of(items: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` items as a dictionary.

    Raises:
        UserError: an item without an equals sign.
    """
    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UserError(f"--vtprune {item!r}: write KEY=VALUE, for example --vtprune device=cuda.")
        out[key.strip().replace("-", "_")] = value.strip()
    return out


def _score(args: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="vtprune_eval.integrations.vlmeval score", allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True, help="finished run folder")
    parser.add_argument("--data-path", help="folder of the kit's data (default LMUData)")
    given = parser.parse_args(args)
    from .report import run_rows

    print(json.dumps(run_rows(given.run, given.data_path), indent=2))
    return 0


def _without_ours(args: Sequence[str]) -> list[str]:
    strip = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    strip.add_argument("--vtprune", action="append")
    return strip.parse_known_args(list(args))[1]


if __name__ == "__main__":
    raise SystemExit(main())
