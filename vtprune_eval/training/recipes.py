"""The papers' own settings of ``train`` under a name; whatever is typed beside it wins."""

from __future__ import annotations

from typing import Any

from ..errors import unknown_name
from ..models import check_model_name

# FocusUI, arXiv 2601.03928, and the released scripts/train/stage_1_ft_focusui_scorer.sh and stage_2_ft_focusui.sh
# (showlab/FocusUI): first the scorer alone, with its loss alone; then every weight, with the three losses in equal
# shares (paper; the script weighs the scorer's 0.1). One pass over the data each, no weight decay, the retained share
# drawn from U(0.1, 1) per sample (paper; the scripts drop U(0, 0.95)).
_FOCUSUI = {"method": "focusui", "budget": "uniform:10:100", "weight_decay": 0.0, "saliency": 1.0}
# PixelPrune, arXiv 2604.00886, appendix and released configuration; the batch is that of one GPU.
_PIXELPRUNE = {"method": "pixelprune", "budget": "auto", "lr": 1e-5, "warmup": 100, "weight_decay": 0.01,
               "pack_tokens": 8192, "checkpointing": True}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "focusui-stage1": {**_FOCUSUI, "train": "scorer", "lr": 1e-4},
    "focusui-stage2": {**_FOCUSUI, "train": "all", "action": 1.0, "lr": 5e-6, "checkpointing": True},
    "pixelprune-scratch": {**_PIXELPRUNE, "steps": 4000, "batch": 18, "export_every": 400},
    "pixelprune-kd": {**_PIXELPRUNE, "steps": 2000, "batch": 36, "teacher": "full", "kd_weight": 1.0},
}


def recipe(name: str, model: str) -> dict[str, Any]:
    """Settings of :class:`.TrainSpec` that a recipe stands for.

    A model without an action head is trained without that head's loss.

    Args:
        name: of the recipe.
        model: that is trained.

    Raises:
        UserError: an unknown name.
    """
    if name not in RECIPES:
        raise unknown_name("recipe in --recipe", name, RECIPES)
    found = dict(RECIPES[name])
    if "action" in found and not check_model_name(model).family.startswith("focusui"):
        del found["action"]
    return found
