"""Time, memory and energy at true model sizes on a GPU, with random weights: one command, within 8 minutes.

    python scripts/bench/gpu.py [--models qwen3vl-2b,qwen3vl-8b] [--seconds 480] [--out runs/bench-gpu]

Measured per cell, in bfloat16, for every attention backend that is installed: TTFT, ViT, prefill, decode, peak memory
and energy of ``full`` and of every method at budgets 10 and 25. Workload ``screen`` is one 2716x1616 screenshot of
which PixelPrune keeps 26 %, ``history`` five 1920x1080 ones. The papers' headline ratios are printed beside.

A cell: up to three warm-up calls, one call of ``full`` (so that its samples are spread over the whole time), then timed
calls: two seconds of them, at least three, for ``full`` and the headlines; the other cells share the time that is left.
Eight tokens are generated in every call. Energy is that of the whole GPU, idle power included; over less than a second
of calls it is marked as coarse. Ratios are of medians, with 95 % bootstrap intervals; a measured TTFT ratio above that
of the FLOPs is marked, because it needs an explanation before it is quoted.

Order of importance, when the time does not suffice: model and backend groups in the order sdpa, then flash, each over
the models as named, with equal shares of the time that is left (time that a group does not need goes to the next);
inside a group first the cells of the headlines, then every method at budget 10, then at 25. What was left out is
listed. Nothing is ever estimated: without a GPU this ends with one sentence and exit code 2. ``--device cpu --models
nano`` runs the same code as a rehearsal; its numbers say nothing about a GPU.

Writes ``gpu.json`` and ``gpu.md`` into ``--out`` after every cell, so that an interrupted run leaves what it has.
"""

from __future__ import annotations

import time

STARTED = time.monotonic()  # before the heavy imports: they are part of the promised time

import argparse  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from gpu_cells import (  # noqa: E402
    FRAME,
    N_FRAMES,
    N_NEW,
    SCREEN,
    SMALL_FRAME,
    SMALL_SCREEN,
    Cell,
    Group,
    cells,
    default_methods,
    free_memory,
    load_group,
    measure,
)
from screens import size  # noqa: E402

from vtprune_eval.errors import SampleError, UserError  # noqa: E402

# Of a cell's share of the time, what its timed calls get; the rest is for warm-up and the call of full.
SHARE = 0.5
LARGE_PART = 15  # a headline's window is at most this part of the time that is left


