"""Scoring rules of published benchmarks, one module per benchmark.

Every rule is a pure function of an answer and an annotation and returns a ``Verdict``; none raises on arbitrary text,
an unreadable answer is wrong and says why. The same data set is scored in incompatible ways: a number means nothing
without the name of its protocol.
"""

from __future__ import annotations

# Benchmark -> the protocols it can be scored under, the default first.
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "aitw": ("official", "seeclick", "simpagent", "guievalkit"),
    "androidcontrol": ("guikv", "guievalkit", "osatlas", "simpagent"),
    "agentnetbench": ("official", "guikv"),
    "mind2web": ("seeclick", "guikv"),
    "gui_odyssey": ("official", "osatlas", "simpagent", "guievalkit"),
    "screenspot": ("seeclick", "guikv", "vlmeval"),
    "screenspot_v2": ("seeclick", "guikv", "vlmeval"),
    "screenspot_pro": ("official", "guikv", "vlmeval"),
    "osworld_g": ("official", "focusui", "vlmeval"),
    "ui_vision": ("official",),
    "documents": ("vlmeval",),
}
