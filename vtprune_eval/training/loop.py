"""The training loop: micro-batches, packed sequences, one step of the optimizer at a time."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from ..budget import Budget
from ..clock import wait_for
from ..errors import UserError
from ..extras import require
from ..methods.focusui import FocusUI
from ..methods.full import Full
from ..models import load_model
from ..pipeline.generate import Pipeline
from ..profiling.memory import PeakMemory
from .checkpoint import Folder
from .cost import Work
from .examples import grouped, load_examples
from .feed import Feed, drawn_budget
from .focusui import Recipe, add_marker, start_at_runs, trainable_scorer, write_scorer
from .learner import Item, Learner, NotFinite, check_answers, turn_length
from .parts import choose_parts, export, parameter_groups
from .shard import divide, exchanged, gathered, refuse_other_sharding, whole
from .spec import TrainSpec
from .speed import summary

BETAS = (0.9, 0.95)
FLOOR = 0.01  # the learning rate at the end, as a share of its peak


def train(spec: TrainSpec) -> dict[str, Any]:
    """Run a training, or go on with it; returns its summary.

    Raises:
        UserError: anything a user can mend; what was trained up to the last checkpoint is kept.
    """
    require("accelerate", "training")
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    accelerator = Accelerator(
        cpu=spec.device == "cpu" or (spec.device == "auto" and not torch.cuda.is_available()),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    refuse_other_sharding(accelerator)
    torch.manual_seed(spec.seed)
    built = Built(spec, accelerator)
    learner, folder = built.learner, built.folder
    decay = 0.0 if spec.train == "marker" else spec.weight_decay  # it would pull at the rows that stay as they are
    if spec.shard:
        divide(learner, accelerator)
    optimizer: Any = torch.optim.AdamW(parameter_groups(learner, decay), lr=spec.lr, betas=BETAS, fused=True)
    if spec.shard:
        learner_ready, folder.optimizer = learner, optimizer
    else:
        learner_ready, optimizer = accelerator.prepare(learner, optimizer)
    done = folder.open()
    n_steps = spec.steps or max(1, len(built.groups) // (spec.batch * spec.accumulate * accelerator.num_processes))
    if done:
        _say(accelerator, f"resumed behind step {done} of {n_steps}")
    feed = Feed(spec, built, accelerator)
    for step in range(done, n_steps):
        rate = learning_rate(step, n_steps, spec)
        for group in optimizer.param_groups:
            group["lr"] = rate
        try:
            with torch.enable_grad():  # VLMEvalKit, where it was imported before, turns gradients off in the process
                line = one_step(spec, built, accelerator, learner_ready, optimizer, feed, step)
        except NotFinite as error:
            raise UserError(
                f"step {step + 1}: the loss of sample {error.sample} is not a finite number; {_kept(folder)}. Lower "
                f"--lr (now {spec.lr:g}) or --clip, or take the sample out of the data."
            ) from None
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise UserError(out_of_memory(spec, step, folder)) from error
        except RuntimeError as error:
            if "memory" in str(error) and ("alloc" in str(error) or "out of" in str(error)):
                raise UserError(out_of_memory(spec, step, folder)) from error
            raise
        folder.log({"step": step + 1, "lr": rate, **line})
        if (step + 1) % max(1, n_steps // 20) == 0 or step + 1 == n_steps:
            _say(accelerator, f"step {step + 1} of {n_steps}: loss {line['loss']:.4f}, {line['step_s']:.2f} s")
        if (step + 1) % spec.save_every == 0 or step + 1 == n_steps:
            folder.save(step + 1)
        if spec.export_every and (step + 1) % spec.export_every == 0:
            built.export(Path(spec.out) / f"step-{step + 1}")
    found = {"steps": n_steps, **summary(folder.lines(), spec)}
    built.export(Path(spec.out))
    folder.write("summary.json", found)
    accelerator.wait_for_everyone()
    return found


def learning_rate(step: int, n_steps: int, spec: TrainSpec) -> float:
    """Linear warm-up, then a cosine to 1 % of the peak (PixelPrune's released settings)."""
    warmup = min(spec.warmup, n_steps // 2)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    share = (step - warmup) / max(1, n_steps - warmup)
    return spec.lr * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))


def _kept(folder: Folder) -> str:
    saved = folder.checkpoints()
    if not saved:
        return "no checkpoint was written yet"
    return f"the checkpoint of step {saved[-1][0]} in {folder.own} is good"


def out_of_memory(spec: TrainSpec, step: int, folder: Folder) -> str:
    """The sentence that says what to lower, the cheapest first."""
    ways = [f"lower --pack-tokens (now {spec.pack_tokens})"]
    if spec.batch > 1:
        ways.append(f"lower --batch (now {spec.batch}) and raise --accumulate by as much")
    if not spec.checkpointing:
        ways.append("add --checkpointing")
    if spec.dtype == "float32":
        ways.append("add --dtype bfloat16")
    if not spec.lora and spec.train == "all":
        ways.append("train fewer weights with --lora 16")
    return f"step {step + 1}: not enough memory; {', '.join(ways)}. {_kept(folder).capitalize()}."


