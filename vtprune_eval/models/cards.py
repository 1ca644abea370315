"""Short names of models: what each stands for, and its architecture family. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, unknown_name
from .embedded import EMBEDDED, embedded_folder

if TYPE_CHECKING:
    from .base import ImageRules
    from .family import Family

NANO = embedded_folder("nano")

# Families with a network behind them; each is a module of this package with a ``FAMILY``.
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "opencua", "focusui_qwen2_5_vl", "focusui_qwen3_vl")


@dataclass(frozen=True)
class ModelCard:
    """What a short name stands for.

    Attributes:
        family: a name of ``FAMILIES``, or ``stub``.
        hub_id: hub repository.
        coordinates: frame of the answers.
        about: one line.
        weights: their number.
        revision: commit of the hub repository that is loaded, None for the latest one (a record states which that was).
        remote_code: True if a folder of it holds Python code that has to run.
    """

    family: str
    hub_id: str | None
    coordinates: str
    about: str
    weights: int = 0
    revision: str | None = None
    remote_code: bool = False


MODELS = {
    "nano": ModelCard("qwen3_vl", None, "hundredths", "embedded 9.8 M instrument for the mini suite; no download"),
    "micro": ModelCard(
        "qwen3_vl", None, "hundredths", "embedded 10.5 M, larger screens at several scales (mini-large); in a checkout"
    ),
    "qwen2vl-2b": ModelCard(
        "qwen2_vl",
        "Qwen/Qwen2-VL-2B-Instruct",
        "thousandths",
        "Qwen2-VL 2B Instruct",
        2_208_985_600,
        "895c3a49bc3fa70a340399125c650a463535e71c",
    ),
    "qwen2vl-7b": ModelCard(
        "qwen2_vl",
        "Qwen/Qwen2-VL-7B-Instruct",
        "thousandths",
        "Qwen2-VL 7B Instruct",
        8_291_375_616,
        "eed13092ef92e448dd6875b2a00151bd3f7db0ac",
    ),
    "qwen2.5vl-3b": ModelCard(
        "qwen2_5_vl",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "resized_pixels",
        "Qwen2.5-VL 3B Instruct",
        3_754_622_976,
        "66285546d2b821cf421d4f5eb2576359d3770cd3",
    ),
    "qwen2.5vl-7b": ModelCard(
        "qwen2_5_vl",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "resized_pixels",
        "Qwen2.5-VL 7B Instruct",
        8_292_166_656,
        "cc594898137f460bfe9f0759e9844b3ce807cfb5",
    ),
    "uitars-1.5-7b": ModelCard(
        "qwen2_5_vl",
        "ByteDance-Seed/UI-TARS-1.5-7B",
        "resized_pixels",
        "UI-TARS 1.5 7B, a GUI agent on Qwen2.5-VL",
        8_292_166_656,
        "683d002dd99d8f95104d31e70391a39348857f4e",
    ),
    "opencua-7b": ModelCard(
        "opencua",
        "xlangai/OpenCUA-7B",
        "resized_pixels",
        "OpenCUA 7B, a GUI agent on Qwen2.5-VL's ViT; its tokenizer is remote code",
        8_292_166_656,
        "a2efb7d2b104d477a4a2666a357e79550a28aafc",
        True,
    ),
    "qwen3vl-2b": ModelCard(
        "qwen3_vl",
        "Qwen/Qwen3-VL-2B-Instruct",
        "thousandths",
        "Qwen3-VL 2B Instruct",
        2_127_532_032,
        "89644892e4d85e24eaac8bacfd4f463576704203",
    ),
    "qwen3vl-4b": ModelCard(
        "qwen3_vl",
        "Qwen/Qwen3-VL-4B-Instruct",
        "thousandths",
        "Qwen3-VL 4B Instruct",
        4_437_815_808,
        "ebb281ec70b05090aa6165b016eac8ec08e71b17",
    ),
    "qwen3vl-8b": ModelCard(
        "qwen3_vl",
        "Qwen/Qwen3-VL-8B-Instruct",
        "thousandths",
        "Qwen3-VL 8B Instruct",
        8_767_123_696,
        "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b",
    ),
    "qwen3.5-2b": ModelCard(
        "qwen3_5",
        "Qwen/Qwen3.5-2B",
        "thousandths",
        "Qwen3.5 2B, hybrid linear and full attention",
        2_213_241_664,
        "15852e8c16360a2fea060d615a32b45270f8a8fc",
    ),
    "qwen3.5-4b": ModelCard(
        "qwen3_5",
        "Qwen/Qwen3.5-4B",
        "thousandths",
        "Qwen3.5 4B, hybrid linear and full attention",
        4_539_265_536,
        "851bf6e806efd8d0a36b00ddf55e13ccb7b8cd0a",
    ),
    "qwen3.5-9b": ModelCard(
        "qwen3_5",
        "Qwen/Qwen3.5-9B",
        "thousandths",
        "Qwen3.5 9B, hybrid linear and full attention",
        9_409_813_744,
        "c202236235762e1c871ad0ccb60c8ee5ba337b9a",
    ),
    # The repositories could not be asked for their commits and sizes; sizes are those of the base model and the head.
    "focusui-3b": ModelCard(
        "focusui_qwen2_5_vl",
        "yyyang/FocusUI-3B",
        "fractions",
        "FocusUI on Qwen2.5-VL 3B, points with an action head",
        3_788_197_888,
    ),
    "focusui-7b": ModelCard(
        "focusui_qwen2_5_vl",
        "yyyang/FocusUI-7B",
        "fractions",
        "FocusUI on Qwen2.5-VL 7B, points with an action head",
        8_394_962_944,
    ),
    "focusui-qwen3vl-2b": ModelCard(
        "focusui_qwen3_vl",
        "yyyang/FocusUI-Qwen3-VL-2B",
        "fractions",
        "FocusUI on Qwen3-VL 2B, points with an action head",
        2_161_106_944,
    ),
    "stub": ModelCard("stub", None, "hundredths", "scripted stand-in without a network; tests of the harness only"),
}


def model_names() -> tuple[str, ...]:
    """Every short name."""
    return tuple(MODELS)


def check_model_name(name: str) -> ModelCard:
    """The card of ``name``.

    Raises:
        UserError: unknown name, with the nearest ones.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS, "`python -m vtprune_eval list models` shows all.")
    return MODELS[name]


def family_of(name: str) -> Family:
    """The architecture family of a model with a network.

    Raises:
        UserError: unknown name, or a model that has none.
    """
    card = check_model_name(name)
    if card.family not in FAMILIES:
        raise UserError(f"{name} has no network to load; choose another model.")
    found: Family = import_module(f".{card.family}", __package__).FAMILY
    return found


def image_rules(name: str, path: str | None = None) -> ImageRules:
    """How a model cuts images into blocks, without its weights.

    Args:
        name: short name.
        path: hub-format folder whose processor settings are taken instead of the published defaults.

    Raises:
        UserError: unknown name, a model without a network, or a folder that is not one of its family.
    """
    family = family_of(name)
    folder = Path(path) if path else embedded_folder(name) if name in EMBEDDED else None
    config = family.true_config(name) if folder is None else family.read_config(folder, name)
    return family.image_rules(config, folder)
