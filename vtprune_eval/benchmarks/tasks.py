"""Tasks: a folder each under ``tasks/``, with ``task.yaml``, a data card, prompts, and data where it is embedded.

A folder may hold variants (a split, a level): ``tasks/androidcontrol`` with the variant ``low`` is ``androidcontrol``
and ``androidcontrol_low``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown_name
from ..paths import tasks_dir
from ..sample import Sample, Score
from .prompts import Prompt, load_prompt
from .protocols import PROTOCOLS
from .readers import Records, open_records
from .rules import RULES
from .vlmeval.catalogue import KIT_TASKS
from .vlmeval.catalogue import definition as kit_definition

DEFAULT_TASKS = ("mini-grounding", "mini-doc", "mini-nav")
# Names that stand for several tasks.
SUITES = {"mini": DEFAULT_TASKS, "mini-large": ("mini-large-grounding", "mini-large-doc")}
MAX_HISTORY = 5
# Reasons of rules for answers that could be read; every other one is a format error.
_READABLE = {
    "no_counterpart",
    "nothing_annotated",
    "continues",
    "box_outside_image",
    "unknown_key",
    "reference_unreadable",
    "annotation_unknown",
    "operation_not_supported",
}
_KEYS = {
    "name",
    "title",
    "version",
    "reader",
    "rule",
    "protocol",
    "max_new_tokens",
    "history",
    "source",
    "licence",
    "floor",
    "variants",
    "split",
    "level",
    "file",
    "benchmark",
    "expected",
    "download",
    "obtain",
    "package",
}


class Samples(Sequence[Sample]):
    """The samples of a task, made one at a time: a big data set never lies in memory.

    Args:
        records: from a reader; prompt: None where the data holds the question itself; chosen: numbers of the records
            to use, in order.
    """

    def __init__(self, records: Records, prompt: Prompt | None, chosen: Sequence[int]) -> None:
        self._records, self._prompt, self._chosen = records, prompt, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return Samples(self._records, self._prompt, self._chosen[i])
        item = self._records.item(self._chosen[i])
        question = item.fields["question"] if self._prompt is None else self._prompt.question(item)
        instruction = item.fields.get("instruction") or item.fields.get("goal") or None
        return Sample(
            id=item.id,
            images=item.images,
            question=question,
            target=item.target,
            cluster=item.cluster,
            meta=item.meta,
            instruction=instruction,
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """Ids in order, without reading a record."""
        ids = self._records.ids
        return [ids[i] for i in self._chosen]

    def without(self, done: Mapping[str, Any]) -> Samples:
        """The samples whose ids are not in ``done``."""
        ids = self._records.ids
        return Samples(self._records, self._prompt, [i for i in self._chosen if ids[i] not in done])


@dataclass(frozen=True)
class Task:
    """A loaded task.

    Attributes:
        name, title, version: what it is; protocol: whose scoring rule.
        samples: the questions, images as paths; fingerprint: SHA-256 of the records and the image files' sizes.
        max_new_tokens: answer length limit; rule: name of the scoring rule, or "none".
        floor: accuracy below which a trained full model points to a mistake in the set-up.
        benchmark: whose protocols apply, empty for a task with a single rule; grammar: how the answer is read.
        history: earlier screenshots per sample.
        prompt: name of the prompt file, empty where the data holds the question.
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
    benchmark: str = ""
    grammar: str = ""
    history: int = 0
    prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """False where the task measures cost only."""
        return self.rule != "none"

    @property
    def label(self) -> str:
        """Name for tables: with the protocol where there is a choice, so that two never share a column."""
        return f"{self.name} ({self.protocol})" if self.benchmark else self.name

    def score(self, sample: Sample, text: str, frame: dict[str, Any]) -> Score:
        """Score one answer; never raises on what a model said.

        Args:
            sample: the question; text: the model's answer.
            frame: ``coordinates`` of the model, ``model_sizes`` and ``file_sizes`` of the images.
        """
        if not self.benchmark:
            return RULES[self.rule](text, sample.target, frame)
        if sample.target["type"] == "none":
            return Score(None, None, "no_target")
        from .judges import judge  # numpy and every rule: not needed to say which tasks exist

        verdict = judge(self.benchmark, self.protocol, self.grammar, text, sample.target["truth"], frame)
        parts = _plain(verdict.detail)
        reason = verdict.reason
        if reason not in ("ok", "wrong", "partial"):
            parts["why"] = reason
            reason = "wrong" if reason in _READABLE else "format_error"
        return Score(verdict.score, _plain(described(self.grammar, text, frame)), reason, parts)


