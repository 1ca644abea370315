"""Check this package against golden vectors: ``python scripts/check_golden.py DIR``.

Every vector file below DIR is recognised by its schema (methods and metrics, any sub-folder). One line per file, then
``N passed, M failed`` (files); the exit code is 1 when anything failed, 2 when there is nothing to check.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.golden.checkers import check_folder


def main(argv: list[str] | None = None) -> int:
    """Print the reports; see the module's docstring for the exit codes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(argv).folder
    if not folder.is_dir():
        print(f"{folder} is not a folder; give the folder that holds the golden vectors.", file=sys.stderr)
        return 2
    passed = failed = 0
    for report in check_folder(folder):
        name = report.path.relative_to(folder)
        if report.failures:
            failed += 1
            case, why = report.failures[0]
            how_many = f"{len(report.failures)} of {report.n_cases} cases; first: {case}: " if report.n_cases else ""
            print(f"FAIL {name}: {how_many}{why}", flush=True)
        else:
            passed += 1
            print(f"PASS {name}: {report.n_cases} cases", flush=True)
    print(f"{passed} passed, {failed} failed")
    if passed + failed == 0:
        print(f"{folder} holds no vector file (.json or .npz).", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
