"""``python -m vtprune_eval submit RUN --author NAME`` and ``python -m vtprune_eval check-submission FILE ...``."""

from __future__ import annotations

import argparse
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..console import Parser
from ..errors import UserError

RERUN_SAMPLES = 8  # per task and row
RESULTS, CHECKS, METHODS = "leaderboards/results", "leaderboards/checks", "vtprune_eval/methods"
# Made from the results after a merge: a submission that brings its own would show what nobody checked.
GENERATED = ("leaderboards/index.html", "leaderboards/leaderboard.md", "leaderboards/leaderboard.csv")
ENDINGS = (".json", ".records.jsonl.gz")


def submit(argv: Sequence[str]) -> int:
    """Prepare the two files of a result; returns the exit code.

    Raises:
        UserError: a run that cannot be submitted, with what to mend.
    """
    from ..report.submission import LICENCES, submission

    p = Parser("submit", description="The two files of a result, checked.")
    p.add_argument("run", metavar="RUN", help="folder of a finished run")
    p.add_argument("--author", required=True, help="name under which the result stands on the board")
    p.add_argument("--account", default="", help="GitHub name that opens the pull request")
    p.add_argument("--paper", default="", help="what to cite, in one line")
    p.add_argument("--licence", default="CC-BY-4.0", help=f"of the records: {', '.join(LICENCES)} (default CC-BY-4.0)")
    p.add_argument("--date", default="", help="YYYY-MM-DD (default today)")
    p.add_argument("--out", help="folder of the two files (default RUN/submission)")
    p.add_argument("--data-path", help="folder of the original data of a task that is not embedded")
    given = p.parse_args(list(argv))
    from ..report.rerun import can_rerun
    from ..report.result_file import from_run, write
    from ..runner.folder import read_run

    about = submission(given.author, account=given.account, date=given.date, paper=given.paper, licence=given.licence)
    run = read_run(Path(given.run))
    run.tell_unsealed()
    result, records = from_run(run, about)
    path = write(result, records, Path(given.out) if given.out else run.path / "submission")
    print(f"result:  {path}\nrecords: {path.parent / result['records']['file']}\n")
    said, lacks = _recompute(path, given.data_path)
    for sentence in said:
        print(f"ok: {sentence}")
    print("\nWhat the pull request's check will do, without any secret:")
    if lacks:
        print(f"- it cannot recompute everything ({lacks.rstrip('.')}): the row gets no state until a maintainer does.")
    else:
        print("- recompute scores, lengths, bytes, FLOPs and aggregates from the records: state `recomputed`.")
    if can_rerun(result["settings"]):
        n = sum(min(RERUN_SAMPLES, len(own)) for own in run.records.values())
        print(
            f"- answer {RERUN_SAMPLES} samples per task and row again ({n}), drawn when it runs; after the merge "
            "the nightly run does so on the main branch: state `re-run`."
        )
    else:
        print(
            f"- run its methods on the embedded suites; the answers of {result['settings']['model']} need its weights, "
            "so that the state `re-run` is out of reach."
        )
    print("- `reproduced elsewhere` comes when another account submits the same rows from another machine.")
    print(
        f"\nThe same check here: python -m vtprune_eval check-submission {path}\n"
        f"To submit: copy both files into {RESULTS}/ and open a pull request with nothing else in it"
        + ("" if given.account else "; --account must then name the account that opens it")
        + "."
    )
    return 0


def _recompute(path: Path, data_path: str | None = None) -> tuple[list[str], str]:
    """What ``validate`` says, and why it could not compute everything again, "" where it could.

    Raises:
        UserError: a fault of the result.
    """
    from ..report.result_file import read
    from ..report.validate import lacks_of, validate

    held = read(path)
    lacks = lacks_of(held[0], data_path)
    return ([], lacks) if lacks else (validate(path, data_path, held), "")


def check_submission(argv: Sequence[str]) -> int:
    """Check result files and new method files as the pull request's workflow does; returns the exit code.

    Raises:
        UserError: the first thing that is wrong.
    """
    p = Parser("check-submission", description=__doc__)
    p.add_argument("files", nargs="*", metavar="FILE", help="result files (JSON) and method files of a submission")
    p.add_argument(
        "--ref",
        help="instead of FILE: what this git reference adds to the present branch; its files are checked out here",
    )
    p.add_argument("--account", default="", help="GitHub account that opened the pull request")
    p.add_argument(
        "--rerun",
        type=int,
        default=RERUN_SAMPLES,
        help=f"samples per task and row to answer again (default {RERUN_SAMPLES})",
    )
    p.add_argument("--seed", default="", help="of their draw (default: a fresh one)")
    p.add_argument("--write", metavar="DIR", help="write the state `re-run` into the leaderboard in DIR (maintainers)")
    given = p.parse_args(list(argv))
    if bool(given.files) == bool(given.ref):
        raise UserError("check-submission needs the files of a submission, or --ref with a git reference.")
    if given.rerun < 0:
        raise UserError("--rerun: a number of samples of at least 0 is needed.")
    if given.write and not Path(given.write).is_dir():
        raise UserError(f"--write {given.write}: no such folder; name that of the leaderboard.")
    names = _of_ref(given.ref) if given.ref else given.files
    seed = given.seed or secrets.token_hex(8)
    results, methods = _sorted(names)
    if not results and not methods:
        print("no result and no new method: nothing to check here.")
        return 0
    print(f"checking {len(results)} results and {len(methods)} methods; draws of samples have the seed {seed}")
    for path in results:
        _check_result(path, given, seed)
    for path in methods:
        _exercise([path.stem.replace("_", "-")], given.rerun or RERUN_SAMPLES, seed)
    print("the submission stands.")
    return 0


