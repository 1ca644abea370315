"""The Python API: one call that runs, and a result to look at. The command line goes through the same functions.

from vtprune_eval import run
result = run(model="nano", methods=["full", "pixelprune"], budgets=["auto"], tasks=["mini-doc"], limit=20)
result.rows          # one line per (method, budget)
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .errors import UserError, unknown_name
from .naming import named, split_outside
from .runner.folder import read_json

if TYPE_CHECKING:
    import pandas as pd

    from .methods.base import Method
    from .models.base import VlmAdapter
    from .results.summary_types import Paired, Summary
    from .runner.folder import Run
    from .runner.spec import RunSpec

_OF_A_MODEL = ("weights", "model_path", "trust_remote_code", "dtype", "device", "seed", "attn")


def run(
    model: str | LoadedModel = "nano",
    methods: Sequence[str | Method] | str | Method = ("full", "pixelprune"),
    budgets: Sequence[str | int] | str | int = ("auto",),
    tasks: Sequence[str | Path] | str | Path | None = None,
    *,
    echo: bool = False,
    **settings: Any,
) -> Result:
    """Run methods at budgets over tasks; a finished or interrupted run of the same settings is continued.

    Args:
        model: short name (``list models``), or a model from :func:`load_model`.
        methods: names, compositions (``pixelprune+guikv``), or :class:`~vtprune_eval.methods.base.Method` objects,
            whose hyper-parameters are taken as they are; their class need not be installed. ``full`` is added where
            it is missing, unless ``no_full=True`` is given.
        budgets: as on the command line; a number is a percentage.
        tasks: names or suites (``list tasks``); None: the embedded suite that suits the model.
        echo: print the table and the progress as the command line does.
        **settings: everything else that a ``--config`` file may say, with underscores (``limit``, ``out``, ``seed``,
            ``dtype``, ``device``, ``params={"pixelprune.tau": 0.02}``).

    Returns:
        The finished run.

    Raises:
        UserError: a setting that means nothing, missing weights or data; nothing is lost of what was answered before.
        KeyboardInterrupt: stopped by Ctrl-C; the same call goes on from there.
    """
    from .runner.config import from_mapping
    from .runner.defaults import completed, resolved
    from .runner.execute import execute

    loaded = None if isinstance(model, str) else model
    names, params = _methods(methods)
    values = {
        "model": model if loaded is None else loaded.name,
        "methods": names,
        "budgets": [str(b) for b in _several(budgets)],
        **({} if tasks is None else {"tasks": [str(t) for t in _several(tasks)]}),
        **(loaded.settings if loaded else {}),
        **settings,
        "params": {**params, **dict(settings.get("params") or {})},
    }
    spec = from_mapping(completed(values))
    with contextlib.ExitStack() as quiet:
        if not echo:
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        code = execute(spec, adapter=loaded.adapter if loaded else None, progress=echo)
    spec = resolved(spec)
    if code == 130:
        raise KeyboardInterrupt(f"stopped; the same call goes on in {spec.folder}")
    return Result(spec.folder)


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, for several calls of :func:`run`.

    Attributes:
        name: short name.
        settings: what it was loaded with, in the names of a run.
        adapter: the model.
    """

    name: str
    settings: dict[str, Any]
    adapter: VlmAdapter


def load_model(name: str = "nano", **settings: Any) -> LoadedModel:
    """Load a model once, for several calls of :func:`run`.

    Args:
        name: short name (``list models``).
        **settings: ``weights``, ``model_path`` (hub-format folder), ``dtype``, ``device``, ``seed``, ``attn``,
            ``trust_remote_code``, as of a run.

    Raises:
        UserError: unknown name or setting, or weights that cannot be loaded.
    """
    from .runner.config import from_mapping
    from .runner.execute import load_adapter

    for key in settings:
        if key not in _OF_A_MODEL:
            raise unknown_name("setting of a model", key, _OF_A_MODEL)
    spec = from_mapping({"model": name, **settings})
    return LoadedModel(name, settings, load_adapter(spec))


