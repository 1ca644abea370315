"""The model ``vtprune`` of lmms-eval: a model x method x budget of ours, greedy, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from ...errors import UserError
from ...json_values import JsonObject
from ..answers import HostModel

MAX_NEW_TOKENS = 256


class Vtprune(HostModel, lmms):
    """``--model vtprune --model_args model=nano,method=pixelprune,budget=20``."""

    is_simple = True

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
        said, answer = self.ask(
            task,
            context,
            images,
            settings,
            sample_id=doc.get("vtprune_id", f"{task}/{doc_id}"),
            max_new_tokens=int(settings.get("max_new_tokens") or MAX_NEW_TOKENS),
        )
        if answer is None:
            return GenerationResult(text=said, token_counts=TokenCounts(0, 0))
        counts = answer.outcome.counts
        return GenerationResult(text=said, token_counts=TokenCounts(sum(counts.visual) + counts.n_text, counts.n_new))

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise self.no_likelihood()

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise UserError("the model vtprune answers one question at a time; tasks of several rounds cannot be run.")

    def get_model_info(self) -> JsonObject:
        """See :meth:`HostModel.made_by`."""
        return self.made_by("lmms_eval")
