"""Stages 1 and 2: the images of a sample, which of their patches are looked at, and the ViT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..budget import StageBudget
from ..clock import StageClock
from ..methods.base import ImageView, PatchView
from ..models.base import Encoded, Merging
from ..sample import Sample
from .composition import Composition
from .disk_cache import DiskCache
from .features import packed, unpacked, vit_key
from .images import Images
from .prompt import Prompt, build_prompt, patch_rows
from .stages import Entered, frozen
from .vit_trunk import VitTrunk


class Looking(Composition):
    """A composition up to the ViT."""

    def enter(
        self,
        sample: Sample,
        images: Images,
        budgets: dict[str, StageBudget],
        clock: StageClock,
        *,
        needs: Sequence[str] | None = None,
        store: DiskCache | None = None,
        prompt: Prompt | None = None,
        trunk: VitTrunk | None = None,
    ) -> Entered:
        """Stages 1 and 2: the prompt, and the images through the ViT.

        Args:
            sample: the sample.
            images: its images.
            budgets: from :meth:`budgets`.
            clock: takes the times.
            needs: extra outputs of the ViT where other pipelines need some, too; None for this one's own.
            store: cache of ViT outputs.
            prompt: of the sample with its images at their full sizes, where it was built before.
            trunk: ViT blocks that are shared with others.

        Raises:
            SampleError: ``too_long``.
        """
        prompt, keep = self.look(sample, images, budgets, clock, prompt)
        depth = self.depth_of(keep)
        needs = self.needs if needs is None else needs
        merging = self.merging(prompt, keep, budgets)
        encoded = self._encode(prompt, keep, depth, needs, clock, store, merging, trunk)
        return self.entered(sample, images, prompt, keep, encoded)

    def depth_of(self, keep: Sequence[np.ndarray | None]) -> int:
        """ViT blocks that still see every patch when the merge blocks ``keep`` stay, 0 where none does."""
        return self._by_hook["select_patches"].vit_depth if any(k is not None for k in keep) else 0

    def entered(
        self, sample: Sample, images: Images, prompt: Prompt, keep: Sequence[np.ndarray | None], encoded: Encoded
    ) -> Entered:
        """A sample behind the ViT.

        Args:
            sample: the sample.
            images: its images.
            prompt: from :meth:`look`.
            keep: from :meth:`look`.
            encoded: what the ViT made of the kept merge blocks.
        """
        block, merge2 = self.adapter.images.block, self.adapter.images.merge_size**2
        depth = self.depth_of(keep)
        full_grids = tuple((h // block, w // block) for w, h in images.full)
        whole = tuple(h * w * merge2 for h, w in prompt.layout.grids)
        kept = tuple(n if k is None else int(k.sum()) * merge2 for n, k in zip(whole, keep, strict=True))
        masks = tuple(None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep)
        vit = (depth, whole if depth else ())
        if encoded.places is not None:
            masks = _left(masks, prompt.layout.n_tokens, encoded.places.cpu())
            vit, kept = (0, kept), tuple(int(m.sum()) * merge2 for m in masks if m is not None)
        return Entered(
            sample,
            prompt,
            encoded,
            masks,
            kept,
            images.file_sizes,
            full_grids,
            self.seed_of(sample),
            vit,
        )

    def look(
        self,
        sample: Sample,
        images: Images,
        budgets: dict[str, StageBudget],
        clock: StageClock,
        prompt: Prompt | None = None,
    ) -> tuple[Prompt, list[np.ndarray | None]]:
        """What needs no model: the prompt, and the kept merge blocks of every image before the ViT, None for all.

        Args:
            sample: as for :meth:`enter`.
            images: as for :meth:`enter`.
            budgets: as for :meth:`enter`.
            clock: as for :meth:`enter`.
            prompt: as for :meth:`enter`.

        Raises:
            SampleError: ``too_long``.
        """
        rules, reducer = self.adapter.images, self._by_hook.get("reduce_images")
        if reducer is None:
            pixels = list(images.pixels)
        else:
            with clock.stage("select"):
                pairs, seed = zip(images.file_sizes, images.full, strict=True), self.seed_of(sample)
                views = tuple(ImageView(file, full, rules.block, seed) for file, full in pairs)
                sizes = reducer.reduce_images(views, budgets["reduce_images"])
                _check_sizes(sizes, len(views), rules.block)
            with clock.stage("preprocess"):  # as the full model's own resize
                pixels = images.at(sizes, reducer.resample)
        if prompt is None or reducer is not None:
            with clock.stage("preprocess"):
                prompt = build_prompt(self.adapter, pixels, sample.question)
        return prompt, self._patches(prompt, budgets, self.seed_of(sample), clock)

    def _encode(
        self,
        prompt: Prompt,
        keep: list[np.ndarray | None],
        depth: int,
        needs: Sequence[str],
        clock: StageClock,
        store: DiskCache | None,
        merging: Merging | None,
        trunk: VitTrunk | None,
    ) -> Encoded:
        """The ViT's output on the kept patches, from ``store`` where it is there."""
        adapter, rules = self.adapter, self.adapter.images
        if not prompt.pixels:
            with clock.stage("vit"):
                return self._nothing()
        if merging is not None:
            store = None  # which blocks are merged depends on the method, which an entry does not name
        key = "" if store is None else vit_key(adapter, prompt.pixels, keep, depth, needs)
        stored = None if store is None else store.get(key)
        if stored is not None:
            return unpacked(stored, adapter.device)

        def patches() -> Tensor:
            with clock.stage("preprocess"):
                rows = [patch_rows(p, rules, None if depth else k) for p, k in zip(prompt.pixels, keep, strict=True)]
                return (rows[0] if len(rows) == 1 else torch.cat(rows)).to(adapter.device)

        masks = [None if k is None else torch.from_numpy(k.reshape(-1)) for k in keep]
        dropper = self._by_hook.get("select_patches")  # its depth, also where it found nothing to drop
        stop = None if dropper is None else dropper.vit_depth
        half = None if trunk is None else trunk.at(adapter, patches, prompt.layout.grids, stop)
        entering = patches() if half is None else half
        with clock.stage("vit"):
            encoded = adapter.encode(entering, prompt.layout.grids, masks, tuple(needs), depth, merging)
        if needs:
            clock.move("vit", "select", encoded.extras_ms)
        if store is not None:
            store.put(key, packed(encoded))
        return encoded

    def merging(self, prompt: Prompt, keep: list[np.ndarray | None], budgets: dict[str, StageBudget]) -> Merging | None:
        """What is merged inside the ViT."""
        method = self._by_hook.get("merge_patches")
        if method is None or not prompt.pixels:
            return None
        n_blocks = tuple(n if k is None else int(k.sum()) for n, k in zip(prompt.layout.n_tokens, keep, strict=True))
        counts = method.merge_patches(n_blocks, len(self.adapter.visual.blocks), budgets["merge_patches"])
        return Merging(counts, method.match, method.weighs_by_size)

    def _nothing(self) -> Encoded:
        """What the encoder gives for a question without images."""
        return Encoded(
            torch.zeros(
                0, self.adapter.text.embed_tokens.weight.shape[1], dtype=self.adapter.dtype, device=self.adapter.device
            ),
            (),
        )

    def _patches(
        self, prompt: Prompt, budgets: dict[str, StageBudget], seed: int, clock: StageClock
    ) -> list[np.ndarray | None]:
        """Stage 2: keep masks per image, None where nothing is dropped."""
        method = self._by_hook.get("select_patches")
        if method is None or not prompt.pixels:
            return [None] * len(prompt.pixels)
        layout = prompt.layout
        with clock.stage("select"):
            view = PatchView(frozen(prompt.pixels), layout.grids, layout.merge_size * layout.patch_size, seed)
            masks = method.select_patches(view, budgets["select_patches"])
            for mask, grid in zip(masks, layout.grids, strict=True):
                if mask.shape != grid or mask.dtype != np.bool_:
                    raise RuntimeError(f"{method.name}.select_patches: mask {mask.shape} {mask.dtype}, grid {grid}")
            if not any(mask.any() for mask in masks):
                raise RuntimeError(f"{method.name}.select_patches kept nothing")
            return [None if mask.all() else mask for mask in masks]


def _left(masks: Sequence[Tensor | None], n_tokens: Sequence[int], places: Tensor) -> tuple[Tensor, ...]:
    """Masks of the merge blocks that are left, given their ``places`` among those that ``masks`` kept."""
    entered = torch.cat(
        [torch.ones(n, dtype=torch.bool) if m is None else m for n, m in zip(n_tokens, masks, strict=True)]
    )
    left = torch.zeros_like(entered)
    left[entered.nonzero()[:, 0][places]] = True
    return tuple(left.split(list(n_tokens)))


def _check_sizes(sizes: tuple[tuple[int, int], ...], n_images: int, block: int) -> None:
    if len(sizes) != n_images or any(w % block or h % block or w < block or h < block for w, h in sizes):
        raise RuntimeError(f"reduce_images returned {sizes}; {n_images} sizes in multiples of {block} are needed")
