"""What else the selftest looks at: the class's own ``generate``, the clock, stage sums, memory, waits, backends."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from .. import clock as clocks
from ..budget import Budget
from ..errors import UserError
from ..methods.full import Full
from ..models.base import VlmAdapter
from ..outcome import Outcome
from ..pipeline.generate import Pipeline
from ..pipeline.images import load_images
from ..pipeline.prompt import build_prompt, patch_rows
from ..registry import make_method
from ..sample import Sample
from .samples import large_sample

N_NEW = 8
FULL = Budget.parse("100")
# Largest share of the end-to-end time that may lie between the stages, and how often a machine that does something
# else, too, is given another try.
GAP, TRIES = 0.05, 12
# Stated bound of the waits for the device in one sample: a few for the prompt and the account, one per new token (has
# the answer ended?), and some per decoder layer for methods that act there; never one per token of the prompt.
WAITS_FIXED, WAITS_PER_TOKEN, WAITS_PER_LAYER = 40, 1, 12
_T = torch.Tensor
READS = {_T.item, _T.tolist, _T.__int__, _T.__float__, _T.__bool__, _T.__index__}


def answer(adapter: VlmAdapter, sample: Sample, n_new: int = N_NEW) -> Outcome:
    """``full`` on one sample."""
    return Pipeline(adapter, Full(), FULL, max_new_tokens=n_new).run(sample)


def generated(adapter: VlmAdapter, sample: Sample, n_new: int = N_NEW) -> tuple[int, ...]:
    """Greedy ids of the class's own ``generate`` on the pipeline's pixels and prompt."""
    images = load_images(sample, adapter.images, clocks.StageClock(torch.device("cpu")))
    prompt = build_prompt(adapter, images.pixels, sample.question)
    weight = adapter.text.embed_tokens.weight
    patches = torch.cat([patch_rows(p, adapter.images, None) for p in images.pixels])
    ids = prompt.ids[None].to(weight.device)
    with torch.inference_mode():
        out = adapter.model.generate(
            input_ids=ids,
            pixel_values=patches.to(weight.device, weight.dtype),
            image_grid_thw=torch.tensor([[1, h * 2, w * 2] for h, w in prompt.layout.grids]).to(weight.device),
            mm_token_type_ids=(ids == adapter.model.config.image_token_id).int(),
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n_new,
            do_sample=False,
        )
    return tuple(out[0, ids.shape[1] :].tolist())


def check_generate(adapter: VlmAdapter, sample: Sample) -> str:
    """Empty if ``full`` equals the class's ``generate`` token for token; else what differs."""
    ours, theirs = answer(adapter, sample).ids, generated(adapter, sample)
    return "" if ours == theirs else f"full gives {list(ours)}, the class {list(theirs)}"


def check_clock(device: torch.device, work: Callable[[], Any] | None = None) -> str:
    """Empty if a stage's time holds the work that was started in it, and not only the starting.

    Args:
        device: to look at.
        work: what is started there (default: matrix products of a few ms or more).
    """
    if work is None:
        side = 4096 if device.type == "cuda" else 512
        matrix = torch.ones(side, side, device=device)

        def work() -> None:
            for _ in range(8):
                matrix @ matrix

    def truly() -> float:
        clocks.wait_for(device)
        start = time.perf_counter_ns()
        work()
        clocks.wait_for(device)
        return (time.perf_counter_ns() - start) / 1e6

    def by_stage() -> float:
        clock = clocks.StageClock(device)
        with clock.stage("x"):
            work()
        clocks.wait_for(device)
        return clock.ms["x"]

    truly()  # the first call compiles or allocates
    true, measured = min(truly() for _ in range(5)), max(by_stage() for _ in range(3))
    return "" if measured >= 0.5 * true else f"a stage of {true:.2f} ms is measured as {measured:.2f} ms"


