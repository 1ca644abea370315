"""A loaded vLLM engine that answers samples: the cells of a run, many samples at once."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import SampleError, UserError
from ...extras import require
from ...models.identity import ModelIdentity
from ...outcome import Outcome
from ...runner.engines import EngineStopped
from .outcomes import Asked, Outcomes
from .plan import SETTINGS, CountUnknown, Plan
from .report import Report, without_images

if TYPE_CHECKING:
    import numpy as np

    from ...runner.spec import Cell, RunSpec
    from ...sample import Sample

# Requests that vLLM is given at once; it decides itself how many of them it computes together.
IN_FLIGHT = 64
# Reports that are kept for requests whose encoder output vLLM has cached.
MAX_REPORTS = 4096
# No report to anybody; one process, so that Ctrl-C reaches this package alone; vLLM's progress is no error.
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
# On CPUs also: room for the KV cache in GB, and threads that are not bound to cores: several engines of one machine
# would be bound to the same ones.
CPU_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def check_engine(spec: RunSpec) -> None:
    """Refuse what vLLM cannot run, before anything is loaded.

    Raises:
        UserError: a model without a plug-in, random weights, a method or a setting of the pipeline alone.
    """
    from ...models import check_model_name
    from .plan import check_method
    from .sides import FAMILIES

    if check_model_name(spec.model).family not in FAMILIES.values():
        raise UserError(f"--engine vllm has no plug-in for {spec.model}; it runs Qwen3-VL, Qwen2.5-VL and Qwen2-VL.")
    if spec.weights == "random":
        raise UserError("--engine vllm reads weights from a folder; leave --weights random out, or use --engine local.")
    if spec.device not in ("auto", "cpu", "cuda"):
        raise UserError(
            f"--device {spec.device}: --engine vllm takes cpu or cuda; choose GPUs with CUDA_VISIBLE_DEVICES."
        )
    for name in spec.methods:
        check_method(spec, name)


def load_engine(spec: RunSpec, **options: Any) -> VllmEngine:
    """vLLM with the model of ``spec``; see :class:`VllmEngine`."""
    return VllmEngine(spec, **options)


class VllmEngine:
    """vLLM with the plug-in, for one model.

    Attributes:
        identity: as of a loaded model, and ``engine``: name and version.
        coordinates: frame of the answers.
        llm: vLLM's own object.
    """

    def __init__(self, spec: RunSpec, **options: Any) -> None:
        """Load the model into vLLM.

        Args:
            spec: its model, folder, dtype, device, seed and hyper-parameters count.
            options: arguments of vLLM's ``LLM`` instead of the ones here.

        Raises:
            UserError: vLLM is missing, or it cannot load the model.
        """
        from ...runner.defaults import resolved

        spec = resolved(spec)
        check_engine(spec)
        require("vllm", "--engine vllm")
        from ...models import check_model_name, family_of, fingerprint, folder_of

        for name, value in {**ENVIRONMENT, **(CPU_ENVIRONMENT if spec.device == "cpu" else {})}.items():
            os.environ.setdefault(name, value)
        folder, revision = folder_of(spec.model, spec.model_path)
        card, family = check_model_name(spec.model), family_of(spec.model)
        self._config = family.read_config(folder, spec.model)
        self._spec, self._folder, self._family = spec, folder, family
        self.coordinates, self._numbers = card.coordinates, itertools.count()
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self.llm = self._load(options)
        import vllm

        self.identity: ModelIdentity = {
            "model": spec.model,
            "hub_id": card.hub_id,
            "revision": revision,
            "weights": "trained",
            "dtype": spec.dtype,
            "attention": "vllm",
            "device": spec.device,
            "trained": True,
            "note": f"Answers by vllm {vllm.__version__}, many at once; costs are never taken from there.",
            "architecture": family.architecture,
            "fingerprint": fingerprint(folder),
            "engine": f"vllm {vllm.__version__}",
        }

    def _load(self, options: dict[str, Any]) -> Any:
        import vllm

        from .plugin import overrides, register

        register()
        settings = {
            "hf_overrides": overrides(self._family.architecture),
            "worker_extension_cls": "vtprune_eval.integrations.vllm.worker.Extension",
            "enable_prefix_caching": False,
            "mm_processor_cache_gb": 0,
            "limit_mm_per_prompt": {"image": 1},
            "disable_log_stats": True,
            "enforce_eager": self._spec.device == "cpu",
            "max_num_seqs": IN_FLIGHT,
            "dtype": self._spec.dtype,
            "seed": self._spec.seed,
            **options,
        }
        try:
            return vllm.LLM(model=str(self._folder), **settings)
        except Exception as error:
            raise UserError(
                f"vLLM cannot load {self._folder} ({_line(error)}); VLLM_LOGGING_LEVEL=INFO shows more."
            ) from error

    @cached_property
    def _side(self) -> Any:
        from ...models.folder import chat_tokenizer
        from .sides import front

        return front(self._config, chat_tokenizer(self._folder), self._folder)

    @cached_property
    def _front(self) -> Any:
        from .front import Front

        return Front(self._side)

    @cached_property
    def _outcomes(self) -> Outcomes:
        return Outcomes(self._spec, self._side, self._config, self.eos)

    @cached_property
    def eos(self) -> frozenset[int]:
        """Ids that end an answer."""
        from transformers import GenerationConfig

        found: Any = None
        if (self._folder / "generation_config.json").exists():
            found = GenerationConfig.from_pretrained(self._folder).eos_token_id
        ends = found if isinstance(found, list) else [found]
        return frozenset(e for e in ends if e is not None) or frozenset([self._side.tokenizer.eos_token_id])

    def answer(
        self, cell: Cell, samples: Iterable[Sample], max_new_tokens: int
    ) -> Iterator[tuple[Sample, Outcome | Exception]]:
        """Answers as they come, each sample with its outcome or with what went wrong for it alone.

        Args:
            cell: method and budget.
            samples: read as room becomes free.
            max_new_tokens: limit of an answer.

        Raises:
            UserError: a mistake that a user can mend, a method that did nothing, or an engine that stopped.
        """
        engine, waiting, asked = self.llm.llm_engine, iter(samples), dict[str, Asked]()
        ready: deque[tuple[Sample, Outcome | Exception]] = deque()
        more = True
        try:
            while more or asked:
                while more and len(asked) < IN_FLIGHT:
                    sample = next(waiting, None)
                    if sample is None:
                        more = False
                        break
                    try:
                        number, request = self.ask(cell, sample, max_new_tokens)
                        asked[number] = request
                    except SampleError as error:
                        ready.append((sample, error))
                finished = [o for o in self.step() if o.finished] if asked else []
                if finished:
                    self._collect()
                for output in finished:
                    request = asked.pop(output.request_id)
                    report = self._reports.get(request.key) if request.sample.images else without_images()
                    ready.append((request.sample, self._outcomes.of(cell, request, output, report)))
                while ready:
                    yield ready.popleft()
        finally:
            if asked:  # the caller stopped
                engine.abort_request(list(asked))
                while engine.has_unfinished_requests():
                    self.step()

    def ask(self, cell: Cell, sample: Sample, max_new_tokens: int, *, exactly: bool = False) -> tuple[str, Asked]:
        """Hand one sample to vLLM; the request's number and what is needed to read its answer.

        Args:
            cell: what is asked.
            sample: what is asked.
            max_new_tokens: limit of the answer.
            exactly: as many tokens, end or not.

        Raises:
            SampleError: this sample alone cannot be asked.
            UserError: a plan that no sample can follow.
        """
        from vllm import SamplingParams

        limits = SamplingParams(
            temperature=0.0,
            max_tokens=max_new_tokens,
            stop_token_ids=sorted(self.eos),
            ignore_eos=exactly,
            min_tokens=max_new_tokens if exactly else 0,
        )
        picture, plan, ids, spans = self._prepared(cell, sample)
        number = f"{next(self._numbers)}-{sample.id}"
        try:
            self._add(number, picture, plan, ids, spans, limits)
        except CountUnknown:
            assert picture is not None
            fields = self._front.fields(picture, plan)
            counted = self.llm.collective_rpc(
                "vtprune_count", args=(fields.about, fields.keep, fields.patches, fields.pixels)
            )
            plan = replace(plan, rows=int(counted[0]))
            self._add(number, picture, plan, ids, spans, limits)
        return number, Asked(sample, plan.key, len(ids) - len(spans))

    def step(self) -> list[Any]:
        """Compute a step; what came of it, of finished requests and of others.

        Raises:
            EngineStopped: vLLM cannot go on.
        """
        try:
            return list(self.llm.llm_engine.step())
        except Exception as error:
            raise EngineStopped(
                f"vLLM stopped ({_line(error)}); every complete record is kept: start the same command again."
            ) from error

    def _prepared(self, cell: Cell, sample: Sample) -> tuple[np.ndarray | None, Plan, list[int], list[tuple[int, int]]]:
        """All images of a sample as one picture, its plan, and its prompt with one placeholder per image."""
        from ...image_file import open_image
        from .front import stack

        files = [open_image(path) for path in sample.images]
        ids, spans = self._side.prompt_ids([1] * len(files), sample.question)
        sizes = tuple((f.shape[1], f.shape[0]) for f in files) if len(files) > 1 else ()
        settings = {k: getattr(self._spec, k) for k in SETTINGS}
        plan = Plan(cell.method, cell.budget, settings, sample.id, sample.instruction, sample.question, sizes)
        if not plan.reads_text:
            plan = plan.unread
        return (None if not files else stack(files) if sizes else files[0]), plan, ids, spans

    def _add(
        self,
        number: str,
        picture: np.ndarray | None,
        plan: Plan,
        ids: list[int],
        spans: list[tuple[int, int]],
        limits: Any,
    ) -> None:
        from PIL import Image

        prompt: dict[str, Any] = {"prompt_token_ids": ids}
        if picture is not None:  # one placeholder stands for all images and for the text between them
            prompt = {
                "prompt_token_ids": ids[: spans[0][0] + 1] + ids[spans[-1][1] :],
                "multi_modal_data": {"image": Image.fromarray(picture)},
                "mm_processor_kwargs": {"vtprune": plan.text},
            }
        try:
            self.llm.llm_engine.add_request(number, prompt, limits)
        except Exception as error:
            raise _told(error, self.llm.llm_engine.model_config.max_model_len) from error

    def _collect(self) -> None:
        """Take what the workers say of pictures; all ranks of a tensor-parallel group say the same."""
        self._reports.update(self.llm.collective_rpc("vtprune_report")[0])
        while len(self._reports) > MAX_REPORTS:
            self._reports.popitem(last=False)


def _told(error: BaseException, longest: int) -> Exception:
    """What an error of a request means: our own sentence if one of ours is behind it."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, (UserError, SampleError)):
            return behind
        behind = behind.__cause__
    from vllm.exceptions import VLLMValidationError

    if isinstance(error, (ValueError, VLLMValidationError)):
        return SampleError("too_long", f"vLLM does not take this prompt, of at most {longest} tokens ({_line(error)}).")
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(".:")[:300]
