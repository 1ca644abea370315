"""``python -m vtprune_eval doctor``: what is on this machine, what is missing, and how to get it. Never a traceback."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..console import Parser
from ..errors import UserError
from ..extras import EXTRAS

# Below so much free disk a hub model may not fit.
ROOMY_BYTES = 20 << 30
# A convolution that takes so many times as long as the matrix product that it equals is called slow.
SLOW_CONVOLUTION = 5.0
HUB_TIMEOUT_S = 5


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        what: was looked at.
        found: what there is.
        state: ``ok``, ``note`` (nothing depends on it), or ``missing`` (the chosen settings need it).
        remedy: what to do, empty where nothing is to be done.
    """

    what: str
    found: str
    state: str = "ok"
    remedy: str = ""


def parser() -> Parser:
    """Options of ``doctor``."""
    p = Parser("doctor", description=__doc__)
    p.add_argument("--device", default="auto", help="that a run will use (default: the best there is)")
    p.add_argument("--dtype", default="auto", help="that a run will use (default: what suits the device)")
    p.add_argument("--attn", default="sdpa", help="that a run will use (default sdpa)")
    p.add_argument("--engine", default="local", help="that a run will use (default local)")
    p.add_argument("--model", default="nano", help="that a run will use (default nano)")
    p.add_argument("--weights", default="hub", help="of the model (default hub)")
    p.add_argument("--format", choices=("table", "json"), default="table")
    return p


def main(argv: Sequence[str]) -> int:
    """Print what was found; returns 0, or 1 if something that the settings need is missing."""
    given = parser().parse_args(list(argv))
    findings = examine(given)
    ok = all(f.state != "missing" for f in findings)
    if given.format == "json":
        print(json.dumps({"ok": ok, "findings": [asdict(f) for f in findings]}, indent=1))
        return int(not ok)
    width = max(len(f.what) for f in findings)
    mark = {"ok": "   ", "note": " - ", "missing": " X "}
    for f in findings:
        print(f"{mark[f.state]}{f.what:<{width}}  {f.found}{f'  -> {f.remedy}' if f.remedy else ''}")
    print("\n" + ("nothing is missing for these settings." if ok else "X: missing for these settings."))
    return int(not ok)


def examine(given: argparse.Namespace) -> list[Finding]:
    """Everything that is looked at, one after the other; what breaks is a finding."""
    out: list[Finding] = []
    looks: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("system", _system),
        ("torch", lambda: _package("torch", "pip install torch torchvision")),
        ("transformers", lambda: _package("transformers", "pip install 'transformers>=5.20,<6'")),
        ("GPU", lambda: _gpus(given)),
        ("NVML", lambda: _nvml(given)),
        ("patch embedding", lambda: _convolution(given)),
        ("settings", lambda: _settings(given)),
        ("extras", lambda: _extras(given)),
        ("disk", _disk),
        ("hub", lambda: _hub(given)),
    ]
    for what, look in looks:
        try:
            out += look()
        except UserError as error:
            out.append(Finding(what, "refused", "missing", str(error)))
        except Exception as error:  # whatever is broken, the others are still looked at
            said = (str(error).splitlines() or [""])[0][:200]
            needed = what in ("torch", "transformers", "settings")
            out.append(
                Finding(what, f"could not be asked: {type(error).__name__}: {said}", "missing" if needed else "note")
            )
    return out


def _system() -> list[Finding]:
    from .. import __version__

    return [
        Finding("vtprune_eval", __version__),
        Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        Finding("processors", str(os.cpu_count())),
    ]


def _package(name: str, remedy: str) -> list[Finding]:
    """A package that every run needs, imported, because an installed one may be broken."""
    try:
        version = getattr(importlib.import_module(name), "__version__", "unknown version")
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:200]
        return [Finding(name, f"cannot be imported ({type(error).__name__}: {said})", "missing", remedy)]
    return [Finding(name, str(version))]


def _gpus(given: argparse.Namespace) -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        wanted = given.device.startswith("cuda") or given.device == "spread"
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        remedy = "check the driver with nvidia-smi, or use --device cpu" if wanted else ""
        return [Finding("GPU", f"none that torch can use; {built}", "missing" if wanted else "note", remedy)]
    out = [Finding("CUDA", f"{torch.version.cuda} of torch")]
    for n in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(n)
        kinds = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
        memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        out.append(Finding(f"GPU cuda:{n}", f"{torch.cuda.get_device_name(n)}, {memory}, {kinds}"))
    return out


def _nvml(given: argparse.Namespace) -> list[Finding]:
    """Driver and energy counters, as a run would read them."""
    import torch

    from ..profiling.gpu import open_gpu

    if not torch.cuda.is_available():
        return [Finding("energy", "there is no GPU to read it from", "note")]
    device = given.device if given.device.startswith("cuda") else "cuda"
    gpu = open_gpu(device, "full")
    state = gpu.state()
    if state is None:
        return [Finding("energy", f"not read: {gpu.reason}", "note", "pip install 'vtprune_eval[gpu]'")]
    gpu.start()
    torch.ones(2048, 2048, device=device).matmul(torch.ones(2048, 2048, device=device)).sum().item()
    joules = gpu.stop()
    gpu.close()
    source = state.get("energy_source", "counter")
    return [
        Finding("driver", str(state.get("driver"))),
        Finding(
            "energy",
            f"{source}: answers" if joules is not None else f"{source}: gives nothing",
            "ok" if joules else "note",
        ),
    ]


