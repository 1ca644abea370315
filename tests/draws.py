"""How many examples hypothesis draws, and from which seed.

By default the same examples in every run. By hand, other examples each time and more of them::

    VTPRUNE_EXAMPLES=20 python -m pytest tests/methods

draws 20 times as many at random. What it finds becomes an ``@example`` of its test.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

TIMES = int(os.environ.get("VTPRUNE_EXAMPLES", "0"))
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("random", derandomize=False, deadline=None, print_blob=True, max_examples=100 * max(1, TIMES))
settings.load_profile("random" if TIMES else "same")


def examples(n: int, **more: Any) -> settings:
    """Settings of one test: ``n`` examples, the same ones in every run unless ``VTPRUNE_EXAMPLES`` is set."""
    return settings(max_examples=n * max(1, TIMES), **more)
