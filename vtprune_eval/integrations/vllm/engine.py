"""A loaded vLLM engine that answers samples: the cells of a run, many samples at once."""

from __future__ import annotations

import itertools
import math
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import SampleError, UserError
from ...extras import require
from ...models.identity import ModelIdentity
from ...notes import Note
from ...outcome import Counts, Outcome, Times, achieved
from ...runner.engines import EngineStopped
from .plan import SETTINGS, CountUnknown, Plan

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
_UNKNOWN = Times(*[math.nan] * 9)


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
        self._reports: OrderedDict[str, dict[str, Any]] = OrderedDict()
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
                    ready.append((request.sample, self._outcome(cell, request, output)))
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

    def _outcome(self, cell: Cell, request: Asked, output: Any) -> Outcome:
        """What came out, counted, and held against what was to come out.

        Raises:
            UserError: another number of tokens than was announced, or a method that dropped nothing.
        """
        answer = output.outputs[0]
        ids = tuple(answer.token_ids)
        report = self._reports.get(request.key) if request.sample.images else _nothing()
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
        body = [t for t in ids if t not in self.eos]
        return Outcome(
            text=self._side.tokenizer.decode(body, skip_special_tokens=True),
            ids=ids,
            finish="eos" if answer.finish_reason == "stop" else "length",
            model_sizes=tuple(map(tuple, report["sizes"])),
            file_sizes=tuple(map(tuple, report["file_sizes"])),
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

    def _counts(self, request: Asked, output: Any, report: dict[str, Any], n_new: int) -> Counts:
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

    def _notes(self, budget: Any, counts: Counts, report: dict[str, Any]) -> tuple[Note, ...]:
        import torch

        from ...budget import StageBudget
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


def _nothing() -> dict[str, Any]:
    """The report of a sample without images."""
    return {
        "kept": [],
        "patches": [],
        "depth": 0,
        "markers": 0,
        "note": "",
        "sizes": [],
        "file_sizes": [],
        "full": [],
        "n_keep": {},
    }


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
