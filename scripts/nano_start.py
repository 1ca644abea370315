"""A folder of nano to train from: all weights drawn anew, or the joint between its two halves alone.

    python scripts/nano_start.py --redraw all --seed 0 --out START

``all``     vision encoder, mergers and decoder: nothing is known, not even letters.
``joint``   the mergers (DeepStack's too) between a trained vision encoder and a trained decoder that have to find each
            other again. PixelPrune's training "from scratch" (arXiv 2604.00886, Table 3) starts from two trained halves
            that never met (``scripts/scratch_start.py``); this is its nearest likeness at nano's size.
``merger``  the main merger alone; what DeepStack's mergers add to the first layers stays known.

Weights are drawn as the class does: matrices from N(0, 0.02), norms 1, biases 0.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# What is drawn anew, and the parts of the names that it is found by.
REDRAWN = {"all": ("",), "joint": ("visual.merger.", "visual.deepstack_merger_list."), "merger": ("visual.merger.",)}


def redraw(model, what: str, seed: int) -> int:
    """Draw weights anew in place; returns how many tensors.

    Args:
        model: a model of the family Qwen3-VL.
        what: one of :data:`REDRAWN`.
        seed: of the draw.
    """
    import torch

    generator, count = torch.Generator().manual_seed(seed), 0
    norms = {id(w) for m in model.modules() if "norm" in type(m).__name__.lower() for w in m.parameters(recurse=False)}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not any(part in name for part in REDRAWN[what]):
                continue
            if name.endswith("bias"):
                weight.zero_()
            elif id(weight) in norms:
                weight.fill_(1.0)
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
            count += 1
    return count


def write_start(out: Path, what: str, seed: int) -> int:
    """Write the folder; returns how many tensors were drawn anew."""
    from vtprune_eval.models import load_model
    from vtprune_eval.training.parts import export

    adapter = load_model("nano", dtype="float32", device="cpu")
    count = redraw(adapter.model, what, seed)
    out.mkdir(parents=True, exist_ok=True)
    export(adapter, None, out)
    return count


def main() -> int:
    """Write and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", choices=tuple(REDRAWN), default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    print(f"{args.out}: nano with {write_start(args.out, args.redraw, args.seed)} tensors drawn anew")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
