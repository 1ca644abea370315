"""The model ``vtprune`` of lm-eval: a model x method x budget of ours, greedy, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lm_eval.models  # noqa: F401 (first: a registry that already holds an entry is taken as filled)
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm

from ...json_values import JsonObject
from ..answers import HostModel, Said


@register_model("vtprune")
class VtpruneLM(HostModel, LM):
    """``--model vtprune --model_args model=nano,method=pixelprune,budget=10``."""

    MULTIMODAL = True

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers to requests with images, in order.

        Args:
            requests: instances whose ``args`` are (context, generation settings, {"visual": images}).
            disable_tqdm: no progress bar.

        Raises:
            UserError: a request without images, or one that asks for sampling.
        """
        out: list[str] = []
        for request in tqdm(requests, disable=disable_tqdm, desc=self.engine.name):
            said = self._answer(request)
            if not said.failed:  # a failure is tried again by the next run with this cache
                self.cache_hook.add_partial("generate_until", request.args, said)
            out.append(said)
        return out

    def _answer(self, request: Any) -> Said:
        context, settings, *media = request.args
        images = media[0].get("visual") if media else None
        doc = request.doc if isinstance(request.doc, dict) else {}
        said, _ = self.ask(
            request.task_name,
            context,
            images,
            settings,
            sample_id=doc.get("vtprune_id"),
            max_new_tokens=int(normalize_gen_kwargs(settings)["max_gen_toks"]),
        )
        return said

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise self.no_likelihood()

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        """Not offered, see :meth:`loglikelihood`."""
        return self.loglikelihood(requests)

    def apply_chat_template(self, chat_history: list[JsonObject], add_generation_prompt: bool = True) -> str:
        """The texts of all turns: the pipeline puts the model's own template around them."""
        return "\n".join(str(turn["content"]) for turn in chat_history)

    @property
    def tokenizer_name(self) -> str:
        """Names the cell, because request caches are keyed by it."""
        return self.engine.name

    def get_model_info(self) -> JsonObject:
        """See :meth:`HostModel.made_by`."""
        return self.made_by("lm_eval")
