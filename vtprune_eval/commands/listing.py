"""``list`` and ``explain``: what can be run, and what a method does."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import TYPE_CHECKING, Any

from ..benchmarks.definitions import definition, rule_name, task_names
from ..errors import UserError
from ..models import MODELS
from ..naming import parts_of
from ..registry import check_method_name, method_class, method_names

if TYPE_CHECKING:
    from ..profiling.launches import Launches


def rows(what: str) -> list[dict[str, Any]]:
    """Models, methods or tasks as plain dictionaries."""
    if what == "models":
        return [
            {"name": n, "hub_id": c.hub_id, "coordinates": c.coordinates, "about": c.about} for n, c in MODELS.items()
        ]
    if what == "tasks":
        return [_task(name) for name in task_names()]
    out = []
    for name in method_names():
        try:
            cls = method_class(name)
        except UserError as error:  # one broken package must not hide the other methods
            out.append({"name": name, "hooks": [], "auto": False, "paper": "", "about": f"broken: {error}"})
            continue
        out.append(
            {
                "name": name,
                "hooks": list(cls.hooks()),
                "auto": cls.adaptive or cls.default_like is not None,
                "paper": cls.paper,
                "about": (inspect.getdoc(cls) or "").splitlines()[0],
            }
        )
    return out


def _task(name: str) -> dict[str, Any]:
    try:
        spec = definition(name)
    except UserError as error:  # one broken file must not hide the other tasks
        return {"name": name, "title": f"broken: {error}", "rule": "", "protocol": "", "source": "", "licence": ""}
    return {
        "name": name,
        "title": spec.title,
        "rule": rule_name(spec),
        "protocol": spec.protocol,
        "source": spec.source,
        "licence": spec.licence,
    }


def show(what: str, form: str) -> None:
    """Print a list as a table or JSON."""
    data = rows(what)
    if form == "json":
        print(json.dumps(data, indent=2))
        return
    from tabulate import tabulate

    shown = [{k: ", ".join(v) if isinstance(v, list) else v for k, v in r.items()} for r in data]
    print(tabulate(shown, headers="keys"))


def _range(low: float | None, high: float | None) -> str:
    """An inclusive range in words; one of its ends may be open."""
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"{low} to {high}"


def explain(name: str) -> str:
    """Stage, hyper-parameters, paper and deviations of one method, as text."""
    check_method_name(name)
    if "+" in name:
        return "\n\n".join([f"{name}: a composition", *(explain(part) for part in parts_of(name))])
    cls = method_class(name)
    module = inspect.getmodule(cls)
    lines = [f"{name}: {(inspect.getdoc(cls) or '').splitlines()[0]}", f"hooks: {', '.join(cls.hooks()) or 'none'}"]
    if cls.paper:
        lines.append(f"paper: {cls.paper}")
        known = {
            "vectors": "recorded outputs of the authors' code",
            "port": "published code, by reading",
            "paper": "text",
        }
        aware = "reads the question" if cls.query_aware else "does not read the question"
        weights = "; needs weights trained for it" if cls.trained else ""
        lines.append(f"checked against: {known.get(cls.origin, cls.origin)}; {aware}{weights}")
    own = "decides itself" if cls.adaptive else f"copies {cls.default_like}" if cls.default_like else "not available"
    lines += [f"budget auto: {own}"]
    lines += [f"budget b, --reading {reading}: {meaning}" for reading, meaning in cls.readings().items()]
    if cls.paper_defaults:
        lines.append(f"defaults with --reading paper: {', '.join(f'{k}={v}' for k, v in cls.paper_defaults.items())}")
    lines.append("hyper-parameters:")
    for f in dataclasses.fields(cls):
        m = f.metadata
        limits = type(f.default).__name__
        if m.get("choices"):
            limits = f"one of {', '.join(map(str, m['choices']))}"
        elif m.get("low") is not None or m.get("high") is not None:
            limits = f"{_range(m['low'], m['high'])} {m.get('unit', '')}".strip()
        lines.append(f"  {f.name} = {f.default!r} ({limits}): {m.get('doc', '')}")
    if len(lines) and lines[-1] == "hyper-parameters:":
        lines[-1] = "hyper-parameters: none"
    if cls.deviations:
        lines += ["differs from the published code:", *(f"  - {d}" for d in cls.deviations)]
    return "\n".join([*lines, "", inspect.getdoc(module) or ""]).rstrip()


def cost_of(name: str) -> str:
    """What the hooks of a method launch on a device, and how often the host waits for it, on one sample of the embedded
    model at half the visual tokens, as text: in all, and per decoder layer where a hook runs behind one."""
    from ..benchmarks.tasks import load_task
    from ..models import load_model

    adapter = load_model("nano")
    from ..pipeline.hook_cost import hook_cost  # after torch itself: it takes modules of torch by their names

    sample = load_task("mini-nav").samples[5]
    found = hook_cost(adapter, name, "50", sample)
    layers = len(adapter.text.layers)
    waits = ", ".join(f"{k} {n}x" for k, n in sorted((found.where or {}).items())) or "none"
    return (
        f"cost of the hooks in one prefill of nano ({len(sample.images)} images, {layers} decoder layers): "
        f"{found.launches} launches, {found.reads} reads that make the host wait ({waits})\n{_per_layer(found)}"
    )


def _per_layer(found: Launches) -> str:
    """The share of every decoder layer in the counts of a prefill, and what belongs to none."""
    if not found.layers:
        return "per decoder layer: no hook runs behind one"
    told = [f"{n}: {one.launches} launches, {one.reads} reads" for n, one in sorted(found.layers.items())]
    launches = found.launches - sum(one.launches for one in found.layers.values())
    reads = found.reads - sum(one.reads for one in found.layers.values())
    rest = f"; before the first and behind the last: {launches} launches, {reads} reads" if launches or reads else ""
    return f"per decoder layer: {'; '.join(told)}{rest}"
