"""Our models and tasks under names that VLMEvalKit's run entry finds. Its lists are changed in place, in this process.

The kit has no discovery of plug-ins, so something has to import this before its ``main`` runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

from ...budget import Budget
from ...errors import UserError
from ...json_values import JsonObject
from ...models import MODELS
from ...registry import method_class, method_names
from ..engine import RANDOM, Engine, cell_name, parse_name

# Percentages that are registered without being asked for; any other budget is registered when it is named.
BUDGETS = ("5", "10", "20", "25", "33", "50", "75")


def default_names() -> list[str]:
    """Every model x method x budget of the default grid, e.g. ``Qwen3-VL-2B-Instruct@guikv@10``."""
    names = []
    for model in MODELS:
        if model == "stub":
            continue
        for method in method_names():
            try:
                cls = method_class(method)
            except UserError:  # a broken package of somebody else; `list methods` says what is wrong with it
                continue
            budgets = ["100"] if not cls.hooks() else [*BUDGETS]
            if cls.hooks() and (cls.adaptive or cls.default_like):
                budgets.append("auto")
            names += [cell_name(model, method, b) for b in budgets]
    return names


def _options(name: str, options: JsonObject) -> JsonObject:
    return {**options, "weights": "random"} if name.endswith(RANDOM) else options


def register(names: Iterable[str] = (), *, limit: int | None = None, **options: Any) -> list[str]:
    """Register the default grid, ``names``, and our tasks.

    Args:
        names: further ``MODEL@METHOD@BUDGET``; each is checked like a run, before anything is loaded.
        limit: rows of each data set, for a kit without an option of that name.
        options: of every model (device, dtype, ...), see :data:`vtprune_eval.integrations.engine.OPTIONS`.

    Returns:
        ``names``, as they are registered: with ``@random`` behind them where the weights are random.

    Raises:
        UserError: a name that cannot be run.
    """
    random = options.get("weights") == "random"
    asked = [n if n.endswith(RANDOM) or not random else n + RANDOM for n in names]
    for name in asked:  # before the kit is imported, which takes ten seconds
        Engine(*parse_name(name), **_options(name, options))

    import vlmeval.config
    import vlmeval.dataset as kit
    import vlmeval.inference
    import vlmeval.vlm

    from .datasets import MMLongBenchDoc, VtpruneTask
    from .model import VtpruneModel
    from .side_file import watch

    for name in (*default_names(), *asked):
        model, method, budget = parse_name(name)
        vlmeval.config.supported_VLM[name] = partial(
            VtpruneModel, model=model, method=method, budget=str(Budget.parse(budget)), **_options(name, options)
        )
    for module in (vlmeval.inference, *(m for m in map(sys.modules.get, ("vlmeval.run", "run")) if m is not None)):
        job = getattr(module, "infer_data_job", None)
        if job is not None and (limit is not None or not hasattr(job, "vtprune_watched")):
            module.infer_data_job = watch(job, limit)
    vlmeval.vlm.VtpruneModel = VtpruneModel
    # The first class that claims a name wins: the kit's own MMLongBench cannot be built for any model of ours.
    for cls in (MMLongBenchDoc, VtpruneTask):
        setattr(kit, cls.__name__, cls)
        if cls not in kit.DATASET_CLASSES:
            kit.DATASET_CLASSES.insert(0, cls)
            kit.IMAGE_DATASET.insert(0, cls)
            kit.SUPPORTED_DATASETS.extend(n for n in cls.supported_datasets() if n not in kit.SUPPORTED_DATASETS)
    return asked
