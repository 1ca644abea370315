"""What a reader of a record, or of a row, must know: a code with values. Its sentence is made here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Value = str | int | float

# Of one sample, in its record.
SAMPLE_NOTES = {
    "markers": "{tokens} visual tokens and {markers} markers",
    "untrained_marker": "untrained marker: {token} stands in for the token that {method} trains",
    "per_query_head": "entries are stored once per query head: {times} times the bytes of grouped entries",
    "over_layers": "mean over the decoder layers: {mean:.1f} visual tokens, {asked} were asked for",
    "under_layers": "under budget: {mean:.1f} visual tokens per decoder layer, {allowed} were allowed",
    "over": "kept {kept} visual tokens, {asked} were asked for",
    "under": "under budget: kept {kept} of {allowed} allowed visual tokens",
    "cache_unused": "the answer is read from the prefill, so that a compressed cache cannot change it",
    "cache_larger": "the cache holds {percent:.0f} % of the bytes of the full model's",
    "cache_partial": "the cache of {cached} of {layers} decoder layers was compressed; the others have linear "
    "attention and none",
    "nothing_dropped": "NOTHING WAS DROPPED: budget {budget} was asked for, and the sample ran at 100 %",
    "decoded_eagerly": "decoded eagerly: with static shapes a step was too close to call",
    "foreign": "not {model}",
    "said": "{text}",
}
# Of a row: a method at a budget, over its samples.
ROW_NOTES = {
    "row_crashed": "WARNING: {cell} crashed on {n} of {of} samples, first on {sample} ({message}): a fault of the "
    "program, no verdict on the method",
    "row_untouched": "WARNING: {method} at budget {budget} dropped nothing",
    "row_under": "{cell}: under budget on {n} of {of} samples",
    "row_over": "{cell}: more visual tokens than asked for on {n} of {of} samples",
    "row_over_layers": "{cell}: the decoder layers see {percent:.1f} % of the visual tokens as a mean over the layers; "
    "more than asked for on {n} of {of} samples",
    "row_said": "{cell}: {note}",
    "row_cache_larger": "{cell}: {note}; more than the full model's cache on {n} of {of} samples",
    "row_unscored": "{task}: {n} of {of} samples are not scored, because {why} (`python -m vtprune_eval data check "
    "{name}` says more{first})",
    "row_nothing_scored": "WARNING: {task}: {n} of {of} samples are not scored, because {why} (`python -m vtprune_eval "
    "data check {name}` says more{first})",
    "row_no_speedup": "{cell}: no speed-up shown (end to end {ratio:.2f}x [{low:.2f}, {high:.2f}])",
    "row_drift": "{cell}: the machine's speed moved while it was timed (last third {ratio:.2f}x the first, per FLOP)",
    "row_below_floor": "WARNING: full scores {percent:.1f} on {task}, below the sanity floor of {floor:.0f}: prompt, "
    "weights or data are not right",
    "row_failed": "{cell}: failed samples, counted as wrong (costs are of the others): {failures}",
    "table": "{text}",
}
_TEMPLATES = {**SAMPLE_NOTES, **ROW_NOTES}
_WARNINGS = {code for code, template in _TEMPLATES.items() if template.startswith("WARNING")}
_FIELD = re.compile(r"\{(\w+)[^}]*\}")


@dataclass(frozen=True)
class Note:
    """Something that a reader must know.

    Attributes:
        code: a key of :data:`SAMPLE_NOTES` or :data:`ROW_NOTES`.
        values: what the sentence names, by the names of its template.
    """

    code: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        return _TEMPLATES[self.code].format(**self.values)

    @property
    def warning(self) -> bool:
        """True where results must not be used before somebody has looked."""
        return self.code in _WARNINGS

    def data(self) -> dict[str, Value]:
        """As plain JSON values, for a record: ``code`` beside the values."""
        return {"code": self.code, **self.values}

    @classmethod
    def read(cls, stored: Any) -> Note:
        """The note that a record holds.

        Args:
            stored: what :meth:`data` gave, or the sentence that records held before notes had codes. Anything else is
                a note of its own words: records may come from anybody.
        """
        if isinstance(stored, str):
            return _of_sentence(stored)
        if isinstance(stored, dict):
            values = {k: v for k, v in stored.items() if k != "code"}
            note = cls(str(stored.get("code")), values)
            if note.code in SAMPLE_NOTES and all(isinstance(v, (str, int, float)) for v in values.values()):
                try:
                    str(note)
                except (KeyError, ValueError):
                    pass
                else:
                    return note
        return said(str(stored))


def said(text: str | Note) -> Note:
    """A note in words of its own, of a method or of a record that others made; a note as it is."""
    return text if isinstance(text, Note) else Note("said", {"text": text})


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    """How the sentence of every note of a sample is recognised."""
    out = {}
    for code, template in SAMPLE_NOTES.items():
        if code != "said":
            parts = _FIELD.split(template)
            out[code] = re.compile(
                "".join(f"(?P<{p}>.{{1,80}}?)" if i % 2 else re.escape(p) for i, p in enumerate(parts)), re.DOTALL
            )
    return out


def _of_sentence(text: str) -> Note:
    for code, pattern in _patterns().items():
        found = pattern.fullmatch(text)
        if found:
            note = Note(code, {k: _value(v) for k, v in found.groupdict().items()})
            try:
                str(note)
            except ValueError:  # a word where a number is to stand
                continue
            return note
    return said(text)


def _value(text: str) -> Value:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
