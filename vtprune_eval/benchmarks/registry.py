"""Names to benchmarks and to task folders: a scan of this package, entry points, and folders that the user names.

A task folder holds ``task.yaml``; a benchmark is a module of this package, an entry point of the group
``vtprune_eval.benchmarks``, or ``benchmark.py`` inside a task folder. A package with such an entry point may have task
folders in ``tasks/`` beside the module that it names. Further folders come from ``--include-path``, ``--tasks FOLDER``
and the environment variable ``VTPRUNE_EVAL_INCLUDE_PATH``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from ..errors import UserError, unknown_name
from ..paths import tasks_dir
from ..plugins import classes_of, is_subclass
from .benchmark import Benchmark

ENTRY_POINT_GROUP = "vtprune_eval.benchmarks"
INCLUDE_VARIABLE = "VTPRUNE_EVAL_INCLUDE_PATH"
OWN_MODULE = "benchmark.py"
# Modules of this package that are no benchmark.
_NOT_BENCHMARKS = {
    "__init__",
    "action",
    "answers",
    "base",
    "benchmark",
    "checks",
    "data_folders",
    "definitions",
    "formats",
    "grammars",
    "prompts",
    "registry",
    "rules",
    "samples",
    "spec",
    "tasks",
    "untrusted",
}
_included: list[Path] = []


def include(paths: Iterable[str | Path]) -> None:
    """Look for tasks in further folders, too, for the rest of this process and the processes that it starts.

    Args:
        paths: task folders, or folders of task folders.

    Raises:
        UserError: a folder without any ``task.yaml``.
    """
    for path in paths:
        folder = Path(path).expanduser().resolve()
        if folder in _included:
            continue
        if not (folder / "task.yaml").is_file() and next(folder.glob("*/task.yaml"), None) is None:
            raise UserError(f"--include-path {path}: there is no task.yaml in it or in a folder below it.")
        _included.append(folder)
        known = [p for p in os.environ.get(INCLUDE_VARIABLE, "").split(os.pathsep) if p]
        if str(folder) not in known:
            os.environ[INCLUDE_VARIABLE] = os.pathsep.join([*known, str(folder)])
        task_folders.cache_clear()


def forget() -> None:
    """Look only where the package itself looks (for tests)."""
    _included.clear()
    os.environ.pop(INCLUDE_VARIABLE, None)
    task_folders.cache_clear()
    benchmark.cache_clear()


@cache
def task_folders() -> dict[str, Path]:
    """Task folders by name. A name that is taken already stays with its first owner, and standard error says so."""
    found = {p.parent.name: p.parent for p in sorted(tasks_dir().glob("*/task.yaml"))}
    named = [Path(p) for p in os.environ.get(INCLUDE_VARIABLE, "").split(os.pathsep) if p]
    for root in [*_package_folders(), *dict.fromkeys([*_included, *named])]:
        own = [root] if (root / "task.yaml").is_file() else [p.parent for p in sorted(root.glob("*/task.yaml"))]
        for folder in own:
            if found.setdefault(folder.name, folder) != folder:
                print(
                    f"warning: the task {folder.name!r} in {folder.parent} is ignored, since {found[folder.name]} has "
                    "that name; rename its folder.",
                    file=sys.stderr,
                )
    return found


def _package_folders() -> list[Path]:
    """``tasks/`` beside the modules of installed packages that bring a benchmark; none of them is imported."""
    out = []
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            spec = importlib.util.find_spec(point.module)
        except (ImportError, ValueError, AttributeError):
            continue  # told when the benchmark is used
        if spec is not None and spec.origin and (Path(spec.origin).parent / "tasks").is_dir():
            out.append(Path(spec.origin).parent / "tasks")
    return out


def benchmark_names() -> list[str]:
    """Every benchmark with a module or an entry point."""
    folder = Path(__file__).parent
    modules = [p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    points = [p.name for p in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return sorted({m for m in modules if m not in _NOT_BENCHMARKS} | set(points))


@cache
def benchmark(name: str, folder: Path | None = None) -> Benchmark:
    """The benchmark of a name.

    Args:
        name: ``benchmark:`` of a ``task.yaml``.
        folder: of that file; its ``benchmark.py`` comes first.

    Raises:
        UserError: unknown, or its module cannot be imported or holds no benchmark of that name.
    """
    if folder is not None and (folder / OWN_MODULE).is_file():
        found = _of_file(folder / OWN_MODULE, name)
        if found is not None:
            return found
    if name in _NOT_BENCHMARKS or not name.isidentifier():
        raise unknown_name("benchmark", name, benchmark_names())
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name and not _is_builtin(name):
            try:
                cls = point.load()
            except (Exception, SystemExit) as error:
                raise _broken(name, point.value, error) from error
            if not (is_subclass(cls, Benchmark) and cls.name == name):  # type: ignore[type-abstract]
                raise UserError(
                    f"benchmark {name!r} ({point.value}) is not a subclass of vtprune_eval.benchmarks.benchmark."
                    "Benchmark with that name; fix or uninstall its package."
                )
            return cls()
    if not _is_builtin(name):
        raise unknown_name("benchmark", name, benchmark_names())
    classes = classes_of(importlib.import_module(f"{__package__}.{name}"), Benchmark, name)  # type: ignore[type-abstract]
    if len(classes) != 1:
        raise RuntimeError(f"{__package__}.{name} must define exactly one Benchmark named {name!r}")
    return classes[0]()


def _is_builtin(name: str) -> bool:
    folder = Path(__file__).parent
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _of_file(path: Path, name: str) -> Benchmark | None:
    """The benchmark in a Python file beside a ``task.yaml``; None where the file has another one."""
    spec = importlib.util.spec_from_file_location(f"vtprune_eval_task_{path.parent.name.replace('-', '_')}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise _broken(name, str(path), error) from error
    classes = classes_of(module, Benchmark, name)  # type: ignore[type-abstract]
    return classes[0]() if classes else None


def _broken(name: str, source: str, error: BaseException) -> UserError:
    return UserError(f"benchmark {name!r} ({source}) cannot be imported ({type(error).__name__}: {error}); fix it.")
