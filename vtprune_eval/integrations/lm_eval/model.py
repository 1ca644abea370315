"""The model ``vtprune`` of lm-eval: a model x method x budget of ours, greedy, one sample at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401 (first: a registry that already holds an entry is taken as filled)
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm

from ...errors import SampleError, UserError
from ...extras import host_version
from ...json_values import JsonObject
from ..answers import PLACEHOLDER, Costs, Said, cut, engine_of, picture_path, prompt_of


@register_model("vtprune")
class VtpruneLM(LM):
    """``--model vtprune --model_args model=nano,method=pixelprune,budget=10``."""

    MULTIMODAL = True

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
            pretrained: the same as ``model``, under lm-eval's own name for it.
            batch_size: 1 (or ``auto``): a batch would hide what one sample costs.
            max_batch_size: ignored, lm-eval always passes it.
            device: torch device.
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
        if not images:
            raise UserError(
                f"task {request.task_name}: the model vtprune answers questions about images; this request has none."
            )
        if settings.get("do_sample"):
            raise UserError(
                f"task {request.task_name}: do_sample is set, but decoding is greedy; pass --gen_kwargs "
                "do_sample=false."
            )
        places = context.count(PLACEHOLDER)
        if places not in (0, len(images)):
            raise UserError(
                f"task {request.task_name}: the prompt has places for {places} images and {len(images)} come with it; "
                "examples of other samples (--num_fewshot) bring no images, so leave them out."
            )
        settings = normalize_gen_kwargs(settings)
        doc = request.doc if isinstance(request.doc, dict) else {}
        with tempfile.TemporaryDirectory() as folder:
            paths = [picture_path(image, Path(folder)) for image in images]
            try:
                answer = self.engine.answer(
                    paths,
                    prompt_of(context, len(images)),
                    sample_id=doc.get("vtprune_id"),
                    max_new_tokens=int(settings["max_gen_toks"]),
                )
            except SampleError as error:
                self._costs.add(None)
                return Said("", failed=error.reason)
        self._costs.add(answer)
        return Said(cut(answer.text, settings.get("until") or []), answer.frame)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> Any:
        """Not offered.

        Raises:
            UserError: always.
        """
        raise UserError("the model vtprune generates answers; tasks that compare likelihoods cannot be run with it.")

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
        """What made the results: stored by lm-eval beside them."""
        return {"vtprune": {**self.engine.made_by(), "costs": self._costs.means(), "host": host_version("lm_eval")}}
