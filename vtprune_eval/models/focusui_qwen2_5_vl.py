"""FocusUI on Qwen2.5-VL: see :mod:`.focusui`."""

from __future__ import annotations

from typing import ClassVar

from .focusui import OLD_NAMES, Pointing, PointingFamily
from .qwen2_5_vl import TRUE_SIZES, Qwen2_5VL
from .qwen2_vl import CLIP_MEAN, CLIP_STD, DEFAULT_PIXELS


class FocusUIQwen2_5VL(Pointing, Qwen2_5VL):
    """Adapter of a FocusUI checkpoint on Qwen2.5-VL."""

    # Quoted, because the weights were trained with it: github.com/showlab/FocusUI, focusui/constants.py, the system
    # message for Qwen2.5-VL (taken over from github.com/microsoft/GUI-Actor).
    system: ClassVar[str] = (
        "You are a GUI agent. Given a screenshot of the current GUI and a human instruction, your task is to locate "
        "the screen element that corresponds to the instruction. You should output a PyAutoGUI action that performs a "
        "click on the correct position. To indicate the click location, we will use some special tokens, which is used "
        "to refer to a visual patch later. For example, you can output: "
        "pyautogui.click(<your_special_token_here>)."
    )
    opening: ClassVar[str] = "pyautogui.click("


FAMILY = PointingFamily(
    architecture="Qwen2_5_VLForConditionalGeneration",
    model_type="qwen2_5_vl",
    config_class="Qwen2_5_VLConfig",
    adapter=FocusUIQwen2_5VL,
    sizes={"focusui-3b": TRUE_SIZES["qwen2.5vl-3b"], "focusui-7b": TRUE_SIZES["qwen2.5vl-7b"]},
    # The largest image of the paper's efficiency study.
    pixels=(DEFAULT_PIXELS[0], 6400 * 28 * 28),
    mean=CLIP_MEAN,
    std=CLIP_STD,
    published_as="FocusUI_Qwen2_5_VLForConditionalGenerationWithPointer",
    key_mapping=OLD_NAMES,
)
