"""What a budget means, and the only place that rounds one.

``10``             ceil(10 % of the visual tokens that the full model feeds to decoder layer 0), per sample
``256tok``         at most 256 visual tokens per sample
``auto``           what a content-adaptive method decides itself (PixelPrune at tau = 0)
``like:METHOD``    per image, as many tokens as METHOD keeps at ``auto`` on the same image
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from .errors import UserError

Kind = Literal["percent", "tokens", "auto", "like"]


@dataclass(frozen=True)
class Budget:
    """A budget as asked for, before any sample is known.

    Attributes:
        kind: how ``value`` or ``like`` is read.
        value: percent (0, 100] as an exact fraction, or a number of tokens >= 1; None for auto and like.
        like: name of the method whose count is copied; None otherwise.
        of: ``visual`` (percent of the visual tokens) or ``prompt`` (percent of the whole prompt; the reading of
            GUI-KV, for cache methods).
    """

    kind: Kind
    value: Fraction | None = None
    like: str | None = None
    of: Literal["visual", "prompt"] = "visual"

    @classmethod
    def parse(cls, text: str, of: Literal["visual", "prompt"] = "visual") -> Budget:
        """Read ``10``, ``12.5``, ``10%``, ``256tok``, ``auto`` or ``like:pixelprune``.

        Raises:
            UserError: not one of these forms, or out of range.
        """
        raw = text.strip().lower()
        if raw == "auto":
            return cls("auto", of=of)
        if raw.startswith("like:"):
            if not raw[5:]:
                raise UserError("budget 'like:' needs a method name, for example like:pixelprune.")
            return cls("like", like=raw[5:], of=of)
        if raw.endswith("tok"):
            digits = raw[:-3]
            if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
                raise UserError(f"budget {text!r}: a token budget is a whole number of at least 1, for example 256tok.")
            return cls("tokens", Fraction(int(digits)), of=of)
        try:
            value = Fraction(raw.removesuffix("%"))
        except (ValueError, ZeroDivisionError):
            raise UserError(
                f"budget {text!r} is not a percentage (10), a token count (256tok), 'auto' or 'like:METHOD'."
            ) from None
        if not 0 < value <= 100:
            raise UserError(f"budget {text!r} is outside (0, 100]: a budget is the percentage of tokens that is kept.")
        return cls("percent", value, of=of)

    def __str__(self) -> str:
        if self.kind == "percent":
            assert self.value is not None
            return str(int(self.value)) if self.value.denominator == 1 else f"{float(self.value):g}"
        if self.kind == "tokens":
            return f"{self.value}tok"
        return self.kind if self.kind == "auto" else f"like:{self.like}"

    @property
    def is_full(self) -> bool:
        """True when nothing may be dropped (100 %)."""
        return self.kind == "percent" and self.value == 100

    def count(self, n_full: int) -> int:
        """Tokens that may be kept out of ``n_full``, at least 1 and at most ``n_full``.

        Raises:
            ValueError: for ``auto`` and ``like``, whose count depends on the image.
        """
        if self.value is None:
            raise ValueError(f"budget {self} has no count of its own")
        if self.kind == "tokens":
            return max(1, min(n_full, int(self.value)))
        exact = self.value * n_full / 100
        return max(1, min(n_full, -(-exact.numerator // exact.denominator)))


def split_proportionally(total: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Share ``total`` tokens over images of ``sizes`` tokens (largest remainder; ties to the later image).

    The latest screenshot is the one that is acted on: it must not be the first to vanish at tiny budgets. Every image
    gets at least one token while ``total >= len(sizes)``; no image gets more than it has.
    The shares add up to ``min(total, sum(sizes))`` whenever ``total >= len(sizes)``.
    """
    n = sum(sizes)
    total = min(total, n)
    shares = [total * size // n for size in sizes]
    order = sorted(range(len(sizes)), key=lambda i: (-((total * sizes[i]) % n), -i))
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    for i in range(len(sizes)):  # no image may vanish while another has two or more
        if shares[i] == 0 and total >= len(sizes):
            donor = max(range(len(sizes)), key=lambda j: (shares[j], -j))
            shares[donor] -= 1
            shares[i] = 1
    return tuple(shares)


@dataclass(frozen=True)
class StageBudget:
    """A budget resolved for one sample: what a hook is told.

    Attributes:
        n_keep: visual tokens (cache entries for ``compress_kv``) that may survive, whole sample; None for ``auto``.
        per_image: the same per image, adding up to ``n_keep``; None for ``auto``.
        n_full: visual tokens of the sample at 100 %.
        asked: the budget as asked for.
    """

    n_keep: int | None
    per_image: tuple[int, ...] | None
    n_full: int
    asked: Budget

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
