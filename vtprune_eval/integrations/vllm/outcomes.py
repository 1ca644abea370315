"""From an answer of vLLM and the report of its workers to the outcome of a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...budget import Budget, StageBudget
from ...errors import UserError
from ...notes import Note
from ...outcome import Counts, Outcome, Times, achieved
from .report import Report

if TYPE_CHECKING:
    from ...models.qwen_vl import QwenVL
    from ...runner.spec import Cell, RunSpec
    from ...sample import Sample

_UNKNOWN = Times(*[math.nan] * 9)


@dataclass(frozen=True)
class Asked:
    """A request on its way.

    Attributes:
        sample: what is asked.
        key: of its plan.
        n_text: text tokens of the prompt.
    """

    sample: Sample
    key: str
    n_text: int


class Outcomes:
    """Reads answers.

    Args:
        spec: of the run.
        side: the model's face where requests are prepared.
        config: of the model.
        eos: ids that end an answer.
    """

    def __init__(self, spec: RunSpec, side: QwenVL, config: Any, eos: frozenset[int]) -> None:
        self._spec, self._side, self._config, self._eos = spec, side, config, eos

    def of(self, cell: Cell, request: Asked, output: Any, report: Report | None) -> Outcome:
        """What came out, counted, and held against what was to come out.

        Args:
            cell: method and budget.
            request: what was asked.
            output: of vLLM.
            report: of the workers; None where none came.

        Raises:
            UserError: another number of tokens than was announced, or a method that dropped nothing.
        """
        answer = output.outputs[0]
        ids = tuple(answer.token_ids)
        if report is None:
            raise UserError(
                f"vLLM answered {request.sample.id} and no worker reports its images: the plug-in did not run; "
                "look for the entry point vllm.general_plugins of vtprune_eval in this environment."
            )
        counts = self._counts(request, output, report, len(ids))
        budget = self._spec.budget(cell)
        # An image's size may stay what it was: guipruner-tar leaves a single image alone, and a note says so.
        allowed = [n for hook, n in report["n_keep"].items() if hook != "reduce_images" and n is not None]
        if budget.value is not None and allowed and min(allowed) < sum(counts.visual_full) == sum(counts.visual):
            raise UserError(
                f"{cell.method} at {cell.budget} kept every token of {request.sample.id} inside vLLM: the "
                "method did not act."
            )
        body = [t for t in ids if t not in self._eos]
        return Outcome(
            text=self._side.tokenizer.decode(body, skip_special_tokens=True),
            ids=ids,
            finish="eos" if answer.finish_reason == "stop" else "length",
            model_sizes=tuple((w, h) for w, h in report["sizes"]),
            file_sizes=tuple((w, h) for w, h in report["file_sizes"]),
            kept=tuple(map(tuple, report["kept"])),
            counts=counts,
            times=_UNKNOWN,
            flops={},
            kv_bytes=0,
            peak_bytes=0,
            notes=self._notes(budget, counts, report),
            asked=str(budget),
            reading=budget.reading,
            achieved=achieved(counts, report["n_keep"], self._config.get_text_config().num_key_value_heads),
        )

    def _counts(self, request: Asked, output: Any, report: Report, n_new: int) -> Counts:
        rules, text = self._side.images, self._config.get_text_config()
        full = tuple((w // rules.block) * (h // rules.block) for w, h in report["full"])
        visual, merge2, layers = tuple(len(k) for k in report["kept"]), rules.merge_size**2, text.num_hidden_layers
        prompt = len(output.prompt_token_ids)
        if prompt != request.n_text + sum(visual):
            raise UserError(
                f"vLLM's prompt of {request.sample.id} has {prompt} tokens, and {request.n_text} of text and "
                f"{sum(visual)} of images were to be in it; this is a mistake of the plug-in."
            )
        entered = tuple((w // rules.block) * (h // rules.block) * merge2 for w, h in report["sizes"])
        return Counts(
            patches_full=tuple(n * merge2 for n in full),
            patches=tuple(report["patches"]),
            visual_full=full,
            visual=visual,
            n_text=request.n_text,
            prompt_full=request.n_text + sum(full),
            prompt=prompt,
            layer_tokens=(prompt,) * layers,
            layer_visual=(sum(visual),) * layers,
            cache_entries=(prompt,) * layers,
            cache_heads=(text.num_key_value_heads,) * layers,
            n_new=n_new,
            vit_depth=report["depth"],
            patches_entered=entered if report["depth"] else (),
        )

    def _notes(self, budget: Budget, counts: Counts, report: Report) -> tuple[Note, ...]:
        import torch

        from ...methods.base import TokenEdit
        from ...pipeline.account import notes_of

        n = sum(counts.visual)
        visual = torch.arange(n) >= report["markers"]
        edit = TokenEdit(
            torch.ones(n, dtype=torch.bool),
            has_visual=visual if report["markers"] else None,
            note=Note.read(report["note"]) if report["note"] else "",
        )
        told = {h: StageBudget(k, None, sum(counts.visual_full), budget) for h, k in report["n_keep"].items()}
        return notes_of(self._side, budget, counts, told, edit)