def _plain(value: Any) -> Any:
    """JSON values: a number without an end becomes None, a tuple a list."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def described(grammar: str, text: str, frame: Mapping[str, Any]) -> dict[str, Any] | None:
    """The answer in the common action form, without empty fields, for records; None where it cannot be read."""
    from dataclasses import asdict

    from .grammars import GRAMMARS, parse

    if grammar not in GRAMMARS:
        return None
    action = parse(grammar, text, frame)
    return None if action.kind == "invalid" else {k: v for k, v in asdict(action).items() if v}


def _folder_and_variant(name: str) -> tuple[str, str] | None:
    """Folder and variant of a task name, None for an unknown one."""
    if name in KIT_TASKS:
        return name, ""
    for folder in sorted((p.parent.name for p in tasks_dir().glob("*/task.yaml")), key=len, reverse=True):
        if name == folder:
            return folder, ""
        if name.startswith(folder + "_") and name.removeprefix(folder + "_") in _variants(folder):
            return folder, name.removeprefix(folder + "_")
    return None


def _variants(folder: str) -> dict[str, Any]:
    return _yaml(folder).get("variants") or {}


def task_names() -> tuple[str, ...]:
    """Every task with a definition, variants included."""
    folders = [p.parent.name for p in tasks_dir().glob("*/task.yaml")]
    return tuple(sorted([*folders, *(f"{f}_{v}" for f in folders for v in _variants(f)), *KIT_TASKS]))


def check_task_name(name: str) -> None:
    """Refuse an unknown task.

    Raises:
        UserError: with the nearest names.
    """
    if _folder_and_variant(name) is None:
        raise unknown_name("task", name, [*task_names(), *SUITES], "`python -m vtprune_eval list tasks` shows all.")


def check_protocol(name: str, protocol: str | None, history: int | None) -> None:
    """Refuse a protocol or a history length that the task cannot have; ``official`` always means the task's first.

    Raises:
        UserError: with what it can have.
    """
    spec = definition(name)
    known = protocols_of(spec)
    if protocol is not None and protocol not in ("official", *known):
        raise unknown_name(f"protocol of {name}", protocol, known, f"{name} has {', '.join(known)}.")
    if history is not None:
        if isinstance(history, bool) or not isinstance(history, int) or not 0 <= history <= MAX_HISTORY:
            raise UserError(f"--history={history!r}: a whole number from 0 to {MAX_HISTORY} is needed.")
        if "history" not in spec:
            raise UserError(f"--history: the task {name} has no screenshot history; leave the option out.")


def protocols_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Protocols of a definition, the default first."""
    if "benchmark" in spec:
        return PROTOCOLS[spec["benchmark"]]
    return tuple(spec.get("protocols") or (str(spec["protocol"]),))


def _yaml(folder: str) -> dict[str, Any]:
    import yaml

    path = tasks_dir() / folder / "task.yaml"
    try:
        data: dict[str, Any] = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path.name} of task {folder} is not valid YAML: {str(error).splitlines()[0]}.") from None
    for key in data:
        if key not in _KEYS:
            raise unknown_name(f"key in {folder}/task.yaml", key, _KEYS)
    return data


def definition(name: str) -> dict[str, Any]:
    """The parsed ``task.yaml``, with the changes of the variant; ``folder`` is where it lies.

    Raises:
        UserError: unknown task, or a definition with unknown keys.
    """
    check_task_name(name)
    if name in KIT_TASKS:
        return kit_definition(name)
    folder, variant = _folder_and_variant(name) or (name, "")
    data = _yaml(folder)
    changes = (data.pop("variants", None) or {}).get(variant, {})
    data = {**data, **changes, "name": name, "folder": str(tasks_dir() / folder)}
    data.setdefault("rule", data.get("benchmark", ""))
    data.setdefault("protocol", protocols_of(data)[0] if "benchmark" in data else "official")
    return data


