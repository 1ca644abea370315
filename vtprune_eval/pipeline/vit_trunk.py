"""The ViT blocks that cells of a sample have in common: those before a drop inside the ViT run once, on all patches.

Cells that drop behind different blocks, and those that drop nothing in the ViT at all, follow one walk and part where
their own begins. Every block sees the rows that it would see in a run of its own, and what DeepStack reads behind
earlier blocks is read from the rows that a branch keeps, so that outputs are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..models.base import HalfEncoded, VlmAdapter

if TYPE_CHECKING:
    from .generate import Pipeline

Grids = Sequence[tuple[int, int]]


class VitTrunk:
    """One walk through the ViT, from which branches part in the order of their depth.

    Attributes:
        served: how often a branch has parted.
        needs: extra outputs that any branch asks of the ViT.
    """

    def __init__(self, deepest: int, needs: Sequence[str], room: int) -> None:
        """Run nothing yet.

        Args:
            deepest: blocks before the last branch.
            needs: extra outputs that any branch asks of the ViT.
            room: bytes that the walk may hold.
        """
        self.served, self.needs = 0, tuple(needs)
        self._deepest, self._room = deepest, room
        self._half: HalfEncoded | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of what is held for the branches to come."""
        half = self._half
        if half is None:
            return 0
        tensors = {id(t): t for t in (half.hidden, *half.rope, *half.extras.values(), *half.read.values())}
        return sum(t.numel() * t.element_size() for t in tensors.values())

    def at(
        self, adapter: VlmAdapter, patches: Callable[[], Tensor], grids: Grids, depth: int | None
    ) -> HalfEncoded | None:
        """The patches behind the first blocks; None where there is no room for them.

        Args:
            adapter: the model.
            patches: gives all patch rows; asked at most once.
            grids: merge blocks of every image.
            depth: blocks, None for as many as there are in common; no less than the last time.
        """
        depth = self._deepest if depth is None else depth
        if self._half is None and self._needed(adapter, grids) > self._room:
            return None
        if self._half is None or self._half.blocks < depth:
            self._half = adapter.encode_upto(self._half or patches, grids, depth, self.needs)
        self.served += 1
        return self._half

    def _needed(self, adapter: VlmAdapter, grids: Grids) -> int:
        """Upper bound of the bytes that the walk holds: states, those that DeepStack reads, rotations in float32."""
        dims = adapter.dims
        rows = sum(h * w for h, w in grids) * adapter.images.merge_size**2
        states = (2 + dims.n_deepstack) * dims.vit_dim * adapter.dtype.itemsize
        return rows * (states + 2 * 4 * dims.vit_dim)


def along_trunks(
    groups: Sequence[list[int]], pipelines: Sequence[Pipeline], room: int
) -> Iterator[tuple[list[int], VitTrunk | None]]:
    """Groups of cells, those that share ViT blocks with another group first and by their depth, with their walk.

    Args:
        groups: cells that share the whole ViT.
        pipelines: of all cells.
        room: bytes that a walk may hold.
    """
    adapter = pipelines[0].adapter
    n_blocks = adapter.dims.vit_depth
    walks: dict[object, list[tuple[int, list[int]]]] = {}
    rest = []
    for group in groups:
        pipeline = pipelines[group[0]]
        dropper, reducer = pipeline.method_of("select_patches"), pipeline.method_of("reduce_images")
        depth = n_blocks + 1 if dropper is None else dropper.vit_depth  # who drops nothing comes last
        inside = dropper is None or 0 < depth <= n_blocks
        if adapter.merges and inside and pipeline.method_of("merge_patches") is None:
            walks.setdefault(None if reducer is None else pipeline.key("reduce_images"), []).append((depth, group))
        else:
            rest.append(group)
    for users in walks.values():
        drops = [depth for depth, _ in users if depth <= n_blocks]
        if len(users) < 2 or not drops:
            rest += [group for _, group in users]
            continue
        needs = sorted({need for _, group in users for cell in group for need in pipelines[cell].needs})
        trunk = VitTrunk(max(drops), needs, room)
        for _, group in sorted(users, key=lambda user: user[0]):
            yield group, trunk
    yield from ((group, None) for group in rest)