class Report:
    """Everything measured so far, and what was left out and why."""

    def __init__(self, out: Path, environment: dict[str, Any], settings: dict[str, Any]) -> None:
        self.out, self.environment, self.settings = out, environment, settings
        self.rows: list[dict[str, Any]] = []
        self.missing: list[dict[str, str]] = []

    def miss(self, model: str, attention: str, what: str, reason: str) -> None:
        """Note something that was not measured."""
        self.missing.append({"model": model, "attention": attention, "what": what, "reason": reason})

    def write(self) -> str:
        """Write both files; returns the Markdown."""
        from gpu_report import headlines, markdown

        from vtprune_eval.results.store import write_atomic

        data = {
            "schema": 1,
            "bench": "gpu",
            "environment": self.environment,
            "settings": self.settings,
            "headlines": headlines(self.rows, ROOT / "leaderboards" / "papers"),
            "rows": self.rows,
            "not_measured": self.missing,
        }
        text = markdown(data)
        write_atomic(self.out / "gpu.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
        write_atomic(self.out / "gpu.md", text)
        return text


def run_group(group: Group, todo: list[Cell], gpu: Any, report: Report, deadline: float, window_s: float) -> None:
    """Measure the cells of a group until its time is up; ``full`` of a workload first."""
    from gpu_report import add_ratios

    plan: list[Cell] = []
    for cell in todo:
        full = Cell(cell.workload, "full", "100", headline="base")
        plan += [cell] if full in plan else [full, cell]
    for number, cell in enumerate(plan):
        left = deadline - time.monotonic()
        if left <= group.least_seconds(cell.workload):
            report.miss(group.model, group.attention, cell.label, "no time was left")
            continue
        if cell.method != "full" and cell.workload not in group.full:
            report.miss(group.model, group.attention, cell.label, "full could not be measured on this workload")
            continue
        # What the headlines need gets the whole window, within reason; the others share what is left.
        share = left / LARGE_PART if cell.headline else SHARE * left / (len(plan) - number)
        try:
            row = measure(group, cell, gpu, min(window_s, share))
        except (UserError, SampleError) as error:
            report.miss(group.model, group.attention, cell.label, str(error))
            free_memory(group.adapter.device)
            continue
        except Exception as error:  # one broken kernel must not cost the cells that come after it
            report.miss(group.model, group.attention, cell.label, f"crash: {type(error).__name__}: {error}"[:300])
            free_memory(group.adapter.device)
            continue
        group.rows.append(row)
        report.rows.append(row)
        add_ratios(group.rows, group.full)
        report.write()
        print(
            f"{group.model} {group.attention}: {cell.label}: TTFT {row['times']['ttft_ms']['median']:.1f} ms "
            f"({row['n_calls']} calls), {deadline - time.monotonic():.0f} s left for this group",
            file=sys.stderr,
        )


def attention_backends(given: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Backends to measure, and a sentence for each that cannot be."""
    import importlib.util

    if given.device == "cpu":
        return ["sdpa"], ["flash_attention_2 needs a GPU"]
    if importlib.util.find_spec("flash_attn") is None:
        return ["sdpa"], ["flash_attention_2: the package flash-attn is not installed (pip install flash-attn)"]
    return ["sdpa", "flash_attention_2"], []


def positive(text: str) -> float:
    """A number of seconds above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def parser() -> argparse.ArgumentParser:
    """Options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", default="qwen3vl-2b,qwen3vl-8b", help="short names (default qwen3vl-2b,qwen3vl-8b)")
    p.add_argument("--methods", help="methods beside full (default: all)")
    p.add_argument("--budgets", default="10,25", help="of every method (default 10,25)")
    p.add_argument("--seconds", type=positive, default=480, help="time for everything, imports included (default 480)")
    p.add_argument("--window", type=positive, default=2.0, help="seconds of calls per cell at least (default 2)")
    p.add_argument("--device", default="cuda", help="cuda (default), cuda:N, or cpu for a rehearsal")
    p.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    p.add_argument("--image", type=size, metavar="WxH", help="of the screen (default 2716x1616; on a CPU 320x192)")
    p.add_argument("--frame", type=size, metavar="WxH", help="of a history frame (default 1920x1080; on a CPU 160x96)")
    p.add_argument("--out", type=Path, default=Path("runs/bench-gpu"), help="folder (default runs/bench-gpu)")
    return p


def main(argv: Sequence[str] | None = None, started: float = STARTED) -> int:
    """Measure, write, print; the time runs from ``started`` (monotonic seconds).

    Returns:
        the exit code; 1: nothing was measured, 2: something that the user can mend, 130: interrupted.
    """
    given = parser().parse_args(argv)
    try:
        return bench(given, started)
    except UserError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2


def bench(given: argparse.Namespace, started: float) -> int:
    """See :func:`main`.

    Raises:
        UserError: no GPU, an unknown name, or a folder that cannot be written.
    """
    import torch

    from vtprune_eval.budget import Budget
    from vtprune_eval.models import family_of
    from vtprune_eval.profiling.gpu import open_gpu
    from vtprune_eval.registry import check_method_name

    if not re.fullmatch(r"cpu|cuda(:\d+)?", given.device):
        raise UserError(f"--device {given.device!r}: use cuda, cuda:N, or cpu for a rehearsal.")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no usable CUDA device here, and GPU numbers are never estimated; run this where there is one, "
            "or rehearse with --device cpu --models nano."
        )
    if given.device.startswith("cuda:") and int(given.device[5:]) >= torch.cuda.device_count():
        raise UserError(
            f"--device {given.device}: there are {torch.cuda.device_count()} CUDA devices here, counted from 0."
        )
    models, budgets = (list(dict.fromkeys(text.split(","))) for text in (given.models, given.budgets))
    methods = given.methods.split(",") if given.methods else default_methods()
    for model in models:
        family_of(model)
    for method in methods:
        check_method_name(method)
    for budget in budgets:
        Budget.parse(budget)
    given.image = given.image or (SMALL_SCREEN if given.device == "cpu" else SCREEN)
    given.frame = given.frame or (SMALL_FRAME if given.device == "cpu" else FRAME)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {given.out} cannot be used ({error.strerror}); choose another folder.") from None
    backends, absent = attention_backends(given)
    gpu = open_gpu(given.device, "full")
    end = started + 0.98 * given.seconds  # the last cell, the files and the exit need a little, too
    report = Report(
        given.out,
        {},
        {
            "models": models,
            "methods": methods,
            "budgets": budgets,
            "dtype": given.dtype,
            "seconds": given.seconds,
            "window_s": given.window,
            "image": given.image,
            "frame": given.frame,
            "frames": N_FRAMES,
            "new_tokens": N_NEW,
            "weights": "random",
        },
    )
    groups = [(m, a) for a in backends for m in models]
    for sentence in absent:
        report.miss("all", sentence.split(":")[0].split(" ")[0], "every cell", sentence)
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, (model, attention) in enumerate(groups):
                now = time.monotonic()
                deadline = now + max(0.0, end - now) / (len(groups) - number)
                if now >= end:
                    report.miss(model, attention, "every cell", "no time was left")
                    continue
                try:
                    group = load_group(model, attention, given, Path(folder))
                except Exception as error:  # a backend that is installed and broken must not cost the other groups
                    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                    report.miss(model, attention, "every cell", said.splitlines()[0][:300])
                    continue
                report.environment = environment(given, gpu)
                run_group(group, cells(methods, budgets), gpu, report, deadline, given.window)
                device = group.adapter.device
                del group
                free_memory(device)
        except KeyboardInterrupt:
            print("interrupted; what was measured is written.", file=sys.stderr)
            code = 130
    report.environment = environment(given, gpu)
    gpu.close()
    report.settings["spent_s"] = round(time.monotonic() - started, 1)
    print(report.write())
    print(f"written: {given.out / 'gpu.json'}, {given.out / 'gpu.md'}", file=sys.stderr)
    return code if report.rows else code or 1


def environment(given: argparse.Namespace, gpu: Any) -> dict[str, Any]:
    """Versions, processor and the state of the GPU, with what disturbed it so far."""
    import platform

    import torch
    import transformers

    import vtprune_eval

    name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else "cpu"
    return {
        "device": name,
        "is_gpu": given.device.startswith("cuda"),
        "gpu": gpu.state(),
        "gpu_reason": gpu.reason,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "package": vtprune_eval.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
