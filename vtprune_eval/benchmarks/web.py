"""The ``web`` suite: pages of open UI kits at real sizes (:mod:`vtprune_eval.data.web`).

``task.yaml`` names one of three rules with ``rule:``: ``grounding`` (a point in a box), ``document`` (a value that the
page shows), ``step`` (the next action).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError, unknown_name
from ..paths import inside_folder
from ..sample import Score, graded
from .action import Action, button, content_direction, phone_word
from .base import Item, Records, Step, need
from .benchmark import Benchmark, Frame, Rule, Truth, measured, refused_step
from .formats.lines import Lines
from .grammars.pointing import pointed
from .rules.geometry import fractions_of, inside
from .rules.pointed import the_point
from .spec import TaskSpec
from .untrusted import Unreadable, bounded

# What a browser's "back" is pressed with.
_BACK_KEYS = {("alt", "left"), ("alt", "arrowleft"), ("browserback",)}
_NUMBER = re.compile(r"[$€£]?\s*-?\d[\d,]*(?:\.\d+)?")


class _Lines(Lines):
    """``id``, ``images``, ``instruction`` (or ``goal`` and ``past``), ``short``, ``target``, ``cluster``, ``meta``."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(folder)
        self._shown = spec.shown if spec.history is not None else None

    def item(self, i: int) -> Item:
        r = self._records[i]
        names = need(r, "images", self._where, list)
        names = names if self._shown is None else names[-1 - self._shown :]
        target = need(r, "target", self._where, dict)
        box = target.get("box_xyxy") or target.get("action", {}).get("box_xyxy")
        key = "goal" if "goal" in r else "instruction"
        return Item(
            id=self._ids[i],
            images=tuple(inside_folder(self._folder, name, self._where) for name in names),
            fields={"instruction": need(r, key, self._where, str), "question": need(r, "short", self._where, str)},
            target={"type": target["type"], **({"box_xyxy": box} if box else {}), "truth": target},
            past=tuple(Step(text, None) for text in r.get("past", ())),
            cluster=r.get("cluster"),
            meta={**r.get("meta", {}), "n_history": len(names) - 1},
        )


def _hits(at: Any, truth: Truth, frame: Frame) -> bool:
    return bool(inside(at, fractions_of(truth["box_xyxy"], frame["file_sizes"][-1])))


def _in_box(said: Any, truth: Truth, frame: Frame) -> Score:
    return graded(_hits(said, truth, frame), parsed={"point": list(said)})


def _words(text: str, frame: Frame) -> str:
    said = normal(bounded(text))
    if not said:
        raise Unreadable("no_text")
    return said


def _same_value(said: Any, truth: Truth, frame: Frame) -> Score:
    return graded(said in {normal(str(a)) for a in truth["answers"]}, parsed={"text": said[:200]})


def normal(text: str) -> str:
    """A value in the form in which it is compared: case, white space, quotes, a full stop at the end, thousands
    separators and a currency sign are no difference."""
    plain = " ".join(text.lower().replace("**", "").split()).strip("\"'` ").removesuffix(".").strip("\"'` ")
    return plain.strip("$€£ ").replace(",", "") if _NUMBER.fullmatch(plain) else plain


def _same_step(said: Action, truth: Truth, frame: Frame) -> Score:
    true = truth["action"]
    kind = _kind(said)
    same = hit = kind == true["type"]
    grounded: bool | None = None
    if same and kind == "tap":
        hit = grounded = said.point is not None and _hits(said.point, true, frame)
    elif same and kind == "type":
        hit = " ".join(said.text.lower().split()) == " ".join(true["text"].lower().split())
    elif same and kind == "scroll":
        hit = _direction(said) == true["direction"]
    return measured(graded(hit), same, grounded)


def _kind(said: Action) -> str:
    word = phone_word(said)
    pressed = tuple(k.lower() for k in said.keys) if said.kind in ("key", "hotkey") else ()
    return "back" if (word == "button" and button(said) == "back") or pressed in _BACK_KEYS else word


def _direction(said: Action) -> str:
    try:
        return content_direction(said)
    except Unreadable:
        return ""


# Every grammar says a value in the same way.
_GRAMMARS = ("mini", "qwen", "ui_tars", "opencua", "seeclick", "osatlas", "pyautogui", "lmms")
RULES: dict[str, Mapping[str, Rule]] = {
    # The answer's point lies in the target's box (pixels of the file), borders inside.
    "grounding": {"official": Rule(_in_box, enter=the_point, understand=pointed)},
    # The answer is the value.
    "document": {"official": Rule(_same_value, readers=dict.fromkeys(_GRAMMARS, _words))},
    # The right kind of action; a tap in its box, a text without regard to case, a direction of the content.
    "step": {"official": Rule(_same_step, refused=refused_step)},
}


class Web(Benchmark):
    """``target``: ``type``, ``truth``, and ``box_xyxy`` where there is a place (a value that is shown has one, too)."""

    name = "web"
    groups = ("platform", "target_kind", "kind", "step", "needs_history", "n_history", "size", "kit")
    settings = ("rule", "render")
    several = False

    def open(self, folder: Path, spec: TaskSpec) -> Records:
        return _Lines(folder, spec)

    def rules(self, spec: TaskSpec) -> Mapping[str, Rule]:
        rule = spec.setting("rule")
        if rule is None:
            raise UserError(f"{spec.name}/task.yaml: the key 'rule' is missing; web has {', '.join(RULES)}.")
        if rule not in RULES:
            raise unknown_name(f"rule in {spec.name}/task.yaml", str(rule), RULES)
        return RULES[rule]
