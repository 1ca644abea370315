"""Train FocusUI's query-guided scorer for a nano folder, with the paper's labels and loss; minutes on a CPU.

    python scripts/train_scorer.py --cache CACHE --model vtprune_eval/models/nano

Pages come from the pool that ``train_nano.py`` rendered into CACHE (training words only). The model is frozen; the
label of a question about a target is 0.8 box coverage + 0.2 UI-graph weight per block (arXiv 2601.03928, section 3.1),
the loss KL(softmax(label) || softmax(score)) (section 3.2). Writes ``focusui/focusui_scorer.safetensors`` below
the model's folder and prints how often the best 10 % of the blocks touch the target on the held-out suite.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from nano.batches import page_questions
from nano.pool import Pool
from safetensors.torch import save_file

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.image_file import open_image
from vtprune_eval.methods.focusui import SCORER_FILE
from vtprune_eval.methods.kernels.labels import box_coverage, graph_components, graph_weights, saliency_label
from vtprune_eval.methods.kernels.scorer import Scorer, saliency_loss
from vtprune_eval.models import load_model
from vtprune_eval.pipeline.prompt import patch_rows

BLOCK = 32


def features(adapter, image: np.ndarray) -> torch.Tensor:
    """Merged visual tokens of one page, ``(rows * columns, dim)``."""
    grid = (image.shape[0] // BLOCK, image.shape[1] // BLOCK)
    with torch.inference_mode():
        tokens = adapter.encode(patch_rows(image, adapter.images, None), [grid], [None]).tokens.float()
    return tokens.clone()  # autograd keeps no tensor that was made in inference mode


def words(adapter, question: str) -> torch.Tensor:
    """Embeddings of a question alone, ``(n, dim)``."""
    ids = adapter.tokenizer(question, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        embedded = adapter.text.embed_tokens(torch.tensor(ids)).float()
    return embedded.clone()


def hit_rate(adapter, scorer: Scorer, share: float = 0.1) -> float:
    """Share of mini-grounding samples whose best blocks touch the target."""
    hits = []
    for sample in load_task("mini-grounding").samples:
        image = open_image(sample.images[0])
        rows, cols = image.shape[0] // BLOCK, image.shape[1] // BLOCK
        with torch.inference_mode():
            scores = scorer(features(adapter, image), words(adapter, sample.question))
        best = scores.topk(max(1, math.ceil(share * rows * cols))).indices
        covered = box_coverage(sample.target["box_xyxy"], rows, cols, BLOCK).reshape(-1)
        hits.append(bool((covered[best.numpy()] > 0.1).any()))
    return sum(hits) / len(hits)


def main() -> int:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder with the pool of rendered pages")
    parser.add_argument("--model", type=Path, required=True, help="nano folder to train for and to write into")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--pages", type=int, default=12, help="pages per step, three questions each")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", type=float, default=0.8, help="lambda, weight of the box against the UI graph")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    adapter = load_model("nano", path=str(args.model))
    pool = Pool(args.cache / "pool")
    if not pool.refresh():
        print(f"{args.cache / 'pool'} holds no pages; run scripts/train_nano.py first.", file=sys.stderr)
        return 2
    kinds = [k for k in pool.sheets if k[0] in {"pane", "square", "phone"} and k[1] in {"ui", "form"}]
    scorer = Scorer(adapter.text.embed_tokens.weight.shape[1]).train()
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=args.lr, weight_decay=0.01)
    started, mean = time.monotonic(), 0.0
    for step in range(args.steps):
        share = step / args.steps
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        total, n = torch.zeros(()), 0
        for _ in range(args.pages):
            image, facts = pool.draw(rng, *rng.choice(kinds))
            asked = [q for q in page_questions(facts, (image.shape[1], image.shape[0])) if q[2][0] == "box"]
            if not asked:
                continue
            image = np.ascontiguousarray(image)
            tokens = features(adapter, image)
            rows, cols = image.shape[0] // BLOCK, image.shape[1] // BLOCK
            graph = graph_weights(graph_components(image, BLOCK))
            for question, _, check in rng.sample(asked, min(3, len(asked))):
                label = saliency_label(box_coverage(check[1], rows, cols, BLOCK), graph, args.share)
                total = total + saliency_loss(
                    scorer(tokens, words(adapter, question)), torch.from_numpy(label.reshape(-1))
                )
                n += 1
        if not n:
            continue
        (total / n).backward()
        torch.nn.utils.clip_grad_norm_(scorer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean = 0.98 * mean + 0.02 * float(total.detach()) / n if step else float(total.detach()) / n
        if step % 100 == 99:
            print(f"step {step + 1}: loss {mean:.4f}, {time.monotonic() - started:.0f} s", flush=True)
    scorer.eval()
    print(f"best 10 % of the blocks touch the target on {100 * hit_rate(adapter, scorer):.1f} % of mini-grounding")
    (args.model / SCORER_FILE).parent.mkdir(exist_ok=True)
    save_file(
        {f"patch_scorer.{k}": v.bfloat16().contiguous() for k, v in scorer.state_dict().items()},
        args.model / SCORER_FILE,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
