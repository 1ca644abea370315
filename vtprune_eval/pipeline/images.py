"""The images of one sample: decoded, at the size that the full model sees; read ahead in a thread, kept on disk."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from ..clock import StageClock
from ..image_file import open_image
from ..models.base import ImageRules
from ..sample import Sample
from .disk_cache import DiskCache
from .prompt import full_size, resize


@dataclass(frozen=True)
class Images:
    """Decoded images of a sample, read-only for everybody.

    Attributes:
        paths: the files.
        file_sizes: their (width, height) in pixels.
        full: (width, height) that the processor gives each.
        ready: RGB uint8 ``(height, width, 3)`` at that size, [] until :attr:`pixels` is asked for.
        held: decoded files, [] if they were not kept.
        hand_over: see :meth:`files`.
    """

    paths: tuple[Path, ...]
    file_sizes: tuple[tuple[int, int], ...]
    full: tuple[tuple[int, int], ...]
    ready: list[np.ndarray] = field(default_factory=list, repr=False)
    held: list[np.ndarray] = field(default_factory=list, repr=False)
    hand_over: bool = False

    @property
    def pixels(self) -> tuple[np.ndarray, ...]:
        """RGB uint8 ``(height, width, 3)`` per image at its size in the full model; resized when first asked for."""
        if not self.ready:
            files = self.held or [open_image(path) for path in self.paths]
            self.ready[:] = [resize(f, s) for f, s in zip(files, self.full, strict=True)]
        return tuple(self.ready)

    def at(self, sizes: Sequence[tuple[int, int]], resample: str) -> list[np.ndarray]:
        """The images at (width, height) ``sizes``; one that keeps its size in the full model is as the full model
        sees it, whatever the filter ``resample`` of the others."""
        ready: Sequence[np.ndarray | None] = self.ready or (None,) * len(self.full)
        return [
            resize(f, s, resample if s != o else "bicubic") if r is None or s != o else r
            for f, r, s, o in zip(self.files(), ready, sizes, self.full, strict=True)
        ]

    def files(self) -> list[np.ndarray]:
        """RGB uint8 at the files' own sizes, for methods that change the size; decoded again where they are not held.

        With ``hand_over`` they are let go here, so that they do not stay in memory while the model runs.
        """
        files = list(self.held) or [open_image(path) for path in self.paths]
        self.held[:] = [] if self.hand_over else files
        return files


def load_images(
    sample: Sample,
    rules: ImageRules,
    clock: StageClock,
    *,
    keep_files: bool = False,
    hand_over: bool = False,
    resized: bool = True,
) -> Images:
    """Decode and resize the images of a sample, timed as ``image_decode`` and ``preprocess``.

    Args:
        sample: its paths are opened.
        rules: of the family's processor.
        clock: takes the times.
        keep_files: hold the pixels of the files.
        hand_over: only until :meth:`Images.files` is called.
        resized: False where the size in the full model may never be needed: a method chooses another.

    Raises:
        SampleError: ``bad_image``.
    """
    with clock.stage("image_decode"):
        files = [open_image(path) for path in sample.images]
    sizes = tuple((f.shape[1], f.shape[0]) for f in files)
    with clock.stage("preprocess"):
        full = tuple(full_size(s, rules, p.name) for s, p in zip(sizes, sample.images, strict=True))
        ready = [resize(f, s) for f, s in zip(files, full, strict=True)] if resized else []
    return Images(sample.images, sizes, full, ready, files if keep_files else [], hand_over)


def load_cached(sample: Sample, rules: ImageRules, cache: DiskCache) -> Images:
    """The same with resized pixels from ``cache``, by the content of the files; what is not there is put there.

    Raises:
        SampleError: ``bad_image``.
    """
    sizes, full, pixels = [], [], []
    for path in sample.images:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
            open_image(path)  # says what is wrong with the file
        key = _pixels_key(content, rules)
        stored = cache.get(key)
        if stored is None:
            picture = open_image(path, content)
            size = picture.shape[1], picture.shape[0]
            target = full_size(size, rules, path.name)
            resized = resize(picture, target)
            cache.put(key, {"pixels": torch.from_numpy(resized), "file_size": torch.tensor(size)})
        else:
            resized = stored["pixels"].numpy()
            size = int(stored["file_size"][0]), int(stored["file_size"][1])
        sizes.append(size)
        full.append((resized.shape[1], resized.shape[0]))
        pixels.append(resized)
    return Images(sample.images, tuple(sizes), tuple(full), pixels)


def _pixels_key(content: bytes, rules: ImageRules) -> str:
    """Everything that the resized pixels depend on, hashed."""
    made_by = [f"{name} {metadata.version(name)}" for name in ("pillow", "torch")]
    limits = (rules.block, rules.min_pixels, rules.max_pixels)
    about = f"pixels 2|{hashlib.sha256(content).hexdigest()}|{limits}|bicubic antialias|{made_by}"
    return hashlib.sha256(about.encode()).hexdigest()


def ahead(
    samples: Iterable[Sample], load: Callable[[Sample], Images], n_ahead: int = 1
) -> Iterator[tuple[Sample, Future[Images]]]:
    """Samples with their images, of which at most ``n_ahead`` are prepared in a thread while one is worked on.

    An exception of ``load`` is raised by ``result()`` of its own sample's future and by no other.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="images")
    waiting: deque[tuple[Sample, Future[Images]]] = deque()
    try:
        for sample in samples:
            waiting.append((sample, pool.submit(load, sample)))
            if len(waiting) > n_ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
