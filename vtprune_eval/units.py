"""Sizes as people write them."""

from __future__ import annotations

import re

from .errors import UserError

_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_bytes(text: str | int, option: str) -> int:
    """Bytes from ``500MB``, ``4GB``, ``1.5GiB`` or a plain number; KB is 1000 bytes, KiB 1024.

    Args:
        text: as written.
        option: whose value it is, for the sentence.

    Raises:
        UserError: another form.
    """
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*(|[KMGT]I?)B?", str(text).strip().upper(), re.ASCII)
    if found is None or isinstance(text, bool):
        raise UserError(f"{option}={text!r}: a size is needed, for example 500MB or 4GB.")
    return int(float(found[1]) * _FACTORS[found[2]])
