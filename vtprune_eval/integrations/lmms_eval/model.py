"""The model ``vtprune`` of lmms-eval: a model x method x budget of ours, greedy, one sample at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from ...errors import SampleError, UserError
from ...extras import host_version
from ...json_values import JsonObject
from ..answers import PLACEHOLDER, Costs, Said, cut, engine_of, picture_path, prompt_of

MAX_NEW_TOKENS = 256


class Vtprune(lmms):
    """``--model vtprune --model_args model=nano,method=pixelprune,budget=20``."""

    is_simple = True

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
            model: as on the command line of a run; ``model`` may be a hub id, or name all three (``nano@guikv@10``).
            method: as on the command line of a run; ``model`` may be a hub id, or name all three (``nano@guikv@10``).
            budget: as on the command line of a run; ``model`` may be a hub id, or name all three (``nano@guikv@10``).
            batch_size: 1: a batch would hide what one sample costs.
            max_batch_size: ignored, lmms-eval always passes it.
            device: torch device, cpu where none is named.
            pretrained: the same as ``model``.
            options: see :data:`vtprune_eval.integrations.engine.OPTIONS`, and ``METHOD.KEY`` for a hyper-parameter.

        Raises:
            UserError: settings that cannot be run.
        """
        super().__init__()
        if batch_size not in (None, 1, "1", "auto"):
            raise UserError(f"--batch_size {batch_size}: samples are measured one at a time; use 1.")
        self.engine = engine_of(pretrained or model, method, budget, device=device, **options)
        self.engine.adapter  # noqa: B018 (a model that cannot be loaded is reported once, not per sample)
        self._costs = Costs()

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Answers with their counts of tokens, in order.

        Args:
            requests: instances whose ``args`` are (context, generation settings, doc_to_visual, doc id, task, split).

        Raises:
            UserError: a request without images, one that asks for sampling, or examples of other samples.
        """
        return [self._answer(*request.args) for request in tqdm(requests, desc=self.engine.name)]

    def _answer(
        self, context: str, settings: JsonObject, to_visual: Any, doc_id: Any, task: str, split: str
    ) -> GenerationResult:
        doc = self.task_dict[task][split][doc_id]
        images = to_visual(doc) if to_visual else []
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
                    paths,
                    prompt_of(context, len(images)),
                    sample_id=doc.get("vtprune_id", f"{task}/{doc_id}"),
                    max_new_tokens=int(settings.get("max_new_tokens") or MAX_NEW_TOKENS),
                )
            except SampleError as error:
                self._costs.add(None)
                return GenerationResult(text=Said("", failed=error.reason), token_counts=TokenCounts(0, 0))
        self._costs.add(answer)
        counts = answer.outcome.counts
        said = Said(cut(answer.text, settings.get("until") or []), answer.frame)
        return GenerationResult(text=said, token_counts=TokenCounts(sum(counts.visual) + counts.n_text, counts.n_new))

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise UserError("the model vtprune generates answers; tasks that compare likelihoods cannot be run with it.")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise UserError("the model vtprune answers one question at a time; tasks of several rounds cannot be run.")

    def get_model_info(self) -> JsonObject:
        """What made the results, and the means of their costs."""
        made_by = {**self.engine.made_by(), "costs": self._costs.means(), "host": host_version("lmms_eval")}
        return {"vtprune": made_by}
