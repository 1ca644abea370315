"""What passes between the stages of one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..errors import SampleError
from ..methods.base import Method, TokenEdit
from ..models.base import Encoded
from ..sample import Sample
from .images import Images
from .prompt import Prompt
from .state import State


@dataclass(frozen=True)
class Entered:
    """A sample behind the ViT; shared by all pipelines that agree up to there, and never written to.

    Attributes:
        prompt: the full prompt.
        encoded: visual tokens of the kept patches.
        masks: kept merge blocks per image, bool ``(rows * columns,)``, None for all.
        n_patches: patches behind the last drop, per image.
        file_sizes: (width, height) of the files.
        full_grids: merge blocks of the full model, (rows, columns).
        seed: of the sample.
        vit: see ``Counts.vit_depth`` and ``Counts.patches_entered``.
    """

    sample: Sample
    prompt: Prompt
    encoded: Encoded
    masks: tuple[Tensor | None, ...]
    n_patches: tuple[int, ...]
    file_sizes: tuple[tuple[int, int], ...]
    full_grids: tuple[tuple[int, int], ...]
    seed: int
    vit: tuple[int, tuple[int, ...]]

    @property
    def present(self) -> Tensor:
        """Which visual tokens came out of the ViT, bool ``(n_visual,)``."""
        per_image = zip(self.prompt.layout.n_tokens, self.masks, strict=True)
        masks = [torch.ones(n, dtype=torch.bool) if m is None else m for n, m in per_image]
        return torch.cat([torch.zeros(0, dtype=torch.bool), *masks])


@dataclass(frozen=True)
class Begun:
    """The sequence before the first decoder layer.

    Attributes:
        state: consumed by the prefill.
        next_position: of the first new token.
        kept: merge blocks per image.
        edit: what ``select_tokens`` answered.
        n_in: tokens.
        n_text: of them text.
    """

    state: State
    next_position: int
    kept: tuple[tuple[int, ...], ...]
    edit: TokenEdit | None
    n_in: int
    n_text: int


@dataclass(frozen=True)
class Ready:
    """A cell whose sample is behind the ViT.

    Attributes:
        cell: its number.
        entered: the sample.
        images: where the cell can be done again.
        budgets: of its hooks.
        shared: what it was branched from.
        begun: what enters the decoder, where that is known.
    """

    cell: int
    entered: Entered
    images: Images | None
    budgets: dict[str, StageBudget]
    shared: str
    begun: Begun | None = None


def frozen(pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Read-only views: a hook cannot write into the image."""
    views = []
    for p in pixels:
        view = p.view()
        view.flags.writeable = False
        views.append(view)
    return tuple(views)


@contextmanager
def memory_errors(sample: Sample) -> Iterator[None]:
    """Turn the ways in which memory runs out into ``SampleError("out_of_memory")``."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise SampleError("out_of_memory", f"{sample.id}: not enough memory for this sample.") from error
    except RuntimeError as error:
        if "memory" in str(error) and ("alloc" in str(error) or "out of" in str(error)):
            raise SampleError("out_of_memory", f"{sample.id}: not enough memory for this sample.") from error
        raise


def value_of(method: Method) -> object:
    """A method as a key: equal methods are one; one that cannot be hashed is only itself."""
    try:
        hash(method)
    except TypeError:
        return id(method)
    return method
