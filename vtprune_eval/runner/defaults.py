"""What a run does where the user did not say: the baseline, the tasks, the device and the floating type."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from ..benchmarks.data_folders import has_data
from ..benchmarks.definitions import SUITES
from ..errors import UserError
from ..models import MODELS
from ..models.defaults import resolve
from ..naming import split_outside
from .spec import RunSpec

# Models that the suite ``mini`` was made for.
OF_MINI = ("nano", "stub")
# Pages at the scale at which published models see the world; the first one that is embedded is the default.
TRUE_SCALE = ("web",)
# Models of this project with a suite of their own, at the scales they were trained at.
OWN_SUITE = {"micro": "mini-large"}


def completed(values: dict[str, Any]) -> dict[str, Any]:
    """Settings with the baseline ``full`` (unless ``no_full`` is set) and, where none are named, the tasks.

    Args:
        values: as typed or read from a file; unknown names are left for :func:`.spec.from_mapping` to refuse.

    Raises:
        UserError: ``no_full`` is no truth value.
    """
    out = {k.replace("-", "_"): v for k, v in values.items()}
    leave_out = out.pop("no_full", False)
    if not isinstance(leave_out, bool):
        raise UserError(f"no_full={leave_out!r}: true or false is needed.")
    key = "method" if "method" in out else "methods"
    if key in out and not leave_out:
        given = out[key]
        names = [n.strip() for n in split_outside(given, ",")] if isinstance(given, str) else given
        if isinstance(names, (list, tuple)) and any(names) and "full" not in names:
            out[key] = ["full", *names]
    model = out.get("model", "nano")
    if not {"task", "tasks"} & set(out) and model in MODELS and model not in OF_MINI:
        wanted = (OWN_SUITE[model],) if model in OWN_SUITE else TRUE_SCALE
        suite = next((name for name in (*wanted, *TRUE_SCALE) if name in SUITES and has_data(name)), "mini")
        if suite != "mini" and MODELS[model].family.startswith("focusui"):
            suite = "web-grounding"  # a head that points answers nothing else
        out["tasks"] = [suite]
        print(_about(str(model), suite), file=sys.stderr)
    return out


def _about(model: str, suite: str) -> str:
    if suite == OWN_SUITE.get(model):
        return f"note: no --tasks: {model} answers {', '.join(SUITES[suite])}, the suite that it was trained for."
    if suite != "mini":
        return (
            f"note: no --tasks: {model} answers {', '.join(SUITES.get(suite, (suite,)))}, pages at true size; "
            "`python -m vtprune_eval list tasks` shows the published benchmarks."
        )
    return (
        f"WARNING: no --tasks: {model} answers the embedded suite mini ({', '.join(SUITES['mini'])}), whose pages of a "
        "few dozen visual tokens were drawn for nano: accuracies and ratios here say nothing about screens at true "
        "size; choose a benchmark with --tasks (`python -m vtprune_eval list tasks`)."
    )


def resolved(spec: RunSpec) -> RunSpec:
    """The same run with the device and the floating type that it will have."""
    device, dtype = resolve(spec.model, spec.device, spec.dtype, spec.model_path)
    return dataclasses.replace(spec, device=device, dtype=dtype)
