"""Tasks: a folder each under ``tasks/``, with ``task.yaml``, a data card, prompts, and data where it is embedded.

A folder may hold variants (a split, a level): ``tasks/androidcontrol`` with the variant ``low`` is ``androidcontrol``
and ``androidcontrol_low``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..sample import Sample, Score
from .benchmark import Benchmark, Rule, plain
from .data_folders import load_records
from .definitions import benchmark_of, check_protocol, definition, named_task, rule_name
from .grammars import GRAMMARS, parse
from .prompts import load_prompt
from .samples import Samples, fingerprint

# What a broken annotation makes a rule raise.
_BROKEN = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, SyntaxError, RecursionError)


@dataclass(frozen=True)
class Task:
    """A loaded task.

    Attributes:
        name: of the task.
        title: one line for lists.
        version: of the definition.
        protocol: whose scoring rule.
        samples: the questions, images as paths.
        fingerprint: SHA-256 of the records and the image files' sizes.
        max_new_tokens: answer length limit.
        rule: name of the scoring rule for lists, or "none" where the task measures cost only.
        floor: accuracy below which a trained full model points to a mistake in the set-up.
        of: the benchmark that reads and scores.
        scoring: the chosen protocol's rule.
        grammar: how the answer is read.
        history: earlier screenshots per sample.
        prompt: name of the prompt file, empty where the data holds the question.
        settings: keys of ``task.yaml`` that the benchmark itself defines.
    """

    name: str
    title: str
    version: str
    protocol: str
    samples: Samples
    fingerprint: str
    max_new_tokens: int
    rule: str
    floor: float
    of: Benchmark
    scoring: Rule
    grammar: str = ""
    history: int = 0
    prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """False where the task measures cost only."""
        return self.rule != "none"

    @property
    def benchmark(self) -> str:
        """Name of the benchmark, empty for a task whose results do not name a protocol."""
        return self.of.name if self.of.several else ""

    @property
    def label(self) -> str:
        """Name for tables: with the protocol where there is a choice, so that two never share a column."""
        return f"{self.name} ({self.protocol})" if self.of.several else self.name

    def score(self, sample: Sample, text: str, frame: Mapping[str, Any]) -> Score:
        """Score one answer; never raises on what a model said, nor on an annotation that cannot be scored.

        Args:
            sample: the question.
            text: the model's answer.
            frame: ``coordinates`` of the model, ``model_sizes`` and ``file_sizes`` of the images.

        Returns:
            The score, ``parsed`` and ``parts`` as plain JSON values. ``bad_annotation``: the sample's own target cannot
            be scored; it counts as wrong and its parts say why.
        """
        try:
            score = self.of.score(self.scoring, self.grammar, text, sample.target, frame)
        except _BROKEN as error:
            return Score(0.0, None, "bad_annotation", {"why": f"{type(error).__name__}: {error}"[:200]})
        parsed = score.parsed
        if parsed is None and self.grammar in GRAMMARS and score.value is not None:
            parsed = parse(self.grammar, text, frame)  # the rule read it its authors' way
        parts = plain({**score.parts, "why": score.why} if score.why and self.of.several else score.parts)
        return Score(score.value, plain(parsed), score.reason, parts, score.why)


def load_task(
    name: str,
    limit: int | None = None,
    data_path: str | None = None,
    *,
    protocol: str | None = None,
    history: int | None = None,
    style: str = "mini",
) -> Task:
    """Read a task's records (no image is opened).

    Args:
        name: task name, or a folder with a ``task.yaml``.
        limit: at most so many samples: those whose ids have the lowest SHA-256, in the order of the task. Taking every
            k-th would pick one group only wherever groups alternate.
        data_path: folder of the original data, for tasks that are not embedded.
        protocol: whose scoring rule, None for the task's first.
        history: earlier screenshots, None for the protocol's own number.
        style: of the prompt (:func:`.prompts.style_of`).

    Raises:
        UserError: unknown task or protocol, absent or changed data, no prompt for the style, a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"A limit of {limit} samples leaves none of {name}; give at least 1, or no limit for all.")
    name = named_task(name)
    check_protocol(name, protocol, history)
    spec = definition(name)
    of = benchmark_of(spec)
    rules = of.rules(spec)
    chosen_protocol = protocol if protocol is not None and protocol in rules else next(iter(rules))
    shown = (spec.history or {}).get(chosen_protocol, 0) if history is None else history
    spec = spec.changed(protocol=chosen_protocol, shown=int(shown))
    records, _ = load_records(spec, data_path)
    prompt = load_prompt(spec, style) if of.prompted else None
    chosen: Sequence[int] = range(len(records.ids))
    if limit is not None and limit < len(chosen):
        ids = records.ids
        order = sorted(chosen, key=lambda i: hashlib.sha256(ids[i].encode()).digest())
        chosen = sorted(order[:limit])
    samples = Samples(records, prompt, chosen, of)
    return Task(
        name=name,
        title=spec.title,
        version=str(spec.version),
        protocol=chosen_protocol,
        samples=samples,
        fingerprint=fingerprint(samples),
        max_new_tokens=spec.max_new_tokens,
        rule=rule_name(spec),
        floor=float(spec.floor),
        of=of,
        scoring=rules[chosen_protocol],
        grammar=prompt.grammar if prompt else "",
        history=spec.shown,
        prompt=prompt.name if prompt else "",
        settings=dict(spec.settings),
    )
