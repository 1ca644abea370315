"""``python -m vtprune_eval selftest``: small random models of every family on this device, against the CPU."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..console import Parser
from ..errors import unknown_name

CHECKS = {
    "generate": "full equals the class's own generate, token for token",
    "methods": "every method at two budgets: kept tokens and answers are those of the CPU in float32",
    "rounding": "the same in the type asked for: what differs is within its rounding",
    "stages": "stages make up the end-to-end time, but for 5 %",
    "memory": "the peak is above what the weights hold",
    "waits": "no method waits for the device more often than stated",
    "backends": "attention backends agree",
}


def parser() -> Parser:
    """Options of ``selftest``."""
    p = Parser("selftest", description=__doc__)
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:N (default: the best there is)")
    p.add_argument("--dtype", default="auto", help="float32, bfloat16, float16 (default: what a run would use)")
    p.add_argument("--attn", default="sdpa", help="sdpa (default), eager, flash_attention_2")
    p.add_argument("--families", metavar="F,...", help="default: all")
    p.add_argument("--methods", metavar="M,...", help="default: all")
    p.add_argument("--format", choices=("table", "json"), default="table")
    return p


def main(argv: Sequence[str]) -> int:
    """Print what was found; returns 0, or 1 if something failed.

    Raises:
        UserError: a name that does not exist, or a device that is not there.
    """
    given = parser().parse_args(list(argv))
    from ..models import check_runtime
    from ..models.defaults import resolve
    from ..registry import check_method_name, method_names
    from ..selftest.small import FAMILIES

    families = given.families.split(",") if given.families else list(FAMILIES)
    for family in families:
        if family not in FAMILIES:
            raise unknown_name("family", family, FAMILIES)
    methods = given.methods.split(",") if given.methods else list(method_names())
    for method in methods:
        check_method_name(method)
    device, dtype = resolve("hub", given.device, given.dtype)
    check_runtime(device, dtype, given.attn)
    found = run(device, dtype, given.attn, families, methods)
    print(json.dumps(found, indent=1) if given.format == "json" else as_table(found))
    return int(not found["ok"])


def run(device: str, dtype: str, attn: str, families: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """All checks.

    Returns:
        ``ok``, ``device``, ``dtype``, ``attention``, ``versions``, ``seconds``; ``clock``: a sentence, empty if right;
        ``families``: per family and check, a sentence, empty if right, or None where it does not apply; ``numbers``:
        per family, what was counted.
    """
    import torch
    import transformers

    from ..runner.header import device_name
    from ..selftest.checks import check_clock
    from ..selftest.samples import make_sample

    transformers.logging.set_verbosity_error()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        sample = make_sample(Path(folder))
        told, numbers = {}, {}
        for family in families:
            told[family], numbers[family] = _family(family, device, dtype, attn, methods, sample)
    clock = _said(lambda: check_clock(torch.device(device)))
    return {
        "ok": not clock and not any(any(own.values()) for own in told.values()),
        "device": device_name(device),
        "dtype": dtype,
        "attention": attn,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "clock": clock,
        "families": told,
        "numbers": numbers,
        "seconds": round(time.monotonic() - start, 1),
    }


def _family(
    family: str, device: str, dtype: str, attn: str, methods: Sequence[str], sample: Any
) -> tuple[dict[str, str | None], dict[str, Any]]:
    """Sentences per check, and what was counted."""
    from ..selftest import checks
    from ..selftest.compare import Sides, compare

    numbers: dict[str, Any] = {}
    strict = Sides(family, device, "float32", attn if attn != "flash_attention_2" else "sdpa")
    coarse = Sides(family, device, dtype, attn)

    def same(sides: Sides, name: str) -> str:
        found = compare(sides, sample, methods)
        numbers[name] = {"equal": found.equal, "explained": found.explained, "refused": len(found.refused)}
        return "; ".join(found.wrong)

    def stages() -> str:
        said, numbers["outside_of_stages"] = checks.check_stage_sum(coarse.there, sample)
        return said

    def waits() -> str:
        said, numbers["waits"] = checks.check_waits(strict.there, sample, methods)
        return said

    def backends() -> str:
        said, numbers["backends"] = checks.check_backends(family, device, dtype, sample)
        return said

    points = _said(lambda: "points" if strict.there.points else "")
    return {
        "generate": None if points == "points" else _said(lambda: checks.check_generate(strict.there, sample)),
        "methods": _said(lambda: same(strict, "methods")),
        "rounding": None if dtype == "float32" else _said(lambda: same(coarse, "rounding")),
        "stages": _said(stages),
        "memory": _said(lambda: checks.check_memory(coarse.there, sample)),
        "waits": _said(waits),
        "backends": _said(backends),
    }, numbers


def _said(check: Callable[[], str]) -> str:
    """The sentence of a check; a crash is one."""
    try:
        return check()
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def as_table(found: dict[str, Any]) -> str:
    """What a person reads."""
    from tabulate import tabulate

    def mark(said: str | None) -> str:
        return "-" if said is None else "FAILED" if said else "ok"

    rows = [[family, *(mark(own[name]) for name in CHECKS)] for family, own in found["families"].items()]
    lines = [
        f"selftest on {found['device']}, {found['dtype']}, {found['attention']}: torch {found['versions']['torch']}, "
        f"transformers {found['versions']['transformers']}",
        "",
        tabulate(rows, ["family", *CHECKS]),
        "",
        *(f"{name}: {about}" for name, about in CHECKS.items()),
        f"clock: a stage's time holds the work started in it: {mark(found['clock'])}",
    ]
    for family, own in found["numbers"].items():
        if own.get("rounding", {}).get("explained"):
            equal, explained = own["rounding"]["equal"], own["rounding"]["explained"]
            lines.append(
                f"{family}: {equal} of {equal + len(explained)} pairs of method and budget agree in {found['dtype']}; "
                "the others within its rounding"
            )
    told = [
        f"{family}, {name}: {said}" for family, own in found["families"].items() for name, said in own.items() if said
    ]
    told += [f"clock: {found['clock']}"] if found["clock"] else []
    lines += ["", *(f"FAILED {line}" for line in told)] if told else []
    lines += ["", f"{'all is well' if found['ok'] else 'something is wrong'}; {found['seconds']} s"]
    return "\n".join(lines)
