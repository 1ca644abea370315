"""What vLLM calls in each of its processes."""

from __future__ import annotations

# Architecture that a server or an engine asks for (``--hf-overrides``), to the class behind it.
ARCHITECTURES = {
    "VtpruneQwen3VLForConditionalGeneration": "PrunedQwen3VL",
    "VtpruneQwen2_5_VLForConditionalGeneration": "PrunedQwen2_5VL",
    "VtpruneQwen2VLForConditionalGeneration": "PrunedQwen2VL",
}


def register() -> None:
    """Make the architectures known; the classes of vLLM keep their own names, so nothing changes unless asked for."""
    from vllm import ModelRegistry

    for architecture, name in ARCHITECTURES.items():
        if architecture not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(architecture, f"{__package__}.classes:{name}")


def overrides(architecture: str) -> dict[str, list[str]]:
    """What ``hf_overrides`` needs so that a folder of ``architecture`` is served with the plug-in."""
    return {"architectures": [f"Vtprune{architecture}"]}
