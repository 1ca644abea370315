"""What a submitted result says of itself beside its numbers: author, account, date, paper, licence."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from ..errors import UserError

# Under which the records of a submission may be given to everybody (SPDX names).
LICENCES = ("CC0-1.0", "CC-BY-4.0", "Apache-2.0", "MIT")
_LENGTHS = {"author": 120, "account": 39, "date": 10, "paper": 300, "licence": 20}
_ACCOUNT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}")


def submission(
    author: str, *, account: str = "", date: str = "", paper: str = "", licence: str = "CC-BY-4.0"
) -> dict[str, str]:
    """The fields of a submission.

    Args:
        author: name or names.
        account: the GitHub name that opens the pull request; "" for a result that is not submitted.
        date: ``YYYY-MM-DD``, "" for today.
        paper: what to cite, in one line; may be "".
        licence: of :data:`LICENCES`.

    Raises:
        UserError: a value of the wrong form.
    """
    found = {
        "author": author,
        "account": account,
        "date": date or datetime.date.today().isoformat(),
        "paper": paper,
        "licence": licence,
    }
    found = {k: v.strip() for k, v in found.items()}
    check(found)
    return found


def check(given: Mapping[str, Any]) -> None:
    """Refuse fields of the wrong form.

    Raises:
        UserError: the first of them.
    """
    for key in sorted(given.keys() ^ _LENGTHS.keys()):
        what = "is missing" if key in _LENGTHS else f"is none of {', '.join(_LENGTHS)}"
        raise UserError(f"submission: {key!r} {what}; make the files with `python -m vtprune_eval submit RUN`.")
    for key, longest in _LENGTHS.items():
        value = given[key]
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise UserError(f"submission: {key} must be one line of at most {longest} characters.")
    if not given["author"]:
        raise UserError("submission: --author is needed, the name under which the result stands on the board.")
    if given["account"] and not _ACCOUNT.fullmatch(given["account"]):
        raise UserError(f"submission: {given['account']!r} is no name of a GitHub account; give it with --account.")
    try:
        day = datetime.date.fromisoformat(given["date"])
    except ValueError:
        raise UserError(f"submission: date {given['date']!r}: write YYYY-MM-DD.") from None
    if day > datetime.date.today() + datetime.timedelta(days=1):  # the day has begun earlier elsewhere
        raise UserError(f"submission: date {given['date']} lies in the future.")
    if given["licence"] not in LICENCES:
        raise UserError(f"submission: licence {given['licence']!r}: one of {', '.join(LICENCES)} is needed.")
