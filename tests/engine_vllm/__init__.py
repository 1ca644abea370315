"""Tests inside vLLM itself: `make test-vllm`, in an environment of their own; the main suite does not look here."""
