"""Names of tasks and suites, and what ``task.yaml`` says of each, with the changes of its variant."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, unknown_name
from ..json_values import JsonObject
from .benchmark import Benchmark
from .registry import benchmark, include, task_folders
from .spec import TaskSpec, read_yaml, task_spec
from .vlmeval.catalogue import KIT_TASKS
from .vlmeval.catalogue import definition as kit_definition

DEFAULT_TASKS = ("mini-grounding", "mini-doc", "mini-nav")
# Names that stand for several tasks.
SUITES = {
    "mini": DEFAULT_TASKS,
    "mini-large": ("mini-large-grounding", "mini-large-doc"),
    "web": ("web-grounding", "web-doc", "web-nav"),
}
MAX_HISTORY = 5


def folder_and_variant(name: str) -> tuple[str, str] | None:
    """Folder and variant of a task name, None for an unknown one."""
    if name in KIT_TASKS:
        return name, ""
    for folder in sorted(task_folders(), key=len, reverse=True):
        if name == folder:
            return folder, ""
        if name.startswith(folder + "_") and name.removeprefix(folder + "_") in _variants(folder):
            return folder, name.removeprefix(folder + "_")
    return None


def _variants(folder: str) -> JsonObject:
    """Variants of a folder; none of one whose file cannot be read, which is told when that task is used."""
    try:
        found = read_yaml(task_folders()[folder] / "task.yaml").get("variants")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def task_names() -> tuple[str, ...]:
    """Every task with a definition, variants included, broken ones too."""
    folders = list(task_folders())
    return tuple(sorted([*folders, *(f"{f}_{v}" for f in folders for v in _variants(f)), *KIT_TASKS]))


def named_task(name: str) -> str:
    """The name of a task that may be given as its folder, which is then included.

    Raises:
        UserError: the folder's name belongs to another task.
    """
    folder = Path(name).expanduser()
    if name in task_folders() or not (folder / "task.yaml").is_file():
        return name
    include([folder])
    own = folder.resolve()
    if task_folders()[own.name] != own:
        raise UserError(f"the task folder {folder} has the name of another task ({own.name}); rename the folder.")
    return own.name


def check_task_name(name: str) -> None:
    """Refuse an unknown task.

    Raises:
        UserError: with the nearest names, or the tasks of a suite.
    """
    if name in SUITES:
        raise UserError(f"{name} is a suite, and one task is needed here: {', '.join(SUITES[name])}.")
    if folder_and_variant(name) is None:
        raise unknown_name("task", name, [*task_names(), *SUITES], "`python -m vtprune_eval list tasks` shows all.")


def check_protocol(name: str, protocol: str | None, history: int | None) -> None:
    """Refuse a protocol or a history length that the task cannot have; ``official`` always means the task's first.

    Raises:
        UserError: with what it can have.
    """
    spec = definition(name)
    known = protocols_of(spec)
    if protocol is not None and protocol not in ("official", *known):
        raise unknown_name(f"protocol of {name}", protocol, known, f"{name} has {', '.join(known)}.")
    if history is not None:
        if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= MAX_HISTORY:
            raise UserError(f"--history={history!r}: a whole number from 0 to {MAX_HISTORY} is needed.")
        if spec.history is None:
            raise UserError(f"--history: the task {name} has no screenshot history; leave the option out.")


def benchmark_of(spec: TaskSpec) -> Benchmark:
    """The benchmark that reads and scores a task.

    Raises:
        UserError: unknown, or its module cannot be imported.
    """
    return benchmark(spec.benchmark, spec.folder)


def protocols_of(spec: TaskSpec) -> tuple[str, ...]:
    """Protocols of a definition, the default first."""
    return tuple(benchmark_of(spec).rules(spec))


def definition(name: str) -> TaskSpec:
    """The definition of a task, with the changes of its variant.

    Raises:
        UserError: unknown task, or a definition with unknown, missing or wrong keys.
    """
    check_task_name(name)
    if name in KIT_TASKS:
        return kit_definition(name)
    own, variant = folder_and_variant(name) or (name, "")
    folder = task_folders()[own]
    where = f"{own}/task.yaml"
    data = read_yaml(folder / "task.yaml")
    if data.get("name", own) != own:
        raise UserError(f"{where}: name is {data['name']!r} but the folder is {own!r}; a task has its folder's name.")
    changes = (data.get("variants") or {}).get(variant, {}) if variant else {}
    settings: tuple[str, ...] = ()
    if isinstance(data.get("benchmark"), str):
        settings = benchmark(data["benchmark"], folder).settings
    spec = task_spec({**data, **changes}, where, folder, name, settings)
    return spec.changed(protocol=protocols_of(spec)[0])


def rule_name(spec: TaskSpec) -> str:
    """Which rule scores a task, for lists: the benchmark's own, or the one that its definition names."""
    return str(spec.setting("rule") or spec.benchmark)
