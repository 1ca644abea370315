"""``python -m vtprune_eval.integrations.lm_eval``: lm-eval's own command with our model and tasks at hand.

    python -m vtprune_eval.integrations.lm_eval run --model vtprune \\
        --model_args model=nano,method=pixelprune,budget=10 --tasks mini-grounding [its arguments]

Every argument is lm-eval's. ``--include_path`` adds to our ``tasks/``. ``--use_cache`` gets the settings of the model
appended, because lm-eval keys a cached answer by the request alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from ...extras import require
from ...models.defaults import best_device
from ...paths import tasks_dir
from ..answers import engine_of


def main(argv: Sequence[str] | None = None) -> int:
    """Register and forward; returns the exit code (2: something the user can mend)."""
    try:
        require("lm_eval", "python -m vtprune_eval.integrations.lm_eval")
        # The requests of an embedded task need no network.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from lm_eval._cli import HarnessCLI
        from lm_eval.utils import setup_logging

        from . import model  # noqa: F401 (registers the name)

        setup_logging()
        harness = HarnessCLI()
        sys.argv = [sys.argv[0], *(sys.argv[1:] if argv is None else argv)]
        args = harness.parse_args()
        if hasattr(args, "include_path"):
            args.include_path = [str(tasks_dir()), *([args.include_path] if args.include_path else [])]
        if getattr(args, "model", None) == "vtprune":
            prepare(args)
        harness.execute(args)
    except UserError as error:
        print(f"vtprune_eval: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def prepare(args: Any) -> None:
    """Check the arguments of our model before lm-eval reads its thousands of tasks, and fill in what differs there.

    - The default device is the best one present; lm-eval's is cuda. ``device`` may also stand in ``--model_args``.
    - The cache gets a name of its own for each cell, and results that of the cell.

    Raises:
        UserError: settings that cannot be run.
    """

    options = dict(args.model_args or {})
    device = options.pop("device", None)
    if not args.config:  # a config file may name what is missing here
        args.device = args.device or device or best_device()
        model = options.pop("pretrained", None) or options.pop("model", "nano")
        options.pop("model", None)
        method, budget = options.pop("method", "full"), options.pop("budget", None)
        engine = engine_of(model, method, budget, **options, device=args.device)
        args.model_args = {"model": engine.name, **options}  # lm-eval names folders and results by it
        if getattr(args, "num_fewshot", None):
            raise UserError(
                f"--num_fewshot {args.num_fewshot}: an example would bring its annotation and no image; leave it out."
            )
    if args.use_cache:
        args.use_cache = f"{args.use_cache}_{_key(args)}"


def _key(args: Any) -> str:
    """Everything on the command line that can change an answer to one request."""
    parts = [args.model_args, args.device, args.gen_kwargs, args.config]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


if __name__ == "__main__":
    raise SystemExit(main())
