"""Qwen3-VL: DeepStack ViT with learned positions, interleaved M-RoPE decoder, coordinates in thousandths."""

from __future__ import annotations

from torch import Tensor

from .family import Family
from .qwen3_vl_sizes import DEFAULT_PIXELS, TRUE_SIZES
from .qwen_vl import QwenVL


class Qwen3VL(QwenVL):
    """Adapter of one loaded ``Qwen3VLForConditionalGeneration``."""

    def _add_learned_positions(self, hidden: Tensor, thw: Tensor, rows: Tensor | None) -> Tensor:
        from transformers.vision_utils import get_vision_interpolation_indices_and_weights

        visual = self.visual
        index, weight = get_vision_interpolation_indices_and_weights(
            thw,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=self.images.merge_size,
        )
        if rows is not None:
            index, weight = index[rows], weight[rows]
        rows_at: Tensor = visual.pos_embed(index)
        mean: Tensor = (rows_at * weight[:, :, None]).sum(1)
        return hidden + mean.to(hidden.dtype)

    @property
    def deepstack_blocks(self) -> tuple[int, ...]:
        """See :class:`VitWalk`."""
        return tuple(self.visual.deepstack_visual_indexes)

    def _tap(self, block: int, hidden: Tensor) -> Tensor | None:
        levels = self.deepstack_blocks
        return self.visual.deepstack_merger_list[levels.index(block)](hidden) if block in levels else None


FAMILY = Family(
    architecture="Qwen3VLForConditionalGeneration",
    model_type="qwen3_vl",
    config_class="Qwen3VLConfig",
    adapter=Qwen3VL,
    sizes=TRUE_SIZES,
    pixels=DEFAULT_PIXELS,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