def load_task(name: str | Path, **options: Any) -> Any:
    """A task: ``.samples`` (a sequence that reads one sample at a time), ``.score(sample, text, frame)``.

    Args:
        name: task name.
        **options: ``limit``, ``data_path``, ``protocol``, ``history``, ``style``.

    Raises:
        UserError: unknown task or absent data.
    """
    from .benchmarks.tasks import load_task as load

    return load(str(name), **options)


@dataclass(frozen=True)
class Result:
    """A finished run folder as data frames. Numbers are plain numbers: shares in 0..1, ms, bytes, joules.

    Attributes:
        folder: the run folder; ``Result(path)`` reads one of an earlier run.
    """

    folder: Path

    @cached_property
    def summary(self) -> Summary:
        """``summary.json`` of the run.

        Raises:
            UserError: no finished run.
        """
        return cast("Summary", read_json(Path(self.folder) / "summary.json"))

    @cached_property
    def _run(self) -> Run:
        from .runner.folder import read_run

        return read_run(Path(self.folder))

    @property
    def spec(self) -> RunSpec:
        """The settings of the run."""
        return self._run.spec

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One line per (method, budget): ``method``, ``budget``, ``label`` (the method with every setting that is no
        default), the costs (``visual_kept_pct``, ``flops``,
        ``kv_bytes``, ``ttft_ms``, ...), per task ``TASK accuracy``, ``TASK low``, ``TASK high`` (95 % interval) and
        ``TASK n``, and ``accuracy``, the mean over tasks."""
        from .results.table import label_of

        lines = []
        for row in self.summary["rows"]:
            line: dict[str, object] = {
                "model": row["model"],
                "method": row["method"],
                "budget": row["budget"],
                "label": label_of(row),
            }
            means: list[float] = []
            for task, entry in row["tasks"].items():
                if "accuracy" in entry:
                    low, high = entry["ci95"] or (None, None)
                    line |= {f"{task} accuracy": entry["accuracy"], f"{task} low": low, f"{task} high": high}
                    means.append(entry["accuracy"])
                line[f"{task} n"] = entry["n"]
            line["accuracy"] = sum(means) / len(means) if means else None
            plain = {k: v for k, v in row["costs"].items() if not isinstance(v, (dict, list))}
            lines.append({**line, **plain, "notes": "; ".join(map(str, row["notes"]))})
        return _frame(lines)

    @cached_property
    def records(self) -> pd.DataFrame:
        """One line per answer: task, method, budget, and the record's fields; nested ones as ``counts.visual``."""
        lines = []
        for (task, method, budget), own in self._run.records.items():
            for record in own.values():
                flat: dict[str, object] = {"task": task, "method": method, "budget": budget}
                for key, value in record.items():
                    if isinstance(value, dict) and key in ("counts", "times", "flops", "target_recall"):
                        flat |= {f"{key}.{k}": v for k, v in value.items()}
                    else:
                        flat[key] = value
                lines.append(flat)
        return _frame(lines)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Paired comparisons on the same samples, against ``full`` and between methods: ``difference`` (first minus
        second), its 95 % interval ``low``, ``high``, ``p``, Holm's ``p_holm``, ``finding``."""
        lines = []
        for row in self.summary["rows"]:
            for task, entry in row["tasks"].items():
                if against := entry.get("vs_full"):
                    lines.append(_pair(task, (row["method"], row["budget"]), ("full", "-"), against))
        lines += [_pair(c["task"], tuple(c["a"]), tuple(c["b"]), c) for c in self.summary.get("between", [])]
        return _frame(lines)

    def plot(
        self, out: str | Path | None = None, kind: str = "curves", *, columns: int = 1, **options: Any
    ) -> list[Path]:
        """A figure as files, as the command ``plot`` makes it.

        Args:
            out: a file (its ending is the format) or a folder (default ``plots`` in the run folder).
            kind: ``curves`` (accuracy against a cost) or ``stages`` (stage times).
            columns: of the page that it is as wide as, 1 or 2.
            **options: ``tasks``, ``methods``, ``budgets`` (names, separated by commas), ``y``, ``x``, ``formats``; and
                of its look: ``width``, ``height``, ``font``, ``size``, ``intervals``, ``labels``, ``log``, ``title``.

        Raises:
            UserError: matplotlib is missing, or what cannot be drawn.
        """
        from .report.figures.draw import draw
        from .report.figures.style import Look

        looks = {f.name for f in dataclasses.fields(Look)}
        known = {"tasks", "methods", "budgets", "y", "x", "formats"}
        for key in options:
            if key not in looks | known:
                raise unknown_name("option of a figure", key, looks | known)
        look = Look(columns, **{k: v for k, v in options.items() if k in looks})
        rest = {k: v for k, v in options.items() if k in known}
        return list(draw([self.folder], kind, out=out, look=look, **rest).files)

    def show(
        self,
        sample: str | None = None,
        folder: str | Path | None = None,
        *,
        cells: Sequence[str] = (),
        only: str | None = None,
        limit: int = 24,
    ) -> Path:
        """Pictures of samples: what every cell kept and what was answered.

        Args:
            sample: id of one, None for those that fit ``only``.
            folder: where to (default ``show`` in the run folder).
            cells: those that are shown, such as ``("full", "guikv@10")``; () for all.
            only: as of the command ``show``, such as ``A-right-B-wrong``.
            limit: pictures at most.

        Returns:
            The gallery page.

        Raises:
            UserError: unknown sample or cell, or none that fits.
        """
        from .commands.show import main

        out = Path(folder) if folder else Path(self.folder) / "show"
        words = ["--run", str(self.folder), "--out", str(out), "--limit", str(limit)]
        words += ["--sample", sample] if sample is not None else []
        words += ["--cells", *cells] if cells else []
        words += ["--only", only] if only else []
        with contextlib.redirect_stdout(sys.stderr):
            main(words)
        return out / "index.html"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return str(self.rows.to_html(index=False))


