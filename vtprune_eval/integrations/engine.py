"""A model x method x budget that other harnesses can call: images and a question in, text and its frame out.

The settings are those of a run (:class:`~vtprune_eval.runner.spec.RunSpec`), so every name, hyper-parameter and budget
is checked in the same way and with the same sentences, before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, unknown_name
from ..image_file import image_size
from ..models import MODELS
from ..naming import parts_of
from ..registry import method_class
from ..runner.config import from_mapping
from ..runner.spec import RunSpec
from ..sample import Sample

if TYPE_CHECKING:
    from ..models.base import VlmAdapter
    from ..outcome import Outcome

# Settings of a run that a host can pass on; its tasks, output and limits are the host's own.
OPTIONS = (
    *("weights", "model_path", "seed", "dtype", "device", "attn", "reading", "max_new_tokens", "params"),
    *("min_pixels", "max_pixels"),
)
_WHOLE_NUMBERS = ("seed", "max_new_tokens", "min_pixels", "max_pixels")
SEPARATOR = "@"
RANDOM = "@random"  # behind the name of a cell whose weights mean nothing
COORDINATES = ("hundredths", "thousandths", "fractions", "resized_pixels")


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: decoded, without special tokens.
        frame: ``coordinates`` of the model, ``model_sizes`` and ``file_sizes`` of the images in (width, height): what a
            scoring rule needs to place a point.
        outcome: everything that the pipeline counted.
    """

    text: str
    frame: dict[str, Any]
    outcome: Outcome

    @property
    def costs(self) -> dict[str, Any]:
        """Counts, bytes, FLOPs and times (ms) as plain values."""
        o = self.outcome
        return {
            "counts": dataclasses.asdict(o.counts),
            "kv_bytes": o.kv_bytes,
            "flops": o.flops,
            "times": dataclasses.asdict(o.times),
            "finish": o.finish,
            "notes": [str(note) for note in o.notes],
        }


class Engine:
    """One loaded cell. Engines with the same model settings share the loaded model."""

    def __init__(self, model: str = "nano", method: str = "full", budget: str | None = None, **options: Any) -> None:
        """Check the settings; the model is loaded by the first answer.

        Args:
            model: short name, last part of a hub id, or the whole id.
            method: as on the command line of a run.
            budget: the same; None for 100 with ``full``, and for what a method decides itself, where it does.
            options: any of :data:`OPTIONS`, and ``METHOD.KEY`` for a hyper-parameter.

        Raises:
            UserError: an unknown name or option, a budget that does not fit the method, the scripted stand-in.
        """
        for key in [k for k in options if "." in k]:
            options["params"] = {**(options.get("params") or {}), key: options.pop(key)}
        for key in options:
            if key not in OPTIONS:
                raise unknown_name("option of a model", key, OPTIONS)
        if budget is None:
            budget = default_budget(method)
        model = known_models().get(model.rsplit("/", 1)[-1].lower(), model)
        if model == "stub":
            raise UserError("the stub answers from the target, which no other harness shows; use nano.")
        values = {k: _whole(k, v) for k, v in options.items() if v is not None}
        self.pixels = (values.pop("min_pixels", None), values.pop("max_pixels", None))
        low, high = self.pixels
        if (low or 1) < 1 or (high or 1) < 1 or (low and high and low > high):
            raise UserError(f"min_pixels={low}, max_pixels={high}: whole numbers of at least 1, the first the smaller.")
        self.spec: RunSpec = from_mapping({"model": model, "methods": [method], "budgets": [str(budget)], **values})
        cells = self.spec.cells()
        if len(cells) > 1:
            raise UserError(f"{model}: {len(cells)} values of a setting were given, and a model of a harness has one.")
        self.cell = cells[0]
        self._pipelines: dict[int, Any] = {}

    @property
    def name(self) -> str:
        """Predictable name, safe in a path: ``nano@guikv@10``."""
        name = cell_name(self.spec.model, self.cell.method, self.cell.budget)
        return name + RANDOM if self.spec.weights == "random" else name

    def made_by(self) -> dict[str, Any]:
        """What makes the answers: cell, settings, limits of the image size, identity of the loaded model."""
        rules = self.adapter.images
        return {
            "cell": self.name,
            "settings": self.spec.canonical(),
            "pixels": {"min": rules.min_pixels, "max": rules.max_pixels},
            "identity": self.adapter.identity,
        }

    @property
    def adapter(self) -> VlmAdapter:
        """The loaded model.

        Raises:
            UserError: it cannot be loaded.
        """
        s = self.spec
        return _load(s.model, s.weights, s.model_path, s.dtype, s.device, s.seed, s.attn, self.pixels)

    def answer(
        self, images: Sequence[Path], question: str, *, sample_id: str | None = None, max_new_tokens: int = 64
    ) -> Answer:
        """Answer one question.

        Args:
            images: paths, oldest first.
            question: the user text behind the images.
            sample_id: identity of the sample, which seeds random methods; by default made of file names and question.
            max_new_tokens: limit of the answer, unless the settings name one.

        Raises:
            SampleError: this sample cannot be processed (unreadable image, out of memory).
        """
        limit = self.spec.max_new_tokens or max_new_tokens
        if limit not in self._pipelines:
            from ..pipeline.generate import Pipeline

            self._pipelines[limit] = Pipeline(
                self.adapter,
                self.spec.make(self.cell.method),
                self.spec.budget(self.cell),
                seed=self.spec.seed,
                max_new_tokens=limit,
                copied=self.spec.copied,
            )
        if sample_id is None:
            names = "/".join(p.name for p in images)
            sample_id = hashlib.sha256(f"{names}/{question}".encode()).hexdigest()[:16]
        outcome = self._pipelines[limit].run(Sample(sample_id, tuple(images), question, {"type": "none"}))
        frame = {
            "coordinates": self.adapter.coordinates,
            "model_sizes": [list(s) for s in outcome.model_sizes],
            "file_sizes": [list(s) for s in outcome.file_sizes],
        }
        return Answer(outcome.text, frame, outcome)


