"""What workers say of the pictures of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from ...notes import Value


class Report(TypedDict):
    """What was done with the pictures of a request.

    Attributes:
        kept: merge blocks that enter the prompt, per image.
        patches: patches behind the last drop in the encoder, per image.
        depth: of that drop.
        markers: tokens among the kept that stand for others.
        note: what a reader must know, as :meth:`~vtprune_eval.notes.Note.data` writes it; empty where there is nothing.
        sizes: (width, height) per image as the model saw it.
        file_sizes: the same of the files.
        full: the same of the images of the full model.
        n_keep: by hook, what was allowed.
    """

    kept: list[list[int]]
    patches: list[int]
    depth: int
    markers: int
    note: Mapping[str, Value] | Literal[""]
    sizes: tuple[tuple[int, int], ...]
    file_sizes: tuple[tuple[int, int], ...]
    full: tuple[tuple[int, int], ...]
    n_keep: dict[str, int | None]


def without_images() -> Report:
    """The report of a sample without images."""
    return {
        "kept": [],
        "patches": [],
        "depth": 0,
        "markers": 0,
        "note": "",
        "sizes": (),
        "file_sizes": (),
        "full": (),
        "n_keep": {},
    }
