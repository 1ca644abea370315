"""Train the embedded nano model on the CPU; stops and resumes at any time.

    python scripts/train_nano.py --cache CACHE --minutes 97 --out vtprune_eval/models/nano

A worker process renders training pages into CACHE/pool; a checkpoint is written to CACHE every two minutes and when
the time is over. Started again, training goes on from the checkpoint, with ``--minutes`` as the new total.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
import torch.nn.functional as F
from mini.design import ICONS
from nano.batches import Batch, Maker, stage_batch
from nano.folder import build_config, build_tokenizer, vocabulary, write_folder
from nano.forward import DenseReader, Pointers, Table, compile_layers, decode, encode
from nano.pool import MIX, Pool

# A stage of the curriculum ends when both kinds of answers are right this often (moving average over about 100
# batches), or when this share of the whole time is spent.
PROMOTE_AT = 0.85
STAGE_LIMITS = (0.04, 0.2, 1.0)
# The learning rate falls as a cosine from this share of the time on.
COSINE_FROM = 0.35


# Decoder layers whose attention has a target in training (question to screen, answer to question, answer to screen),
# and which of their heads: two of different key-value groups.
WATCH = (1, 2, 3)
HEADS = (0, 2)


class Layout:
    """Ids, positions, spans and mask of a batch of equal layout."""

    def __init__(self, tokenizer, n_frames: int, rows: int, cols: int, n_segments: int, length: int) -> None:
        one = tokenizer.convert_tokens_to_ids
        ids = tokenizer.encode("<|im_start|>user\n")
        position = [(i, i, i) for i in range(len(ids))]
        at = len(ids)
        self.spans = []
        for _ in range(n_frames):
            ids.append(one("<|vision_start|>"))
            position.append((at, at, at))
            at += 1
            self.spans.append((len(ids), len(ids) + rows * cols))
            ids += [one("<|image_pad|>")] * (rows * cols)
            position += [(at, at + r, at + c) for r in range(rows) for c in range(cols)]
            at += max(rows, cols)
            ids.append(one("<|vision_end|>"))
            position.append((at, at, at))
            at += 1
        self.prefix = ids
        n = len(ids)
        position += [(at + i,) * 3 for _ in range(n_segments) for i in range(length)]
        self.positions = torch.tensor(position).T.contiguous()
        total = n + n_segments * length
        segment = torch.cat([torch.full((n,), -1), torch.arange(n_segments).repeat_interleave(length)])
        causal = torch.ones(total, total, dtype=torch.bool).tril()
        same = (segment[:, None] == segment[None, :]) | (segment[None, :] == -1)
        allowed = (causal & same)[None, None]
        self.mask = torch.zeros(allowed.shape).masked_fill_(~allowed, -1e4)


def losses(
    model, reader: DenseReader, pointers: Pointers, table: Table, tokenizer, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list, dict[str, torch.Tensor]]:
    """Losses of the answers, the reader and the looking (pointers, attention).

    Also per question (kind, whether it is right), and the reader's parts.
    """
    body = model.model
    n_rows, n_segments = len(batch.segments), len(batch.segments[0])
    length = -(-max(len(s) for row in batch.segments for s in row) // 4) * 4
    height, width = batch.images.shape[1:3]
    layout = Layout(tokenizer, batch.frames, height // 32, width // 32, n_segments, length)
    tokens, taps = encode(body.visual, batch.images)
    n_prefix = len(layout.prefix)
    ids = torch.full((n_rows, n_prefix + n_segments * length), tokenizer.pad_token_id)
    labels = torch.full_like(ids, -100)
    ids[:, :n_prefix] = torch.tensor(layout.prefix)
    for b, row in enumerate(batch.segments):
        for s, segment in enumerate(row):
            at = n_prefix + s * length
            ids[b, at : at + len(segment)] = torch.tensor(segment)
            start = batch.answers[b][s]
            labels[b, at + start - 1 : at + len(segment) - 1] = torch.tensor(segment[start:])
    words = table()
    embeds = F.embedding(ids, words)
    per_row = [t.reshape(n_rows, -1, t.shape[-1]) for t in (tokens, *taps)]
    at = 0
    for start, end in layout.spans:
        embeds[:, start:end] = per_row[0][:, at : at + end - start].to(embeds.dtype)
        at += end - start
    hidden, states, seen = decode(
        body.language_model, embeds, layout.positions, layout.mask, layout.spans, per_row[1:], WATCH
    )
    chosen = labels >= 0
    logits = F.linear(hidden[chosen], words).float()
    answer_loss = F.cross_entropy(logits, labels[chosen])
    reader_loss, parts = reader(tokens, batch.chars, batch.icons, batch.points, batch.names)
    visual = torch.cat([torch.arange(start, end) for start, end in layout.spans])
    at = torch.tensor(batch.answers) - 1 + n_prefix + torch.arange(n_segments) * length
    pointer_loss = pointers(states, at, visual, batch.wanted)
    attention_loss = _attention_loss(batch, seen, n_prefix, length, visual)
    guess = torch.full_like(labels, -100)
    guess[chosen] = logits.argmax(-1)
    right = []
    for b, row in enumerate(batch.segments):
        for s in range(len(row)):
            part = slice(n_prefix + s * length, n_prefix + (s + 1) * length)
            said = guess[b, part][chosen[b, part]]
            true = labels[b, part][chosen[b, part]]
            right.append(is_right(tokenizer, said, true, batch.checks[b][s]))
    return answer_loss, reader_loss, 0.3 * pointer_loss + 0.5 * attention_loss, right, parts


def _attention_loss(
    batch: Batch, seen: dict[int, torch.Tensor], n_prefix: int, length: int, visual: torch.Tensor
) -> torch.Tensor:
    """-log of the attention that the watched heads put on their targets, summed over the three stages.

    Args:
        batch: ``attend`` holds the targets.
        seen: attention ``(batch, heads, length, length)`` of the watched layers.
        n_prefix: tokens before the first question.
        length: tokens per question.
        visual: places of the visual tokens.
    """
    total = torch.zeros(())
    for stage, layer in enumerate(WATCH):
        entries = batch.attend[stage]
        if not entries:
            continue
        rows = torch.tensor([e[0] for e in entries])
        first = torch.tensor([n_prefix + e[1] * length for e in entries])
        query = first + torch.tensor([e[2] for e in entries])
        wanted = torch.zeros(len(entries), len(HEADS), seen[layer].shape[-1])
        for k, entry in enumerate(entries):
            for head, at in enumerate(entry[3:]):
                places = torch.tensor(at)
                wanted[k, head, visual[places] if stage != 1 else first[k] + places] = 1
        mass = (seen[layer][rows[:, None], torch.tensor(HEADS), query[:, None]].float() * wanted).sum(-1)
        total = total - (mass + 1e-6).log().mean()
    return total


def is_right(tokenizer, said: torch.Tensor, true: torch.Tensor, check: tuple) -> tuple[str, bool]:
    if check[0] == "text":
        return "text", bool((said == true).all())
    words = tokenizer.decode(said[:-1]).split()
    _, box, (width, height), _ = check
    if len(words) != 3 or not all(w.isascii() and w.isdigit() for w in words[1:]):
        return "box", False
    x, y = int(words[1]) * width / 100, int(words[2]) * height / 100
    return "box", box[0] <= x <= box[2] and box[1] <= y <= box[3]


def rate(step: int, share: float, peak: float) -> float:
    """Learning rate: warm-up of 300 steps, constant, cosine from COSINE_FROM of the time on."""
    warm = min(1.0, (step + 1) / 300)
    if share < COSINE_FROM:
        return peak * warm
    part = min(1.0, (share - COSINE_FROM) / (1 - COSINE_FROM))
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))


def main() -> int:
    """Train until ``--minutes`` of training time are spent, then write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for rendered pages and checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="hub-format folder to write")
    parser.add_argument("--minutes", type=float, default=97)
    parser.add_argument("--sheets", type=int, default=300, help="sheets of training pages to render")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true", help="do not compile the layers (no C++ compiler needed)")
    parser.add_argument("--export", action="store_true", help="only write --out from the last checkpoint")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    saved = args.cache / "checkpoint.pt"
    if args.export:
        model, _, _, table, _ = _build(args)
        data = torch.load(saved, weights_only=True)
        model.load_state_dict(data["model"])
        table.load_state_dict(data["table"])
        _export(model, table, args.out)
        return 0
    if not args.eager:
        compile_layers()
    pool_dir = args.cache / "pool"
    here = str(Path(__file__).parent)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); from nano.pool import main; main(*sys.argv[2:])",
            here,
            str(pool_dir),
            str(args.sheets),
            str(args.seed),
        ]
    )
    tokenizer = build_tokenizer()
    model, reader, pointers, table, optimizer = _build(args)
    state = {"step": 0, "seconds": 0.0, "stage": 0, "box": 0.0, "text": 0.0}
    if saved.exists():
        data = torch.load(saved, weights_only=True)
        model.load_state_dict(data["model"])
        reader.load_state_dict(data["reader"])
        pointers.load_state_dict(data["pointers"])
        table.load_state_dict(data["table"])
        optimizer.load_state_dict(data["optimizer"])
        state = data["state"]
        print(f"resumed at step {state['step']}, {state['seconds'] / 60:.1f} min", flush=True)
    pool = Pool(pool_dir)
    maker = Maker(pool, tokenizer, args.seed + state["step"])
    while pool.refresh() < len(MIX):  # one sheet of each kind
        time.sleep(2)
    _train(args, model, reader, pointers, table, optimizer, tokenizer, maker, state, saved)
    _export(model, table, args.out)
    worker.terminate()
    return 0


