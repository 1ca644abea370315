"""``train --dry-run``: about how many FLOPs and how long a training takes; no weights are loaded.

A method before the ViT runs on the images of a few samples; one behind it is counted by its budget.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..budget import Budget
from ..clock import StageClock
from ..errors import SampleError, UserError
from ..image_file import image_size
from ..models import check_model_name, image_rules
from ..models.base import ImageRules
from ..models.defaults import resolve
from ..models.dims import ModelDims
from ..pipeline.generate import Pipeline
from ..pipeline.packed import look_at
from ..profiling.plan import block_grids, model_dims
from ..runner.estimate import CHARACTERS, TEMPLATE, measured_rates
from ..runner.survey import BEFORE_VIT, NoModel
from .cost import Trained, decoder_flops, step_flops, vision_flops
from .examples import Example, load_examples
from .spec import TrainSpec

SAMPLES = 16
# Of a GPU that is not here: arithmetic that a training is assumed to sustain.
ASSUMED_FLOPS = 1e14


def estimate(spec: TrainSpec) -> dict[str, Any]:
    """Means over a fixed draw of samples, for all tokens and for the method.

    Raises:
        UserError: unknown names, unreadable data.
    """
    from ..benchmarks.prompts import style_of

    card = check_model_name(spec.model)
    rules = image_rules(spec.model, spec.model_path)
    dims, pixels = model_dims(spec.model)
    style = style_of(spec.model, card.family)
    examples = load_examples(spec.data, card.coordinates, style, limit=spec.limit, data_path=spec.data_path)
    chosen = np.random.default_rng(spec.seed).permutation(len(examples))[:SAMPLES]
    trained = Trained(
        vision=spec.train == "all" and not spec.lora,
        decoder=spec.train in {"all", "decoder"} or bool(spec.lora),
        lora=bool(spec.lora),
        checkpointing=spec.checkpointing,
    )
    own, full = [], []
    for number in chosen:
        example = examples[int(number)]
        grids = block_grids([image_size(p) for p in example.sample.images], pixels, rules.block)
        sizes = tuple(h * w for h, w in grids)
        try:
            entering, patches = _kept(spec, rules, example, sizes)
        except SampleError:
            continue
        text = TEMPLATE + (len(example.sample.question) + len(example.answer)) // CHARACTERS
        words = 1 + len(example.answer) // CHARACTERS
        behind = (entering + text, sum(sizes) + text, words) if spec.decodes else (0, 0, 0)
        own.append(_flops(dims, trained, patches, behind[0], behind[2]))
        full.append(_flops(dims, trained, sizes, behind[1], behind[2]))
    if not own:
        raise UserError("none of the first samples can be used with this budget; give a larger one.")
    steps = spec.steps or max(1, len(examples) // (spec.questions * spec.batch * spec.accumulate))
    per_step = spec.batch * spec.accumulate
    rate, how = _rate(spec)
    each, whole = float(np.mean(own)), float(np.mean(full))
    return {
        "samples": len(examples),
        "estimated_from": len(own),
        "steps": steps,
        "flops_per_step": each * per_step,
        "flops_per_step_full": whole * per_step,
        "flops_bound": whole / each,
        "flops_total": each * per_step * steps,
        "flops_per_second": rate,
        "rate_is": how,
        "hours": each * per_step * steps / rate / 3600,
        "hours_full": whole * per_step * steps / rate / 3600,
        "counted": "forward and backward of the matrix products; one question per sequence; no optimizer, no data",
    }


def _kept(spec: TrainSpec, rules: ImageRules, example: Example, sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Visual tokens that enter the decoder, and merge blocks per image that pass through the ViT."""
    low, high = spec.drawn
    if low < high:
        return int(sum(sizes) * (low + high) / 200), sizes
    run_spec = spec.run_spec()
    methods = run_spec.make(spec.method)
    hooks = [h for m in methods for h in m.hooks()]
    if not hooks:
        return sum(sizes), sizes
    if all(h in BEFORE_VIT for h in hooks):
        face: Any = NoModel(spec.model, rules)
        pipeline = Pipeline(face, methods, spec.first_budget(), seed=spec.seed, copied=run_spec.copied)
        looked = look_at(pipeline, example.sample, StageClock(torch.device("cpu")))
        kept = tuple(
            n if k is None else int(k.sum()) for n, k in zip(looked.prompt.layout.n_tokens, looked.keep, strict=True)
        )
        return sum(kept), kept
    budget = Budget.parse(spec.budget)
    if not budget.is_number:
        raise UserError(
            f"--dry-run cannot know what {spec.method} keeps at {spec.budget} without the model; give a percentage."
        )
    return budget.count(sum(sizes)), sizes


def _flops(dims: ModelDims, trained: Trained, blocks: tuple[int, ...], rows: int, words: int) -> float:
    vision = vision_flops(dims, [n * dims.merge for n in blocks])
    found = step_flops(vision, decoder_flops(dims, rows, 0), dims.lm_head(words), trained)
    return found["forward"] + found["backward"]


def _rate(spec: TrainSpec) -> tuple[float, str]:
    """FLOPs per second of the device, and where the number comes from."""
    device, dtype = resolve(spec.model, spec.device, "auto" if spec.dtype == "auto" else spec.dtype, spec.model_path)
    if device.startswith("cuda") and not torch.cuda.is_available():
        return ASSUMED_FLOPS, "assumed, no GPU is here"
    return measured_rates(device, dtype)[0], f"measured on {device}: one large matrix product in {dtype}"
