"""Run the committed results of the embedded model again, compare, and rewrite the leaderboard's pages.

    python scripts/refresh_leaderboard.py            compare; exit code 1 on any change beyond the noise below
    python scripts/refresh_leaderboard.py --accept   make the new results the committed ones

Noise that is allowed, per cell:
- tokens (patches, visual tokens, tokens per layer, cache entries): none;
- prefill FLOPs: none; all FLOPs: 0.5 %, because another processor may break a near tie and answer longer or shorter;
- accuracy: the scores of at most 1 % of the samples (and of one sample in any case) may differ;
- speed-up over full: at most 15 % below the committed one. Absolute times are not compared: machines differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vtprune_eval.errors import UserError  # noqa: E402
from vtprune_eval.leaderboard.pages import build  # noqa: E402
from vtprune_eval.leaderboard.result_file import from_run, read, result_paths, write  # noqa: E402
from vtprune_eval.pipeline.run import execute  # noqa: E402
from vtprune_eval.results.folder import Key, read_run, spec_of  # noqa: E402
from vtprune_eval.results.summary import costs_of  # noqa: E402

FLOPS_NOISE, SCORE_NOISE, SPEED_LOSS = 0.005, 0.01, 0.15
TOKENS = ("patches", "visual", "layer_tokens", "cache_entries")
Records = dict[Key, list[dict[str, Any]]]


def changes(old: Records, new: Records) -> list[str]:
    """One sentence per change beyond the noise; both hold the same cells and samples."""
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
            out.append(f"{label}: accuracy {means[0]:.1f} -> {means[1]:.1f}, {len(moved)} of {len(pairs)} scores "
                       f"changed (for example {moved[0]})")
        ratios = [costs_of(r[key], r.get((key[0], "full", "100"))).get("speedup") for r in (old, new)]
        if ratios[0] and (not ratios[1] or ratios[1] < (1 - SPEED_LOSS) * ratios[0]):
            now = "none" if ratios[1] is None else f"{ratios[1]:.2f}x"
            out.append(f"{label}: speed-up {ratios[0]:.2f}x -> {now}, more than {100 * SPEED_LOSS:.0f} % lower")
    return out


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
        folder: of the leaderboard; runs: where the new runs go; groups: whose results are run again; accept: replace
            the committed results by the new ones.

    Raises:
        UserError: no committed result, or one that cannot be read.
    """
    found: list[str] = []
    committed = [(path, *read(path)) for path in result_paths(folder / "results")]
    chosen = [entry for entry in committed if entry[1]["group"] in groups]
    if not chosen:
        raise UserError(f"{folder / 'results'} holds no result of {', '.join(groups)}; make one with `python -m "
                        "vtprune_eval leaderboard build RUN`.")
    for path, result, old in chosen:
        spec = dataclasses.replace(spec_of(result["settings"]), out=str(runs / result["name"]), format="md")
        code = execute(spec)
        if code:
            raise UserError(f"{path.name}: its run ended with exit code {code}; start this script again.")
        run = read_run(spec.folder)
        keys = [k for k in result["settings"] if k in {"data", "fingerprint"}
                and run.settings[k] != result["settings"][k]]
        if keys:
            found.append(f"{path.name}: {' and '.join(keys)} changed since it was committed; check, then use --accept")
        else:
            new = {k: list(own.values()) for k, own in run.records.items()}
            found += [f"{path.name}: {c}" for c in changes(old, new)]
        if accept:
            remade, text = from_run(run)
            path.unlink()
            path.with_name(result["records"]["file"]).unlink()
            write(remade, text, folder / "results")
    build(folder)
    return found


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
            raise UserError(f"{runs} is not empty: old records would be compared with themselves; remove it or name "
                            "another folder with --runs.")
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
