"""Two bounds on the training loop's speed, on one thread of the CPU with nano (or ``--device cuda``).

``loop``    the loop's step against a bare one on the same samples: the class's own forward with ``labels``, one sample
            at a time (no padding), backward, clipping, AdamW; images decoded and cut with the same code. Bound 1.1.
``pruned``  the time of the passes with a method against that with all tokens on the same samples, beside the ratio of
            their FLOPs. Bound: within 20 %. On small pages a step is not made of FLOPs alone, so pages of several
            sizes are drawn (``--sizes``).

    python scripts/bench/training_step.py [--repeats 7] [--device cpu] [--sizes 256,512,1024]

A, B, A, B, medians and the range of the ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.budget import Budget
from vtprune_eval.clock import StageClock, wait_for
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.images import load_images
from vtprune_eval.pipeline.prompt import build_prompt, patch_rows
from vtprune_eval.registry import make_method
from vtprune_eval.sample import Sample
from vtprune_eval.training.examples import Example, answer_of
from vtprune_eval.training.learner import Learner


def embedded(n: int) -> list[Example]:
    """Samples of the embedded suite."""
    samples = load_task("mini-doc").samples[:n]
    return [Example(s, answer_of(s.target, "hundredths", s.id, (1, 1))) for s in samples]


def drawn(folder: Path, side: int, n: int, seed: int = 0) -> list[Example]:
    """Pages of which about half of the blocks are flat."""
    rng, out = np.random.default_rng(seed), []
    for number in range(n):
        page = np.full((side, side, 3), 240, np.uint8)
        for r, c in zip(*np.nonzero(rng.random((side // 32, side // 32)) < 0.5), strict=True):
            page[r * 32 : r * 32 + 32, c * 32 : c * 32 + 32] = rng.integers(0, 255, (32, 32, 3))
        path = folder / f"{side}-{number}.png"
        Image.fromarray(page).save(path)
        out.append(Example(Sample(str(number), (path,), f"what is word{number}", {}), "12"))
    return out


class Bare:
    """A training step written down plainly."""

    def __init__(self, name: str, device: str) -> None:
        self.adapter = load_model(name, dtype="float32", device=device)
        self.adapter.model.requires_grad_(True).train()
        self.optimizer = torch.optim.AdamW(self.adapter.model.parameters(), lr=1e-5, fused=True)

    def step(self, examples: list[Example]) -> float:
        """One step; returns its loss."""
        adapter, total, clock = self.adapter, 0.0, StageClock(self.adapter.device)
        answers = [(*adapter.tokenizer(e.answer)["input_ids"], adapter.tokenizer.eos_token_id) for e in examples]
        n_tokens = sum(map(len, answers))
        for example, answer in zip(examples, answers, strict=True):
            images = load_images(example.sample, adapter.images, clock)
            prompt = build_prompt(adapter, images.pixels, example.sample.question)
            ids = torch.cat([prompt.ids, torch.tensor(answer)])[None].to(adapter.device)
            labels = ids.clone()
            labels[:, : len(prompt.ids)] = -100
            merge = adapter.images.merge_size
            kinds = (ids == adapter.model.config.image_token_id).int()
            out = adapter.model(
                input_ids=ids,
                mm_token_type_ids=kinds,
                pixel_values=torch.cat([patch_rows(p, adapter.images, None) for p in images.pixels]).to(adapter.device),
                image_grid_thw=torch.tensor([[1, h * merge, w * merge] for h, w in prompt.layout.grids]).to(
                    adapter.device
                ),
                labels=labels,
                use_cache=False,
            )
            loss = out.loss * len(answer) / n_tokens
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.adapter.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total


class Ours:
    """The same step through the loop's own parts."""

    def __init__(self, name: str, device: str, method: str) -> None:
        self.adapter = load_model(name, dtype="float32", device=device)
        self.adapter.model.requires_grad_(True).train()
        budget = Budget.parse("100" if method == "full" else "auto")
        self.learner = Learner(self.adapter, Pipeline(self.adapter, make_method(method), budget))
        self.optimizer = torch.optim.AdamW(self.adapter.model.parameters(), lr=1e-5, fused=True)

    def passes(self, examples: list[Example]) -> tuple[float, float]:
        """Forward and backward; returns the loss and the FLOPs."""
        items = [self.learner.prepare([e]) for e in examples]
        n_tokens = sum(len(a) for item in items for a in item.answers)
        total, flops = 0.0, 0.0
        for pack in self.learner.packs(items, 8192):
            loss = self.learner(pack)["loss"] / n_tokens
            loss.backward()
            total += float(loss.detach())
            flops += self.learner.work.forward + self.learner.work.backward
        return total, flops

    def step(self, examples: list[Example]) -> float:
        """One step; returns its loss."""
        loss, _ = self.passes(examples)
        torch.nn.utils.clip_grad_norm_(self.adapter.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss


def timed(call, device: torch.device) -> float:
    """CPU seconds of this process on a CPU (other programs do not count), wall seconds on a GPU."""
    wait_for(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    call()
    wait_for(device)
    return clock() - start


def compare(a, b, repeats: int, device: torch.device) -> dict[str, float]:
    """Medians of A and B, run in turn, and the median and range of their ratios."""
    a(), b()
    pairs = [(timed(a, device), timed(b, device)) for _ in range(repeats)]
    ratios = sorted(x / y for x, y in pairs)
    return {"a_s": median(x for x, _ in pairs), "b_s": median(y for _, y in pairs), "ratio": median(ratios),
            "low": ratios[0], "high": ratios[-1]}  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--method", default="pixelprune")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", default="256,512,1024", help="sides in pixels of the drawn pages")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device, found = torch.device(args.device), {}
    bare, full, own = Bare(args.model, args.device), Ours(args.model, args.device, "full"), None
    own = Ours(args.model, args.device, args.method)
    examples = embedded(args.batch)
    found["loss_bare"], found["loss_loop"] = bare.step(examples), full.step(examples)
    found["loop"] = compare(lambda: full.step(examples), lambda: bare.step(examples), args.repeats, device)
    with tempfile.TemporaryDirectory() as scratch:
        for side in (int(s) for s in args.sizes.split(",") if s):
            pages = drawn(Path(scratch), side, max(1, args.batch * 256 // side))
            whole, less = full.passes(pages)[1], own.passes(pages)[1]
            result = compare(lambda p=pages: full.passes(p), lambda p=pages: own.passes(p), args.repeats, device)
            result["flops"] = whole / less
            result["time_over_predicted"] = result["flops"] / result["ratio"]
            found[f"pruned_{side}"] = result
            for one in (full, own):
                one.optimizer.zero_grad(set_to_none=True)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