def _build(args):
    from transformers import Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration(build_config())
    text, visual = model.model.language_model, model.model.visual
    for module in model.modules():  # wider than the default 0.02: a small, shallow model learns sooner
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.7)
    # What a layer adds starts small beside what is there: letters must survive until the layer that compares them.
    for layer in text.layers:
        layer.self_attn.o_proj.weight.data *= 0.3
        layer.mlp.down_proj.weight.data *= 0.3
    for block in visual.blocks:
        block.attn.proj.weight.data *= 0.4
        block.mlp.linear_fc2.weight.data *= 0.4
    text.norm.weight.data.fill_(0.06)  # the tied embedding is wide: keeps first logits near 1
    visual.pos_embed.weight.data.copy_(_waves(visual.num_grid_per_side, visual.pos_embed.weight.shape[1]))
    table = Table(vocabulary(), *text.embed_tokens.weight.shape)
    reader = DenseReader(model.config.text_config.hidden_size, len(ICONS))
    pointers = Pointers(model.config.text_config.hidden_size)
    every = _parameters(model, reader, pointers, table)
    decay, plain = [p for p in every if p.ndim >= 2], [p for p in every if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    return model, reader, pointers, table, optimizer


def _parameters(model, *others: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Everything that learns: the model without its embedding, which the table stands for, and the helpers."""
    own = [p for p in model.parameters() if p is not model.lm_head.weight]
    return own + [p for module in others for p in module.parameters()]


def _waves(side: int, dim: int) -> torch.Tensor:
    """Smooth start of the learnt positions ``(side * side, dim)``: sines and cosines of row and column."""
    at = torch.arange(side) / side
    angle = at[:, None] * math.pi * 2 ** torch.linspace(0, math.log2(side), dim // 4)
    wave = torch.cat([angle.sin(), angle.cos()], 1) * 0.5
    rows, cols = wave[:, None].expand(side, side, -1), wave[None].expand(side, side, -1)
    return torch.cat([rows, cols], 2).reshape(side * side, dim)


def _export(model, table: Table, folder: Path) -> None:
    model.lm_head.weight.data.copy_(table())
    model.tie_weights()
    write_folder(model, folder)


def _train(args, model, reader, pointers, table, optimizer, tokenizer, maker, state, saved: Path) -> None:
    parameters = _parameters(model, reader, pointers, table)
    log: list[tuple[str, bool]] = []
    means = [0.0, 0.0, 0.0]
    budget = args.minutes * 60
    last = time.monotonic()
    last_save = last_log = state["seconds"]
    while state["seconds"] < budget:
        share = state["seconds"] / budget
        stage = int(state["stage"])
        if stage < 2 and (share >= STAGE_LIMITS[stage] or min(state["box"], state["text"]) >= PROMOTE_AT):
            stage += 1
            state.update(stage=stage, box=0.0, text=0.0)
        batch = stage_batch(maker, stage)
        for group in optimizer.param_groups:
            group["lr"] = rate(state["step"], share, args.lr)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer, dense, look, right, parts = losses(model, reader, pointers, table, tokenizer, batch)
        weight = max(0.2, 1.0 - share)
        (answer + weight * dense + look).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        now = time.monotonic()
        state["seconds"] += now - last
        last = now
        log += right
        for kind in ("box", "text"):
            rates = [r for k, r in right if k == kind]
            if rates:
                state[kind] = 0.99 * state[kind] + 0.01 * sum(rates) / len(rates)
        means = [0.98 * m + 0.02 * v for m, v in zip(means, (answer.item(), dense.item(), look.item()), strict=True)]
        if state["seconds"] - last_log > 30:
            last_log = state["seconds"]
            maker.pool.refresh()
            rates = {k: [r for kind, r in log if kind == k] for k in ("box", "text")}
            shown = {k: round(sum(v) / max(1, len(v)), 3) for k, v in rates.items()}
            print(
                json.dumps(
                    {
                        "step": state["step"],
                        "min": round(state["seconds"] / 60, 1),
                        "stage": stage,
                        "loss": round(means[0], 3),
                        "reader": round(means[1], 4),
                        "looking": round(means[2], 3),
                        **shown,
                        **{k: round(v.item(), 3) for k, v in parts.items()},
                    }
                ),
                flush=True,
            )
            log = []
        if state["seconds"] - last_save > 120:
            last_save = state["seconds"]
            _save(saved, model, reader, pointers, table, optimizer, state)
    _save(saved, model, reader, pointers, table, optimizer, state)


def _save(path: Path, model, reader, pointers, table, optimizer, state: dict) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "model": model.state_dict(),
            "reader": reader.state_dict(),
            "pointers": pointers.state_dict(),
            "table": table.state_dict(),
            "optimizer": optimizer.state_dict(),
            "state": state,
        },
        temporary,
    )
    os.replace(temporary, path)


if __name__ == "__main__":
    raise SystemExit(main())
