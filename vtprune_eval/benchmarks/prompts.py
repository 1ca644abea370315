"""From an item to the text that a model of a family gets: files ``tasks/TASK/prompts/STYLE.yaml``, or of a set that
several tasks share, ``tasks/prompts/SET/STYLE.yaml``.

A file has ``grammar`` (how the answer is read), ``source`` (where the form comes from) and ``prompt``, a text with
``$instruction``, ``$history``, ``$goal_line`` and ``$n_images``. Optional: ``history_as`` (``text``, ``seeclick``,
``seeclick_web`` or ``simpagent``: the form of an earlier step), ``history_item`` (with ``$n`` counted from
``history_from``, ``$said``, ``$thought`` and ``$observation``), ``history_join``, ``history_none``, ``history_texts``
(at most so many, the latest). With ``conversation: true`` earlier steps are turns instead: a screenshot that is shown
is a user's turn, what was done there (``history_item``) the assistant's, and the current screenshot with ``prompt`` the
last user's; ``system`` is a turn before them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from ..errors import UserError, unknown_name
from ..paths import tasks_dir
from ..turns import IMAGE_AT, conversation, without_marks
from . import action as actions
from .action import Action
from .base import Item, Step
from .grammars import seeclick
from .rules import simpagent
from .spec import TaskSpec
from .untrusted import Unreadable

_KEYS = {
    "grammar",
    "source",
    "prompt",
    "history_as",
    "history_item",
    "history_join",
    "history_none",
    "history_from",
    "history_texts",
    "conversation",
    "system",
}
# Checkpoints that share an architecture and not a way of answering.
_BY_NAME = (
    ("uitars", "ui_tars"),
    ("opencua", "opencua"),
    ("focusui", "focusui"),
    ("seeclick", "seeclick"),
    ("osatlas", "osatlas"),
    ("nano", "mini"),
    ("micro", "mini"),
    ("stub", "mini"),
)


def style_of(model: str, family: str) -> str:
    """Name of the prompt style of a model: by its short name where that tells more than its architecture."""
    plain = re.sub(r"[^a-z0-9]", "", model.lower())
    return next((style for start, style in _BY_NAME if plain.startswith(start)), family)


# How an earlier step is written, by ``history_as``; everything else is told in words.
_WRITERS: dict[str, Callable[[Action], str]] = {
    "seeclick": lambda action: seeclick.written(seeclick.phone_dictionary(action), 2),
    "seeclick_web": lambda action: seeclick.written(seeclick.web_dictionary(action), 6),
    "simpagent": lambda action: json.dumps(simpagent.dictionary(action)),
}


@dataclass(frozen=True)
class Prompt:
    """A prompt file.

    Attributes:
        name: of the file without ending.
        grammar: of the answer.
        source: where the form comes from.
    """

    name: str
    grammar: str
    source: str
    prompt: str
    history_as: str = "text"
    history_item: str = "Step $n: $said"
    history_join: str = "\n"
    history_none: str = "None"
    history_from: int = 1
    history_texts: int | None = None
    conversation: bool = False
    system: str = ""

    def question(self, item: Item) -> str:
        """The user text that follows the images, or the turns of a conversation (:mod:`vtprune_eval.turns`)."""
        if self.conversation:
            return conversation(self._turns(item))
        return self._text(item, dict(item.fields))

    def _turns(self, item: Item) -> Iterator[tuple[str, str]]:
        """(Role, text): OpenCUA's agent and GUI-KV's evaluation of AgentNetBench build them in this order."""
        if self.system:
            yield "system", self.system.rstrip("\n")
        shown = len(item.past) - (len(item.images) - 1)
        told = 0 if self.history_texts is None else len(item.past) - self.history_texts
        for number, step in enumerate(item.past):
            if number >= shown:
                yield "user", IMAGE_AT
            if number >= told:
                yield "assistant", without_marks(self._item(number + self.history_from, step))
        fields = {name: without_marks(text) for name, text in item.fields.items()}
        yield "user", IMAGE_AT + self._text(item, fields)

    def _text(self, item: Item, fields: dict[str, str]) -> str:
        goal = fields.pop("goal", "")
        history = self._history(item) if "$history" in self.prompt else ""
        return (
            Template(self.prompt)
            .substitute(
                fields,
                history=history,
                n_images=len(item.images),
                goal_line=f"Overall goal: {goal}\n" if goal else "",
            )
            .rstrip("\n")
        )

    def _history(self, item: Item) -> str:
        first = max(0, len(item.past) - self.history_texts) if self.history_texts is not None else 0
        # Numbers count within the window, as SeeClick's do, when it is cut; else from the start of the episode.
        lines = [self._item(n, step) for n, step in enumerate(item.past[first:], self.history_from)]
        return self.history_join.join(lines) or self.history_none

    def _item(self, n: int, step: Step) -> str:
        return _line(self.history_item, n, self._said(step), step.thought, step.observation)

    def _said(self, step: Step) -> str:
        if self.history_as in _WRITERS and step.action is not None:
            try:
                return _WRITERS[self.history_as](step.action)
            except Unreadable:
                pass
        return step.text or (describe(step.action) if step.action else "unknown")


@lru_cache(maxsize=1024)
def _line(form: str, n: int, said: str, thought: str, observation: str) -> str:
    return Template(form).substitute(n=n, said=said, thought=thought, observation=observation)


@lru_cache(maxsize=1024)  # a step is told again in every later prompt of its episode
def describe(action: Action) -> str:
    """An action in plain words, points as fractions with two decimals."""
    at = f" at ({action.point[0]:.2f}, {action.point[1]:.2f})" if action.point else ""
    word = actions.phone_word(action)
    if word == "scroll":
        try:
            return f"scroll {actions.content_direction(action)}"
        except Unreadable:
            return "scroll"
    texts = {
        "tap": f"tap{at}",
        "long_press": f"long press{at}",
        "button": f"press {actions.button(action)}",
        "finish": f"finish ({action.status})",
        "key": f"press {' '.join(action.keys)}",
        "hotkey": f"press {' '.join(action.keys)}",
    }
    return texts.get(word) or (f"{word} {action.text!r}{at}" if action.text else f"{word}{at}")


def prompt_folders(spec: TaskSpec) -> list[Path]:
    """Where the prompts of a task lie: its own, then those of a shared set (``prompts:`` of its definition).

    Raises:
        UserError: an unknown set.
    """
    folders = [spec.folder / "prompts"] if spec.folder else []
    if spec.prompts:
        sets = tasks_dir() / "prompts"
        known = [p.name for p in sets.iterdir() if p.is_dir()] if sets.is_dir() else []
        if spec.prompts not in known:
            raise unknown_name(f"prompt set in {spec.name}/task.yaml", spec.prompts, known)
        folders.append(sets / spec.prompts)
    return folders


def load_prompt(spec: TaskSpec, style: str) -> Prompt:
    """The prompt of a style under a protocol: ``STYLE.PROTOCOL.yaml``, ``STYLE.yaml``, ``PROTOCOL.yaml``,
    ``default.yaml``, whichever is first; a task's own file comes before the shared set's.

    Raises:
        UserError: none of them is there, or the file is not of the form above.
    """
    folders = prompt_folders(spec)
    for name in (f"{style}.{spec.protocol}", style, spec.protocol, "default"):
        for folder in folders:
            if (folder / f"{name}.yaml").is_file():
                return read_prompt(folder / f"{name}.yaml")
    known = ", ".join(sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})) or "none"
    raise UserError(
        f"{spec.name}: no prompt for models of the style {style!r} (known: {known}); add prompts/{style}.yaml to the "
        "task's folder."
    )


def read_prompt(path: Path) -> Prompt:
    """Parse and check one file.

    Raises:
        UserError: not YAML, unknown or missing keys, an unknown placeholder.
    """
    import yaml

    where = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {str(error).splitlines()[0]}.") from None
    for key in data:
        if key not in _KEYS:
            raise unknown_name(f"key in {where}", str(key), _KEYS)
    for key in ("grammar", "source", "prompt"):
        if not isinstance(data.get(key), str):
            raise UserError(f"{where}: the text {key!r} is missing.")
    for key, kind, what in (("conversation", bool, "true or false"), ("system", str, "a text")):
        if key in data and not isinstance(data[key], kind):
            raise UserError(f"{where}: {key} is {what}, not {data[key]!r}.")
    known = {"instruction", "history", "goal_line", "n_images", "question"}
    for match in Template.pattern.finditer(data["prompt"]):
        name = match["named"] or match["braced"]
        if match["invalid"] is not None or (name and name not in known):
            raise UserError(f"{where}: unknown placeholder at {match.group()!r}; write $$ for a dollar sign.")
    return Prompt(name=path.stem, **data)
