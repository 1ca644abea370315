"""Notes: a code with values in records, one sentence at the end; sentences of earlier records are read back."""

from __future__ import annotations

import json

import pytest

from vtprune_eval.notes import ROW_NOTES, SAMPLE_NOTES, Note, said

EXAMPLES = [
    Note("markers", {"tokens": 12, "markers": 3}),
    Note("untrained_marker", {"token": "the pad token's embedding", "method": "FocusUI"}),
    Note("per_query_head", {"times": 2}),
    Note("over_layers", {"mean": 4.5, "asked": 2}),
    Note("under_layers", {"mean": 1.5, "allowed": 3}),
    Note("over", {"kept": 5, "asked": 4}),
    Note("under", {"kept": 3, "allowed": 4}),
    Note("cache_unused"),
    Note("cache_larger", {"percent": 140.0}),
    Note("cache_partial", {"cached": 2, "layers": 4}),
    Note("nothing_dropped", {"budget": "auto"}),
    Note("decoded_eagerly"),
    Note("foreign", {"model": "qwen3vl-2b"}),
    said("one eye is closed"),
]


def test_every_code_has_an_example():
    assert {note.code for note in EXAMPLES} == set(SAMPLE_NOTES)


@pytest.mark.parametrize("note", EXAMPLES, ids=lambda note: note.code)
def test_a_record_holds_the_note_and_earlier_records_its_sentence(note):
    assert Note.read(json.loads(json.dumps(note.data()))) == note
    assert Note.read(str(note)) == note


def test_what_earlier_versions_wrote():
    assert Note.read("under budget: kept 12 of 15 allowed visual tokens") == Note("under", {"kept": 12, "allowed": 15})
    assert Note.read("mean over the decoder layers: 4.5 visual tokens, 2 were asked for").values["mean"] == 4.5


@pytest.mark.parametrize(
    "stored", [None, 7, [1], {}, {"code": "under"}, {"code": "under", "kept": [1], "allowed": 2}, {"code": "row_drift"},
               {"code": "over_layers", "mean": "many", "asked": 1},
               "mean over the decoder layers: many visual tokens, 2 were asked for"],
)  # fmt: skip
def test_anything_else_is_said_as_it_is(stored):
    assert Note.read(stored) == said(str(stored))


def test_warnings_are_told_by_their_code():
    assert Note("row_untouched", {"method": "a", "budget": "10"}).warning
    assert not Note("row_under", {"cell": "a at 10", "n": 1, "of": 2}).warning
    assert not set(SAMPLE_NOTES) & set(ROW_NOTES)
