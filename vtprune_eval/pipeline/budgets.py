"""From the budget as asked for to what a hook is told, for one sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..budget import Budget, StageBudget, split_proportionally
from ..errors import UserError
from ..methods.base import HOOKS, Method, PatchView


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


def check_budget(method: Method, budget: Budget) -> None:
    """Refuse a budget that means nothing for ``method``, before anything is loaded.

    Raises:
        UserError: ``auto`` for a method that neither decides itself nor copies another's count; ``like:`` a method
            that does not decide itself.
    """
    from ..registry import make_method

    if not method.hooks():
        return
    if budget.kind == "auto" and not method.adaptive and method.default_like is None:
        raise UserError(
            f"{method.name} does not decide a budget itself: give --budget a percentage (10), a token "
            "count (256tok) or like:METHOD."
        )
    if budget.kind == "like":
        assert budget.like is not None
        other = make_method(budget.like)
        if not other.adaptive or "select_patches" not in other.hooks():
            raise UserError(
                f"budget like:{budget.like}: {budget.like} does not decide a count per image; like:pixelprune does."
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
    n_keep = budget.count(n_full)
    return StageBudget(n_keep, split_proportionally(n_keep, sizes), n_full, budget)
