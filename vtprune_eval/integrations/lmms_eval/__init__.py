"""lmms-eval (package ``lmms-eval``): the model ``vtprune`` and our embedded tasks in its own command line.

    python -m lmms_eval --model vtprune --model_args model=nano,method=pixelprune,budget=20 --tasks mini-doc \\
        --include_path $(python -m vtprune_eval.integrations.lmms_eval)

The entry point ``vtprune`` of the group ``lmms_eval.models`` is :func:`manifest`; nothing of torch is imported for it.
"""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """The declaration that lmms-eval's registry reads."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("vtprune", simple_class_path="vtprune_eval.integrations.lmms_eval.model.Vtprune")
