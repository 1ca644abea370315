"""What a budget means, and the only place that rounds one.

``10``             at most ceil(10 %) of the visual tokens of the full model, per sample; see below what is counted
``256tok``         at most 256 visual tokens per sample, counted in the same way
``auto``           what a content-adaptive method decides itself (PixelPrune at tau = 0)
``like:METHOD``    per image, as many tokens as METHOD keeps at ``auto`` on the same image
``flops:25``       as many tokens as cost at most 25 % of the full model's FLOPs to the first token

A number has two readings, which are never ranked together:

``equal``          visual tokens that a decoder layer processes, averaged over the layers; for a method that cuts the
                   KV cache the visual entries held per layer and kv head, averaged, all text being kept. Markers,
                   merged tokens, windows and sinks are charged.
``paper``          what the method's own paper or released code calls that number; ``explain METHOD`` says what it is.

All arithmetic is exact: fractions and whole numbers, no floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from .errors import UserError

Kind = Literal["percent", "tokens", "auto", "like", "flops"]
Reading = Literal["equal", "paper", "legacy"]
Rounding = Literal["up", "down", "nearest"]

READINGS: tuple[Reading, ...] = ("equal", "paper")
# Of results that were measured before budgets had a reading: every method counted in a way of its own.
LEGACY: Reading = "legacy"


def reading_of(settings: Mapping[str, Any]) -> str:
    """The reading of a run's budgets, from its settings (or what a record says it ``spent``)."""
    return str(settings.get("reading") or LEGACY)


@dataclass(frozen=True)
class Budget:
    """A budget as asked for, before any sample is known.

    Attributes:
        kind: how ``value`` or ``like`` is read.
        value: percent (0, 100] as an exact fraction, or a number of tokens >= 1; None for auto and like.
        like: name of the method whose count is copied; None otherwise.
        reading: ``equal`` or ``paper``: what ``value`` counts.
        draw: number of a repetition of a random control (``10#2``), 0 for the first.
    """

    kind: Kind
    value: Fraction | None = None
    like: str | None = None
    reading: Reading = "equal"
    draw: int = 0

    @classmethod
    def parse(cls, text: str, reading: Reading = "equal") -> Budget:
        """Read ``10``, ``12.5``, ``10%``, ``256tok``, ``auto``, ``like:pixelprune`` or ``flops:25``.

        Raises:
            UserError: not one of these forms, or out of range.
        """
        inside = text.rfind("]") + 1  # a value in brackets may hold anything
        whole, _, draw = text[inside:].partition("#")
        whole = text[:inside] + whole
        if draw:
            if not (draw.isascii() and draw.isdigit()):
                raise UserError(f"budget {text!r}: behind '#' stands the number of a repetition, as in 10#2.")
            return replace(cls.parse(whole, reading), draw=int(draw))
        raw = text.strip().lower()
        if raw == "auto":
            return cls("auto", reading=reading)
        if raw.startswith("like:"):
            if not raw[5:]:
                raise UserError("budget 'like:' needs a method name, for example like:pixelprune.")
            name, opened, settings = text.strip()[5:].partition("[")
            return cls("like", like=name.strip().lower() + opened + settings, reading=reading)
        if raw.endswith("tok"):
            digits = raw[:-3]
            if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
                raise UserError(f"budget {text!r}: a token budget is a whole number of at least 1, for example 256tok.")
            return cls("tokens", Fraction(int(digits)), reading=reading)
        kind: Kind = "flops" if raw.startswith("flops:") else "percent"
        try:
            value = Fraction(raw.removeprefix("flops:").removesuffix("%"))
        except (ValueError, ZeroDivisionError):
            raise UserError(
                f"budget {text!r} is not a percentage (10), a token count (256tok), 'auto', 'like:METHOD' or a share "
                "of the FLOPs to the first token (flops:25)."
            ) from None
        if not 0 < value <= 100:
            what = "of the FLOPs that are spent" if kind == "flops" else "of tokens that is kept"
            raise UserError(f"budget {text!r} is outside (0, 100]: a budget is the percentage {what}.")
        return cls(kind, value, reading=reading)

    def __str__(self) -> str:
        return f"{self.number}#{self.draw}" if self.draw else self.number

    @property
    def number(self) -> str:
        """The text without the number of the repetition."""
        if self.kind in {"percent", "flops"}:
            assert self.value is not None
            number = str(int(self.value)) if self.value.denominator == 1 else f"{float(self.value):g}"
            return number if self.kind == "percent" else f"flops:{number}"
        if self.kind == "tokens":
            return f"{self.value}tok"
        return self.kind if self.kind == "auto" else f"like:{self.like}"

    @property
    def is_full(self) -> bool:
        """True when nothing may be dropped (100 %)."""
        return self.kind in {"percent", "flops"} and self.value == 100

    @property
    def is_number(self) -> bool:
        """True for a percentage or a token count, whose count follows from the sample's size alone."""
        return self.kind in {"percent", "tokens"}

    def count(self, n_full: int, rounding: Rounding = "up") -> int:
        """Tokens that may be kept out of ``n_full``, at least 1 and at most ``n_full``.

        Args:
            n_full: tokens of the full model.
            rounding: of a percentage; ``up`` in the reading ``equal``.

        Raises:
            ValueError: for ``auto``, ``like`` and ``flops``, whose count depends on the image or the model.
        """
        if self.value is None or not self.is_number:
            raise ValueError(f"budget {self} has no count of its own")
        if self.kind == "tokens":
            return max(1, min(n_full, int(self.value)))
        return max(1, min(n_full, rounded(self.value * n_full / 100, rounding)))