def _say(accelerator: Any, text: str) -> None:
    if accelerator.is_main_process:
        print(text, file=sys.stderr, flush=True)


class Built:
    """Everything that a training needs: model, data, learner, folder."""

    def __init__(self, spec: TrainSpec, accelerator: Any) -> None:
        """Load and connect.

        Raises:
            UserError: see :func:`train`.
        """
        from ..benchmarks.prompts import style_of
        from ..models import check_model_name

        self.spec, self.main = spec, accelerator.is_main_process
        device = str(accelerator.device)
        mixed = spec.dtype == "bfloat16" or (spec.dtype == "auto" and accelerator.device.type == "cuda")
        kind = "float32" if not spec.lora or not mixed else "bfloat16"
        load = {"dtype": kind, "device": device, "seed": spec.seed, "weights": spec.weights}
        card = check_model_name(spec.model)
        examples = load_examples(
            spec.data,
            card.coordinates,
            style_of(spec.model, card.family),
            limit=spec.limit,
            data_path=spec.data_path,
        )
        adapter = load_model(spec.model, path=spec.model_path, **load)  # type: ignore[arg-type]
        self.groups = grouped(examples, spec.questions)
        run_spec = spec.run_spec("99.9" if spec.drawn[0] < spec.drawn[1] else None)
        methods = run_spec.make(spec.method)
        self.scorer_file: Path | None = None
        scorer, marker = None, None
        marked = spec.train == "marker" or bool(spec.saliency) or spec.marker_start != "keep"
        if spec.method == "focusui" and marked:
            marker = add_marker(adapter, spec.marker_start)
        if spec.marker_start == "runs" and marker is not None:
            means = tuple(dataclasses.replace(m, marker="mean") if isinstance(m, FocusUI) else m for m in methods)
            asked = ((self.groups[i][0].sample, drawn_budget(spec, i)) for i in range(min(16, len(self.groups))))
            start = Pipeline(adapter, means, spec.first_budget(), seed=spec.seed, copied=run_spec.copied)
            start_at_runs(start, marker, asked)
        if spec.saliency:
            method, scorer = trainable_scorer(methods[0], adapter, Path(spec.out) / "training")
            methods = (method,)
        pipeline = Pipeline(adapter, methods, spec.first_budget(), seed=spec.seed, copied=run_spec.copied)
        weights = {k: v for k, v in (("saliency", spec.saliency), ("action", spec.action)) if v}
        if spec.action and not adapter.points:
            raise UserError(f"--action trains an action head, and {spec.model} has none; leave it out.")
        recipe = Recipe(methods[0], scorer, weights) if weights else None
        trained, self.wrapped = choose_parts(spec, adapter, marker)
        self.learner = Learner(
            adapter,
            pipeline,
            teacher=self._teacher(spec, load),
            kd_weight=spec.kd_weight,
            recipe=recipe,
            autocast=torch.bfloat16 if mixed else None,
            trained=trained,
            decodes=spec.decodes,
        )
        self.adapter, self.recipe = adapter, recipe
        check_answers(self.learner, examples)
        if recipe is not None and recipe.scorer is not None:
            self.scorer_file = Path(recipe.method.scorer)
        self.folder = Folder(
            spec, accelerator, self.learner, {"fingerprint": adapter.identity.get("fingerprint"), "n": len(examples)}
        )

    @staticmethod
    def _teacher(spec: TrainSpec, load: dict[str, Any]) -> Pipeline | None:
        """The full-token teacher: the weights that the training starts from, or those of another folder."""
        if not spec.teacher:
            return None
        path = spec.model_path if spec.teacher == "full" else spec.teacher
        return Pipeline(load_model(spec.model, path=path, **load), Full(), Budget.parse("100"))

    def export(self, out: Path) -> None:
        """Write the trained folder, in the main process; every process has to call."""
        scorer = self.recipe.scorer if self.recipe is not None else None
        state = gathered(self.adapter.model.state_dict().items(), self.main) if self.spec.shard else None
        of_scorer = gathered(scorer.state_dict().items(), self.main) if scorer is not None else {}
        if not self.main:
            return
        if self.scorer_file is not None and scorer is not None:
            write_scorer(of_scorer, self.scorer_file)
        export(self.adapter, self.wrapped, out, self.scorer_file, state)


