"""Several machines behind one run: what ``environment.json`` says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...profiling.gpu import GpuState
from ...results.run_files import Environment


def joined(environments: Sequence[Environment]) -> Environment:
    """The environment of a run that several machines answered.

    Args:
        environments: one per shard or worker, at least one.

    Returns:
        The first one, in which processor and GPU carry the names of all that differ, so that such a run shares no
        comparison of times with a run of one device; the warnings of all GPUs are kept.
    """
    gpus: list[GpuState] = [e.get("gpu") or GpuState() for e in environments]
    return {
        **environments[0],
        "processor": _names(e.get("processor") for e in environments),
        "gpu": {
            **gpus[0],
            "name": _names(g.get("name") for g in gpus),
            "warnings": list(dict.fromkeys(w for g in gpus for w in g.get("warnings", []))),
        },
    }


def _names(values: Any) -> str | None:
    """Distinct names in order, joined; None where there is none."""
    return " + ".join(dict.fromkeys(v for v in values if v)) or None
