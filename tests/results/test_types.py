"""docs/records.md and the JSON schemas say what the types say, and committed records of an earlier version fit them."""

from __future__ import annotations

import gzip
import itertools
import json

import jsonschema
import pytest

from scripts import schemas
from tests.conftest import ROOT
from vtprune_eval.notes import Note
from vtprune_eval.results.record import RESULT_FIELDS
from vtprune_eval.results.types import Answered, Failed

COMMITTED = sorted((ROOT / "leaderboards" / "results").glob("*.records.jsonl.gz"))


def test_page_and_schemas_are_current():
    stale = [f.name for f, text in schemas.outputs().items() if not f.is_file() or f.read_text("utf-8") != text]
    assert stale == [], "run python scripts/schemas.py"


@pytest.mark.parametrize("kind", schemas.PAGE, ids=lambda kind: kind.__name__)
def test_every_field_is_explained(kind):
    fields = schemas.fields_of(kind)
    shared = schemas.fields_of(Answered) if kind is Failed else {}
    assert [key for key, (*_, text) in fields.items() if not text and key not in shared] == []


def test_committed_records_fit_the_schema():
    """They are of a version in which a note was a sentence; everything else is as it was."""
    schema = jsonschema.Draft202012Validator(schemas.document("record"))
    known = set(Answered.__annotations__) | set(Failed.__annotations__)
    assert COMMITTED and set(RESULT_FIELDS) <= known
    for file in COMMITTED:
        with gzip.open(file, "rt") as lines:
            for line in itertools.islice(lines, 0, None, 97):
                record = json.loads(line)
                for key in ("task", "method", "budget"):  # of the cell, beside the record
                    record.pop(key)
                assert set(record) <= known
                record["notes"] = [Note.read(note).data() for note in record["notes"]]
                assert [e.message for e in schema.iter_errors(record)] == []
