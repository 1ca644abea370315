"""VLMEvalKit (package ``ms-vlmeval``, imported as ``vlmeval``) in both directions.

- ``catalogue``, ``reader``, ``rules``, ``report``: its data sets as tasks of ours, with its own loading, prompts and
  metric code.
- ``model``, ``datasets``, ``registry``, ``__main__``: our methods and tasks inside its own run entry.

This module and ``catalogue`` import nothing of it; importing ``vlmeval`` takes about ten seconds.
"""
