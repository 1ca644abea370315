"""Train the embedded micro model on the CPU; stops and resumes at any time.

    python scripts/train_micro.py --cache CACHE --minutes 600 --out vtprune_eval/models/micro

A worker process renders training sheets into CACHE/sheets; a checkpoint is written to CACHE every three minutes and
when the time is over. Started again, training goes on from the checkpoint, with ``--minutes`` as the new total.

Without a checkpoint it starts from nano's weights, or with ``--start`` from a micro folder: at pages and text of all
sizes, after steps in which its auxiliary heads alone are learnt anew (a folder has none). To resume, name it again.

Two stages. Reading: the vision encoder and a linear head on windows of text; the range of text sizes widens when both
its ends are read well enough, not with time. Questions: pages of growing size at text sizes inside that range, a share
of navigation steps with up to four earlier screens, blocks missing in a share of the batches, and every second or third
step a reading step. In both, every block must say where on the page it is: reading alone would teach the encoder to
forget it (:mod:`micro.places`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from micro.batches import Maker
from micro.folder import build_tokenizer, is_micro, start, write_folder
from micro.forward import Reader, prepare
from micro.losses import BESIDE, PLACE, Losses, Numbers, Pointers, losses
from micro.places import give_places
from micro.sheets import CLASSES
from micro.shown import snap
from micro.windows import Windows
from mini.design import ICONS
from nano.forward import encode

NANO = Path(__file__).resolve().parents[1] / "vtprune_eval" / "models" / "nano"
# glibc must keep freed memory: in a virtual machine every fresh page is a fault of the hypervisor. Idle threads sleep.
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "40000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "MALLOC_ARENA_MAX": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
N_TEXT = 24  # sheets of text
SIDE, N_WINDOWS = 128, 24
LIMITS = (15.0, 36.0)  # smallest and largest character cell, px
COMPETENT = 0.45  # share of characters read at an end of the range from which that end moves on
READ_WELL = 0.6  # below this share, of characters or of numbers, every second step is a reading step, else every third
HEADS_FIRST = 60  # question steps in which the fresh heads alone learn
ANEW_FIRST = 150  # the same where the heads that read windows are fresh, too
SMALLEST, LARGEST = 40.0, 1300.0  # most tokens of a page, at the start and in the end
TIERS = (100, 230, 640, 1400)  # most tokens of the pages whose accuracy is logged together
MISSING = 0.4  # share of the batches of questions with missing blocks
TOKENS = 560  # visual tokens of a batch
MOST_OF_STEPS = 480.0  # visual tokens of all screens of a navigation step


def new_state() -> dict[str, float]:
    """Counters and running accuracies; the checkpoint holds them."""
    return {
        "step": 0,
        "reads": 0,
        "asked": 0,
        "seconds": 0.0,
        "cpu": 0.0,
        "large": 1.0,
        "small": 1.0,
        "read": 0.0,
        "numbers": 0.0,
        "read_large": 0.0,
        "read_small": 0.0,
        "cap": SMALLEST,
        "top": 0.0,
        "screens": 0,
        "questions": 0,
        "placed": 0,
    }


def text_range(state: dict[str, float]) -> tuple[float, float]:
    """Character cells, in px, that reading has come to."""
    return max(LIMITS[0], 16 / state["small"]), min(LIMITS[1], 16 * state["large"] * 1.001)


def widen(state: dict[str, float], right: np.ndarray, shown: np.ndarray, cells: np.ndarray) -> None:
    """Note what a reading step got right; widen either end of the range when that end is read well enough."""
    low, high = text_range(state)
    third = (high / low) ** (1 / 3)
    for key, rows in (("read", cells > 0), ("read_large", cells > high / third), ("read_small", cells < low * third)):
        if rows.any():
            state[key] += 0.05 * (float(right[rows].sum() / max(1, shown[rows].sum())) - state[key])
    state["reads"] += 1
    if state["reads"] % 10 == 0:
        if state["read_large"] > COMPETENT:
            state["large"] = min(LIMITS[1] / 16, state["large"] * 1.05)
        if state["read_small"] > COMPETENT:
            state["small"] = min(16 / LIMITS[0], state["small"] * 1.03)


def read_step(
    model, reader: Reader, windows: Windows, state: dict[str, float], only_heads: bool = False
) -> torch.Tensor:
    """Loss of one batch of windows; ``only_heads`` keeps its gradient out of the model."""
    batch = windows.batch(N_WINDOWS, SIDE, *text_range(state))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.set_grad_enabled(not only_heads):
            tokens = encode(model.model.visual, batch.images)[0]
        loss, beside, logits = reader.read(tokens, batch.inner, batch.outer)
        spelt, whole = reader.numbers(tokens, batch.digits)
        place = reader.places(tokens, SIDE // 32, SIDE // 32)
    right, shown = (logits.argmax(-1) == batch.inner) & (batch.inner > 0), batch.inner > 0
    widen(state, right.flatten(1).sum(1).numpy(), shown.flatten(1).sum(1).numpy(), batch.cells)
    state["numbers"] += 0.05 * (whole - state["numbers"])
    return loss + BESIDE * beside + spelt + PLACE * place


def rate(state: dict[str, float], share: float, cool: float, first: int) -> float:
    """Learning rate over its peak: short warm-ups of both stages, constant, cosine over the last ``cool`` of 1.

    Args:
        state: counters.
        share: of the time that is over.
        cool: last part of the time in which the rate falls.
        first: question steps in which fresh heads alone learn.
    """
    since = state["asked"] - first if state["asked"] else state["step"]
    part = max(0.0, (share - 1 + cool) / cool) if cool else 0.0
    return min(1.0, (since + 1) / 80) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


class Training:
    """Everything that a checkpoint holds, and one step of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.args, self.state = args, new_state()
        self.tokenizer = build_tokenizer()
        self.numbers = Numbers(self.tokenizer)
        self.model = start(args.start, args.seed)
        dim = self.model.config.text_config.hidden_size
        self.reader, self.pointers = Reader(dim, len(ICONS)), Pointers(dim)
        self.anew = is_micro(args.start)
        self.first = ANEW_FIRST if self.anew else HEADS_FIRST
        if self.anew:
            self.state.update(large=LIMITS[1] / 16, small=16 / LIMITS[0], cap=LARGEST, placed=1)
        with_encoder = () if self.anew else ("inner", "outer")  # from nano these learn in the first stage
        heads = [
            *self.pointers.parameters(),
            *(p for name, p in self.reader.named_parameters() if not name.startswith(with_encoder)),
        ]
        own = {id(p) for p in heads}
        layers = [*self.model.model.visual.blocks, *self.model.model.language_model.layers]
        matrices = [p for layer in layers for p in layer.parameters() if p.ndim == 2]
        own |= {id(p) for p in matrices}
        rest = [p for m in (self.model, self.reader) for p in m.parameters() if id(p) not in own]
        self.params = [*matrices, *rest, *heads]
        # Orthogonalised updates for the layers' matrices learn in fewer steps; each optimizer has its peak rate.
        self.optimizers = [
            torch.optim.Muon(
                matrices, lr=args.muon, weight_decay=0.02, momentum=0.95, ns_steps=3, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                [
                    {"params": [p for p in rest if p.ndim >= 2], "weight_decay": 0.02},
                    {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
                    {"params": heads, "weight_decay": 0.02, "heads": True},
                ],
                lr=args.lr,
                betas=(0.9, 0.98),
                fused=True,
            ),
        ]
        self.saved = args.cache / "checkpoint.pt"
        self.windows: Windows | None = None
        self.maker: Maker | None = None
        self.log: dict[str, list[float]] = defaultdict(list)

    def parts(self) -> dict[str, torch.nn.Module]:
        """Modules by their name in the checkpoint."""
        return {"model": self.model, "reader": self.reader, "pointers": self.pointers}

    def load(self) -> bool:
        """Go on from the checkpoint if there is one.

        Raises:
            SystemExit: it was started from another kind of folder.
        """
        if not self.saved.exists():
            return False
        data = torch.load(self.saved, weights_only=True)
        if data.get("anew", self.anew) != self.anew:
            kind = "a micro folder" if data["anew"] else "nano"
            raise SystemExit(
                f"{self.saved} was started from {kind}; name it again with --start, or use another --cache."
            )
        for name, module in self.parts().items():
            module.load_state_dict(data[name])
        self.model.tie_weights()
        for optimizer, state in zip(self.optimizers, data["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.state = {**self.state, **data["state"]}
        return True

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is complete."""
        temporary = self.saved.with_suffix(".tmp")
        torch.save(
            {
                **{name: module.state_dict() for name, module in self.parts().items()},
                "optimizers": [o.state_dict() for o in self.optimizers],
                "state": self.state,
                "anew": self.anew,
            },
            temporary,
        )
        os.replace(temporary, self.saved)

    def place(self) -> None:
        """Once: see :mod:`micro.places`."""
        if self.state["placed"]:
            return
        names = [name for name in self.maker.sheets if min(CLASSES[name].cols, CLASSES[name].rows) > 3]
        sizes = {name: snap(*(side * 18 / CLASSES[name].cell for side in CLASSES[name].size)) for name in names}
        pages = [torch.from_numpy(self.maker.draw(n, sizes[n]).image.copy()) for n in names for _ in range(3)]
        weight = give_places(self.model.model.visual, pages)
        with torch.no_grad():
            self.reader.place.weight.copy_(weight)
            self.reader.place.bias.zero_()
        self.state["placed"] = 1

    def reading(self) -> bool:
        """Whether the first stage goes on: until a range of text sizes is read, or its time is over."""
        low, high = text_range(self.state)
        enough = self.state["read"] > 0.55 and high / low > self.args.span
        if self.anew or self.state["asked"]:
            return False
        return not enough and self.state["seconds"] < 60 * self.args.reading_minutes

    def step(self, share: float) -> None:
        """One reading step or one batch of questions."""
        state = self.state
        reading = self.reading()
        only_heads = state["asked"] < self.first and not reading
        every = 2 if min(state["read"], state["numbers"]) < READ_WELL else 3
        if reading or ((self.anew or not only_heads) and state["step"] % every == 0):
            loss = read_step(self.model, self.reader, self.windows, state, only_heads)
        else:
            loss = self._ask(only_heads)
            state["asked"] += 1
        share_of_peak = rate(state, share, self.args.cool, self.first)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        for optimizer, peak in zip(self.optimizers, (self.args.muon, self.args.lr), strict=True):
            for group in optimizer.param_groups:
                fresh = 3e-3 if group.get("heads") else 0.0
                group["lr"] = fresh if only_heads else peak * share_of_peak
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1

    def _ask(self, only_heads: bool) -> torch.Tensor:
        """Loss of one batch of questions; pages grow when the larger ones are answered well, or with --grow."""
        state, maker = self.state, self.maker
        grown = min(1.0, state["seconds"] / (60 * self.args.grow))
        state["cap"] = min(LARGEST, max(state["cap"], SMALLEST * (LARGEST / SMALLEST) ** grown))
        cells = text_range(state)
        missing = state["asked"] > 300 and maker.rng.random() < MISSING
        if maker.rng.random() < self.args.steps:
            batch = maker.steps(cells, min(MOST_OF_STEPS, state["cap"]), TOKENS, 4, missing)
            tokens, tier = 0, "steps"  # whether pages may grow is told by pages
        else:
            name, size = maker.pick(cells, state["cap"])
            tokens = size[0] * size[1] // 1024
            batch = maker.pages(name, size, TOKENS, min(10, max(4, round(tokens / 16))), missing)
            tier = "missing" if missing else next(f"to{most}" for most in TIERS if tokens <= most)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = losses(self.model, self.reader, self.pointers, self.tokenizer, self.numbers, batch, only_heads)
        state["screens"] += len(batch.images)
        state["questions"] += len(out.right)
        self._note(out, tokens, tier)
        return out.reader + out.look if only_heads else out.answer + out.reader + out.look

    def _note(self, out: Losses, tokens: int, tier: str) -> None:
        for kind, right in out.right:
            self.log[f"{kind}_{tier}"].append(float(right))
        for key, value in (("answer", out.answer.item()), *out.parts.items()):
            self.log[key].append(value)
        boxes = [right for kind, right in out.right if kind != "text"]
        if boxes and tokens > self.state["cap"] / 2 and tier != "missing":
            self.state["top"] += 0.05 * (sum(boxes) / len(boxes) - self.state["top"])
            if self.state["top"] > 0.6:
                self.state["cap"] = min(LARGEST, self.state["cap"] * 1.01)

    def report(self) -> str:
        """One line of JSON, and a fresh log."""
        low, high = text_range(self.state)
        shown = {k: round(sum(v) / len(v), 3) for k, v in sorted(self.log.items())}
        self.log.clear()
        return json.dumps(
            {
                "at": time.strftime("%H:%M:%S"),
                "load": round(os.getloadavg()[0], 1),
                **{k: round(v, 2) for k, v in self.state.items() if k not in ("large", "small")},
                "cells": [round(low, 1), round(high, 1)],
                **shown,
            }
        )


def run(training: Training) -> None:
    """Train until the time is over."""
    state, args = training.state, training.args
    budget = args.minutes * 60
    last, cpu = time.monotonic(), time.process_time()
    last_log = last_save = state["seconds"]
    while state["seconds"] < budget:
        training.step(state["seconds"] / budget)
        now, used = time.monotonic(), time.process_time()
        state["seconds"] += now - last
        state["cpu"] += used - cpu
        last, cpu = now, used
        if state["seconds"] - last_log > 30:
            last_log = state["seconds"]
            print(training.report(), flush=True)
        if state["seconds"] - last_save > 180:
            last_save = state["seconds"]
            training.save()
            training.maker.refresh()
    training.save()


def main() -> int:
    """Train, then write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for sheets and checkpoints")
    parser.add_argument("--start", type=Path, default=NANO, help="folder of nano or micro to start from")
    parser.add_argument("--out", type=Path, help="hub-format folder to write when the time is over")
    parser.add_argument("--minutes", type=float, default=600, help="wall time of all training together")
    parser.add_argument("--reading-minutes", type=float, default=30, help="longest first stage")
    parser.add_argument("--span", type=float, default=1.5, help="largest over smallest text that ends the first stage")
    parser.add_argument("--cool", type=float, default=0.4, help="last part of the time in which the rate falls")
    parser.add_argument("--grow", type=float, default=400, help="minutes after which pages have their full size")
    parser.add_argument("--steps", type=float, default=0.2, help="share of question batches that are navigation steps")
    parser.add_argument("--sheets", type=int, default=300, help="sheets of training pages to render")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--lr", type=float, default=1e-3, help="peak rate of AdamW (embeddings, heads, norms)")
    parser.add_argument("--muon", type=float, default=3e-3, help="peak rate of Muon (the layers' matrices)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile the layers (no C++ compiler needed)")
    parser.add_argument("--export", action="store_true", help="only write --out from the last checkpoint")
    args = parser.parse_args()
    for name in ("cool", "steps"):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name}: a share from 0 to 1, not {getattr(args, name):g}")
    if not (args.start / "config.json").is_file():
        parser.error(f"--start: {args.start} is no model folder: it has no config.json")
    training = Training(args)
    if training.load():
        print(f"resumed at step {training.state['step']}, {training.state['seconds'] / 60:.1f} min", flush=True)
    if not args.export:
        prepare(not args.eager)
        sheets = args.cache / "sheets"
        worker = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; sys.path.insert(0, sys.argv[1]); from micro.sheets import main; main(*sys.argv[2:])",
                str(Path(__file__).parent),
                str(sheets),
                str(N_TEXT),
                str(args.sheets),
                str(args.seed),
            ]
        )
        least = {"text": N_TEXT, **dict.fromkeys(CLASSES, 1)}
        while any(len(list(sheets.glob(f"{name}-*.json"))) < n for name, n in least.items()):
            time.sleep(2)
        training.windows = Windows(sheets, args.seed + int(training.state["step"]))
        training.maker = Maker(sheets, training.tokenizer, args.seed + int(training.state["step"]))
        training.place()
        run(training)
        worker.terminate()
    if args.out:
        write_folder(training.model, args.out)
    return 0


if __name__ == "__main__":
    if any(os.environ.get(k) != v for k, v in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})
    raise SystemExit(main())
