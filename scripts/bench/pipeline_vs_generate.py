"""Time of the pipeline against the model class's own ``generate`` on the same prompt: the ratio must be <= 1.03.

Two spans, both interleaved A B A B, medians, identical ids asserted first:

``answer``      from patches in memory to the last token: ViT, prefill, decode (what ``generate`` does)
``end to end``  from the image file to the text: both sides decode, resize and cut patches with the same code

``generate`` keeps its own growing cache and its Conv3d patch embedding; the pipeline's preallocated cache and its patch
embedding as one matrix product serve ``full`` and every method alike. With ``--linear-embedding`` the class's patch
embedding is given as a linear product too (a subclass in this script), which leaves the loops alone to be compared.

    python scripts/bench/pipeline_vs_generate.py [--model nano|mid] [--repeats 20] [--threads 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vtprune_eval.budget import Budget
from vtprune_eval.image_file import open_image
from vtprune_eval.methods.full import Full
from vtprune_eval.models import NANO, load_model
from vtprune_eval.models.base import VlmAdapter
from vtprune_eval.outcome import Outcome
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.prompt import build_prompt, full_size, patch_rows, resize
from vtprune_eval.sample import Sample

TARGET = 1.03


def mid_model() -> VlmAdapter:
    """About 120 M random parameters in the proportions of the 2B model."""
    from transformers import AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from vtprune_eval.models.base import ImageRules
    from vtprune_eval.models.qwen3_vl import Qwen3VL
    from vtprune_eval.models.random_init import random_model

    tokenizer = AutoTokenizer.from_pretrained(NANO, local_files_only=True)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 2304,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 128,
        "rope_parameters": rope,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
    }
    vision = {
        "depth": 8,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_heads": 8,
        "out_hidden_size": 768,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [2, 4, 6],
    }
    ids = {
        f"{k}_token_id": tokenizer.convert_tokens_to_ids(f"<|{v}|>")
        for k, v in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    config._attn_implementation = "sdpa"
    model = random_model(Qwen3VLForConditionalGeneration, config, dtype=torch.float32, device="cpu", seed=0)
    rules = ImageRules(16, 2, 2, 65536, 16777216, (0.5,) * 3, (0.5,) * 3)
    return Qwen3VL("mid", model, tokenizer, rules, {}, "thousandths")


class LinearPatchEmbedding(torch.nn.Module):
    """The class's patch embedding as one matrix product."""

    def __init__(self, conv: torch.nn.Conv3d) -> None:
        super().__init__()
        self.proj = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


def prepare(adapter: VlmAdapter, sample: Sample) -> dict[str, torch.Tensor]:
    """Inputs of ``generate`` for a sample, with the pipeline's own preprocessing."""
    files = [open_image(p) for p in sample.images]
    pixels = [resize(f, full_size((f.shape[1], f.shape[0]), adapter.images, "image")) for f in files]
    prompt = build_prompt(adapter, pixels, sample.question)
    ids, merge = prompt.ids[None], adapter.images.merge_size
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == adapter.model.config.image_token_id).int(),
        "pixel_values": torch.cat([patch_rows(p, adapter.images, None) for p in pixels]),
        "image_grid_thw": torch.tensor([[1, h * merge, w * merge] for h, w in prompt.layout.grids]),
    }


