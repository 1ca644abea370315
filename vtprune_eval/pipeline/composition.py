"""What is composed: methods with disjoint hooks, a budget, and what each hook is told of it for a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ..budget import Budget, StageBudget
from ..clock import StageClock
from ..errors import UserError
from ..methods.base import HOOKS, Method, PatchView
from ..models.base import VlmAdapter
from ..profiling.memory import release_freed
from ..profiling.plan import matched
from ..registry import make_method
from ..sample import Sample
from .budgets import budget_of, by_hook, check_budget, resolve, sees_every_token
from .images import Images
from .stages import frozen, value_of
from .static import StaticDecode


class Composition:
    """A model, one or more methods with disjoint hooks, and a budget."""

    def __init__(
        self,
        adapter: VlmAdapter,
        method: Method | Sequence[Method],
        budget: Budget,
        *,
        max_new_tokens: int = 64,
        seed: int = 0,
        logprobs: bool = False,
        copied: Callable[[str], Method] = make_method,
        record_kept: bool = False,
        decode_graphs: bool = False,
    ) -> None:
        """Check that hooks do not collide and that the budget means something.

        Args:
            adapter: the model.
            method: one, or several that are composed.
            budget: of them all.
            max_new_tokens: limit of an answer.
            seed: of everything random.
            logprobs: whether outcomes say how probable the model found each token of its answer.
            copied: makes the method whose count ``auto`` and ``like:`` copy, with the run's hyper-parameters.
            record_kept: whether outcomes say which blocks every layer and head holds.
            decode_graphs: whether answers are decoded with static shapes (:mod:`.static`).

        Raises:
            UserError: two methods use one hook, the budget does not fit a method, or a method asks for a layer that
                the model does not have.
        """
        self.adapter, self.budget, self.seed, self.max_new_tokens = adapter, budget, seed, max_new_tokens
        self._copied, self._record_kept, self.logprobs = copied, record_kept, logprobs
        self.methods = (method,) if isinstance(method, Method) else tuple(method)
        self._by_hook = by_hook(self.methods)
        for m in self.methods:
            self._check_depths(m)
            sized = sees_every_token(m, self.methods)
            check_budget(m, self._budget_of(m), len(adapter.text.layers) if sized else None)
        compressor = self._by_hook.get("compress_kv")
        if compressor is not None and compressor.repeats:
            self._check_repeat(compressor)
        if budget.is_full:
            self._by_hook = {}
        self._static = StaticDecode(adapter, max_new_tokens) if decode_graphs else None
        release_freed()

    def _check_repeat(self, compressor: Method) -> None:
        """Refuse a second pass over a prompt that not every layer holds."""
        for layer in range(len(self.adapter.text.layers)):
            if not self.adapter.has_cache(layer):
                raise UserError(
                    f"{compressor.name} repeats the prompt behind itself, and {self.adapter.name} has layers of linear "
                    "attention, whose state a second pass would change; choose another cache method."
                )

    def _check_depths(self, method: Method) -> None:
        """Refuse layers of the decoder and of the ViT that the model does not have."""
        if "prune_layer" in method.hooks():
            method.layers_of(len(self.adapter.text.layers))
        if "merge_patches" in method.hooks() and not self.adapter.merges:
            raise UserError(
                f"{method.name} merges inside the ViT, and the ViT of {self.adapter.name} attends in windows; choose a "
                "model whose ViT attends over the whole image, or a method that acts behind it."
            )
        try:
            self.adapter.check_needs(method.needs)
        except UserError as error:
            raise UserError(f"{method.name}: {error}") from None

    def _budget_of(self, method: Method) -> Budget:
        """What ``method`` is told of the budget; see :func:`.budgets.budget_of`."""
        return budget_of(method, self.methods, self.budget)

    def key(self, upto: str) -> tuple[object, ...]:
        """What the state of a sample depends on once all hooks up to ``upto`` (of :data:`HOOKS`) have run.

        Two pipelines of one model with equal keys compute the same state. A content-adaptive method of a composition
        has a budget of its own, so its key may be the same at different budgets.
        """
        parts: list[object] = [self.seed, self.budget.draw, self.max_new_tokens]
        for hook in HOOKS[: HOOKS.index(upto) + 1]:
            method = self._by_hook.get(hook)
            parts.append(None if method is None else (value_of(method), self._budget_of(method)))
        if upto == "prune_layer":
            parts.append(self.placing)
            if "prune_layer" in self._by_hook and "compress_kv" in self._by_hook:
                parts.append(value_of(self._by_hook["compress_kv"]))  # their queries are projected together
        return tuple(parts)

    def method_of(self, hook: str) -> Method | None:
        """The method that uses ``hook``, None if there is none or nothing is reduced."""
        return self._by_hook.get(hook)

    @property
    def needs(self) -> tuple[str, ...]:
        """Extra outputs that are asked of the ViT."""
        return self._by_hook["select_tokens"].needs if "select_tokens" in self._by_hook else ()

    @property
    def placing(self) -> str:
        """Where the tokens that are left stand; see :data:`.positions.PLACINGS`."""
        asked = {m.positions for m in self.methods if self._by_hook} - {"kept"}
        if len(asked) > 1:
            raise UserError(f"positions cannot be {' and '.join(sorted(asked))} at once; compose other methods.")
        return asked.pop() if asked else "kept"

    def seed_of(self, sample: Sample) -> int:
        """Seed of a sample's random draws."""
        seed = f"{self.seed}#{self.budget.draw}" if self.budget.draw else str(self.seed)
        return int.from_bytes(hashlib.sha256(f"{seed}/{sample.id}".encode()).digest()[:6], "big")

    def budgets(self, sample: Sample, images: Images, clock: StageClock) -> dict[str, StageBudget]:
        """What every hook is told for this sample."""
        block = self.adapter.images.block
        grids = tuple((h // block, w // block) for w, h in images.full)

        def view() -> PatchView:
            return PatchView(frozen(images.pixels), grids, block, self.seed_of(sample))

        with clock.stage("reference"):  # finding another method's count is the experimenter's cost, not a method's
            budgets = {h: resolve(self._budget_of(m), m, grids, view, self._copied) for h, m in self._by_hook.items()}
        return {h: self._matched(b, self._by_hook[h], grids, sample) for h, b in budgets.items()}

    def _matched(
        self, budget: StageBudget, method: Method, grids: Sequence[tuple[int, int]], sample: Sample
    ) -> StageBudget:
        """A budget of FLOPs as the tokens that cost as much; any other as it is.

        Raises:
            InfeasibleBudget: one token costs more.
        """
        if budget.asked.kind != "flops":
            return budget
        ids, _ = self.adapter.prompt_ids([h * w for h, w in grids], sample.question)
        n_text = len(ids) - budget.n_full
        return matched(self.adapter.dims, grids, n_text, method, budget.asked)
