"""JSON whose keys are somebody else's: annotations, answers, configuration files, what hosts hand over.

A value whose keys this package chooses has a type of its own (:mod:`.results.types`, :mod:`.results.run_files`).
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]
