"""One answer of any model under any protocol: ``judge(benchmark, protocol, grammar, text, truth, frame)``.

The rules of ``protocols`` start from the text of the models that their authors ran. Here the answer of any family
reaches them: as it is where the rule reads that family's grammar (its accidents are part of the rule), otherwise
through the common action form and ``convert``. An answer that no rule can read is wrong and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..untrusted import Unreadable
from ..verdict import Verdict
from .desktop import agentnetbench, mind2web
from .grounding import osworld_g, pro, screenspot, ui_vision
from .phone import aitw, androidcontrol, gui_odyssey

Rule = Callable[[str, str, str, Mapping[str, Any], Mapping[str, Any]], Verdict]

JUDGES: dict[str, Rule] = {
    "aitw": aitw,
    "androidcontrol": androidcontrol,
    "gui_odyssey": gui_odyssey,
    "agentnetbench": agentnetbench,
    "mind2web": mind2web,
    "screenspot": screenspot,
    "screenspot_v2": screenspot,
    "screenspot_pro": pro,
    "osworld_g": osworld_g,
    "ui_vision": ui_vision,
}


def judge(
    benchmark: str, protocol: str, grammar: str, text: str, truth: Mapping[str, Any], frame: Mapping[str, Any]
) -> Verdict:
    """Score one answer; never raises on what a model said.

    Args:
        benchmark: a key of ``JUDGES``.
        protocol: one of ``protocols.PROTOCOLS[benchmark]``.
        grammar: how the model writes: a key of ``parsers.GRAMMARS`` or a form that only a protocol reads
            (``simpagent``, ``unified``, ``odyssey``, ``pyautogui``, ``lmms``).
        text: the answer.
        truth: the annotation in the form that the benchmark's reader gives.
        frame: ``coordinates``, ``model_sizes`` and ``file_sizes`` ((width, height) per image; the last is the screen).

    Returns:
        Score with ``detail``: the rule's own names, and for step tasks ``type_match`` (0 or 1) and ``grounding`` (0 or
        1 where the annotation points and the type is right, else None).
    """
    try:
        return JUDGES[benchmark](protocol, grammar, text, truth, frame)
    except Unreadable as error:
        return Verdict(0.0, error.reason)
