"""lm-eval (package ``lm-eval``, imported as ``lm_eval``): our models, methods and tasks in its runs.

- ``model``: the LM class ``vtprune``; importing it registers the name, and its objects go into ``simple_evaluate``.
- ``tasks``: what the YAML files under ``tasks/*/lm_eval/`` call; ``images``: pictures that are opened on first use.
- ``__main__``: its own command with both at hand, because it has no discovery of outside models.
"""