def check_stage_sum(adapter: VlmAdapter, sample: Sample) -> tuple[str, float]:
    """Empty if the stages make up the wall time but for ``GAP``, and the smallest share that lies outside of them."""
    sample = large_sample(sample.images[0].parent)
    # What an account of a sample costs, about a millisecond, is no stage: the answer is as long as those of real tasks.
    pipeline, least = Pipeline(adapter, Full(), FULL, max_new_tokens=4 * N_NEW), 1.0
    pipeline.run(sample)
    for _ in range(TRIES):  # another program may take the processor between two stages
        start = time.perf_counter_ns()
        times = pipeline.run(sample).times
        wall = (time.perf_counter_ns() - start) / 1e6
        least = min(least, abs(wall - times.e2e_ms) / wall)
        if least <= GAP:
            return "", least
    return f"{100 * least:.1f} % of the end-to-end time lies outside of all stages", least


def check_memory(adapter: VlmAdapter, sample: Sample) -> str:
    """Empty if the peak is above what the weights hold."""
    held = sum(p.numel() * p.element_size() for p in {id(p): p for p in adapter.model.parameters()}.values())
    peak = answer(adapter, sample).peak_bytes
    return "" if peak > held else f"peak of {peak} bytes, the weights alone hold {held}"


class _Read(TorchFunctionMode):
    """Counts the reading of numbers into Python, which on a CPU reaches no dispatcher."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.number, self._device = 0, device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func in READS and args[0].device == self._device
        return func(*args, **(kwargs or {}))


class Waits(TorchDispatchMode):
    """Counts the operations after which the host has to wait for ``device``."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._seen, self._read, self._device = 0, _Read(device), device

    @property
    def number(self) -> int:
        """Waits so far."""
        return self._seen + self._read.number

    def __enter__(self) -> Waits:
        self._read.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._read.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten, kwargs = torch.ops.aten, kwargs or {}
        if func in (aten.nonzero.default, aten.equal.default):
            self._seen += args[0].device == self._device
        elif func is aten.index.Tensor:
            self._seen += any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in tree_iter(args[1]))
        elif func is aten._to_copy.default and kwargs.get("device") is not None:
            there = args[0].device
            self._seen += torch.device(kwargs["device"]) == torch.device("cpu") != there
        return func(*args, **kwargs)


def check_waits(adapter: VlmAdapter, sample: Sample, methods: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Empty if no method waits for the device more often than stated; and how often each does in one sample."""
    told, found = [], {}
    for name in methods:
        method = make_method(name, {"scorer": "ui-graph"} if name == "focusui" else {})
        budget = FULL if name == "full" else Budget.parse("25", "paper")
        try:
            pipeline = Pipeline(adapter, method, budget, max_new_tokens=N_NEW)
            with Waits(adapter.device) as waits:
                pipeline.run(sample)
        except UserError:  # the model cannot do this, which other checks say
            continue
        found[name] = waits.number
        allowed = WAITS_FIXED + WAITS_PER_TOKEN * N_NEW + WAITS_PER_LAYER * len(adapter.text.layers)
        if waits.number > allowed:
            told.append(f"{name} waits {waits.number} times, stated are {allowed}")
    return "; ".join(told), found


def check_backends(family: str, device: str, dtype: str, sample: Sample) -> tuple[str, str]:
    """Empty if attention backends agree; and which were compared.

    ``eager`` and ``sdpa`` in float32, token for token; flash against sdpa in ``dtype``, where both are there.
    """
    from .small import small_adapter

    def ids(attn: str, kind: str) -> Any:
        outcome = answer(small_adapter(family, attn, kind, device), sample)
        return outcome.ids or outcome.text

    told, compared = [], ["eager = sdpa"]
    if ids("eager", "float32") != ids("sdpa", "float32"):
        told.append("eager and sdpa differ in float32")
    if device.startswith("cuda") and importlib.util.find_spec("flash_attn") and dtype != "float32":
        compared.append("flash = sdpa")
        if ids("flash_attention_2", dtype)[:1] != ids("sdpa", dtype)[:1]:
            told.append(f"flash_attention_2 and sdpa differ in the first token in {dtype}")
    return "; ".join(told), ", ".join(compared)
