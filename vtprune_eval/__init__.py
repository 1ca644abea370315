"""vtprune_eval: one harness for visual-token pruning of vision-language models."""

__version__ = "0.1.0"