@torch.inference_mode()
def generate(adapter: VlmAdapter, inputs: dict[str, torch.Tensor], n_new: int) -> list[int]:
    """The class's greedy ids."""
    out = adapter.model.generate(**inputs, max_new_tokens=n_new, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def answer_ms(outcome: Outcome) -> float:
    """The part of the pipeline's time that ``generate`` has too."""
    return outcome.times.vit_ms + outcome.times.prefill_ms + outcome.times.decode_ms


def ratio_interval(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Ratio of medians and its 95 % bootstrap interval over pairs."""
    a, b = np.array(ours), np.array(theirs)
    draws = np.random.default_rng(0).integers(0, len(a), (2000, len(a)))
    ratios = np.median(a[draws], axis=1) / np.median(b[draws], axis=1)
    return median(ours) / median(theirs), *np.quantile(ratios, [0.025, 0.975]).tolist()


def measure(adapter: VlmAdapter, sample: Sample, n_new: int, repeats: int) -> dict[str, dict[str, float]]:
    """Ratios of both spans; raises if the ids differ."""
    pipeline = Pipeline(adapter, Full(), Budget.parse("100"), max_new_tokens=n_new)
    inputs = prepare(adapter, sample)
    ours, theirs = list(pipeline.run(sample).ids), generate(adapter, inputs, n_new)
    if ours != theirs:
        raise SystemExit(f"ids differ: {ours} against {theirs}")
    spans: dict[str, tuple[list[float], list[float]]] = {"answer": ([], []), "end to end": ([], [])}
    for step in range(repeats + 3):  # three warm-ups
        start = time.perf_counter_ns()
        outcome = pipeline.run(sample)
        middle = time.perf_counter_ns()
        inputs = prepare(adapter, sample)
        ready = time.perf_counter_ns()
        ids = generate(adapter, inputs, n_new)
        done = time.perf_counter_ns()
        adapter.tokenizer.decode(ids, skip_special_tokens=True)
        end = time.perf_counter_ns()
        if step >= 3:
            spans["answer"][0].append(answer_ms(outcome))
            spans["answer"][1].append((done - ready) / 1e6)
            spans["end to end"][0].append((middle - start) / 1e6)
            spans["end to end"][1].append((end - middle) / 1e6)
    result = {}
    for name, (a, b) in spans.items():
        ratio, low, high = ratio_interval(a, b)
        result[name] = {"pipeline_ms": median(a), "generate_ms": median(b), "ratio": ratio, "low": low, "high": high}
    result["sizes"] = {
        "prompt": float(inputs["input_ids"].shape[1]),
        "new": float(len(ours)),
        "patches": float(len(inputs["pixel_values"])),
    }
    return result


def main() -> int:
    """Print the ratios; exit status 1 where one is above the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["nano", "mid"], nargs="+", default=["nano", "mid"])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--new", type=int, default=16, help="tokens to generate")
    parser.add_argument("--linear-embedding", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report, worst = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.model:
            adapter = load_model("nano") if name == "nano" else mid_model()
            adapter.model.generation_config.eos_token_id = None  # a fixed length on both sides
            adapter.eos_ids = frozenset()
            if args.linear_embedding:
                visual = adapter.model.model.visual
                visual.patch_embed = LinearPatchEmbedding(visual.patch_embed.proj)
            noise = np.random.default_rng(0).integers(0, 255, (384, 512, 3), np.uint8)
            path = Path(folder) / "screen.png"
            from PIL import Image

            Image.fromarray(noise).save(path)
            sample = Sample("bench", (path, path), "click under the icon of the code", {})
            result = measure(adapter, sample, args.new, args.repeats)
            report[name] = result
            sizes = result.pop("sizes")
            for span, r in result.items():
                worst = max(worst, r["ratio"])
                if not args.json:
                    print(
                        f"{name:5} {span:10} pipeline {r['pipeline_ms']:8.1f} ms  generate {r['generate_ms']:8.1f} ms"
                        f"  ratio {r['ratio']:.3f} [{r['low']:.3f}, {r['high']:.3f}]  prompt {sizes['prompt']:.0f}, "
                        f"patches {sizes['patches']:.0f}, new tokens {sizes['new']:.0f}"
                    )
    about = {
        "cpu": cpu(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "target": TARGET,
        "linear_embedding": args.linear_embedding,
    }
    print(json.dumps({"ratios": report, **about}) if args.json else about)
    return int(worst > TARGET)


def cpu() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as stream:
            return next(line.split(":", 1)[1].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
