"""Tasks: a folder each under ``tasks/``, with ``task.yaml``, a data card, prompts, and data where it is embedded.

A folder may hold variants (a split, a level): ``tasks/androidcontrol`` with the variant ``low`` is ``androidcontrol``
and ``androidcontrol_low``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown_name
from ..sample import Sample, Score
from .base import Records
from .benchmark import Benchmark, Rule, plain
from .grammars import GRAMMARS, parse
from .prompts import Prompt, load_prompt
from .registry import benchmark, include, task_folders
from .spec import TaskSpec, read_yaml, task_spec
from .vlmeval.catalogue import KIT_TASKS
from .vlmeval.catalogue import definition as kit_definition

DEFAULT_TASKS = ("mini-grounding", "mini-doc", "mini-nav")
# Names that stand for several tasks.
SUITES = {
    "mini": DEFAULT_TASKS,
    "mini-large": ("mini-large-grounding", "mini-large-doc"),
    "web": ("web-grounding", "web-doc", "web-nav"),
}
MAX_HISTORY = 5
# What a broken annotation makes a rule raise.
_BROKEN = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, SyntaxError, RecursionError)


class Samples(Sequence[Sample]):
    """The samples of a task, made one at a time: a big data set never lies in memory.

    Args:
        records: from a reader.
        prompt: None where the data holds the question itself.
        chosen: numbers of the records to use, in order.
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
        question = whole_signs(question)
        instruction = whole_signs(instruction) if instruction else None
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


def whole_signs(text: str) -> str:
    """The text with halves of surrogate pairs put together, and a replacement sign for a half without its other."""
    if not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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


def _folder_and_variant(name: str) -> tuple[str, str] | None:
    """Folder and variant of a task name, None for an unknown one."""
    if name in KIT_TASKS:
        return name, ""
    for folder in sorted(task_folders(), key=len, reverse=True):
        if name == folder:
            return folder, ""
        if name.startswith(folder + "_") and name.removeprefix(folder + "_") in _variants(folder):
            return folder, name.removeprefix(folder + "_")
    return None


def _variants(folder: str) -> dict[str, Any]:
    """Variants of a folder; none of one whose file cannot be read, which is told when that task is used."""
    try:
        found = read_yaml(task_folders()[folder] / "task.yaml").get("variants")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def task_names() -> tuple[str, ...]:
    """Every task with a definition, variants included, broken ones too."""
    folders = list(task_folders())
    return tuple(sorted([*folders, *(f"{f}_{v}" for f in folders for v in _variants(f)), *KIT_TASKS]))


def named_task(name: str) -> str:
    """The name of a task that may be given as its folder, which is then included.

    Raises:
        UserError: the folder's name belongs to another task.
    """
    folder = Path(name).expanduser()
    if name in task_folders() or not (folder / "task.yaml").is_file():
        return name
    include([folder])
    own = folder.resolve()
    if task_folders()[own.name] != own:
        raise UserError(f"the task folder {folder} has the name of another task ({own.name}); rename the folder.")
    return own.name


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
        if spec.history is None:
            raise UserError(f"--history: the task {name} has no screenshot history; leave the option out.")


def benchmark_of(spec: TaskSpec) -> Benchmark:
    """The benchmark that reads and scores a task.

    Raises:
        UserError: unknown, or its module cannot be imported.
    """
    return benchmark(spec.benchmark, spec.folder)


def protocols_of(spec: TaskSpec) -> tuple[str, ...]:
    """Protocols of a definition, the default first."""
    return tuple(benchmark_of(spec).rules(spec))


def definition(name: str) -> TaskSpec:
    """The definition of a task, with the changes of its variant.

    Raises:
        UserError: unknown task, or a definition with unknown, missing or wrong keys.
    """
    check_task_name(name)
    if name in KIT_TASKS:
        return kit_definition(name)
    own, variant = _folder_and_variant(name) or (name, "")
    folder = task_folders()[own]
    where = f"{own}/task.yaml"
    data = read_yaml(folder / "task.yaml")
    if data.get("name", own) != own:
        raise UserError(f"{where}: name is {data['name']!r} but the folder is {own!r}; a task has its folder's name.")
    changes = (data.get("variants") or {}).get(variant, {}) if variant else {}
    settings: tuple[str, ...] = ()
    if isinstance(data.get("benchmark"), str):
        settings = benchmark(data["benchmark"], folder).settings
    spec = task_spec({**data, **changes}, where, folder, name, settings)
    return spec.changed(protocol=protocols_of(spec)[0])


def load_records(spec: TaskSpec, data_path: str | None) -> tuple[Records, Path]:
    """The reader of a definition on its data.

    Raises:
        UserError: absent or changed data, no records, an id that occurs twice.
    """
    name = spec.name
    folder = Path(data_path) if data_path else _data_folder(spec)
    if not folder.is_dir() and spec.data_folder is None:  # VLMEvalKit fetches its data itself
        raise UserError(f"task {name}: no data in {folder}; {where_to_get(spec)}.")
    records = benchmark_of(spec).open(folder, spec)
    if not records.ids:
        raise UserError(f"task {name}: {folder} holds no records.")
    seen: set[str] = set()
    for sample_id in records.ids:
        if sample_id in seen:
            raise UserError(f"task {name}: the sample id {sample_id!r} occurs twice in {folder}; fetch the data again.")
        seen.add(sample_id)
    return records, folder


def _data_folder(spec: TaskSpec) -> Path:
    """Where a task's data lies: beside its definition, where ``data get`` puts it, or in a package; the first of these
    where there is none."""
    if spec.data_folder is not None:
        return spec.data_folder
    beside = (spec.folder or Path()) / "data"
    places = (beside, default_data_path(spec.name), packaged_data(spec))
    return next((p for p in places if p is not None and p.is_dir()), beside)


def has_data(name: str) -> bool:
    """Whether a task (or every task of a suite) can be run without fetching anything."""
    return all(_data_folder(definition(task)).is_dir() for task in SUITES.get(name, (name,)))


def where_to_get(spec: TaskSpec) -> str:
    """What a user does to have a task's data; ``obtain`` of the definition says it for data that cannot be fetched."""
    ways = [f"install the package {spec.package}"] if spec.package else []
    ways += [f"run `python -m vtprune_eval data get {spec.name}`"] if spec.download or "render" in spec.settings else []
    ways.append(
        f"{spec.obtain} and give the folder with --data-path"
        if spec.obtain
        else f"give the folder of {spec.source} with --data-path"
    )
    return ", or ".join(ways)


def packaged_data(spec: TaskSpec) -> Path | None:
    """Data that an installed package holds (``package`` of the definition), None where there is none."""
    import importlib.util

    package = importlib.util.find_spec(spec.package) if spec.package else None
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "tasks" / spec.name / "data"


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
        name: task name, or a folder with a ``task.yaml``.
        limit: at most so many samples: those whose ids have the lowest SHA-256, in the order of the task. Taking every
            k-th would pick one group only wherever groups alternate.
        data_path: folder of the original data, for tasks that are not embedded.
        protocol: whose scoring rule, None for the task's first.
        history: earlier screenshots, None for the protocol's own number.
        style: of the prompt (:func:`.prompts.style_of`).

    Raises:
        UserError: unknown task or protocol, absent or changed data, no prompt for the style.
    """
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
    samples = Samples(records, prompt, chosen)
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


def rule_name(spec: TaskSpec) -> str:
    """Which rule scores a task, for lists: the benchmark's own, or the one that its definition names."""
    return str(spec.setting("rule") or spec.benchmark)


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