def rounded(value: Fraction, rounding: Rounding) -> int:
    """A fraction as a whole number; ``nearest`` takes the even one of two that are equally near."""
    if rounding == "up":
        return -(-value.numerator // value.denominator)
    return value.numerator // value.denominator if rounding == "down" else round(value)


def split_proportionally(total: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Share ``total`` tokens over images of ``sizes`` tokens (largest remainder; ties to the later image).

    The latest screenshot is the one that is acted on: it must not be the first to vanish at tiny budgets. Every image
    gets at least one token while ``total >= len(sizes)``; no image gets more than it has.
    The shares add up to ``min(total, sum(sizes))`` whenever ``total >= len(sizes)``.
    """
    n = sum(sizes)
    total = min(total, n)
    if not n:
        return (0,) * len(sizes)
    shares = [total * size // n for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: (-((total * sizes[i]) % n), -i))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    for i in range(len(sizes)):  # no image may vanish while another has two or more
        if shares[i] == 0 and sizes[i] and total >= len(sizes):
            donor = max(range(len(sizes)), key=lambda j: (shares[j], -j))
            shares[donor] -= 1
            shares[i] = 1
    return tuple(shares)


def split_with_needs(total: int, sizes: tuple[int, ...], needs: tuple[int, ...]) -> tuple[int, ...]:
    """The same where an image cannot use more than it ``needs``: what it leaves goes to the others.

    Args:
        total: tokens to share.
        sizes: tokens of the images, by which they are shared.
        needs: the most that each uses.
    """
    out = [0] * len(sizes)
    open_ = list(range(len(sizes)))
    while open_:
        shares = split_proportionally(total, tuple(sizes[i] for i in open_))
        sated = [i for i, share in zip(open_, shares, strict=True) if needs[i] <= share]
        if not sated:
            for i, share in zip(open_, shares, strict=True):
                out[i] = share
            break
        for i in sated:
            out[i] = needs[i]
            total -= needs[i]
        open_ = [i for i in open_ if i not in sated]
    return tuple(out)


def behind_cut(mean: int, entering: int, n_before: int, n_layers: int) -> int:
    """Visual tokens that may be left behind a cut for a mean of ``mean`` over the layers; below 1: infeasible.

    Args:
        mean: visual tokens per layer that were asked for.
        entering: those that the layers before the cut process.
        n_before: layers before the cut.
        n_layers: all of them.
    """
    return min(entering, (mean * n_layers - entering * n_before) // (n_layers - n_before))


def largest(fits: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest whole number in [low, high] that fits, where all below one that fits do; None if none does."""
    if low > high or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def spread_over_layers(mean: int, weights: Sequence[Fraction | float], most: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers of entries per layer that add up to at most ``mean`` each, in proportion to ``weights``.

    Args:
        mean: entries that a layer keeps on average.
        weights: of the layers, not negative.
        most: that each layer has.

    Returns:
        one number per layer. What a layer cannot hold goes to the others; what rounding leaves goes to the largest
        remainders, the first layers first.
    """
    total = min(mean * len(most), sum(most))
    exact = [Fraction(w).limit_denominator(10**9) if w > 0 else Fraction(0) for w in weights]
    if not sum(exact):
        exact = [Fraction(1)] * len(most)
    out: list[int | None] = [None] * len(most)
    while True:
        free = [i for i, n in enumerate(out) if n is None]
        left = total - sum(n for n in out if n is not None)
        whole = sum(exact[i] for i in free)
        if not free:
            break
        shares = {i: left * exact[i] / whole if whole else Fraction(left, len(free)) for i in free}
        full = [i for i in free if shares[i] >= most[i]]
        if full:
            for i in full:
                out[i] = most[i]
            continue
        floors = {i: rounded(shares[i], "down") for i in free}
        rest = left - sum(floors.values())
        for i in sorted(free, key=lambda i: (floors[i] - shares[i], i))[:rest]:
            floors[i] += 1
        for i in free:
            out[i] = floors[i]
        break
    return tuple(n or 0 for n in out)


@dataclass(frozen=True)
class StageBudget:
    """A budget resolved for one sample: what a hook is told.

    Attributes:
        n_keep: visual tokens (cache entries for ``compress_kv``) that may survive, whole sample; None for ``auto``. In
            the reading ``equal`` the mean over the decoder layers; a hook that prunes inside the decoder is told what
            may be left behind the layer at which it is called (:meth:`~.methods.base.Method.stage_counts`).
        per_image: the same per image, adding up to ``n_keep``; None for ``auto``.
        n_full: visual tokens of the sample at 100 %.
        asked: the budget as asked for.
        n_text: of ``n_keep`` entries of ``compress_kv``, those that text takes: all text stays, and only the others are
            competed for. 0 where text competes, too.
    """

    n_keep: int | None
    per_image: tuple[int, ...] | None
    n_full: int
    asked: Budget
    n_text: int = 0

    @property
    def share(self) -> Fraction:
        """Kept share of the visual tokens, exact where a percentage was asked for; 1 for ``auto``."""
        if self.asked.kind == "percent" and self.asked.value is not None:
            return self.asked.value / 100
        return Fraction(1) if self.n_keep is None or not self.n_full else Fraction(self.n_keep, self.n_full)

    @property
    def limit(self) -> int:
        """Visual tokens (cache entries) that may survive; all of them where the method decides itself."""
        return self.n_full if self.n_keep is None else self.n_keep

    @property
    def image_limits(self) -> tuple[int, ...]:
        """``per_image``, for a method without a count of its own, which is never asked to decide itself.

        Raises:
            RuntimeError: it was.
        """
        if self.per_image is None:
            raise RuntimeError(f"budget {self.asked} has no count per image")
        return self.per_image