def _sorted(names: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Result files and method files of a submission.

    Raises:
        UserError: a file that is neither; a records file without its result.
    """
    results: list[Path] = []
    methods: list[Path] = []
    for name in names:
        path = Path(name)
        if name.endswith(ENDINGS[1]):
            twin = Path(name.removesuffix(ENDINGS[1]) + ENDINGS[0])
            if not twin.is_file():
                raise UserError(f"{path.name}: the result file {twin.name} is missing beside it; submit both files.")
            results.append(twin)
        elif name.endswith(ENDINGS[0]):
            results.append(path)
        elif name.endswith(".py"):
            methods.append(path)
        else:
            raise UserError(f"{name} is neither a result nor a method; a submission holds nothing else.")
    package = Path(__file__).parents[1] / "methods"
    for path in methods:
        if path.resolve().parent != package or path.name in ("__init__.py", "base.py"):
            raise UserError(f"{path}: a method is one file in {METHODS}/; put it there to have it checked.")
    return list(dict.fromkeys(results)), methods


def _of_ref(ref: str) -> list[str]:
    """What a git reference adds to the present branch; checked out into the working tree.

    Raises:
        UserError: it changes or removes results, brings states or generated pages, or no such reference.
    """
    changed = _git("diff", "--name-status", "-z", "--no-renames", f"HEAD...{ref}").split("\0")
    found: list[str] = []
    for status, name in zip(changed[::2], changed[1::2], strict=False):
        if name.startswith(CHECKS + "/"):
            raise UserError(
                f"{name}: states are written by the check on the main branch, never by a submission; leave it out."
            )
        if name in GENERATED:
            raise UserError(f"{name} is made from the results after the merge; leave it out.")
        if name.startswith(RESULTS + "/"):
            if status != "A":
                raise UserError(f"{name}: a submission adds results and changes none; give yours a run of its own.")
            found.append(name)
        elif name.startswith(METHODS + "/") and "/" not in name.removeprefix(METHODS + "/") and status == "A":
            found.append(name)
    if found:
        _git("checkout", "--quiet", ref, "--", *found)
        linked = next((name for name in found if Path(name).is_symlink()), None)
        if linked:
            raise UserError(f"{linked} is a link; a submission holds files.")
    others = (len(changed) - 1) // 2 - len(found)
    if others:
        print(f"{others} other files are no submission: people and the test suite look at them.")
    return found


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git {words[0]}: {(done.stderr.strip().splitlines() or ['failed'])[0]}; check the reference.")
    return done.stdout


def _check_result(path: Path, given: argparse.Namespace, seed: str) -> None:
    from ..report.rerun import can_rerun, rerun
    from ..report.result_file import read
    from ..report.states import write_check
    from ..runner.header import processor

    print(f"\n{path.name}")
    result, records = read(path)
    about = result.get("submission")
    if about is None and not given.write:
        raise UserError(f"{path.name} says nothing of its author; make it with `python -m vtprune_eval submit RUN`.")
    if given.account and (about or {}).get("account", "").lower() != given.account.lower():
        raise UserError(
            f"{path.name}: its account is {(about or {}).get('account') or 'empty'!r}, and {given.account!r} opened "
            "the pull request; make the files with --account."
        )
    said, lacks = _recompute(path)
    for sentence in said:
        print(f"ok: {sentence}")
    if lacks:
        print(f"open: not recomputed here: {lacks}")
    settings = result["settings"]
    if not given.rerun:
        return
    if not can_rerun(settings):
        _exercise(settings["methods"], given.rerun, seed, settings["budgets"])
        return
    again = rerun(settings, records, given.rerun, seed)
    if again.faults:
        more = f" (and {len(again.faults) - 1} more)" if len(again.faults) > 1 else ""
        raise UserError(f"{path.name}: {again.faults[0].rstrip('.')}{more}; run it again with this version.")
    print(f"ok: {again.n} answers given again, {again.equal} of them the same, all lengths equal")
    if given.write and not lacks:
        print(f"state: {write_check(Path(given.write), result, again, seed=seed, machine=processor())}")


def _exercise(methods: Sequence[str], n: int, seed: str, budgets: Sequence[str] = ()) -> None:
    from ..report.rerun import TRIED, exercise

    said, faults = exercise(methods, n, seed, (*budgets, *TRIED))
    for sentence in said:
        print(f"ok: {sentence}")
    if faults:
        raise UserError(f"{faults[0].rstrip('.')}{f' (and {len(faults) - 1} more)' if len(faults) > 1 else ''}.")
