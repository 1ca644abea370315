"""``data get web``: the pages drawn anew from the packages, compared pixel by pixel with those that were released."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from ...benchmarks.spec import TaskSpec
from ...errors import UserError
from .browser import Browser
from .build import MAKERS
from .kits import fetch

# The browser that drew the released pages.
RELEASED_WITH = "156.0.8078.108"


def render(spec: TaskSpec, folder: Path) -> Path:
    """Draw a task's pages and write its records.

    Args:
        spec: the task's definition.
        folder: where to. The packages are kept in ``web-kits`` beside it.

    Returns:
        ``folder``; what was there and whole is left as it is.

    Raises:
        UserError: no browser, no connection, or pixels that differ from the released ones: then the data is kept in a
            folder of another name, because its numbers would not be those of the suite.
    """
    released = json.loads(((spec.folder or Path()) / "pixels.json").read_text())
    if _digests(folder) == released:
        return folder
    kits = fetch(folder.parent / "web-kits")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with Browser(kits) as browser:
        version = browser.version
        print(f"{spec.name}: drawing {len(released)} pages with Chromium {version}", file=sys.stderr)
        writer = MAKERS[spec.name](browser, part)
    found = writer.pixels
    if found == released:
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        return folder
    other = folder.with_name(f"{folder.name}-chromium-{version}")
    shutil.rmtree(other, ignore_errors=True)
    part.rename(other)
    differ = sum(found.get(name) != digest for name, digest in released.items())
    raise UserError(
        f"{spec.name}: {differ} of {len(released)} images differ from the released ones, which Chromium "
        f"{RELEASED_WITH} drew (here: {version}); they were kept in {other}. Install that version and run the command "
        f"again, or use them with --data-path, as a data set of your own."
    )


def _digests(folder: Path) -> dict[str, str] | None:
    """Digests of the images in a folder that is whole, None for any other."""
    path = folder / "pixels.json"
    if not path.is_file() or not (folder / "samples.jsonl").is_file():
        return None
    found: dict[str, str] = json.loads(path.read_text())
    return found if all((folder / name).is_file() for name in found) else None
