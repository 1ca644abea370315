"""One engine for the tests that need no other: loading one takes longer than answering with it."""

import os

import pytest

# Sleeping threads of one engine must not slow another; on two cores one thread is enough for nano.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
BLOCK = 32  # tokens of a block of the prefix cache: nano's prompts are short


@pytest.fixture(scope="session")
def nano():
    from vtprune_eval.models import load_model

    return load_model("nano")


@pytest.fixture(scope="session")
def engine():
    """Nano in vLLM, with every cache that vLLM has."""
    from vtprune_eval.integrations.vllm.engine import VllmEngine
    from vtprune_eval.runner.config import from_mapping

    spec = from_mapping({"methods": "full", "budgets": "100", "engine": "vllm"})
    return VllmEngine(spec, enable_prefix_caching=True, mm_processor_cache_gb=1, block_size=BLOCK)
