"""``train``: fine-tune a model with pruned tokens, through the stages of evaluation."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ..console import Parser
from ..naming import typed_settings
from ..training.recipes import RECIPES, recipe


def parser() -> Parser:
    """Options of ``train``; what is not typed has the default of :class:`TrainSpec`."""
    p = Parser(
        "train",
        argument_default=argparse.SUPPRESS,
        description="Supervised fine-tuning with a method of the stages image, patch or token in the loop.",
    )
    p.add_argument("--model", required=True, help="short name of a model")
    p.add_argument("--model-path", help="hub-format folder to start from")
    p.add_argument("--data", required=True, help="task, or a .jsonl file with images, question, answer [, box_xyxy]")
    p.add_argument("--data-path", help="folder of the data of a task that is not embedded")
    p.add_argument("--limit", type=int, help="samples")
    p.add_argument("--method", help="method in the loop; a+b composes two (default full)")
    p.add_argument("--budget", help="as in a run, or uniform:LOW:HIGH: drawn per sample (default auto)")
    p.add_argument("--set", dest="params", action="append", metavar="METHOD.KEY=VALUE", help="hyper-parameter")
    p.add_argument("--out", required=True, help="folder of the trained model; a training in it goes on")
    p.add_argument("--recipe", help=f"the papers' settings, which options override: {', '.join(RECIPES)}")
    part = p.add_mutually_exclusive_group()
    part.add_argument("--full", action="store_true", help="train all weights (default)")
    part.add_argument("--lora", type=int, metavar="R", help="peft's LoRA of rank R on the decoder")
    part.add_argument("--train", help="all, decoder, scorer, marker (of focusui), or head (action head)")
    p.add_argument("--teacher", help="full: the starting weights with all tokens; or a folder")
    p.add_argument("--kd-weight", type=float, help="share of the teacher's loss (default 1, the answers' is the rest)")
    p.add_argument("--saliency", type=float, help="weight of the loss of FocusUI's scorer (default 0)")
    p.add_argument("--action", type=float, help="weight of the loss of the action head (default 0)")
    p.add_argument(
        "--marker-start", help="of FocusUI's marker: keep (default), vocabulary, or runs (mean of the dropped)"
    )
    p.add_argument("--steps", type=int, help="of the optimizer (default one pass over the data)")
    p.add_argument("--batch", type=int, help="samples per micro-batch and process (default 8)")
    p.add_argument("--accumulate", type=int, help="micro-batches per step (default 1)")
    p.add_argument("--questions", type=int, help="questions about the same images that share them (default 1)")
    p.add_argument("--pack-tokens", type=int, help="rows of a packed sequence (default 8192)")
    p.add_argument("--lr", type=float, help="peak of the learning rate (default 1e-5)")
    p.add_argument("--warmup", type=int, help="steps (default 100, at most half of all)")
    p.add_argument("--weight-decay", type=float, help="default 0.01")
    p.add_argument("--clip", type=float, help="norm of the gradient (default 1)")
    p.add_argument("--dtype", help="bfloat16 (mixed precision; default on a GPU) or float32 (default on a CPU)")
    p.add_argument("--device", help="cpu or cuda (default: the best one); several GPUs: `torchrun -m`")
    p.add_argument("--checkpointing", action="store_true", help="run layers twice instead of keeping activations")
    p.add_argument(
        "--shard", action="store_true", help="several processes: divide gradients and optimizer states (FSDP2)"
    )
    p.add_argument("--save-every", type=int, metavar="N", help="steps between checkpoints (default 100)")
    p.add_argument("--export-every", type=int, metavar="N", help="also write the model every N steps, to OUT/step-N")
    p.add_argument("--compare-full", type=int, metavar="N", help="time every N-th step with all tokens, too")
    p.add_argument("--seed", type=int, help="default 0")
    p.add_argument("--weights", help="hub (default) or random")
    p.add_argument("--dry-run", action="store_true", help="estimate FLOPs and time, and train nothing")
    return p


def spec_of(argv: Sequence[str]) -> tuple[Any, bool]:
    """The settings that options come to, and whether they are only to be estimated.

    Raises:
        UserError: anything a user can mend.
    """
    from ..training.spec import TrainSpec

    given = vars(parser().parse_args(list(argv)))
    given.pop("full", None)
    dry = given.pop("dry_run", False)
    given["params"] = typed_settings(given.get("params", []))
    if "recipe" in given:
        typed = {k: v for k, v in given.items() if k != "recipe"}
        given = {**recipe(given["recipe"], given["model"]), **typed}
    return TrainSpec(**given), dry


def main(argv: Sequence[str]) -> int:
    """Train, or estimate; returns the exit code.

    Raises:
        UserError: anything a user can mend.
    """
    spec, dry = spec_of(argv)
    if dry:
        from ..training.estimate import estimate

        print(json.dumps(estimate(spec), indent=1))
        return 0
    from ..training.loop import train

    found = train(spec)
    if os.environ.get("RANK", "0") != "0":  # one of several processes speaks
        return 0
    print(json.dumps(found, indent=1))
    print(
        f"trained; evaluate it with: python -m vtprune_eval --model {spec.model} --model-path {spec.out} "
        f"--method {spec.method} --budget {'100' if spec.drawn[0] < spec.drawn[1] else spec.budget}",
        file=sys.stderr,
    )
    return 0