def one_step(
    spec: TrainSpec, built: Built, accelerator: Any, learner: Any, optimizer: Any, feed: Feed, step: int
) -> dict[str, Any]:
    """One step of the optimizer; returns its line of the log."""
    begin = time.perf_counter()
    taken = [feed.take(step, part) for part in range(spec.accumulate)]
    skipped = [s for _, _, more in taken for s in more]
    packs = [p for items, _, _ in taken for p in built.learner.packs(items, spec.pack_tokens)]
    n_questions = sum(len(item.examples) for pack in packs for item in pack)
    if not packs:
        raise UserError(
            f"step {step + 1}: none of its samples can be used ({skipped[0]['sample']}: {skipped[0]['reason']}); mend "
            "the data, or give a larger budget."
        )
    compared: dict[str, Any] = {}
    comparing = bool(spec.compare_full) and step % spec.compare_full == 0 and accelerator.num_processes == 1
    if comparing and (step // spec.compare_full) % 2 == 0:
        compared = {"full": _with_all(spec, built, accelerator, learner, optimizer, feed, packs)}
    optimizer.zero_grad(set_to_none=True)
    line = passes(built, accelerator, learner, packs, n_questions)
    norm = float(whole(accelerator.clip_grad_norm_([p for p in learner.parameters() if p.requires_grad], spec.clip)))
    if not math.isfinite(norm):
        raise NotFinite(packs[0][0].examples[0].sample.id)
    start = time.perf_counter()
    optimizer.step()
    wait_for(accelerator.device)
    line |= {"optimizer_s": time.perf_counter() - start, "grad_norm": norm}
    line["prepare_s"] = sum(seconds for _, seconds, _ in taken)
    line["step_s"] = time.perf_counter() - begin - sum(compared.get("full", {}).get(k, 0.0) for k in _SPENT)
    if comparing and not compared:
        compared = {"full": _with_all(spec, built, accelerator, learner, optimizer, feed, packs)}
    return {**line, **compared, **({"skipped": skipped} if skipped else {})}


_SPENT = ("prepare_s", "forward_s", "backward_s")


def _with_all(
    spec: TrainSpec, built: Built, accelerator: Any, learner: Any, optimizer: Any, feed: Feed, packs: Any
) -> dict[str, Any]:
    """Both passes over the same samples with all tokens; their gradients are let go."""
    items, seconds = feed.full([item for pack in packs for item in pack])
    optimizer.zero_grad(set_to_none=True)
    with built.learner.all_tokens():
        line = passes(built, accelerator, learner, built.learner.packs(items, spec.pack_tokens), 0)
    optimizer.zero_grad(set_to_none=True)
    return {k: v for k, v in line.items() if k not in {"loss", "right"}} | {"prepare_s": seconds}


def passes(
    built: Built, accelerator: Any, learner: Any, packs: Sequence[Sequence[Item]], n_questions: int
) -> dict[str, Any]:
    """Forward and backward of all packed sequences of a step.

    The loss is the mean over the tokens of all answers of the step: neither packing nor accumulation changes it.
    """
    device, works = accelerator.device, []
    n_tokens: float = sum(_n_taught(built.learner, item) for pack in packs for item in pack)
    if accelerator.num_processes > 1:  # gradients are averaged over the processes, whose answers differ in length
        n_tokens = float(accelerator.reduce(torch.tensor(float(n_tokens), device=device), "mean"))
    memory, sums = PeakMemory(*built.adapter.devices), dict[str, float]()
    memory.reset()
    seconds = {"forward_s": 0.0, "backward_s": 0.0}
    for number, pack in enumerate(packs):
        with _synchronised(accelerator, learner, number == len(packs) - 1):
            start = _now(device)
            out = learner(pack)
            loss = out.pop("loss") / max(1, n_tokens)
            if "extra" in out:
                loss = loss + out.pop("extra") / max(1, n_questions)
            middle = _now(device)
            accelerator.backward(loss)
            end = _now(device)
        seconds["forward_s"] += middle - start
        seconds["backward_s"] += end - middle
        works.append(built.learner.work)
        sums["loss"] = sums.get("loss", 0.0) + float(loss.detach())
        for name, value in out.items():
            per = n_questions if name in {"saliency", "action"} else n_tokens
            sums[name] = sums.get(name, 0.0) + float(value) / max(1, per)
    if accelerator.num_processes > 1:  # what is logged is of all processes
        names = sorted(sums)
        means = accelerator.reduce(torch.tensor([sums[n] for n in names], device=device), "mean")
        sums = dict(zip(names, means.tolist(), strict=True))
    work = sum(works, Work())
    return {
        **sums,
        **seconds,
        "sequences": len(packs),
        "tokens": work.tokens,
        "visual": work.visual,
        "patches": work.patches,
        "answer_tokens": work.answers,
        "flops_forward": work.forward,
        "flops_backward": work.backward,
        "peak_bytes": memory.read(),
    }


def _n_taught(learner: Learner, item: Item) -> int:
    if not learner.adapter.points:
        return sum(len(a) for a in item.answers)
    return len(item.examples) * turn_length(learner.adapter, item.looked.prompt)


def _now(device: torch.device) -> float:
    wait_for(device)
    return time.perf_counter()


def _synchronised(accelerator: Any, learner: Any, last: bool) -> Any:
    """Gradients are exchanged between processes once per step, with the last packed sequence."""
    if hasattr(learner, "set_requires_gradient_sync"):
        return exchanged(learner, last)
    return nullcontext() if last or accelerator.num_processes == 1 else accelerator.no_sync(learner)