def load_records(spec: Mapping[str, Any], data_path: str | None) -> tuple[Records, Path]:
    """The reader of a definition on its data.

    Raises:
        UserError: absent or changed data, no records, an id that occurs twice.
    """
    name = spec["name"]
    folder = Path(data_path) if data_path else Path(spec.get("data_folder") or Path(spec["folder"]) / "data")
    if not folder.is_dir() and "data_folder" not in spec:  # VLMEvalKit fetches its data itself
        got = [p for p in (default_data_path(name), packaged_data(spec)) if p is not None and p.is_dir()]
        if data_path is None and got:
            folder = got[0]
        else:
            raise UserError(f"task {name}: no data in {folder}; {where_to_get(spec)}.")
    records = open_records(spec["reader"], folder, spec)
    if not records.ids:
        raise UserError(f"task {name}: {folder} holds no records.")
    seen: set[str] = set()
    for own in records.ids:
        if own in seen:
            raise UserError(f"task {name}: the sample id {own!r} occurs twice in {folder}; fetch the data again.")
        seen.add(own)
    return records, folder


def where_to_get(spec: Mapping[str, Any]) -> str:
    """What a user does to have a task's data; ``obtain`` of the definition says it for data that cannot be fetched."""
    ways = [f"install the package {spec['package']}"] if "package" in spec else []
    ways += [f"run `python -m vtprune_eval data get {spec['name']}`"] if spec.get("download") else []
    ways.append(
        f"{spec['obtain']} and give the folder with --data-path"
        if "obtain" in spec
        else f"give the folder of {spec['source']} with --data-path"
    )
    return ", or ".join(ways)


def packaged_data(spec: Mapping[str, Any]) -> Path | None:
    """Data that an installed package holds (``package`` of the definition), None where there is none."""
    import importlib.util

    package = importlib.util.find_spec(spec["package"]) if "package" in spec else None
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "tasks" / spec["name"] / "data"


def default_data_path(name: str) -> Path:
    """Where ``data get`` puts a task's data: ``$VTPRUNE_DATA`` or ``~/.cache/vtprune_eval/data``, then the folder's
    name; variants share it."""
    import os

    base = os.environ.get("VTPRUNE_DATA")
    folder, _ = _folder_and_variant(name) or (name, "")
    return (Path(base) if base else Path.home() / ".cache" / "vtprune_eval" / "data") / folder


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
        name: task name.
        limit: at most so many samples: those whose ids have the lowest SHA-256, in the order of the task. Taking every
            k-th would pick one group only wherever groups alternate.
        data_path: folder of the original data, for tasks that are not embedded.
        protocol: whose scoring rule, None for the task's first.
        history: earlier screenshots, None for the protocol's own number.
        style: of the prompt (:func:`.prompts.style_of`).

    Raises:
        UserError: unknown task or protocol, absent or changed data, no prompt for the style.
    """
    check_protocol(name, protocol, history)
    spec = definition(name)
    known = protocols_of(spec)
    spec["protocol"] = protocol = protocol if protocol in known else known[0]
    if "history" in spec:
        own = spec["history"]
        own = own.get(protocol, 0) if isinstance(own, dict) else own
        spec["history"] = own if history is None else history
    records, _ = load_records(spec, data_path)
    prompt = load_prompt(Path(spec["folder"]) / "prompts", style, protocol) if "benchmark" in spec else None
    chosen: Sequence[int] = range(len(records.ids))
    if limit is not None and limit < len(chosen):
        ids = records.ids
        order = sorted(chosen, key=lambda i: hashlib.sha256(ids[i].encode()).digest())
        chosen = sorted(order[:limit])
    samples = Samples(records, prompt, chosen)
    return Task(
        name=name,
        title=spec["title"],
        version=str(spec["version"]),
        protocol=protocol,
        samples=samples,
        fingerprint=fingerprint(samples),
        max_new_tokens=spec["max_new_tokens"],
        rule=spec["rule"],
        floor=float(spec.get("floor", 0.0)),
        benchmark=spec.get("benchmark", ""),
        grammar=prompt.grammar if prompt else "",
        history=int(spec.get("history") or 0),
        prompt=prompt.name if prompt else "",
        settings={k: spec[k] for k in ("split", "level", "file") if k in spec},
    )


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over ids, image names and sizes in bytes, questions and targets, 16 hex digits."""
    digest = hashlib.sha256()
    for s in samples:
        update_fingerprint(digest, s)
    return digest.hexdigest()[:16]


def update_fingerprint(digest: Any, sample: Sample) -> None:
    """Add one sample to a hash; a missing image counts with a size of -1."""
    sizes = [(p.name, _size(p)) for p in sample.images]
    digest.update(repr((sample.id, sizes, sample.question, sample.target)).encode("utf-8", "surrogatepass"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
