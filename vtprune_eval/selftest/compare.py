"""Every method on the device against the CPU in float32: kept tokens and answers, and why they differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..budget import Budget
from ..errors import UserError
from ..models.base import VlmAdapter
from ..pipeline.generate import Pipeline
from ..registry import make_method, method_names
from ..sample import Sample
from .small import small_adapter

# As the papers read them: four layers are too few for a mean over the layers to be met by all.
BUDGETS = ("25", "60")
N_NEW = 4
# Draws of rounding errors in float32 that a disagreement of a coarser type is held against, and how much larger than
# one rounding of every weight they are: a result is rounded at every step, the weights once.
DRAWS, STRENGTH = 6, 4
# A pointing model's answer holds a mean over a region, which is no choice: three decimals of it are compared.
NUMBER = re.compile(r"\d+\.\d+")


@dataclass
class Agreement:
    """One family: (method, budget) pairs that agree, and sentences for those that do not.

    Attributes:
        family: compared.
        equal: numbers of pairs.
        explained: numbers of pairs.
        wrong: a sentence per pair without an explanation.
        refused: pairs that the model cannot do, on both sides alike, as ``method@budget``, with the reason.
    """

    family: str
    equal: int = 0
    explained: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass
class Sides:
    """One family on the device, and on the CPU in float32; perturbed copies of the latter where they are needed."""

    family: str
    device: str
    dtype: str
    attn: str

    @cached_property
    def there(self) -> VlmAdapter:
        """The model under test."""
        return small_adapter(self.family, self.attn, self.dtype, self.device)

    @cached_property
    def here(self) -> VlmAdapter:
        """The reference."""
        return small_adapter(self.family, "eager" if self.attn == "eager" else "sdpa")

    @cached_property
    def rounded(self) -> list[VlmAdapter]:
        """The reference with rounding errors of the type under test."""
        return [small_adapter(self.family, dtype=self.dtype, noise=i, strength=STRENGTH) for i in range(DRAWS)]


def run(adapter: VlmAdapter, name: str, budget: str, sample: Sample) -> dict[str, Any] | str:
    """What a device must not change of one outcome, or the refusal."""
    method = make_method(name, {"scorer": "ui-graph"} if name == "focusui" else {})
    entries: list[Any] = []
    if "compress_kv" in method.hooks():
        object.__setattr__(method, "compress_kv", _recorded(method.compress_kv, entries))
    try:
        outcome = Pipeline(adapter, method, Budget.parse(budget, "paper"), max_new_tokens=N_NEW).run(sample)
    except UserError as error:
        return str(error)
    return {
        "kept tokens": outcome.kept,
        "tokens behind the last layer": outcome.kept_last,
        "cache entries": entries or outcome.counts.cache_entries,
        "answer": outcome.ids or NUMBER.sub(lambda n: f"{float(n[0]):.3f}", outcome.text),
    }


def _recorded(compress: Callable[..., Any], entries: list[Any]) -> Callable[..., Any]:
    def recorded(*args: Any) -> Any:
        kept = compress(*args)
        entries.append(kept.tolist())
        return kept

    return recorded


def compare(
    sides: Sides, sample: Sample, methods: Sequence[str] | None = None, budgets: Sequence[str] = BUDGETS
) -> Agreement:
    """Every method at every budget on one family.

    In float32 nothing may differ. In a coarser type a difference is explained where rounding errors of that type alone
    change the same thing in float32.
    """
    found = Agreement(sides.family)
    for method in methods or method_names():
        for budget in ("100",) if method == "full" else budgets:
            name = f"{method}@{budget}"
            try:
                there, here = (run(a, method, budget, sample) for a in (sides.there, sides.here))
            except Exception as error:  # a tensor on another device, an operation that the device lacks
                found.wrong.append(
                    f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                )
                continue
            if isinstance(there, str) or isinstance(here, str):
                if isinstance(there, str) and isinstance(here, str):
                    found.refused[name] = here
                else:
                    found.wrong.append(
                        f"{name}: refused on one side only ({there if isinstance(there, str) else here})"
                    )
                continue
            differ = [key for key in there if there[key] != here[key]]
            if not differ:
                found.equal += 1
            elif sides.dtype != "float32" and _rounding_does_it(sides, method, budget, sample, here, differ[0]):
                found.explained.append(f"{name}: {differ[0]}")
            else:
                found.wrong.append(
                    f"{name}: {differ[0]}: {there[differ[0]]!s:.80} there, {here[differ[0]]!s:.80} on the CPU"
                )
    return found


def _rounding_does_it(sides: Sides, method: str, budget: str, sample: Sample, usual: dict[str, Any], key: str) -> bool:
    """Whether rounding errors change ``key`` in float32, too: its margin is below the resolution of the type."""
    for adapter in sides.rounded:
        found = run(adapter, method, budget, sample)
        if isinstance(found, dict) and found[key] != usual[key]:
            return True
    return False
