"""``python -m vtprune_eval show --run RUN [--sample ID] [--only full-right]``: PNG files and an HTML gallery."""

from __future__ import annotations

import argparse
import hashlib
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..benchmarks.tasks import Task
from ..errors import UserError, unknown_name
from ..report.pictures import Panel, Undrawable, draw, printable
from ..results.folder import Run, identity_of, read_run, task_of
from ..results.store import write_atomic
from ..sample import Sample


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UserError(f"{message}; see `python -m vtprune_eval show --help`.")


def parser() -> argparse.ArgumentParser:
    """Options of ``show``."""
    p = _Parser(prog="vtprune_eval show", allow_abbrev=False, description=__doc__)
    p.add_argument("--run", required=True, metavar="RUN", help="folder of a finished run")
    p.add_argument("--sample", action="append", default=[], metavar="ID", help="sample id; repeat for several")
    p.add_argument("--task", help="one task of the run (default all)")
    p.add_argument(
        "--only",
        choices=("full-right", "disagree"),
        help="full-right: full is right and a method is wrong; disagree: any two differ in being right",
    )
    p.add_argument("--limit", type=int, default=24, help="pictures at most (default 24)")
    p.add_argument("--data-path", help="folder of the original data of a task that is not embedded")
    p.add_argument("--out", help="folder of the gallery (default RUN/show)")
    return p


def main(argv: Sequence[str]) -> int:
    """Draw the chosen samples; returns the exit code.

    Raises:
        UserError: no such run, task or sample, or nothing that fits the filter.
    """
    given = parser().parse_args(list(argv))
    if given.limit < 1:
        raise UserError("--limit: at least 1 picture is needed.")
    run = read_run(Path(given.run))
    run.tell_unsealed()
    if given.task is not None and given.task not in run.spec.tasks:
        raise unknown_name("task of this run", given.task, run.spec.tasks)
    found = []
    known: list[str] = []
    for name in [given.task] if given.task else run.spec.tasks:
        task = task_of(run.spec, name, given.data_path)
        if run.settings["data"][name] != f"v{task.version} {task.fingerprint}":
            raise UserError(
                f"{name} was run on other data ({run.settings['data'][name]}) than is here; its pictures "
                "would not fit the records: run it again."
            )
        known += [s.id for s in task.samples]
        found += [
            (task, s, p)
            for s in task.samples
            if not given.sample or s.id in given.sample
            if fits(p := panels_of(run, task, s), given.only)
        ]
    absent = [s for s in given.sample if s not in known]
    if absent:
        raise unknown_name("sample", absent[0], known)
    if not found:
        raise UserError("no sample of this run fits the filter; leave --only away or choose another run.")
    folder = Path(given.out) if given.out else run.path / "show"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); choose another with --out.") from None
    figures: list[str] = []
    skipped: list[Undrawable] = []
    for task, sample, panels in found:
        if len(figures) == given.limit:
            break
        file = file_name(task.name, sample.id)
        try:
            picture = draw(sample, panels, task.of)
        except Undrawable as error:  # a broken screenshot is no reason to hide the others
            skipped.append(error)
            continue
        picture.save(folder / file)
        figures.append(_figure(file, task, sample, panels))
    if not figures:
        raise skipped[0]
    write_atomic(folder / "index.html", gallery(run, figures, len(found)))
    print(f"{len(figures)} of {len(found)} samples drawn\ngallery: {folder / 'index.html'}")
    if skipped:
        print(f"{len(skipped)} samples skipped, the first because {skipped[0]}", file=sys.stderr)
    return 0


def panels_of(run: Run, task: Task, sample: Sample) -> list[Panel]:
    """One panel per cell of the run, in table order."""
    out = []
    for cell in run.spec.cells():
        record = run.records[task.name, cell.method, cell.budget].get(sample.id)
        if record is None:
            raise UserError(
                f"{run.path} has no record of {sample.id!r} for {cell.method} at {cell.budget} on "
                f"{task.name}; finish the run first."
            )
        out.append(Panel("full" if cell.method == "full" else f"{cell.method} at {cell.budget}", record))
    return out


def fits(panels: list[Panel], only: str | None) -> bool:
    """Does a sample pass the filter?"""
    if only is None:
        return True
    verdicts = {p.right for p in panels}
    if only == "disagree":
        return {True, False} <= verdicts
    full = next((p for p in panels if p.label == "full"), None)
    return full is not None and full.right is True and any(p.right is False for p in panels)


def file_name(task: str, sample: str) -> str:
    """A file name that any sample id can have: its letters and digits, and a hash that tells ids apart."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", sample)[:60].strip("-")
    return f"{task}--{plain}-{hashlib.sha256(sample.encode()).hexdigest()[:8]}.png"


def _figure(file: str, task: Task, sample: Sample, panels: list[Panel]) -> str:
    wrong = [p.label for p in panels if p.right is False]
    state = f"wrong: {', '.join(wrong)}" if wrong else "no method is wrong"
    rows = "".join(
        f"<tr><td>{html.escape(p.label)}</td><td>{html.escape(printable(p.record['answer'], 300))}</td>"
        f"<td>{html.escape(str(p.record['score']))}</td><td>{html.escape(str(p.record['reason']))}</td></tr>"
        for p in panels
    )
    return (
        f'<figure data-full-right="{str(fits(panels, "full-right")).lower()}">'
        f"<figcaption><b>{html.escape(task.name)} {html.escape(sample.id)}</b>: "
        f"{html.escape(printable(sample.question, 400))} <i>({html.escape(state)})</i></figcaption>"
        f'<img src="{html.escape(file)}" alt="what each method kept of {html.escape(sample.id)}">'
        f"<details><summary>answers</summary><table><tr><th>method</th><th>answer</th><th>score</th><th>reason</th>"
        f"</tr>{rows}</table></details></figure>"
    )


def gallery(run: Run, figures: list[str], total: int) -> str:
    """The page; it refers to nothing but the PNG files beside it."""
    return (
        _PAGE.replace("@TITLE@", html.escape(f"{run.settings['model']}, run {identity_of(run.settings)}"))
        .replace("@COUNT@", f"{len(figures)} of {total} samples")
        .replace("@FIGURES@", "\n".join(figures))
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>@TITLE@</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.2rem; color: #1b1f24; }
figure { margin: 1.2rem 0; border-top: 1px solid #d0d4da; padding-top: .8rem; }
img { max-width: 100%; height: auto; }
td, th { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #d0d4da; overflow-wrap: anywhere; }
.box { border: 3px solid #009e73; padding: 0 .4em; } .point { color: #d55e00; font-weight: bold; }
</style></head><body>
<h1>@TITLE@</h1>
<p>@COUNT@. Grey blocks did not reach the decoder; half grey ones were dropped inside it; what was dropped from the
cache is counted in the captions. <span class="box">target</span> (a box, an
outline, a ring for a point, a line for a swipe) <span class="point">&#10005;</span> predicted point. A
downsized image is drawn as coarse as the model saw it.</p>
<p><label><input type="checkbox" id="only"> only where full is right and a method is wrong</label></p>
@FIGURES@
<script>
document.getElementById("only").addEventListener("change", (event) => {
  for (const figure of document.querySelectorAll("figure"))
    figure.hidden = event.target.checked && figure.dataset.fullRight !== "true";
});
</script></body></html>
"""
