"""What the models of lm-eval and lmms-eval have in common; nothing of either is imported."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import SampleError, UserError
from ..extras import host_version
from ..image_file import flat, upright
from ..json_values import JsonObject
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


class HostModel:
    """Our side of a host's model; a host's module derives from it and from the host's own base class, in this order.

    Attributes:
        engine: the cell that answers.
    """

    def __init__(
        self,
        model: str = "nano",
        method: str = "full",
        budget: str | float | None = None,
        batch_size: int | str | None = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        pretrained: str | None = None,
        **options: Any,
    ) -> None:
        """Check the settings and load the model.

        Args:
            model: as on the command line of a run; may be a hub id, or name all three (``nano@guikv@10``).
            method: as on the command line of a run.
            budget: as on the command line of a run.
            batch_size: 1 (or ``auto``): a batch would hide what one sample costs.
            max_batch_size: ignored, the hosts always pass it.
            device: torch device.
            pretrained: the same as ``model``, under the hosts' own name for it.
            options: see :data:`vtprune_eval.integrations.engine.OPTIONS`, and ``METHOD.KEY`` for a hyper-parameter.

        Raises:
            UserError: settings that cannot be run.
        """
        super().__init__()
        if batch_size not in (None, 1, "1", "auto"):
            raise UserError(f"--batch_size {batch_size}: samples are measured one at a time; use 1.")
        self.engine = engine_of(pretrained or model, method, budget, device=device, **options)
        self._costs = Costs()
        self.engine.adapter  # noqa: B018 (a model that cannot be loaded is reported once, not per sample)

    def ask(
        self,
        task: str,
        context: str,
        images: Sequence[Any] | None,
        settings: Mapping[str, Any],
        *,
        sample_id: str | None,
        max_new_tokens: int,
    ) -> tuple[Said, Answer | None]:
        """Answer one request.

        Args:
            task: the host's name for it, for error messages.
            context: the prompt, with or without :data:`PLACEHOLDER` where images stand.
            images: pictures of the request.
            settings: of the generation.
            sample_id: of the sample, None where the host has none.
            max_new_tokens: limit of the answer.

        Returns:
            the text up to the first stop string, and the whole answer, None for a failed sample.

        Raises:
            UserError: a request without images, one that asks for sampling, or examples of other samples.
        """
        if not images:
            raise UserError(f"task {task}: the model vtprune answers questions about images; this request has none.")
        if settings.get("do_sample"):
            raise UserError(
                f"task {task}: do_sample is set, but decoding is greedy; pass --gen_kwargs do_sample=False."
            )
        places = context.count(PLACEHOLDER)
        if places not in (0, len(images)):
            raise UserError(
                f"task {task}: the prompt has places for {places} images and {len(images)} come with it; examples of "
                "other samples (--num_fewshot) bring no images, so leave them out."
            )
        with tempfile.TemporaryDirectory() as folder:
            paths = [picture_path(image, Path(folder)) for image in images]
            try:
                answer = self.engine.answer(
                    paths, prompt_of(context, len(images)), sample_id=sample_id, max_new_tokens=max_new_tokens
                )
            except SampleError as error:
                self._costs.add(None)
                return Said("", failed=error.reason), None
        self._costs.add(answer)
        return Said(cut(answer.text, settings.get("until") or []), answer.frame), answer

    def made_by(self, host: str) -> JsonObject:
        """What made the results, and the means of their costs: stored by the host beside them."""
        return {"vtprune": {**self.engine.made_by(), "costs": self._costs.means(), "host": host_version(host)}}

    @staticmethod
    def no_likelihood() -> UserError:
        """The refusal of a task that compares likelihoods."""
        return UserError("the model vtprune generates answers; tasks that compare likelihoods cannot be run with it.")


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
