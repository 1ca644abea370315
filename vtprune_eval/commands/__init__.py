"""The sub-commands of ``python -m vtprune_eval``, one module each."""
