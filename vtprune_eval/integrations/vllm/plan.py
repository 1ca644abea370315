"""What one request asks for, as text that is part of vLLM's cache keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...errors import UserError, unknown_name
from ...turns import IMAGE_AT

if TYPE_CHECKING:
    from ...runner.spec import Cell, RunSpec

# The name under which a plan stands among a request's ``mm_processor_kwargs`` and among a server's ``hf_overrides``.
NAME = "vtprune"
# Settings of a run that say how tokens are chosen; the others are the server's.
SETTINGS = ("params", "seed", "reading")
_ASKED = ("method", "budget", "sample", "instruction", "question", "sizes", "rows", *SETTINGS)
# Hooks that no route into vLLM exists for: sequence and cache would change their length in the middle of the model.
INSIDE = {"merge_patches": "inside the ViT", "prune_layer": "inside the decoder", "compress_kv": "in the KV cache"}


@dataclass(frozen=True)
class Plan:
    """One request.

    Attributes:
        method: as on the command line of a run.
        budget: as on the command line of a run.
        settings: of :data:`SETTINGS`, those that are given.
        sample: seeds random methods.
        instruction: as of a sample, read by methods that choose by the text.
        question: as of a sample, read by methods that choose by the text.
        sizes: (width, height) of the files in the request's picture, one below the other; () where it is one file.
        rows: placeholders of the picture, where a worker was asked for them; None where they follow from its size.
    """

    method: str = "full"
    budget: str = "100"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sample: str = ""
    instruction: str | None = None
    question: str = ""
    sizes: tuple[tuple[int, int], ...] = ()
    rows: int | None = None

    @classmethod
    def read(cls, given: Any, default: Any = None) -> Plan:
        """A plan from what a request (``given``) and its server (``default``) say: text or a mapping, None for nothing.

        Raises:
            UserError: not JSON, or an unknown setting.
        """
        values = {**_mapping(default), **_mapping(given)}
        values.pop("package", None)
        for key in values:
            if key not in _ASKED:
                raise unknown_name("setting of a plan", key, _ASKED)
        method = str(values.get("method", "full"))
        instruction = values.get("instruction")
        return cls(
            method,
            "100" if method == "full" else str(values.get("budget", "auto")),
            {k: values[k] for k in SETTINGS if k in values},
            str(values.get("sample", "")),
            None if instruction is None else str(instruction),
            str(values.get("question", "")),
            tuple((int(w), int(h)) for w, h in values.get("sizes", ())),
            values.get("rows"),
        )

    @property
    def text(self) -> str:
        """Canonical JSON with everything that the kept tokens depend on beside the picture, and the package's version:
        a cache may outlive an installation."""
        values: dict[str, Any] = {
            "package": __version__,
            "method": self.method,
            "budget": self.budget,
            **self.settings,
            "sample": self.sample,
            "instruction": self.instruction,
            "question": self.question,
            "sizes": self.sizes,
            "rows": self.rows,
        }
        return json.dumps({k: v for k, v in values.items() if v not in ("", None, (), {})}, sort_keys=True)

    @property
    def key(self) -> str:
        """Short name of everything but ``rows``, by which a worker's answers about a picture are known."""
        return hashlib.sha256(replace(self, rows=None).text.encode()).hexdigest()[:16]

    @property
    def cell(self) -> tuple[RunSpec, Cell]:
        """The settings as those of a run with this one cell, checked.

        Raises:
            UserError: anything that a run's command line would refuse, and what vLLM cannot do.
        """
        return _cell(json.dumps([self.method, self.budget, dict(self.settings)], sort_keys=True))

    @property
    def unread(self) -> Plan:
        """The plan where nothing reads the text; one that has its images' places in it keeps them, as part of the
        prompt."""
        placed = self.question if IMAGE_AT in self.question else ""
        return replace(self, instruction=None, question=placed)

    @property
    def reads_text(self) -> bool:
        """Whether the tokens may depend on the text (a share of FLOPs: on its length): then it is part of the plan."""
        spec, cell = self.cell
        return spec.budget(cell).kind == "flops" or any("select_tokens" in m.hooks() for m in spec.make(cell.method))


class CountUnknown(UserError):
    """Only the encoder's output says how many tokens a plan keeps, and vLLM lays out the prompt before it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            f"how many tokens {plan.method} keeps at budget {plan.budget} follows only from the encoder's output, and "
            "vLLM lays out the prompt before it; a run (--engine vllm) asks the encoder first, a server cannot."
        )


def _mapping(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            raise UserError(
                f'the plan {given!r} is not JSON; write for example {{"method": "divprune", "budget": "25"}}.'
            ) from None
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UserError(f"the plan {given!r} is not a mapping of settings such as method and budget.")
    return dict(given)


@lru_cache(maxsize=256)
def _cell(text: str) -> tuple[RunSpec, Cell]:
    from ...runner.config import from_mapping

    method, budget, settings = json.loads(text)
    spec = from_mapping({"methods": [method], "budgets": [budget], **settings})
    cell = spec.cells()[0]
    check_method(spec, cell.method)
    return spec, cell


def check_method(spec: RunSpec, name: str) -> None:
    """Refuse what has no way into vLLM.

    Raises:
        UserError: names the engine that runs it.
    """
    for method in spec.make(name):
        found = next((h for h in method.hooks() if h in INSIDE), None)
        if found is not None:
            raise UserError(
                f"{method.name} drops tokens {INSIDE[found]}, which vLLM cannot do; run it with --engine local."
            )
        if method.sees_target:
            raise UserError(f"{method.name} reads the answer, which no request holds; run it with --engine local.")
        if method.positions != "kept":
            raise UserError(
                f"{method.name} renumbers positions, which the plug-in for vLLM does not; run it with --engine local."
            )
