"""The shape of the package, before and after: ``python scripts/house.py BEFORE [AFTER]`` prints a table (two commits).

AFTER is the working tree where it is left out. ``--strict`` also runs mypy in strict mode on both, with the settings
and the overrides of each tree.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

PACKAGE = "vtprune_eval"
ROOT = Path(__file__).resolve().parents[1]
RUN = 6  # lines that must be equal to be called a duplicate


def tree(commit: str, folder: Path) -> Path:
    """The files of a commit, unpacked below ``folder``."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder / commit, filter="data")
    return folder / commit


def sources(root: Path) -> dict[str, str]:
    """Text of every module of the package, by its path below it."""
    base = root / PACKAGE
    return {str(f.relative_to(base)): f.read_text(encoding="utf-8") for f in sorted(base.rglob("*.py"))}


def imported(path: str, text: str) -> Iterator[str]:
    """First names below the package that a module imports, wherever the import stands."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = node.module.split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + names
            elif names[:1] == [PACKAGE]:
                base = names[1:]
            else:
                continue
            yield from ([base[0]] if base else [a.name for a in node.names])


def rooms(files: dict[str, str]) -> dict[str, set[str]]:
    """Packages of the first level, and what each of them imports of the others."""
    names = {path.split("/")[0] for path in files if "/" in path}
    arrows: dict[str, set[str]] = {name: set() for name in names}
    for path, text in files.items():
        if "/" in path:
            own = path.split("/")[0]
            arrows[own] |= {name for name in imported(path, text) if name in names and name != own}
    return arrows


def mutual(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Pairs that import each other."""
    return sorted((a, b) for a in arrows for b in arrows[a] if a < b and a in arrows[b])


def reach(arrows: dict[str, set[str]], start: str) -> set[str]:
    """All that is imported from ``start``, directly or not."""
    seen: set[str] = set()
    todo = list(arrows[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += arrows[name]
    return seen


def circle(arrows: dict[str, set[str]]) -> int:
    """Packages that stand in a circle of imports."""
    return sum(name in reach(arrows, name) for name in arrows)


def functions(files: dict[str, str]) -> list[tuple[int, str]]:
    """Lines of every function, the longest first, without its docstring."""
    found = []
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                found.append(((node.end_lineno or 0) - first.lineno + 1, f"{path}: {node.name}"))
    return sorted(found, reverse=True)


def duplicates(files: dict[str, str]) -> int:
    """Pairs of files that share at least :data:`RUN` equal lines in a row (imports, blank and bare lines left out)."""
    return len(duplicated(files))


def duplicated(files: dict[str, str]) -> set[tuple[str, str]]:
    """The pairs themselves."""
    at: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for path, text in files.items():
        imports: set[int] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        lines = [" ".join(line.split()) for n, line in enumerate(text.splitlines(), 1) if n not in imports]
        lines = [line for line in lines if len(line) > 3 and not re.match(r"#|\"\"\"", line)]
        for i in range(len(lines) - RUN + 1):
            at[tuple(lines[i : i + RUN])].add(path)
    return {(a, b) for own in at.values() for a in own for b in own if a < b}


def strict(root: Path) -> str:
    """Errors of mypy in strict mode."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(root / ".mypy_strict")],
        cwd=root,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Found (\d+) errors?", done.stdout)
    return found.group(1) if found else "0"


def measure(root: Path, with_mypy: bool) -> dict[str, str]:
    """The numbers of one tree."""
    files = sources(root)
    arrows, long = rooms(files), functions(files)
    named = [p for p, text in files.items() if "aitw" in text.lower() and "aitw" not in p]
    out = {
        "packages that import each other": str(len(mutual(arrows))),
        "packages in a circle of imports": str(circle(arrows)),
        "packages that import `integrations`": str(sum("integrations" in own for own in arrows.values())),
        "modules besides its own that name the benchmark AITW": str(len(named)),
        "`dict[str, Any]`": str(sum(text.count("dict[str, Any]") for text in files.values())),
        "`JsonObject` (keys of somebody else)": str(
            sum(len(re.findall(r"\bJsonObject\b", text)) - text.count("import JsonObject") for text in files.values())
        ),
        "longest function (lines)": f"{long[0][0]} (`{long[0][1]}`)",
        "functions over 60 lines": str(sum(n > 60 for n, _ in long)),
        "files over 400 lines": str(sum(text.count("\n") > 400 for text in files.values())),
        f"pairs of files with {RUN} or more equal lines in a row": str(duplicates(files)),
        "lines of Python": f"{sum(text.count(chr(10)) for text in files.values()):,}",
    }
    return out | ({"errors of mypy in strict mode": strict(root)} if with_mypy else {})


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("before")
    p.add_argument("after", nargs="?")
    p.add_argument("--strict", action="store_true")
    given = p.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        before = measure(tree(given.before, Path(folder)), given.strict)
        after = measure(tree(given.after, Path(folder)) if given.after else ROOT, given.strict)
    print(f"| | {given.before[:7]} | {given.after[:7] if given.after else 'now'} |\n|---|---|---|")
    print("\n".join(f"| {name} | {value} | {after[name]} |" for name, value in before.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
