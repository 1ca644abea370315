"""What the models of lm-eval and lmms-eval have in common; nothing of either is imported."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..image_file import flat, upright
from ..turns import IMAGE_AT
from .engine import RANDOM, SEPARATOR, Answer, Engine, parse_name

PLACEHOLDER = "<image>"


class Said(str):
    """An answer that remembers the coordinate frame in which it was given.

    Attributes:
        frame: see :class:`vtprune_eval.integrations.engine.Answer`; None for a failed sample.
        failed: reason of a failed sample, else "".
    """

    frame: dict[str, Any] | None
    failed: str

    def __new__(cls, text: str, frame: dict[str, Any] | None = None, failed: str = "") -> Said:
        """An answer with its frame."""
        said = super().__new__(cls, text)
        said.frame, said.failed = frame, failed
        return said


class Costs:
    """Sums over the answers of a session, for the results of the host."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, answer: Answer | None) -> None:
        """One answer; None for a failed one."""
        if answer is None:
            self._sums["failed"] += 1
            return
        counts = answer.outcome.counts
        for name, value in (
            ("answered", 1),
            ("visual", sum(counts.visual)),
            ("visual_full", sum(counts.visual_full)),
            ("flops", answer.outcome.flops["total"]),
        ):
            self._sums[name] += value

    def means(self) -> dict[str, Any]:
        """``n_answered``, ``n_failed``, ``visual_kept_pct`` at the input of the decoder, mean ``flops``."""
        s = self._sums
        return {
            "n_answered": int(s["answered"]),
            "n_failed": int(s["failed"]),
            "visual_kept_pct": 100 * s["visual"] / s["visual_full"] if s["visual_full"] else None,
            "flops": s["flops"] / s["answered"] if s["answered"] else None,
        }


def engine_of(model: str, method: str, budget: str | float | None, **options: Any) -> Engine:
    """The cell; ``model`` may be its whole name, which then says method and budget, too.

    Raises:
        UserError: settings that cannot be run, such as a method without its budget.
    """
    if SEPARATOR in model:
        if model.endswith(RANDOM):
            options["weights"] = "random"
        model, method, budget = parse_name(model)
    return Engine(model, method, None if budget is None else str(budget), **options)


def prompt_of(context: str, n_images: int) -> str:
    """The prompt with the places of its images marked, or with all images first, where it names none or they are
    there already."""
    parts = context.split(PLACEHOLDER)
    if len(parts) != n_images + 1 or not any(p.strip() for p in parts[:-1]):
        return "".join(parts)
    return IMAGE_AT.join(parts)


def picture_path(image: Any, folder: Path) -> Path:
    """Where the picture lies: its own file if it is one, else a PNG written to ``folder``, named by its content."""
    name = getattr(image, "filename", "")
    if name and Path(name).is_file():
        return Path(name)
    part = folder / "picture.png"
    flat(upright(image)).save(part)
    path = folder / f"{hashlib.sha256(part.read_bytes()).hexdigest()[:16]}.png"
    return part.rename(path)


def cut(text: str, stops: Sequence[str] | str) -> str:
    """The text before the first stop string."""
    ends = [text.find(s) for s in ([stops] if isinstance(stops, str) else stops) if s and s in text]
    return text[: min(ends)] if ends else text
