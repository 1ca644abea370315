"""Write ``docs/records.md`` and ``docs/schema/*.json`` from the types: ``python scripts/schemas.py [--check]``.

``--check`` writes nothing and exits with 1 where a page or a schema is not current.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vtprune_eval.benchmarks.spec import TaskSpec
from vtprune_eval.models.identity import ModelIdentity
from vtprune_eval.notes import SAMPLE_NOTES, Note
from vtprune_eval.results import summary_types as summaries
from vtprune_eval.results import types as files
from vtprune_eval.sample import Frame

DOCS = Path(__file__).resolve().parents[1] / "docs"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
# By the name of the schema: its type, and where such a value stands.
SCHEMAS: dict[str, tuple[Any, str]] = {
    "record": (files.Record, "A line of `records/TASK--METHOD--BUDGET.jsonl`."),
    "summary": (summaries.Summary, "`summary.json`."),
    "identity": (ModelIdentity, "`model` of `environment.json`, `identity` of `summary.json`."),
    "task": (TaskSpec, "What a `task.yaml` becomes."),
}
# In this order on the page.
PAGE = (
    files.Answered,
    files.Failed,
    files.RecordCounts,
    files.Spent,
    Frame,
    summaries.Summary,
    summaries.CellSummary,
    summaries.TaskSummary,
    summaries.CellCosts,
    summaries.Comparison,
    ModelIdentity,
    TaskSpec,
)
HEAD = """# Records, summaries, identities

Made by `python scripts/schemas.py` from the types; do not edit. The same as JSON schemas: {links}.

Keys never change their meaning. A key that a later version added is absent in earlier files, and is then marked
"optional" here; every version reads the files of earlier ones.

"""


def fields_of(kind: Any) -> dict[str, tuple[Any, bool, str]]:
    """Field name to its type, whether it must be there, and what it means (from ``Attributes:`` of the docstring)."""
    hints = get_type_hints(kind)
    said = dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", inspect.getdoc(kind) or "", re.MULTILINE))
    needed = kind.__required_keys__ if is_typeddict(kind) else _needed(kind)
    return {name: (hint, name in needed, " ".join(said.get(name, "").split())) for name, hint in hints.items()}


def _first_line(kind: Any) -> str:
    return (kind.__doc__ or "").split("\n")[0].replace("``", "`")


def _needed(kind: Any) -> set[str]:
    missing = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing}


def schema_of(kind: Any, defs: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a type; those of named types go to ``defs`` and are referred to."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind is Any:
        return {}
    if kind is Path or kind is Note:  # a note of a summary stands there as its sentence
        return {"type": "string"}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        parts = [schema_of(arg, defs) for arg in args]
        names = [p["type"] for p in parts if p.keys() == {"type"}]
        return {"type": names} if len(names) == len(parts) else {"anyOf": parts}
    if origin in (list, tuple, Sequence):
        return {"type": "array", "items": schema_of(args[0], defs)}
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        return {"type": "object", "additionalProperties": schema_of(args[1], defs)}
    name = kind.__name__
    if name not in defs:
        defs[name] = {}
        fields = fields_of(kind)
        defs[name] = {
            "type": "object",
            "description": _first_line(kind),
            "properties": {
                key: {**schema_of(hint, defs), **({"description": text} if text else {})}
                for key, (hint, _, text) in fields.items()
            },
            "required": sorted(key for key, (_, needed, _) in fields.items() if needed),
        }
    return {"$ref": f"#/$defs/{name}"}


def document(name: str) -> dict[str, Any]:
    """The JSON schema of one kind of file."""
    kind, where = SCHEMAS[name]
    defs: dict[str, Any] = {}
    top = schema_of(kind, defs)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": where.replace("`", ""),
        **top,
        "$defs": dict(sorted(defs.items())),
    }


def written(kind: Any) -> str:
    """A type in words of JSON."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(map(written, args))
    if origin in (list, tuple, Sequence):
        return f"list of {written(args[0])}"
    if get_args(kind):
        return f"object of {written(args[1])}"
    if kind is Path or kind is Note:
        return "string"
    return "any" if kind is Any else kind.__name__


def page() -> str:
    """The page."""
    parts = [HEAD.format(links=", ".join(f"[{name}](schema/{name}.json)" for name in SCHEMAS))]
    parts += [f"- **{name}**: {where}\n" for name, (_, where) in SCHEMAS.items()]
    described = fields_of(files.Answered)
    for kind in PAGE:
        parts.append(f"\n## {kind.__name__}\n{_first_line(kind)}\n\n| field | type | meaning |\n|---|---|---|\n")
        for key, (hint, needed, text) in fields_of(kind).items():
            if kind is files.Failed and not text and key in described:
                text = described[key][2] if hint == described[key][0] else "null"
            mark = "" if needed else " (optional)" if is_typeddict(kind) else " (default)"
            parts.append(f"| `{key}`{mark} | {written(hint)} | {text} |\n")
    parts.append('\n## Notes\nA note is `{"code": CODE, ...}` with the values of its sentence:\n')
    parts.append("\n| code | sentence |\n|---|---|\n")
    parts += [f"| `{code}` | {sentence} |\n" for code, sentence in SAMPLE_NOTES.items()]
    return "".join(parts)


def outputs() -> dict[Path, str]:
    """Everything that is made, by its file."""
    made = {DOCS / "records.md": page()}
    for name in SCHEMAS:
        made[DOCS / "schema" / f"{name}.json"] = json.dumps(document(name), indent=2) + "\n"
    return made


def main(argv: list[str] | None = None) -> int:
    """Write or check; the exit code."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--check", action="store_true")
    check = p.parse_args(argv).check
    stale = [f for f, text in outputs().items() if not f.is_file() or f.read_text(encoding="utf-8") != text]
    for file in stale:
        print(f"{file.relative_to(DOCS.parent)} is not current" if check else f"wrote {file.relative_to(DOCS.parent)}")
        if not check:
            file.parent.mkdir(exist_ok=True)
            file.write_text(outputs()[file], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
