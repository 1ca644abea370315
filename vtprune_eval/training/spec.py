"""The settings of a training, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..budget import Budget
from ..errors import UserError, unknown_name
from ..methods.base import HOOKS
from ..models import DTYPES, check_model_name
from ..naming import parts_of
from ..runner.checks import check_device
from ..runner.config import from_mapping
from ..runner.spec import RunSpec

# Hooks before the decoder. What is dropped inside it or behind it depends on layers that are being trained, token by
# token, and no paper trains with it.
TRAINABLE = HOOKS[: HOOKS.index("select_tokens") + 1]
MARKER_STARTS = ("keep", "vocabulary", "runs")
PARTS = ("all", "decoder", "scorer", "marker", "head")
# Settings that change where or how fast a training runs, and nothing of what it learns.
_NOT_IDENTITY = ("out", "device", "save_every", "export_every", "compare_full")
# Whole numbers, and the least of each.
_LEAST = {
    "steps": 1,
    "batch": 1,
    "accumulate": 1,
    "questions": 1,
    "pack_tokens": 1,
    "warmup": 0,
    "lora": 0,
    "save_every": 1,
    "export_every": 0,
    "compare_full": 0,
    "limit": 1,
}


@dataclass(frozen=True)
class TrainSpec:
    """A training.

    Attributes:
        model: short name of the model that is trained.
        model_path: folder of its weights, None for a download.
        data: task, or JSONL file of samples (see :func:`.examples.load_examples`).
        data_path: folder of the task's data, None for a download.
        limit: samples that are used, None for all.
        method: what prunes in the loop, as in a run.
        budget: as in a run, or ``uniform:LOW:HIGH``, drawn anew for every sample.
        params: settings of the method, as in a run.
        out: folder of the result.
        steps: of the optimizer, None for one pass over the data.
        batch: groups of questions about the same images (single questions without ``questions``) per micro-batch and
            process.
        accumulate: micro-batches per step.
        questions: questions about the same images that share them, at most.
        pack_tokens: rows of a packed sequence, at most (a longer sample stands alone).
        lr: highest learning rate of AdamW (betas 0.9 and 0.95), from which a cosine leads to 1 %.
        warmup: steps in which it rises.
        weight_decay: of matrices.
        clip: largest norm of a step's gradient.
        lora: rank of peft's LoRA on the decoder's matrices, 0 for all weights.
        train: part that is trained.
        teacher: ``full``, a folder, or "" for none.
        kd_weight: share of its loss, the rest is cross-entropy.
        saliency: weight of FocusUI's loss of the scorer, 0 for none.
        action: weight of FocusUI's loss of the action head, 0 for none.
        marker_start: where the row of FocusUI's marker starts; ``keep``: a row that is there stays, a new one is the
            mean of the vocabulary, as released; ``vocabulary``: that mean in any case; ``runs``: the mean of what is
            dropped in 16 samples.
        shard: gradients and the optimizer's states are divided among the processes.
        dtype: bfloat16 runs the passes in mixed precision over float32 weights.
        checkpointing: of the layers.
        save_every: steps between checkpoints.
        export_every: steps between folders ``step-N`` that can be evaluated, 0 for the end alone.
        compare_full: every so many steps the same batch is also timed with all tokens, 0 for never.
        device: as in a run.
        seed: as in a run.
        weights: as in a run.
    """

    model: str
    data: str
    out: str
    method: str = "full"
    budget: str = "auto"
    model_path: str | None = None
    data_path: str | None = None
    limit: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    steps: int | None = None
    batch: int = 8
    accumulate: int = 1
    questions: int = 1
    pack_tokens: int = 8192
    lr: float = 1e-5
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    lora: int = 0
    train: str = "all"
    teacher: str = ""
    kd_weight: float = 1.0
    saliency: float = 0.0
    action: float = 0.0
    marker_start: str = "keep"
    shard: bool = False
    dtype: str = "auto"
    checkpointing: bool = False
    save_every: int = 100
    export_every: int = 0
    compare_full: int = 0
    device: str = "auto"
    seed: int = 0
    weights: str = "hub"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UserError: with the remedy.
        """
        card = check_model_name(self.model)
        if card.family == "stub":
            raise UserError("stub has no network to train; choose another model.")
        for name, low in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UserError(f"--{name.replace('_', '-')}={value}: a whole number of at least {low} is needed.")
        for name, top in (("lr", 1e3), ("weight_decay", 1e3), ("clip", 1e9), ("saliency", 1e9), ("action", 1e9)):
            if not 0 <= getattr(self, name) <= top:
                raise UserError(f"--{name.replace('_', '-')}={getattr(self, name)}: a number from 0 on is needed.")
        if not 0 <= self.kd_weight <= 1:
            raise UserError(f"--kd-weight={self.kd_weight}: a share from 0 (answers alone) to 1 (teacher alone).")
        if self.train not in PARTS:
            raise unknown_name("part in --train", self.train, PARTS)
        if self.dtype not in ("auto", *DTYPES):
            raise unknown_name("dtype", self.dtype, DTYPES)
        if self.dtype == "float16":
            raise UserError("--dtype float16 needs a scaled loss, which is not supported; use bfloat16 or float32.")
        if self.lora and self.train not in {"all", "decoder"}:
            raise UserError(f"--lora trains matrices of the decoder, --train {self.train} does not; leave one out.")
        if self.lora and self.export_every:
            raise UserError("--export-every writes whole models, and LoRA is merged once, at the end; leave it out.")
        if self.shard and (self.lora or self.train == "marker"):
            what = "LoRA's matrices" if self.lora else "the marker's row"
            raise UserError(
                f"--shard divides the states of all trained weights, and {what} need no division; leave it out."
            )
        check_device(self.device)
        self._check_method()

    def _check_method(self) -> None:
        from ..registry import check_method_name, method_class

        check_method_name(self.method)
        for part in parts_of(self.method):
            late = [h for h in method_class(part).hooks() if h not in TRAINABLE]
            if late:
                where = "the KV cache" if late == ["compress_kv"] else "inside the decoder"
                raise UserError(
                    f"{part} cannot be trained with: it drops tokens {where}, and training takes methods that act on "
                    "images, patches or visual tokens; train with full or one of those, and evaluate the result with "
                    f"--method {part}."
                )
            if method_class(part).sees_target:
                raise UserError(f"{part} reads the answer, so a model trained with it is shown what it has to find.")
        low, high = self.drawn
        self.run_spec(self.budget if low == high else f"{high:g}")
        if self.saliency and self.method != "focusui":
            raise UserError("--saliency trains the scorer of focusui; add --method focusui.")
        if self.train in {"scorer", "marker"} and self.method != "focusui":
            raise UserError(f"--train {self.train} trains a part of focusui; add --method focusui.")
        if self.marker_start not in MARKER_STARTS:
            raise unknown_name("start in --marker-start", self.marker_start, MARKER_STARTS)
        if self.marker_start != "keep" and self.method != "focusui":
            raise UserError("--marker-start is of the marker of focusui; add --method focusui.")
        if self.train == "scorer" and not self.saliency:
            raise UserError("--train scorer has no loss without --saliency; add --saliency 1.")

    @property
    def drawn(self) -> tuple[float, float]:
        """Ends of ``uniform:LOW:HIGH`` in percent; twice the same where nothing is drawn."""
        if not self.budget.startswith("uniform:"):
            return (100.0, 100.0)
        try:
            low, high = (float(part) for part in self.budget.split(":")[1:])
        except ValueError:
            low, high = 0.0, 0.0
        if not 0 < low < high <= 100:
            raise UserError(
                f"--budget {self.budget!r}: write uniform:LOW:HIGH with percentages, for example uniform:10:100."
            )
        return (low, high)

    @property
    def decodes(self) -> bool:
        """Whether a step runs the decoder; the scorer alone has its loss before it."""
        return self.train != "scorer" or bool(self.action)

    def run_spec(self, budget: str | None = None) -> RunSpec:
        """The run that evaluates with the same method, hyper-parameters and (first) budget."""
        return from_mapping(
            {
                "model": self.model,
                "methods": [self.method],
                "budgets": [budget or self.budget],
                "params": dict(self.params),
                "tasks": ["mini-grounding"],
                "model_path": self.model_path,
                "seed": self.seed,
                "reading": "paper" if budget and self.drawn[0] < self.drawn[1] else "equal",
            }
        )

    def first_budget(self) -> Budget:
        """The budget, or the largest one that is drawn."""
        low, high = self.drawn
        if low < high:
            return Budget.parse("99.9" if high == 100 else f"{high:g}", "paper")
        return Budget.parse("100" if self.method == "full" else self.budget)

    def canonical(self) -> dict[str, Any]:
        """What decides what is learnt, as plain JSON values."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_IDENTITY}
