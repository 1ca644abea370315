"""From an item to the text that a model of a family gets: files ``tasks/TASK/prompts/STYLE.yaml``.

A file has ``grammar`` (how the answer is read), ``source`` (where the form comes from) and ``prompt``, a text with
``$instruction``, ``$history``, ``$goal_line`` and ``$n_images``. Optional: ``history_as`` (``text``, ``seeclick``,
``seeclick_web`` or ``simpagent``: the form of an earlier step), ``history_item`` (with ``$n`` counted from
``history_from`` and ``$said``), ``history_join``, ``history_none``, ``history_texts`` (at most so many, the latest).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from ..errors import UserError, unknown_name
from . import convert
from .grammars import Action
from .readers import Item, Step
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
    "seeclick": lambda action: convert.seeclick(action, decimals=2),
    "seeclick_web": convert.seeclick_web,
    "simpagent": convert.simpagent,
}


@dataclass(frozen=True)
class Prompt:
    """A prompt file.

    Attributes:
        name: of the file without ending; grammar: of the answer; source: where the form comes from.
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

    def question(self, item: Item) -> str:
        """The user text that follows the images."""
        fields = dict(item.fields)
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
        said = [self._said(step) for step in item.past[first:]]
        lines = [_line(self.history_item, n, s) for n, s in enumerate(said, self.history_from)]
        return self.history_join.join(lines) or self.history_none

    def _said(self, step: Step) -> str:
        if self.history_as in _WRITERS and step.action is not None:
            try:
                return _WRITERS[self.history_as](step.action)
            except Unreadable:
                pass
        return step.text or (describe(step.action) if step.action else "unknown")


@lru_cache(maxsize=1024)
def _line(form: str, n: int, said: str) -> str:
    return Template(form).substitute(n=n, said=said)


@lru_cache(maxsize=1024)  # a step is told again in every later prompt of its episode
def describe(action: Action) -> str:
    """An action in plain words, points as fractions with two decimals."""
    at = f" at ({action.point[0]:.2f}, {action.point[1]:.2f})" if action.point else ""
    word = convert.phone_word(action)
    if word == "scroll":
        try:
            return f"scroll {convert.content_direction(action)}"
        except Unreadable:
            return "scroll"
    texts = {
        "tap": f"tap{at}",
        "long_press": f"long press{at}",
        "button": f"press {convert.button(action)}",
        "finish": f"finish ({action.status})",
        "key": f"press {' '.join(action.keys)}",
        "hotkey": f"press {' '.join(action.keys)}",
    }
    return texts.get(word) or (f"{word} {action.text!r}{at}" if action.text else f"{word}{at}")


def load_prompt(folder: Path, style: str, protocol: str) -> Prompt:
    """The prompt of a style under a protocol: ``STYLE.PROTOCOL.yaml``, ``STYLE.yaml``, ``PROTOCOL.yaml``,
    ``default.yaml``, whichever is first.

    Raises:
        UserError: none of them is there, or the file is not of the form above.
    """
    names = (f"{style}.{protocol}", style, protocol, "default")
    path = next((p for n in names if (p := folder / f"{n}.yaml").is_file()), None)
    if path is None:
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise UserError(
            f"{folder.parent.name}: no prompt for models of the style {style!r} (known: {known}); add "
            f"prompts/{style}.yaml to the task's folder."
        )
    return read_prompt(path)


def read_prompt(path: Path) -> Prompt:
    """Parse and check one file.

    Raises:
        UserError: not YAML, unknown or missing keys, an unknown placeholder.
    """
    import yaml

    where = f"{path.parent.parent.name}/prompts/{path.name}"
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
    known = {"instruction", "history", "goal_line", "n_images", "question"}
    for match in Template.pattern.finditer(data["prompt"]):
        name = match["named"] or match["braced"]
        if match["invalid"] is not None or (name and name not in known):
            raise UserError(f"{where}: unknown placeholder at {match.group()!r}; write $$ for a dollar sign.")
    return Prompt(name=path.stem, **data)
