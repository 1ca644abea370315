"""Run the committed results of the embedded model again, compare, and rewrite the leaderboard's pages.

    python scripts/refresh_leaderboard.py            compare; exit code 1 on any change beyond the noise below
    python scripts/refresh_leaderboard.py --accept   make the new results the committed ones

Noise that is allowed, per cell:
- tokens (patches, visual tokens, tokens per layer, cache entries): none;
- prefill FLOPs: none; all FLOPs: 0.5 %, because another processor may break a near tie and answer longer or shorter;
- accuracy: the scores of at most 1 % of the samples (and of one sample in any case) may differ;
- speed-up over full: at most 15 % below the committed one, or below the low end of its 95 % interval (a bootstrap over
  its timed samples), where a row has few. A row below that is timed twice more, and the median of the three passes
  counts. Absolute times are not compared: machines differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vtprune_eval.budget import LEGACY, reading_of  # noqa: E402
from vtprune_eval.errors import UserError  # noqa: E402
from vtprune_eval.report.pages import build  # noqa: E402
from vtprune_eval.report.result_file import from_run, read, result_paths, write  # noqa: E402
from vtprune_eval.runner.execute import execute  # noqa: E402
from vtprune_eval.runner.folder import Key, read_run, spec_of  # noqa: E402
from vtprune_eval.runner.spec import RunSpec  # noqa: E402

FLOPS_NOISE, SCORE_NOISE, SPEED_LOSS = 0.005, 0.01, 0.15
MORE_PASSES, RESAMPLES = 2, 2000
TOKENS = ("patches", "visual", "layer_tokens", "cache_entries")
Records = dict[Key, list[dict[str, Any]]]
Again = Callable[[Key, int], Records]


def changes(old: Records, new: Records, again: Again | None = None) -> list[str]:
    """One sentence per change beyond the noise; both hold the same cells and samples.

    Args:
        old: committed and present records.
        new: committed and present records.
        again: times a cell and its full once more (cell, number of the pass from 2), asked only for a row that is too
            slow; None believes the first pass.
    """
    out = []
    for key, before in old.items():
        label = f"{key[1]} at {key[2]} on {key[0]}"
        after = {r["id"]: r for r in new[key]}
        pairs = [(r, after[r["id"]]) for r in before]
        both = [(a, b) for a, b in pairs if a["status"] == b["status"] == "ok"]
        failed = sum(a["status"] != b["status"] for a, b in pairs)
        if failed:
            out.append(f"{label}: {failed} samples fail now that did not, or the other way round")
        for name in TOKENS:
            n = sum(a["counts"][name] != b["counts"][name] for a, b in both)
            if n:
                out.append(f"{label}: {name} changed on {n} of {len(both)} samples")
        out += _flops(label, both)
        moved = [a["id"] for a, b in pairs if a["score"] != b["score"]]
        if len(moved) > max(1, SCORE_NOISE * len(pairs)):
            means = [100 * sum(r[i]["score"] or 0.0 for r in pairs) / len(pairs) for i in (0, 1)]
            out.append(
                f"{label}: accuracy {means[0]:.1f} -> {means[1]:.1f}, {len(moved)} of {len(pairs)} scores "
                f"changed (for example {moved[0]})"
            )
        out += _slower(label, key, old, new, again)
    return out


def _slower(label: str, key: Key, old: Records, new: Records, again: Again | None) -> list[str]:
    """A sentence if a row lost speed in the median of all passes."""
    before = _times(old, key)
    if not len(before) or not before.all():
        return []  # nothing was timed, or nothing took any time
    ratio, low, after = speedup(before), low_end(before), _times(new, key)
    if not len(after):
        return [f"{label}: speed-up {ratio:.2f}x -> none, no sample was timed"]
    limit = (1 - SPEED_LOSS) * low
    found = [speedup(after)]
    if found[0] < limit and again is not None:
        found += [speedup(_times(again(key, 2 + i), key)) for i in range(MORE_PASSES)]
    now = float(np.median(found))
    if now >= limit:
        return []
    return [
        f"{label}: speed-up {ratio:.2f}x -> {now:.2f}x, more than {100 * SPEED_LOSS:.0f} % lower (low end of the "
        f"committed one {low:.2f}x from {len(before)} timed samples; median of {len(found)} passes of "
        f"{len(after)})"
    ]


def _times(records: Records, key: Key) -> np.ndarray:
    """Time (ms) of full and of the cell, float ``(n, 2)``, on the samples that both answered alone."""
    full = {r["id"]: r["times"] for r in records.get((key[0], "full", "100"), ()) if r["status"] == "ok"}
    pairs = [
        (full[r["id"]]["e2e_ms"], r["times"]["e2e_ms"])
        for r in records[key]
        if r["status"] == "ok" and r["times"] and full.get(r["id"])
    ]
    return np.array(pairs, dtype=float).reshape(-1, 2)


def speedup(times: np.ndarray) -> float:
    """Median time of full over the median time of the cell; times as of one pass, ``(n, 2)`` in ms."""
    full, own = np.median(times, axis=0)
    return float(full / own)


def low_end(times: np.ndarray) -> float:
    """Lower end of the 95 % interval of :func:`speedup`, samples drawn again; the same for the same times."""
    draws = np.random.default_rng(0).integers(len(times), size=(RESAMPLES, len(times)))
    full, own = np.median(times[draws], axis=1).T
    return float(np.quantile(full / own, 0.025))


def _flops(label: str, both: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    out = []
    for name, noise in (("total_prefill", 0.0), ("total", FLOPS_NOISE)):
        a, b = (sum(pair[i]["flops"].get(name, 0.0) for pair in both) for i in (0, 1))
        if abs(a - b) > noise * a:
            out.append(f"{label}: FLOPs ({name}) {a:.6g} -> {b:.6g}")
    return out


def refresh(folder: Path, runs: Path, groups: Sequence[str], accept: bool) -> list[str]:
    """Rerun, compare and rebuild; returns what changed.

    Args:
        folder: of the leaderboard.
        runs: where the new runs go.
        groups: whose results are run again.
        accept: replace the committed results by the new ones.

    Raises:
        UserError: no committed result, or one that cannot be read.
    """
    found: list[str] = []
    committed = [(path, *read(path)) for path in result_paths(folder / "results")]
    chosen = [entry for entry in committed if entry[1]["group"] in groups]
    older = [path.name for path, result, _ in chosen if reading_of(result["settings"]) == LEGACY]
    if older:
        print(f"not run again, since their budgets have no reading: {', '.join(older)}", file=sys.stderr)
    chosen = [entry for entry in chosen if entry[0].name not in older]
    if not chosen:
        raise UserError(
            f"{folder / 'results'} holds no result of {', '.join(groups)}; make one with `python -m "
            "vtprune_eval leaderboard build RUN`."
        )
    for path, result, old in chosen:
        spec = dataclasses.replace(spec_of(result["settings"]), out=str(runs / result["name"]), format="md")
        code = execute(spec)
        if code:
            raise UserError(f"{path.name}: its run ended with exit code {code}; start this script again.")
        run = read_run(spec.folder)
        keys = [
            k for k in result["settings"] if k in {"data", "fingerprint"} and run.settings[k] != result["settings"][k]
        ]
        if keys:
            found.append(f"{path.name}: {' and '.join(keys)} changed since it was committed; check, then use --accept")
        else:
            new = {k: list(own.values()) for k, own in run.records.items()}
            found += [f"{path.name}: {c}" for c in changes(old, new, _timed_again(spec, new))]
        if accept:
            remade, text = from_run(run)
            path.unlink()
            path.with_name(result["records"]["file"]).unlink()
            write(remade, text, folder / "results")
    build(folder)
    return found


def _timed_again(spec: RunSpec, new: Records) -> Again:
    """Times a cell of a run once more, with its full, on the samples that were timed."""

    def again(key: Key, number: int) -> Records:
        task, method, budget = key
        n = sum(r["times"] is not None for r in new[key])
        name = f"{spec.folder.name}-{task}-{method}-{budget}-pass{number}".replace(":", "-")
        one = dataclasses.replace(
            spec,
            tasks=(task,),
            methods=("full", method),
            budgets=(budget,),
            timings=n,
            out=str(spec.folder.with_name(name)),
        )
        print(
            f"{method} at {budget} on {task} is slower than it was; pass {number} of {1 + MORE_PASSES}.",
            file=sys.stderr,
        )
        if execute(one):
            raise UserError(f"{method} at {budget} on {task} could not be timed again; start this script again.")
        return {k: list(own.values()) for k, own in read_run(one.folder).records.items()}

    return again


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 without a change (or when it is accepted), 1 with one, 2 on a mistake that the caller can mend."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dir", default=str(ROOT / "leaderboards"), help="folder of the leaderboard")
    p.add_argument("--runs", default=str(ROOT / "runs" / "nightly"), help="folder of the new runs; it must be new")
    p.add_argument("--group", action="append", help="group to run again (default embedded)")
    p.add_argument("--accept", action="store_true", help="make the new results the committed ones")
    p.add_argument("--report", help="also write the changes to this file, as JSON")
    given = p.parse_args(argv)
    runs = Path(given.runs)
    try:
        if runs.exists() and any(runs.iterdir()):
            raise UserError(
                f"{runs} is not empty: old records would be compared with themselves; remove it or name "
                "another folder with --runs."
            )
        found = refresh(Path(given.dir), runs, given.group or ["embedded"], given.accept)
    except UserError as error:
        print(f"refresh_leaderboard: {error}", file=sys.stderr)
        return error.exit_code
    if given.report:
        Path(given.report).write_text(json.dumps({"changes": found}, indent=1) + "\n")
    for line in found:
        print(f"CHANGED: {line}", file=sys.stderr)
    print(f"{len(found)} changes beyond the noise" if found else "no change beyond the noise")
    return 1 if found and not given.accept else 0


if __name__ == "__main__":
    sys.exit(main())
