"""FocusUI on Qwen3-VL: see :mod:`.focusui`."""

from __future__ import annotations

from typing import ClassVar

from .focusui import OLD_NAMES, Pointing, PointingFamily
from .qwen3_vl import Qwen3VL
from .qwen3_vl_sizes import DEFAULT_PIXELS, TRUE_SIZES


class FocusUIQwen3VL(Pointing, Qwen3VL):
    """Adapter of a FocusUI checkpoint on Qwen3-VL."""

    # Quoted, because the weights were trained with it: github.com/showlab/FocusUI, focusui/constants.py, the system
    # message for Qwen3-VL.
    system: ClassVar[str] = (
        "You are a GUI agent. Your task is to locate the screen element that corresponds to the instruction. You "
        "should not call any external tools. Output only the coordinate of one point in your response. "
        "Format: (x, y)"
    )
    opening: ClassVar[str] = "("


FAMILY = PointingFamily(
    architecture="Qwen3VLForConditionalGeneration",
    model_type="qwen3_vl",
    config_class="Qwen3VLConfig",
    adapter=FocusUIQwen3VL,
    sizes={"focusui-qwen3vl-2b": TRUE_SIZES["qwen3vl-2b"]},
    # The largest image of the paper's efficiency study.
    pixels=(DEFAULT_PIXELS[0], 6000 * 32 * 32),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    published_as="FocusUI_Qwen3VLForConditionalGenerationWithPointer",
    key_mapping=OLD_NAMES,
)
