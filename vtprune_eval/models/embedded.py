"""The project's own models: where their folders lie in a checkout and once installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import UserError

# nano ships in the core wheel, and so do micro's configuration and tokenizer; its weights are in a checkout and in a
# distribution of their own (``packages/micro``).
EMBEDDED = ("nano", "micro")


def embedded_folder(name: str, with_weights: bool = False) -> Path:
    """The hub-format folder of one of :data:`EMBEDDED`; ``with_weights``: its weights are needed, not its sizes alone.

    Raises:
        UserError: it is not here.
    """
    folders = [Path(__file__).parent / name]
    package = importlib.util.find_spec(f"vtprune_eval_{name}")
    if package is not None and package.submodule_search_locations:
        folders.append(Path(package.submodule_search_locations[0]) / "model")
    for folder in folders:
        if (folder / ("model.safetensors" if with_weights else "config.json")).exists():
            return folder
    raise UserError(
        f"{name}: its weights are not in this installation: work in a checkout, install their own distribution there "
        f"(`pip install ./packages/{name}`), or give a folder with --model-path."
    )