def file_frame(images: Sequence[Path], coordinates: str) -> dict[str, Any]:
    """The frame of a model that does not tell it: it is taken to see the files at their own size.

    Args:
        images: paths of the images; only their headers are read.
        coordinates: one of :data:`COORDINATES`.
    """
    sizes = [list(image_size(path)) for path in images]
    return {"coordinates": coordinates, "model_sizes": sizes, "file_sizes": sizes}


def shown_name(model: str) -> str:
    """The name under which other harnesses list a model: the last part of its hub id, or its short name."""
    hub_id = MODELS[model].hub_id
    return hub_id.rsplit("/", 1)[-1] if hub_id else model


def cell_name(model: str, method: str, budget: str) -> str:
    """``Qwen3-VL-2B-Instruct@guikv@10``; a colon of the budget becomes a dash (``like-pixelprune``)."""
    return SEPARATOR.join((shown_name(model), method, budget.replace(":", "-")))


def known_models() -> dict[str, str]:
    """Short and shown names, in lower case, to the short ones."""
    return {shown_name(m).lower(): m for m in MODELS} | {m: m for m in MODELS}


def default_budget(method: str) -> str:
    """The budget of a method without one.

    Raises:
        UserError: the method does not decide it itself.
    """
    parts = [method_class(part) for part in parts_of(method)]
    if method == "full":
        return "100"
    if any(cls.adaptive or cls.default_like for cls in parts):
        return "auto"
    raise UserError(f"{method} does not decide a budget itself: give one, for example budget=10.")


def parse_name(name: str) -> tuple[str, str, str]:
    """Model (short name), method and budget of ``MODEL@METHOD@BUDGET``; MODEL may be the short or the shown name.

    ``MODEL@full`` means a budget of 100.

    Raises:
        UserError: not of this form, or an unknown model.
    """
    parts = name.removesuffix(RANDOM).split(SEPARATOR)
    if len(parts) == 2 and parts[1] == "full":
        parts.append("100")
    if len(parts) != 3 or not all(parts):
        raise UserError(f"model name {name!r}: write MODEL@METHOD@BUDGET, for example nano@pixelprune@10.")
    known = known_models()
    if parts[0].lower() not in known:
        raise unknown_name("model", parts[0], [*known], "`python -m vtprune_eval list models` shows all.")
    budget = "like:" + parts[2][5:] if parts[2].startswith("like-") else parts[2]
    return known[parts[0].lower()], parts[1], budget


def _whole(key: str, value: Any) -> Any:
    """Numbers arrive as text from command lines."""
    if not isinstance(value, str) or key not in _WHOLE_NUMBERS:
        return value
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{key}={value!r} is not a whole number.") from None


@lru_cache(maxsize=1)
def _load(
    model: str,
    weights: str,
    path: str | None,
    dtype: str,
    device: str,
    seed: int,
    attn: str,
    pixels: tuple[int | None, int | None],
) -> VlmAdapter:
    """The model in use stays loaded; another one replaces it. ``pixels``: least and most of an image, None for its
    processor's."""
    from ..models import load_model

    adapter = load_model(model, weights=weights, path=path, dtype=dtype, device=device, seed=seed, attn=attn)
    rules, (low, high) = adapter.images, pixels
    adapter.images = dataclasses.replace(
        rules,
        min_pixels=rules.min_pixels if low is None else low,
        max_pixels=rules.max_pixels if high is None else high,
    )
    return adapter
