"""From the budget as asked for to what a hook is told, for one sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..budget import Budget, StageBudget
from ..errors import InfeasibleBudget, UserError
from ..methods.base import HOOKS, Method, PatchView
from ..profiling.plan import planned_layers


def budget_of(method: Method, methods: Sequence[Method], budget: Budget) -> Budget:
    """What one of ``methods``, which are composed, is told of the composition's ``budget``.

    The budget belongs to the methods that are not content-adaptive; an adaptive one beside them decides itself
    (``auto``). Where all are adaptive, the last one along the data flow takes it, or no row of a budget sweep would
    differ from the next; so do the adaptive methods of the same paper, which are the parts of one method.
    """
    acting = [m for m in methods if m.hooks()]
    if not method.adaptive or len(acting) < 2:
        return budget
    if all(m.adaptive for m in acting):
        last = max(acting, key=lambda m: HOOKS.index(m.hooks()[-1]))
        if method is last or (method.paper and method.paper == last.paper):
            return budget
    return Budget("auto")


def by_hook(methods: Sequence[Method]) -> dict[str, Method]:
    """The method of every hook that one of ``methods``, which are composed, uses.

    Raises:
        UserError: two of one hook; a method that drops tokens from caches which another has compressed; a second pass
            over a prompt of which another drops a part.
    """
    found: dict[str, Method] = {}
    for method in methods:
        for hook in method.hooks():
            if hook in found:
                raise UserError(f"{found[hook].name} and {method.name} both use {hook}: they cannot be combined.")
            found[hook] = method
    pruner, compressor = found.get("prune_layer"), found.get("compress_kv")
    if pruner is not None and compressor is not None and pruner.trim_cache:
        raise UserError(
            f"{pruner.name} and {compressor.name} cannot be combined: {pruner.name} drops tokens from "
            f"caches that {compressor.name} has already compressed."
        )
    if pruner is not None and compressor is not None and compressor.repeats:
        raise UserError(
            f"{pruner.name} and {compressor.name} cannot be combined: {compressor.name} repeats the prompt, of "
            f"which {pruner.name} drops a part on the way."
        )
    return found


def sees_every_token(method: Method, methods: Sequence[Method]) -> bool:
    """Whether the layers before the cuts of ``method``, one of ``methods``, process every visual token."""
    return method.hooks()[:1] == ("prune_layer",) and not any(
        HOOKS.index(m.hooks()[0]) < HOOKS.index("prune_layer") for m in methods if m.hooks()
    )


def check_budget(method: Method, budget: Budget, n_layers: int | None = None) -> None:
    """Refuse a budget that means nothing for ``method``, or that it cannot meet, before anything is loaded.

    Args:
        method: one part of a composition.
        budget: what it is told.
        n_layers: of the decoder, None where not known.

    Raises:
        UserError: ``auto`` for a method that neither decides itself nor copies another's count; ``like:`` a method
            that does not decide itself; a share of FLOPs that the method does not change; a number that the layers
            before the first cut alone exceed; everything, for a method that keeps nothing.
    """
    from ..registry import method_class

    if not method.hooks():
        return
    if budget.kind == "auto" and not method.adaptive and method.default_like is None:
        raise UserError(
            f"{method.name} does not decide a budget itself: give --budget a percentage (10), a token "
            "count (256tok) or like:METHOD."
        )
    if budget.kind == "like":
        assert budget.like is not None
        other = method_class(budget.like)
        if not other.adaptive or "select_patches" not in other.hooks():
            raise UserError(
                f"budget like:{budget.like}: {budget.like} does not decide a count per image; like:pixelprune does."
            )
    if budget.kind == "flops":
        if method.hooks() == ("compress_kv",):
            raise UserError(
                f"budget {budget}: {method.name} cuts the cache after the first token, whose FLOPs it leaves as they "
                "are; give a percentage."
            )
        if budget.reading == "paper":
            raise UserError(f"budget {budget}: no paper counts so; leave --reading paper out.")
    if budget.is_full:
        if method.blind:
            raise UserError(f"{method.name} keeps no visual token, so that 100 % means nothing: give --budget auto.")
        return
    if budget.reading == "equal" and "compress_kv" in method.hooks() and method.kv_granularity != "kv_head":
        raise UserError(
            f"{method.name}: granularity={method.kv_granularity} stores every entry once per query head, which the "
            "reading equal does not compare; add --reading paper, or leave the setting out."
        )
    if n_layers is not None and budget.reading == "equal" and budget.kind == "percent":
        assert budget.value is not None
        if budget.value / 100 <= method.least_share(n_layers):
            raise UserError(_too_small(method, budget, n_layers))


def least_percent(method: Method, n_layers: int) -> float:
    """The smallest budget of the reading ``equal``, in tenths of a percent."""
    return (int(method.least_share(n_layers) * 1000) + 1) / 10


def _too_small(method: Method, budget: Budget, n_layers: int) -> str:
    """The sentence for a budget that the layers before the first cut alone exceed."""
    at = method.layers_of(n_layers)[0] + 1
    early = method.earliest(n_layers)
    changed = [
        f"--set {method.name}.{f.name}={getattr(early, f.name)}"
        for f in dataclasses.fields(method)
        if getattr(early, f.name) != getattr(method, f.name)
    ]
    lower = (
        f"{' '.join(changed)} lowers that to {least_percent(early, n_layers):g}"
        if changed and least_percent(early, n_layers) < least_percent(method, n_layers)
        else "a method that drops tokens before the decoder goes lower"
    )
    return (
        f"{method.name} at {budget} cannot be met: the first {at} of {n_layers} decoder layers process every visual "
        f"token, and the budget is a mean over all layers. The smallest is {least_percent(method, n_layers):g}; "
        f"{lower}; --reading paper counts as the paper does."
    )


def check_feasible(
    method: Method, kept: tuple[int, ...], left: tuple[int, ...], n_layers: int, budget: StageBudget
) -> None:
    """Hold what a method will leave behind its cuts against the mean over the layers that was asked for.

    Args:
        method: of ``prune_layer``.
        kept: visual tokens per image that enter the decoder.
        n_layers: of the decoder.
        left: what :meth:`Method.stage_counts` says.
        budget: of the hook.

    Raises:
        InfeasibleBudget: the mean would lie above the budget, or nothing would be left.
    """
    if not kept or budget.n_keep is None or budget.asked.reading != "equal" or budget.asked.is_full:
        return
    seen = planned_layers(method, kept, left, n_layers)
    fewest = method.least_left(kept)
    if min(left, default=fewest) < fewest or sum(seen) > budget.n_keep * n_layers:
        least = sum(planned_layers(method, kept, tuple(max(fewest, n) for n in left), n_layers)) / n_layers
        raise InfeasibleBudget(
            f"{method.name} cannot process {budget.n_keep} of {budget.n_full} visual tokens per decoder layer on this "
            f"sample: it needs {least:.1f}; give a larger budget."
        )


def resolve(
    budget: Budget,
    method: Method,
    grids: Sequence[tuple[int, int]],
    view: Callable[[], PatchView],
    copied: Callable[[str], Method],
) -> StageBudget:
    """The budget of one sample.

    Args:
        budget: as asked for.
        method: the method that is told.
        grids: merge blocks (rows, columns) per image of the full model.
        view: makes the images at that size; called only for ``like:``, which runs the copied method on them.
        copied: makes the method whose count is copied, by name.
    """
    sizes = tuple(h * w for h, w in grids)
    n_full = sum(sizes)
    like = budget.like if budget.kind == "like" else None
    if budget.kind == "auto" and not method.adaptive:
        like = method.default_like
    if like is not None:
        other = copied(like)
        free = StageBudget(None, None, n_full, Budget("auto"))
        counts = tuple(int(keep.sum()) for keep in other.select_patches(view(), free))
        return StageBudget(sum(counts), counts, n_full, budget)
    if budget.kind == "auto":
        return StageBudget(None, None, n_full, budget)
    if budget.kind == "flops":  # the tokens that cost as much are found once the length of the text is known
        return StageBudget(n_full, sizes, n_full, budget)
    return method.told(budget, sizes)