def _convolution(given: argparse.Namespace) -> list[Finding]:
    """The patch embedding of the model classes is a convolution, which some versions compute slowly.

    The pipeline computes it as one matrix product; the class's own ``generate``, and other engines, do not.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() and given.device != "cpu" else "cpu")
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    conv = torch.nn.Conv3d(3, 256, (2, 16, 16), stride=(2, 16, 16), bias=False).to(device, kind)
    patches = torch.zeros(256, 3 * 2 * 16 * 16, device=device, dtype=kind)

    def seconds(call: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return best

    with torch.inference_mode():
        slow = seconds(lambda: conv(patches.view(-1, 3, 2, 16, 16)))
        fast = seconds(lambda: patches @ conv.weight.flatten(1).T)
    ratio = slow / max(fast, 1e-9)
    said = f"a Conv3d takes {ratio:.1f} times its matrix product on {device}"
    if ratio < SLOW_CONVOLUTION:
        return [Finding("patch embedding", said)]
    remedy = "ours is the product and not slowed; other engines and the class's own generate are: try another torch"
    return [Finding("patch embedding", said, "note", remedy)]


def _settings(given: argparse.Namespace) -> list[Finding]:
    """What a run with these settings would be refused for."""
    from ..models import check_model_name, check_runtime, family_of
    from ..models.defaults import resolve

    card = check_model_name(given.model)
    device, dtype = resolve(given.model, given.device, given.dtype)
    check_runtime(device, dtype, given.attn)
    if card.family != "stub":
        family_of(given.model).classes()
    if given.engine not in ("local", "ray"):
        raise UserError(f"--engine {given.engine}: local or ray is needed.")
    return [Finding("a run uses", f"{given.model} on {device} in {dtype} with {given.attn}")]


def _extras(given: argparse.Namespace) -> list[Finding]:
    """Optional packages; those that the settings need are missing, the others only said."""
    needed = {"ray"} if given.engine == "ray" else set()
    needed |= {"accelerate"} if given.device == "spread" else set()
    known = {
        **EXTRAS,
        "flash_attn": ("flash", "flash-attn"),
        "pynvml": ("gpu", "nvidia-ml-py"),
        "ray": ("ray", "ray"),
        "accelerate": ("sharding", "accelerate"),
        "matplotlib": ("plots", "matplotlib"),
    }
    out = []
    for module, (extra, package) in sorted(known.items()):
        if importlib.util.find_spec(module) is not None:
            try:
                out.append(Finding(package, metadata.version(package)))
            except metadata.PackageNotFoundError:
                out.append(Finding(package, "there"))
        else:
            state = "missing" if module in needed else "note"
            out.append(Finding(package, "not installed", state, f"pip install 'vtprune_eval[{extra}]'"))
    return out


def _disk() -> list[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    out = []
    for what, path in (("disk here", Path.cwd()), ("disk of the hub's cache", Path(HF_HUB_CACHE))):
        place = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(place).free
        state = "ok" if free > ROOMY_BYTES else "note"
        out.append(Finding(what, f"{free / 2**30:.0f} GiB free in {path}", state))
    return out


def _hub(given: argparse.Namespace) -> list[Finding]:
    """Whether weights can be had: cached, or from the hub."""
    from huggingface_hub import constants

    from ..models import check_model_name

    card = check_model_name(given.model)
    needed = bool(card.hub_id) and given.weights == "hub"
    cached = False
    if card.hub_id:
        from huggingface_hub import try_to_load_from_cache

        cached = isinstance(try_to_load_from_cache(card.hub_id, "config.json", revision=card.revision), str)
    if constants.HF_HUB_OFFLINE:
        found, reachable = "HF_HUB_OFFLINE is set: nothing is asked", False
    else:
        reachable, found = _reach(constants.ENDPOINT)
    remedy = "" if reachable else "copy the model's folder here and give it with --model-path, or use --weights random"
    out = [
        Finding(
            "hub",
            found,
            "missing" if needed and not cached and not reachable else "ok" if reachable else "note",
            remedy,
        )
    ]
    if card.hub_id:
        out.append(
            Finding(
                f"weights of {given.model}",
                "in the cache" if cached else "not in the cache",
                "ok" if cached else "note",
            )
        )
    return out


def _reach(address: str) -> tuple[bool, str]:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    try:
        with urlopen(Request(address, method="HEAD"), timeout=HUB_TIMEOUT_S):
            return True, f"{address} answers"
    except HTTPError as error:
        return error.code < 500, f"{address} answers with {error.code}"
    except (URLError, OSError, ValueError) as error:
        return False, f"{address} does not answer ({getattr(error, 'reason', error)})"
