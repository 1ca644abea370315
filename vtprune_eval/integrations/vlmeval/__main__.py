"""``python -m vtprune_eval.integrations.vlmeval``: VLMEvalKit's run entry with our models and tasks registered.

    python -m vtprune_eval.integrations.vlmeval --model nano@pixelprune@auto --data mini-grounding [its arguments]

    python -m vtprune_eval.integrations.vlmeval score --run runs/RUN [--data-path LMUDATA]

The second prints, as JSON, the kit's own numbers for the answers of a finished run of ours on its data sets.

Models are ``MODEL@METHOD@BUDGET``; ``--vtprune KEY=VALUE`` (repeatable) sets an option of ours (device, dtype, ...).
Everything else is the kit's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ...benchmarks.vlmeval.catalogue import KIT_TASKS, default_folder
from ...console import Parser, debug, print_anything
from ...errors import UserError
from ...extras import require
from ...json_values import JsonObject
from ..engine import SEPARATOR, known_models
from .entry import has_option, run_module

PROG = "vtprune_eval.integrations.vlmeval"


def main(argv: Sequence[str] | None = None) -> int:
    """Register and forward; returns the exit code (2: something the user can mend)."""
    args = debug(list(sys.argv[1:] if argv is None else argv))
    print_anything()
    try:
        require("vlmeval", f"python -m {PROG}")
        if args[:1] == ["score"]:
            return _score(args[1:])
        ours = Parser(prog=PROG, add_help=False)
        ours.add_argument("--vtprune", action="append", default=[], metavar="KEY=VALUE")
        ours.add_argument("--model", nargs="+", default=[])
        ours.add_argument("--data", nargs="+", default=[])
        ours.add_argument("--limit", type=int)
        given, _ = ours.parse_known_args(args)
        options: JsonObject = dict(options_of(given.vtprune))
        from ...benchmarks.vlmeval.reader import check_md5
        from .registry import register

        ours_asked = [m for m in given.model if SEPARATOR in m]
        for name in set(given.model) - set(ours_asked):
            if name.lower() in known_models():
                raise UserError(
                    f"model name {name!r}: write MODEL@METHOD@BUDGET, for example {name}@full or {name}@pixelprune@10."
                )
        names = register(ours_asked, **options)
        for name in set(given.data) & set(KIT_TASKS):
            check_md5(name, default_folder() / f"{name}.tsv")
        module = run_module()
        if given.limit is not None and not has_option(module, "--limit"):
            register(limit=given.limit, **options)
            args = without(args, "--limit")
    except UserError as error:
        print(f"vtprune_eval: {error}", file=sys.stderr)
        return error.exit_code
    from vlmeval.smp import load_env

    load_env()
    marked = dict(zip(ours_asked, names, strict=True))
    sys.argv = [sys.argv[0], *(marked.get(a, a) for a in without(args, "--vtprune"))]
    module.main()
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
    parser = Parser(prog=f"{PROG} score", epilog=None)
    parser.add_argument("--run", type=Path, required=True, help="finished run folder")
    parser.add_argument("--data-path", help="folder of the kit's data (default LMUData)")
    given = parser.parse_args(args)
    from .report import run_rows

    print(json.dumps(run_rows(given.run, given.data_path), indent=2))
    return 0


def without(args: Sequence[str], option: str) -> list[str]:
    """The command line without an option and its value."""
    strip = Parser(prog=PROG, add_help=False)
    strip.add_argument(option, action="append")
    return strip.parse_known_args(list(args))[1]


if __name__ == "__main__":
    raise SystemExit(main())