def _pair(task: str, a: tuple[str, ...], b: tuple[str, ...], c: Paired) -> dict[str, object]:
    low, high = c["ci95"] or (None, None)
    return {
        "task": task,
        "method": a[0],
        "budget": a[1],
        "other": b[0],
        "other_budget": b[1],
        "n": c["n"],
        "difference": c["difference"],
        "low": low,
        "high": high,
        "p": c["p"],
        "p_holm": c["p_holm"],
        "finding": c["verdict"],
    }


def _frame(lines: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    try:
        import pandas
    except ImportError:
        raise UserError("data frames need pandas: pip install 'vtprune_eval[frames]'.") from None
    return pandas.DataFrame(lines)


def _several(value: Any) -> list[Any]:
    """One value or several, as a list; text is split at commas as on the command line."""
    if isinstance(value, str):
        return [v for v in split_outside(value, ",") if v]
    return list(value) if isinstance(value, Sequence) else [value]


def _methods(methods: Any) -> tuple[list[str], dict[str, Any]]:
    """Names, and the hyper-parameters of those that were given as objects; two objects of one class are two rows."""
    from .methods.base import Method
    from .registry import register

    names: list[str] = []
    params: dict[str, Any] = {}
    given = _several(methods)
    for method in given:
        if isinstance(method, Method):
            register(type(method))
            values = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
            same = [m for m in given if isinstance(m, Method) and m.name == method.name]
            varied = {k: v for k, v in values.items() if any(getattr(m, k, v) != v for m in same)}
            params |= {f"{method.name}.{k}": v for k, v in values.items() if k not in varied}
            names.append(named(method.name, varied))
        elif isinstance(method, str):
            names.append(method)
        else:
            raise UserError(
                f"{method!r} is neither the name of a method nor a Method object; write Stride(), not Stride."
            )
    return names, params


def load_result(folder: str | Path) -> Result:
    """The result of an earlier run.

    Raises:
        UserError: no finished run folder.
    """
    from .runner.folder import read_run

    read_run(Path(folder))
    return Result(Path(folder))
