"""Does dropping tokens save the time that its FLOPs promise? A true-size model with random weights, on this machine.

    python scripts/bench/pruned_prefill.py [--model qwen3vl-2b] [--parts stages,prefill,pixelprune] [--out FOLDER]

``stages``      where the time of one answer of ``full`` goes at 1280x720: image decode, preprocessing, ViT blocks,
                mergers, prefill, decode
``prefill``     prefill time with 75, 50 and 25 % of the visual tokens (uniformly at random, after the ViT) against
                that of ``full`` times the ratio of the FLOPs; the promise is a deviation of at most 15 %. The weights
                are read once however short the prompt is: that time is measured apart (the decoder's linear layers on
                one token), and a second prediction lets it stay and scales the rest by the FLOPs
``pixelprune``  a 2716x1616 screenshot of which PixelPrune keeps 26 %: the measured TTFT ratio beside that of the FLOPs

The calls of a part are interleaved (A B C D A B ...) after one untimed round; medians. Every call is the pipeline's
own, timed by its clock. bfloat16 needs about 6 GB for the 2B model. Exit code 1 where both predictions are missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

PARTS = ("stages", "prefill", "pixelprune")
PROMISE_PCT = 15.0
RETAINED = ("75", "50", "25")
KEPT = 0.262
N_NEW = 8
QUESTION = "Open the settings, find the entry that sets the language of the interface, and change it to Portuguese."


def interleaved(pipelines: dict[str, Any], sample: Any, repeats: int) -> dict[str, list[Any]]:
    """Outcomes of every pipeline, called in turns after one untimed call each."""
    for pipeline in pipelines.values():
        pipeline.run(sample)
    out: dict[str, list[Any]] = {name: [] for name in pipelines}
    for number in range(repeats):
        for name, pipeline in pipelines.items():
            start = time.monotonic()
            out[name].append(pipeline.run(sample))
            print(f"  round {number + 1} of {repeats}, {name}: {time.monotonic() - start:.1f} s", file=sys.stderr)
    return out


def pipeline_of(adapter: Any, method: str, budget: str) -> Any:
    """The pipeline of one cell."""
    from vtprune_eval.budget import Budget
    from vtprune_eval.pipeline.generate import Pipeline
    from vtprune_eval.registry import make_method

    return Pipeline(adapter, make_method(method), Budget.parse(budget), max_new_tokens=N_NEW)


def med(outcomes: Sequence[Any], name: str) -> float:
    """Median of one of the stage times, ms."""
    return median(getattr(o.times, name) for o in outcomes)


@contextmanager
def timed_modules(adapter: Any) -> Iterator[dict[str, float]]:
    """Wall time (ms) inside the main merger and the DeepStack mergers, added up while the block runs (CPU only)."""
    spent: dict[str, float] = {"merger": 0.0, "deepstack": 0.0}
    handles, started = [], [0]

    def before(*_: Any) -> None:
        started[0] = time.perf_counter_ns()

    def after(name: str) -> Any:
        def hook(*_: Any) -> None:
            spent[name] += (time.perf_counter_ns() - started[0]) / 1e6

        return hook

    modules = [
        ("merger", adapter.visual.merger),
        *(("deepstack", m) for m in getattr(adapter.visual, "deepstack_merger_list", ())),
    ]
    for name, module in modules:
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after(name))]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def stages(adapter: Any, sample: Any, repeats: int) -> dict[str, Any]:
    """Median ms of every stage of ``full``, and the FLOPs behind them."""
    pipeline = pipeline_of(adapter, "full", "100")
    pipeline.run(sample)
    outcomes, inside, wall = [], [], []
    for _ in range(repeats):
        with timed_modules(adapter) as spent:
            start = time.perf_counter_ns()
            outcomes.append(pipeline.run(sample))
            wall.append((time.perf_counter_ns() - start) / 1e6)
        inside.append(dict(spent))
    mergers = {k: median(s[k] for s in inside) for k in inside[0]}
    ms = {
        "image_decode": med(outcomes, "image_decode_ms"),
        "preprocess": med(outcomes, "preprocess_ms"),
        "vit_blocks": med(outcomes, "vit_ms") - sum(mergers.values()),
        **mergers,
        "prefill": med(outcomes, "prefill_ms"),
        "decode": med(outcomes, "decode_ms"),
    }
    whole = median(wall)
    return {
        "ms": ms,
        "outside_ms": whole - med(outcomes, "e2e_ms"),
        "wall_ms": whole,
        "new_tokens": N_NEW,
        "per_token_ms": med(outcomes, "tpot_ms"),
        "flops": outcomes[0].flops,
        "visual_tokens": sum(outcomes[0].counts.visual),
        "prompt_tokens": outcomes[0].counts.prompt_full,
    }


def reading_ms(adapter: Any, repeats: int) -> list[float]:
    """Time in ms of the decoder's linear layers and head on one token, per round after an untimed one.

    One token's products are a small part of it: what is timed is the reading of the weights.
    """
    import torch

    linear = [m for part in (adapter.text, adapter.lm_head) for m in part.modules() if isinstance(m, torch.nn.Linear)]
    inputs = [torch.ones(1, m.in_features, dtype=m.weight.dtype) for m in linear]
    spent = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter_ns()
            for module, x in zip(linear, inputs, strict=True):
                module(x)
            spent.append((time.perf_counter_ns() - start) / 1e6)
    return spent[1:]


def prefill(adapter: Any, sample: Any, repeats: int) -> dict[str, Any]:
    """Prefill time per share of the visual tokens, measured and as its FLOPs predict from that of ``full``."""
    found = interleaved(
        {"100": pipeline_of(adapter, "full", "100"), **{b: pipeline_of(adapter, "random-tokens", b) for b in RETAINED}},
        sample,
        repeats,
    )

    def decoder_flops(outcome: Any) -> float:
        return sum(outcome.flops[k] for k in ("llm_linear", "llm_attention", "lm_head"))

    base_ms, base = med(found["100"], "prefill_ms"), decoder_flops(found["100"][0])
    read = reading_ms(adapter, repeats)
    fixed = median(read)
    rows = []
    for share, outcomes in found.items():
        own, flops = med(outcomes, "prefill_ms"), decoder_flops(outcomes[0])
        predicted = base_ms * flops / base
        with_reading = fixed + (base_ms - fixed) * flops / base
        spread = [min(o.times.prefill_ms for o in outcomes), max(o.times.prefill_ms for o in outcomes)]
        rows.append(
            {
                "kept_pct": share,
                "tokens": outcomes[0].counts.prompt,
                "flops": flops,
                "measured_ms": own,
                "spread_ms": spread,
                "predicted_ms": predicted,
                "off_pct": 100 * (own / predicted - 1),
                "with_reading_ms": with_reading,
                "off_with_reading_pct": 100 * (own / with_reading - 1),
            }
        )
    return {
        "rows": rows,
        "repeats": repeats,
        "reading_ms": fixed,
        "reading_spread_ms": [min(read), max(read)],
        "worst_off_pct": max(r["off_pct"] for r in rows),
        "worst_off_with_reading_pct": max(r["off_with_reading_pct"] for r in rows),
    }


def pixelprune(adapter: Any, sample: Any, repeats: int) -> dict[str, Any]:
    """Time to the first token of PixelPrune and of ``full``: measured ratio, and that of the FLOPs."""
    found = interleaved(
        {"full": pipeline_of(adapter, "full", "100"), "pixelprune": pipeline_of(adapter, "pixelprune", "auto")},
        sample,
        repeats,
    )
    full, cut = found["full"], found["pixelprune"]
    ms = {
        name: {k: med(o, k) for k in ("ttft_ms", "preprocess_ms", "select_ms", "vit_ms", "prefill_ms")}
        for name, o in found.items()
    }
    a, b = full[0].flops, cut[0].flops
    return {
        "kept_pct": 100 * sum(cut[0].counts.visual) / sum(cut[0].counts.visual_full),
        "repeats": repeats,
        "ms": ms,
        "model_size": full[0].model_sizes[0],
        "ttft_ratio": ms["full"]["ttft_ms"] / ms["pixelprune"]["ttft_ms"],
        "vit_ratio": ms["full"]["vit_ms"] / ms["pixelprune"]["vit_ms"],
        "prefill_ratio": ms["full"]["prefill_ms"] / ms["pixelprune"]["prefill_ms"],
        "flops_ratio": a["total_prefill"] / b["total_prefill"],
        "flops_vit_ratio": (a["vit_linear"] + a["vit_attention"]) / (b["vit_linear"] + b["vit_attention"]),
        "flops_prefill_ratio": (a["llm_linear"] + a["llm_attention"]) / (b["llm_linear"] + b["llm_attention"]),
    }


def markdown(data: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    from tabulate import tabulate

    env = data["environment"]
    out = [
        f"{data['model']}, random weights, {data['dtype']}, {env['processor']}, {env['threads']} threads, torch "
        f"{env['torch']}, load before {env['load']:.1f}",
        "",
    ]
    if "stages" in data:
        s = data["stages"]
        work = {
            "vit_blocks": sum(s["flops"][k] for k in ("patch_embed", "vit_linear", "vit_attention")),
            "merger": s["flops"]["merger"],
            "deepstack": s["flops"]["deepstack"],
            "decode": s["flops"]["decode"],
            "prefill": sum(s["flops"][k] for k in ("llm_linear", "llm_attention", "lm_head")),
        }
        rows = [
            [
                k,
                f"{ms:.1f}",
                f"{100 * ms / s['wall_ms']:.1f} %",
                f"{work[k] / 1e12:.3f}" if k in work else "-",
                f"{work[k] / ms / 1e9:.2f}" if k in work and ms else "-",
            ]
            for k, ms in s["ms"].items()
        ]
        rows.append(
            [
                "outside of all stages",
                f"{s['outside_ms']:.1f}",
                f"{100 * s['outside_ms'] / s['wall_ms']:.1f} %",
                "-",
                "-",
            ]
        )
        out += [
            f"{s['prompt_tokens']} prompt tokens ({s['visual_tokens']} visual), {s['new_tokens']} new ones, "
            f"{s['per_token_ms']:.1f} ms per decoded token",
            "",
            tabulate(
                rows, ["stage of full", "ms", "share", "TFLOP", "TFLOP/s"], tablefmt="github", disable_numparse=True
            ),
            "",
        ]
    if "prefill" in data:
        low, high = data["prefill"]["reading_spread_ms"]
        out += [
            f"weights read in {data['prefill']['reading_ms']:.0f} ms ({low:.0f} to {high:.0f})",
            "",
            tabulate(
                [
                    [
                        r["kept_pct"],
                        str(r["tokens"]),
                        f"{r['flops'] / 1e12:.3f}",
                        f"{r['measured_ms']:.0f} ({r['spread_ms'][0]:.0f} to {r['spread_ms'][1]:.0f})",
                        f"{r['predicted_ms']:.0f}",
                        f"{r['off_pct']:+.1f} %",
                        f"{r['with_reading_ms']:.0f}",
                        f"{r['off_with_reading_pct']:+.1f} %",
                    ]
                    for r in data["prefill"]["rows"]
                ],
                ["visual kept %", "tokens", "TFLOP", "prefill ms", "FLOPs predict", "off", "with reading", "off"],
                tablefmt="github",
                disable_numparse=True,
            ),
            "",
        ]
    if "pixelprune" in data:
        p = data["pixelprune"]
        out += [
            f"PixelPrune, {p['kept_pct']:.1f} % of a {p['model_size'][0]}x{p['model_size'][1]} screenshot kept",
            "",
            tabulate(
                [
                    [n, f"{p[f'{k}_ratio']:.2f}x", f"{p[f]:.2f}x"]
                    for n, k, f in (
                        ("TTFT", "ttft", "flops_ratio"),
                        ("ViT", "vit", "flops_vit_ratio"),
                        ("prefill", "prefill", "flops_prefill_ratio"),
                    )
                ],
                ["full over pixelprune", "measured", "FLOPs"],
                tablefmt="github",
                disable_numparse=True,
            ),
            "",
        ]
    return "\n".join(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write ``pruned_prefill.json`` after every part, print."""
    from screens import save, screen_keeping, size

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="qwen3vl-2b")
    p.add_argument("--parts", default=",".join(PARTS), help="of stages, prefill, pixelprune (default all)")
    p.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    p.add_argument("--repeats", type=int, default=5, help="calls per cell (default 5; pixelprune at most 3)")
    p.add_argument(
        "--image",
        type=size,
        default=(1280, 720),
        metavar="WxH",
        help="screenshot of stages and prefill (default 1280x720)",
    )
    p.add_argument(
        "--large", type=size, default=(2716, 1616), metavar="WxH", help="screenshot of pixelprune (default 2716x1616)"
    )
    p.add_argument("--out", type=Path, default=Path("runs/bench-prefill"))
    given = p.parse_args(argv)
    chosen = given.parts.split(",")
    unknown = [c for c in chosen if c not in PARTS]
    if unknown or given.repeats < 1:
        p.error(f"--parts knows {', '.join(PARTS)}, not {unknown}" if unknown else "--repeats is at least 1")
    from vtprune_eval.errors import UserError
    from vtprune_eval.models import load_model
    from vtprune_eval.results.store import write_atomic
    from vtprune_eval.sample import Sample

    try:
        adapter = load_model(given.model, weights="random", dtype=given.dtype)
    except UserError as error:
        print(f"pruned_prefill.py: {error}", file=sys.stderr)
        return 2
    adapter.eos_ids = frozenset()  # every call decodes the same number of tokens
    data: dict[str, Any] = {"model": given.model, "dtype": given.dtype, "environment": environment()}
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        p.error(f"--out {given.out} cannot be used ({error.strerror}); choose another folder")
    parts = {"stages": stages, "prefill": prefill, "pixelprune": pixelprune}
    with tempfile.TemporaryDirectory() as folder:
        for part in chosen:
            width, height = given.large if part == "pixelprune" else given.image
            shot = screen_keeping(width, height, KEPT, adapter.images)[0]
            sample = Sample(part, (save(shot, Path(folder) / f"{part}.png"),), QUESTION, {"type": "none"})
            print(f"{part}:", file=sys.stderr)
            data[part] = parts[part](adapter, sample, min(given.repeats, 3) if part == "pixelprune" else given.repeats)
            write_atomic(given.out / "pruned_prefill.json", json.dumps(data, indent=1) + "\n")
    print(markdown(data))
    return missed(data.get("prefill"))


def missed(found: dict[str, Any] | None) -> int:
    """Say where the promise is missed; 1 where it is missed with the weights' reading, too."""
    if not found or found["worst_off_pct"] <= PROMISE_PCT:
        return 0
    rest = found["worst_off_with_reading_pct"]
    print(
        f"prefill takes up to {found['worst_off_pct']:.1f} % longer than its FLOPs predict, promised "
        f"{PROMISE_PCT:g} %; with the weights' reading of {found['reading_ms']:.0f} ms up to {rest:.1f} %",
        file=sys.stderr,
    )
    return int(rest > PROMISE_PCT)


def environment() -> dict[str, Any]:
    """Processor, threads, versions, and the load of the machine before the bench."""
    import os
    import platform

    import torch

    processor = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    raise SystemExit(main())
