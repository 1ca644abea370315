"""One cell's answer to one sample, as a sweep hands it out."""

from __future__ import annotations

from dataclasses import dataclass

from ..outcome import Outcome
from ..sample import Sample
from .batch import ALONE

# What the cells of an answer had in common, from less to more.
IMAGES, VIT_BLOCKS, VIT, LAYERS, PREFILL, ANSWER = "images", "vit_blocks", "vit", "layers", "prefill", "answer"


@dataclass(frozen=True)
class Answer:
    """One cell's answer to one sample.

    Attributes:
        cell: its number.
        outcome: what came out, or the exception that this cell alone would have raised.
        shared: ``answer`` (that of a cell that came to the same tokens), ``prefill``, ``layers`` (of the decoder),
            ``vit``, ``vit_blocks`` (those before a drop inside it) or ``images``: what it was branched from.
        sample: that was asked; where branches decode together, an answer may come after later samples were begun.
        decoded: ``batched``, ``alone`` (as where there was no memory to batch), or ``again`` where a batched step was
            too close to call.
    """

    cell: int
    outcome: Outcome | Exception
    shared: str
    sample: Sample
    decoded: str = ALONE
